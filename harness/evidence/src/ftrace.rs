//! Reads the text of tracefs' `trace` file: the kprobe events that parprobe defines, marks, and what was lost.
//!
//! A line is `<comm>-<pid> [<cpu>] <flags> <seconds>: <event>: (<place>) <field>=<value>…`
//! (Documentation/trace/ftrace.rst). A command name may hold spaces, dashes and brackets.

use crate::lines::Lines;
use crate::units::{CpuId, KernelTime, ThreadId};

/// Event at the entry of `really_probe()`: fields `name` (device) and `drv` (driver).
pub const START: &str = "start";
/// Event at its return: field `ret`.
pub const END: &str = "end";
/// Event at the entry of one of [`ATTACH_FUNCTIONS`].
pub const CALL: &str = "call";

/// The functions that an asynchronous attach runs (drivers/base/bus.c before v5.1, drivers/base/dd.c).
pub const ATTACH_FUNCTIONS: [&str; 3] = [
    // A driver that finds its devices: one call for the driver.
    "driver_attach_async",
    // A driver that finds its devices: one call for each device.
    "__driver_attach_async_helper",
    // A device that finds its driver: one call for the device.
    "__device_attach_async_helper",
];

/// One line of the trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry<'a> {
    /// Who ran.
    pub thread: ThreadId,
    /// Where it ran.
    pub cpu: CpuId,
    /// When.
    pub time: KernelTime,
    /// What happened.
    pub event: Event<'a>,
    /// Its line in the text, from 1.
    pub line: usize,
}

/// The events that parprobe defines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// `really_probe()` was entered.
    Start {
        /// Name of the device.
        device: &'a str,
        /// Name of the driver.
        driver: &'a str,
    },
    /// `really_probe()` returned this: 0 for bound, an errno for failed.
    End {
        /// The value.
        returned: i64,
    },
    /// An async attach function was entered.
    Call {
        /// Its name.
        function: &'a str,
    },
    /// Somebody wrote to `trace_marker`.
    Mark {
        /// What.
        text: &'a str,
    },
}

/// What a line of the trace is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'a> {
    /// An entry.
    Entry(Entry<'a>),
    /// A comment, and how many entries it says that the ring buffer overwrote: written less kept.
    Comment {
        /// How many.
        lost: u64,
    },
    /// It could not be read.
    Broken(&'a str),
}

/// Reads the text as it goes: a piece for every line that is not empty. Entries come in the order of the file: by time.
pub fn read(text: &str) -> impl Iterator<Item = Piece<'_>> {
    Lines::of(text).filter(|line| !line.text.is_empty()).map(|line| {
        if let Some(comment) = line.text.strip_prefix('#') {
            Piece::Comment { lost: read_lost(comment).unwrap_or(0) }
        } else {
            read_entry(line.text, line.number).map_or(Piece::Broken(line.text), Piece::Entry)
        }
    })
}

/// `entries-in-buffer/entries-written: 205/210   #P:2`
fn read_lost(comment: &str) -> Option<u64> {
    let (kept, rest) = comment.trim().strip_prefix("entries-in-buffer/entries-written: ")?.split_once('/')?;
    let written = rest.split_whitespace().next()?;
    Some(written.parse::<u64>().ok()?.saturating_sub(kept.parse().ok()?))
}

#[inline]
fn read_entry(text: &str, line: usize) -> Option<Entry<'_>> {
    let (head, rest) = split_colon(text)?;
    let (event, fields) = split_colon(rest)?;
    // First, as most lines of a trace that others use too are of other events.
    let event = match event {
        START => Event::Start { device: string(fields, " name")?, driver: string(fields, " drv")? },
        END => Event::End { returned: number(fields, " ret")? },
        CALL => Event::Call { function: fields.strip_prefix('(')?.split(['+', ')']).next()? },
        // The function that wrote it: `tracing_mark_write`, or another where the compiler made one of several.
        _ if event.contains("mark") => Event::Mark { text: fields },
        _ => return None,
    };
    // From the right, as a command name may have spaces, dashes and brackets too: the stamp, the flags, the CPU.
    let (rest, time) = head.trim_end().rsplit_once(' ')?;
    let opens = memchr::memrchr_iter(b'[', rest.as_bytes()).find(|at| rest[..*at].ends_with(' '))?;
    let (who, place) = (&rest[..opens], &rest[opens + 1..]);
    let (cpu, _flags) = place.split_once(']')?;
    let (_, thread) = who.trim_end().rsplit_once('-')?;
    Some(Entry {
        thread: thread.parse().ok()?,
        cpu: cpu.parse().ok()?,
        time: time.parse().ok()?,
        line,
        event,
    })
}

