//! Stands between the harness and QEMU's monitor: commands there, answers back, or something else.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread;

use nix::cmsg_space;
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::Pid;

use super::{Fault, UNDER_WAY, adopt, murder, stay};

/// What QEMU says first over QMP; half of that; and something else.
pub(crate) const GREETING: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \
                                   \"package\": \"\"}, \"capabilities\": []}}\n";
pub(crate) const HALF_A_GREETING: &str = "{\"QMP\": {\"version\": ";
pub(crate) const RUBBISH: &str = "HTTP/1.1 400 Bad Request\n";

/// What comes over QMP in place of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Nonsense {
    /// No JSON.
    Text,
    /// JSON, and nothing that QEMU says.
    Json,
    /// The answer to another command.
    OtherNumber,
    /// An answer to nothing.
    NoNumber,
    EndlessLine,
    EndlessEvents,
}

/// Hands QMP on to QEMU, descriptors too.
pub(super) fn commands(fault: Fault, qemu: Pid, from: &UnixStream, to: &UnixStream) -> io::Result<()> {
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    loop {
        let mut space = cmsg_space!([RawFd; 4]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message =
            recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut rights = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                rights.extend(descriptors);
            }
        }
        let len = message.bytes;
        if len == 0 {
            return Ok(());
        }
        seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        let told = |command: &str| seen.contains(&format!("\"{command}\""));
        if let Fault::KilledAtCommand(command) = fault
            && told(command)
        {
            murder(qemu, Signal::SIGKILL);
        }
        if let Fault::Nonsense(command, nonsense) = fault
            && told(command)
        {
            talk_nonsense(nonsense, from)?;
            stay();
        }
        let with = [ControlMessage::ScmRights(&rights)];
        let with: &[ControlMessage<'_>] = if rights.is_empty() { &[] } else { &with };
        sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&bytes[..len])], with, MsgFlags::empty(), None)?;
        for descriptor in rights {
            drop(adopt(descriptor));
        }
    }
}

/// Says it until the harness does not listen any more.
fn talk_nonsense(nonsense: Nonsense, mut harness: &UnixStream) -> io::Result<()> {
    match nonsense {
        Nonsense::Text => harness.write_all(RUBBISH.as_bytes()),
        Nonsense::Json => harness.write_all(b"{\"hello\": [{\"world\": 1}]}\n"),
        Nonsense::OtherNumber => harness.write_all(b"{\"return\": {}, \"id\": 1000000}\n"),
        Nonsense::NoNumber => harness.write_all(b"{\"return\": {}}\n"),
        Nonsense::EndlessLine => io::copy(&mut io::repeat(b'x'), &mut harness).map(drop),
        Nonsense::EndlessEvents => {
            let timestamp = "{\"seconds\": 1, \"microseconds\": 2}";
            let events =
                format!("{{\"event\": \"RTC_CHANGE\", \"data\": {{}}, \"timestamp\": {timestamp}}}\n")
                    .repeat(100);
            loop {
                harness.write_all(events.as_bytes())?;
            }
        }
    }
}

/// Hands on to the harness what QEMU says over QMP.
pub(super) fn answers(fault: Fault, qemu: Pid, from: &UnixStream, mut to: &UnixStream) -> io::Result<()> {
    for line in BufReader::new(from).lines() {
        let line = line? + "\n";
        to.write_all(line.as_bytes())?;
        // The first answer is to the greeting: QMP is open.
        let of = match fault {
            Fault::KilledInBoot => Signal::SIGKILL,
            Fault::CrashesInBoot | Fault::CrashesInEachBoot => Signal::SIGABRT,
            _ => continue,
        };
        if line.starts_with("{\"return\"") {
            thread::sleep(UNDER_WAY);
            murder(qemu, of);
        }
    }
    Ok(())
}
