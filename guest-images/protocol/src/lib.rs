//! Words between agent and harness: one JSON value a line, followed by the raw bytes that it announces.
//!
//! The agent speaks first ([`Hello`]). Then the harness sends [`Call`]s, each with a number of its own, and
//! the agent answers each with one [`Reply`] of the same number. Calls run side by side, so replies may
//! overtake each other: a `Ping` is answered while a module is still loading.
//!
//! No I/O here beyond reading and writing on streams that the caller brings.

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

/// Name of the virtio-serial port that agent and harness share.
pub const PORT: &str = "parprobe.agent";

/// Version of these words. Both sides come from one build; a difference means a stale guest image.
pub const VERSION: u32 = 7;

/// Folder of the guest image with the modules, as `<name>.ko`.
pub const MODULES: &str = "/modules";

/// File of the guest image with the names of modules, a line each, that the agent loads before it speaks: without them
/// there would be no port to speak on. It is not there where the kernel needs none.
pub const FIRST: &str = "/modules/first";

/// Prefix of the records that the agent writes to `/dev/kmsg` and `trace_marker`, to mark its own doings among the
/// kernel's.
pub const MARK: &str = "parprobe:";

/// What a bare init says on the console.
pub const BARE: &str = "bare init";

/// Longest line that either side accepts, in bytes: a bound for a reader that is fed rubbish.
pub const LONGEST_LINE: usize = 16 << 20;

/// Most raw bytes that may follow a line.
pub const LARGEST_BODY: u64 = 1 << 30;

/// The first thing the agent says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// `uname -r`.
    pub release: String,
    /// `uname -v`: build number and date.
    pub build: String,
    /// `/proc/cmdline`, trimmed.
    pub cmdline: String,
    /// CPUs that are online, in order, each with its NUMA node.
    pub cpus: Vec<Cpu>,
}

/// A CPU of the guest.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Its number.
    pub cpu: u32,
    /// Its NUMA node; `None` where the kernel shows none.
    pub node: Option<u32>,
}

/// A device of the guest, as sysfs shows it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct DeviceFacts {
    /// Its name on the bus. For a LUN host, channel, target and LUN: `0:0:0:17`.
    pub name: String,
    /// Its NUMA node, or that of the nearest parent that has one; `None` for no node.
    pub node: Option<u32>,
    /// The disk that its driver made of it: `sdq`.
    pub disk: Option<String>,
    /// The driver it is bound to, in whose folder there is a link to it: `sd`.
    pub driver: Option<String>,
    /// Reads that the disk counted since it is there; `None` without a disk.
    pub reads: Option<u64>,
}

/// How long a thread of the guest ran.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct CpuTime {
    /// Its process, by PID; a thread of the kernel is a process of its own.
    pub pid: u32,
    /// CPU time since it is there, in nanoseconds of the scheduler's clock.
    pub nanos: u64,
}

/// A request with its number.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Chosen by the harness, repeated in the [`Reply`].
    pub id: u64,
    /// What to do.
    pub request: Request,
}

/// What the harness may ask for.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Are you there? Answered with [`Answer::Done`] though other calls are under way.
    Ping,
    /// `finit_module` of `/modules/<name>.ko`, between two marks in kernel log and trace. Answer: [`Answer::Took`].
    LoadModule {
        /// Name as in the file, without `.ko`.
        name: String,
        /// Parameters as on an insmod command line; may be empty.
        params: String,
    },
    /// `delete_module`, between two marks in kernel log and trace. It fails while the module is in use.
    /// Answer: [`Answer::Took`].
    UnloadModule {
        /// Its name.
        name: String,
    },
    /// Wait until the number of devices is in a range. Answer: [`Answer::Took`], or an error that says how many are.
    Await {
        /// What to count.
        what: Countable,
        /// The fewest there may be.
        least: u64,
        /// The most there may be.
        most: u64,
        /// How long to wait while the number does not change, in milliseconds.
        still_ms: u64,
        /// How long to wait at all, in milliseconds.
        timeout_ms: u64,
    },
    /// Write a mark of the harness to the kernel log, and to the trace where there is one: what comes first is told
    /// within each, as their clocks are not the same. Answer: [`Answer::Done`].
    Mark {
        /// What follows [`MARK`] in it, in one line.
        text: String,
    },
    /// Write a value to a file of procfs, sysfs or tracefs. Answer: [`Answer::Done`].
    Set {
        /// Absolute path.
        path: String,
        /// What to write, as one write; a newline is not added.
        value: String,
    },
    /// The whole kernel log, as the records of `/dev/kmsg` one after the other. Answer: [`Answer::Bytes`].
    ReadKmsg,
    /// What came into the kernel log since this was last asked, the first time all of it. Answer: [`Answer::Bytes`].
    ReadKmsgOn,
    /// A file of procfs, sysfs or tracefs, whole. Answer: [`Answer::Bytes`].
    ReadFile {
        /// Absolute path.
        path: String,
    },
    /// Every device of a bus with its node, disk, driver and reads. Answer: [`Answer::Devices`].
    DescribeDevices {
        /// Name of the bus: `scsi`. Of that only LUNs count, no hosts and no targets.
        bus: String,
    },
    /// The CPU time of every process. Answer: [`Answer::CpuTimes`].
    ReadCpuTimes,
}