/// Splits at the first ": ".
#[inline]
fn split_colon(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let at = memchr::memchr_iter(b':', bytes).find(|at| bytes.get(at + 1) == Some(&b' '))?;
    Some((&text[..at], &text[at + 2..]))
}

/// The value of a string field: in quotes, or `(fault)` where the kernel could not read it.
#[inline]
fn string<'a>(fields: &'a str, key: &str) -> Option<&'a str> {
    let follows = |at: &usize| fields.as_bytes()[..*at].ends_with(key.as_bytes());
    let at = memchr::memchr_iter(b'=', fields.as_bytes()).find(follows)?;
    fields[at + 1..].strip_prefix('"')?.split_once('"').map(|(value, _)| value)
}

/// The value of a field with a number, the last one.
#[inline]
fn number(fields: &str, key: &str) -> Option<i64> {
    let (before, value) = fields.rsplit_once('=')?;
    if before.ends_with(key) { value.trim().parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_whatever_the_name_of_the_thread() {
        let text = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 3/5   #P:2\n#\n\
            \x20   kworker/u4:1-23      [001] .....     3.123456: call: (__driver_attach_async_helper+0x0/0xb0)\n\
            \x20   odd [1] a-b-7        [000] ...1.     3.123460: start: (really_probe+0x0/0x3d0) name=\"0:0:0:3\" drv=\"sd\"\n\
            \x20   kworker/u4:1-23      [001] .....     3.143456: end: (__driver_probe_device+0x78/0xd0 <- really_probe) ret=-19\n";
        let entry = |line, thread, cpu, micros, event| Entry {
            line,
            thread: ThreadId(thread),
            cpu: CpuId(cpu),
            time: KernelTime::from_micros(micros),
            event,
        };
        let expected = [
            entry(5, 23, 1, 3_123_456, Event::Call { function: "__driver_attach_async_helper" }),
            entry(6, 7, 0, 3_123_460, Event::Start { device: "0:0:0:3", driver: "sd" }),
            entry(7, 23, 1, 3_143_456, Event::End { returned: -19 }),
        ];
        let lost = [0, 0, 2, 0].map(|lost| Piece::Comment { lost });
        assert!(read(text).eq(lost.into_iter().chain(expected.map(Piece::Entry))));
    }

    #[test]
    fn a_cut_line_and_a_name_that_faulted_are_broken_and_not_dropped() {
        let lines = [
            "kworker/u4:1-23  [001] .....     3.143",
            "kworker/u4:1-23  [001] .....     3.143456: start: (really_probe+0x0/0x3d0) name=(fault) drv=\"sd\"",
            "kworker/u4:1-23  [001] .....     3.143456: start: (really_probe+0x0/0x3d0) name= name=\"0:0:0:3\" drv=\"sd\"",
            "kworker/u4:1-23  [001]3.143456: end: (__driver_probe_device+0x78/0xd0 <- really_probe) ret=0",
            "CPU:1 [LOST 12 EVENTS]",
        ];
        let text = lines.join("\n");
        assert!(read(&text).eq(lines.map(Piece::Broken)));
    }

    proptest::proptest! {
        #[test]
        fn every_line_is_a_comment_an_entry_or_broken(lines in proptest::collection::vec("[ -~]{1,60}", 0..30)) {
            let text = lines.join("\n");
            let comments = text.lines().filter(|line| line.starts_with('#')).count();
            let seen = read(&text).filter(|piece| matches!(piece, Piece::Comment { .. })).count();
            assert_eq!((seen, read(&text).count()), (comments, text.lines().count()));
        }
    }
}
