//! Reads the kernel log, whole or on, and leaves marks in it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Longest record of `/dev/kmsg`: `CONSOLE_EXT_LOG_MAX`, later `PRINTK_MESSAGE_MAX`, is at most 8 KiB.
const LONGEST_RECORD: usize = 16 << 10;

/// Every record from the oldest still kept to the newest, as the kernel gives them.
///
/// Records that the ring has dropped are not made up for: their sequence numbers are missing, and the
/// reader of the log sees the gap.
pub(crate) fn read_all() -> io::Result<Vec<u8>> {
    read_to_end(&mut open()?)
}

/// The records that came since this was last called; the first time, every record.
pub(crate) fn read_on() -> io::Result<Vec<u8>> {
    static DEVICE: Mutex<Option<File>> = Mutex::new(None);
    let mut device = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let device = match &mut *device {
        Some(device) => device,
        none => none.insert(open()?),
    };
    read_to_end(device)
}

fn open() -> io::Result<File> {
    File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open("/dev/kmsg")
}

fn read_to_end(device: &mut File) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut record = vec![0; LONGEST_RECORD];
    loop {
        match device.read(&mut record) {
            Ok(0) => return Ok(all),
            Ok(n) => all.extend_from_slice(&record[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(all),
            // The ring overtook us: the next read goes on with the oldest record there is.
            Err(e) if e.raw_os_error() == Some(Errno::EPIPE as i32) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes a record of our own, at level info, into the log and not onto the console, and into the trace, where there is
/// one (Documentation/trace/ftrace.rst, "trace_marker").
pub(crate) fn mark(text: &str) -> io::Result<()> {
    let line = format!("{} {text}\n", protocol::MARK);
    if let Ok(mut trace) = File::options().write(true).open("/sys/kernel/tracing/trace_marker") {
        // Refused where tracing is off.
        let _ = trace.write_all(line.as_bytes());
    }
    // One write is one record. Without the newline the record stays open for a continuation, and readers do
    // not see it before the next one begins (prb_commit() in vprintk_store(), kernel/printk/printk.c).
    File::options().write(true).open("/dev/kmsg")?.write_all(format!("<6>{line}").as_bytes())
}

/// Says why PID 1 ends, loud enough for the console. Nothing can be done if even that fails.
pub(crate) fn emergency(text: &str) {
    if let Ok(mut device) = File::options().write(true).open("/dev/kmsg") {
        let _ = device.write_all(format!("<0>{} {text}\n", protocol::MARK).as_bytes());
    }
}