/// Devices that [`Request::Await`] can count.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Countable {
    /// Devices of a bus, bound or not.
    Devices {
        /// The bus.
        bus: String,
    },
    /// Devices of a bus that are bound to this driver.
    Bound {
        /// The bus.
        bus: String,
        /// The driver.
        driver: String,
    },
}

/// The answer to the call of the same number.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// The number of the [`Call`].
    pub id: u64,
    /// The answer, or what was tried and what the kernel said.
    pub result: Result<Answer, String>,
}

/// What a call can bring.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// It is done and took this long, in microseconds of the guest's monotonic clock.
    Took {
        /// Microseconds.
        micros: u64,
    },
    /// So many raw bytes follow the line.
    Bytes {
        /// How many.
        len: u64,
    },
    /// The devices of the bus.
    Devices(Vec<DeviceFacts>),
    /// The processes. One that ended meanwhile is not among them.
    CpuTimes(Vec<CpuTime>),
}

/// Everything the agent says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Once, when it is ready.
    Hello(Hello),
    /// Once for each call.
    Reply(Reply),
}

impl Word {
    /// How many raw bytes follow the line of this word.
    pub fn body_len(&self) -> u64 {
        match self {
            Self::Reply(Reply { result: Ok(Answer::Bytes { len }), .. }) => *len,
            Self::Hello(_) | Self::Reply(_) => 0,
        }
    }
}

/// Writes a value as one line, and the raw bytes after it.
///
/// # Errors
/// Those of the stream.
pub fn write_line(stream: &mut impl Write, value: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.write_all(body)?;
    stream.flush()
}

/// Reads one line as a value; `None` at the end of the stream.
///
/// # Errors
/// Those of the stream; `InvalidData` with the line where it is not such a value or too long; `UnexpectedEof`
/// where the stream ends within it.
pub fn read_line<T: for<'a> Deserialize<'a>>(stream: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let n = stream.by_ref().take(LONGEST_LINE as u64).read_until(b'\n', &mut line)?;
    if n == 0 {
        return Ok(None);
    }
    let shown = || String::from_utf8_lossy(&line[..line.len().min(200)]).trim_end().to_owned();
    if line.last() != Some(&b'\n') {
        let (kind, why) = match n >= LONGEST_LINE {
            true => (io::ErrorKind::InvalidData, "a line too long"),
            false => (io::ErrorKind::UnexpectedEof, "a line cut short"),
        };
        return Err(io::Error::new(kind, format!("{why}: {}", shown())));
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("not understood ({e}): {}", shown())))
}

/// Reads the next word and the raw bytes it announces; `None` at the end of the stream.
///
/// # Errors
/// As [`read_line`]; `UnexpectedEof` where the bytes end early; `InvalidData` where too many are announced.
pub fn read_word(stream: &mut impl BufRead) -> io::Result<Option<(Word, Vec<u8>)>> {
    let Some(word) = read_line::<Word>(stream)? else {
        return Ok(None);
    };
    let len = word.body_len();
    if len > LARGEST_BODY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{len} bytes announced, too many")));
    }
    let mut body = Vec::new();
    let got = stream.by_ref().take(len).read_to_end(&mut body)? as u64;
    if got < len {
        let why = format!("{got} of {len} announced bytes came");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    Ok(Some((word, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(id: u64, result: Result<Answer, String>) -> Word {
        Word::Reply(Reply { id, result })
    }

    #[test]
    fn words_and_their_bytes_come_back_as_they_were_sent() {
        let words = [
            (reply(1, Ok(Answer::Done)), &b""[..]),
            (reply(2, Ok(Answer::Bytes { len: 7 })), &b"a\nb{}\n\0"[..]),
            (reply(3, Err("no".into())), &b""[..]),
        ];
        let mut wire = Vec::new();
        for (word, body) in &words {
            write_line(&mut wire, word, body).unwrap();
        }
        let mut stream = &wire[..];
        for (word, body) in words {
            assert_eq!(read_word(&mut stream).unwrap(), Some((word, body.to_vec())));
        }
        assert_eq!(read_word(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_body_that_ends_early_is_an_error_and_not_a_shorter_body() {
        let mut wire = Vec::new();
        write_line(&mut wire, &reply(1, Ok(Answer::Bytes { len: 10 })), b"half").unwrap();
        let e = read_word(&mut &wire[..]).unwrap_err();
        assert_eq!(e.to_string(), "4 of 10 announced bytes came");
    }

    #[test]
    fn rubbish_is_shown_in_the_error() {
        let e = read_word(&mut &b"[  1.0] Oops\n"[..]).unwrap_err();
        assert!(e.to_string().ends_with(": [  1.0] Oops"), "{e}");
    }

    #[test]
    fn a_line_without_its_end_is_named_so() {
        let e = read_word(&mut &b"{\"reply\":{\"id\":1"[..]).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof);
        assert!(e.to_string().starts_with("a line cut short"), "{e}");
    }
}
