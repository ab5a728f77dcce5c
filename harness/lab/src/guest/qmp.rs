//! QMP, as far as the harness uses it: fill the guest with LUNs, stop it, save it, let it run, end it, ask why it
//! ended.

use std::io::{self, BufRead, BufReader, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use qapi::{Command, Dictionary, Empty, Enum, Qmp, Stream, qmp};
use serde::Serialize;

use crate::cancel;

/// QEMU answers from its main loop; with thousands of devices to set up the first answer takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many commands may wait for their answers: so many fit in a socket's buffer both ways, and QEMU never waits for
/// us.
const AT_ONCE: usize = 128;

/// How often QEMU is asked whether it has saved or read a guest, which takes it some tenths of a second.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// More than any wire carries, in bytes a second: QEMU's own limit is 128 MiB.
const NO_LIMIT: u64 = 1 << 40;

/// A connection.
pub(crate) struct Monitor(Qmp<Stream<BufReader<UnixStream>, UnixStream>>);

impl Monitor {
    /// Waits for QEMU's greeting and answers it.
    ///
    /// # Errors
    /// `UnexpectedEof` where QEMU ends before it greets, `TimedOut`, `Interrupted`.
    pub(crate) fn greet(stream: UnixStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream.try_clone()?);
        await_first_byte(&mut reader)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Qmp::new(Stream::new(reader, stream));
        connection.handshake()?;
        Ok(Self(connection))
    }

    /// Tells QEMU to end now. A power-off from inside would flush every disk, each at its latency.
    pub(crate) fn quit(&mut self) -> io::Result<()> {
        self.0.execute(&qmp::quit {}).map(drop).map_err(io::Error::from)
    }

    /// Lets the guest run.
    pub(crate) fn cont(&mut self) -> io::Result<()> {
        self.0.execute(&qmp::cont {}).map(drop).map_err(io::Error::from)
    }

    /// Makes all these block devices, and then all these devices: QEMU takes many times as long when both come in turn.
    pub(crate) fn fill(&mut self, blocks: &[BlockdevAdd], devices: &[qmp::device_add]) -> io::Result<()> {
        self.execute_all(blocks)?;
        self.execute_all(devices)
    }

    /// Sends commands without waiting for the answer of each. The first that is refused is the error.
    fn execute_all<C: Command>(&mut self, commands: &[C]) -> io::Result<()> {
        for batch in commands.chunks(AT_ONCE) {
            cancel_point()?;
            for command in batch {
                self.0.write_command(command)?;
            }
            for _ in batch {
                self.0.read_response::<C>().map_err(io::Error::from)?;
            }
        }
        Ok(())
    }

    /// Stops the guest and writes its state to this socket. When it returns, all is written, and the guest is stopped.
    pub(crate) fn save(&mut self, to: OwnedFd) -> io::Result<()> {
        const NAME: &str = "snapshot";
        self.0.execute(&qmp::stop {}).map_err(io::Error::from)?;
        let mut fast = no_parameters();
        fast.max_bandwidth = Some(NO_LIMIT);
        self.0.execute(&qmp::migrate_set_parameters(fast)).map_err(io::Error::from)?;
        self.hand_over(NAME, &to)?;
        // QEMU has it now, and closes it when all is written: so whoever reads at the other end sees the end.
        drop(to);
        let uri = Some(format!("fd:{NAME}"));
        self.0
            .execute(&qmp::migrate { uri, channels: None, detach: None, resume: None })
            .map_err(io::Error::from)?;
        self.ask_until("save the guest", |monitor| {
            let info = monitor.0.execute(&qmp::query_migrate {}).map_err(io::Error::from)?;
            match info.status {
                Some(qmp::MigrationStatus::completed) => Ok(true),
                Some(qmp::MigrationStatus::failed | qmp::MigrationStatus::cancelled) => {
                    Err(io::Error::other(info.error_desc.unwrap_or_else(|| "it failed".to_owned())))
                }
                _ => Ok(false),
            }
        })
    }

    /// Reads the state of a guest that was saved from this descriptor, which QEMU has inherited.
    pub(crate) fn restore_from(&mut self, from: RawFd) -> io::Result<()> {
        let uri = Some(format!("fd:{from}"));
        let command = qmp::migrate_incoming { uri, channels: None, exit_on_error: None };
        self.0.execute(&command).map(drop).map_err(io::Error::from)
    }

    /// Waits until QEMU has read the state of a guest that was saved.
    pub(crate) fn await_restored(&mut self) -> io::Result<()> {
        self.ask_until("read the saved guest", |monitor| {
            let info = monitor.0.execute(&qmp::query_status {}).map_err(io::Error::from)?;
            Ok(info.status != qmp::RunState::inmigrate)
        })
    }

    fn ask_until(&mut self, what: &str, done: impl Fn(&mut Self) -> io::Result<bool>) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self)? {
            cancel_point()?;
            if Instant::now() >= deadline {
                let text = format!("QEMU did not {what} within {PATIENCE:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            std::thread::sleep(ASK_EVERY);
        }
        Ok(())
    }

    /// Gives QEMU a descriptor, under a name for later commands (unix(7), SCM_RIGHTS).
    fn hand_over(&mut self, name: &str, descriptor: &OwnedFd) -> io::Result<()> {
        let command = qapi::Execute::<_, ()>::from(qmp::getfd { fdname: name.to_owned() });
        let mut line = serde_json::to_vec(&command)?;
        line.push(b'\n');
        let rights = [descriptor.as_raw_fd()];
        let socket = self.0.inner().get_ref_write().as_raw_fd();
        let sent = loop {
            match sendmsg::<()>(
                socket,
                &[IoSlice::new(&line)],
                &[ControlMessage::ScmRights(&rights)],
                MsgFlags::empty(),
                None,
            ) {
                // A child has ended: nobody has asked us to stop.
                Err(Errno::EINTR) => {}
                sent => break sent?,
            }
        };
        if sent < line.len() {
            return Err(io::Error::new(io::ErrorKind::WriteZero, "QEMU does not take a command"));
        }
        self.0.read_response::<qmp::getfd>().map(drop).map_err(io::Error::from)
    }

    /// Says a line to the monitor that QEMU has for people, and returns what it says to it.
    pub(crate) fn human(&mut self, line: &str) -> io::Result<String> {
        let command = qmp::human_monitor_command { command_line: line.to_owned(), cpu_index: None };
        self.0.execute(&command).map_err(io::Error::from)
    }

    /// Plugs a device in.
    pub(crate) fn plug(&mut self, device: &qmp::device_add) -> io::Result<()> {
        self.0.execute(device).map(drop).map_err(io::Error::from)
    }

    /// Pulls a device out. The guest learns of it and lets go in its own time.
    pub(crate) fn unplug(&mut self, id: &str) -> io::Result<()> {
        self.0.execute(&qmp::device_del { id: id.to_owned() }).map(drop).map_err(io::Error::from)
    }

    /// Why QEMU ended, in its own word (`guest-reset`, `host-signal`, …); `None` where it did not say.
    ///
    /// To be asked when QEMU is gone: what it said last is still in the socket.
    pub(crate) fn last_word(&mut self) -> Option<String> {
        // No answer is under way: this reads the events up to the end of the stream. Asking for one would
        // fail, for there is nobody to ask, and the events would stay unread.
        let _ = self.0.read_response::<qmp::query_version>();
        self.0.events().find_map(|event| match event {
            qmp::Event::SHUTDOWN { data, .. } => Some(data.reason.name().to_owned()),
            _ => None,
        })
    }
}

/// `blockdev-add`, with the options of any driver as QEMU's own command line has them.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct BlockdevAdd(pub(crate) Dictionary);

impl Command for BlockdevAdd {
    type Ok = Empty;

    const NAME: &'static str = "blockdev-add";
    const ALLOW_OOB: bool = false;
}

/// Leaves every parameter of a migration as it is.
fn no_parameters() -> qmp::MigrateSetParameters {
    serde_json::from_str("{}").unwrap_or_else(|_| unreachable!("every parameter is optional"))
}

fn cancel_point() -> io::Result<()> {
    if cancel::requested() { Err(io::Error::from(io::ErrorKind::Interrupted)) } else { Ok(()) }
}

/// QEMU speaks when its main loop runs. Until then: is it still there, and are we still wanted?
fn await_first_byte(reader: &mut BufReader<UnixStream>) -> io::Result<()> {
    reader.get_ref().set_read_timeout(Some(cancel::LOOK_EVERY))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        cancel_point()?;
        match reader.fill_buf() {
            Ok([]) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before its greeting"));
            }
            Ok(_) => return Ok(()),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            // A child has ended, perhaps this QEMU: wait-timeout has a handler for SIGCHLD, and a read with a time limit
            // is not taken up again after one (signal(7)). That nobody wants us any more is seen above.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no greeting within {PATIENCE:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_that_ends_before_its_greeting_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let error = Monitor::greet(ours).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_qemu_said_last_is_heard_after_its_end() {
        use std::io::Write;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let greeting = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"#;
        let shutdown = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        write!(theirs, "{greeting}\n{{\"return\": {{}}}}\n{shutdown}\n").unwrap();
        let mut monitor = Monitor::greet(ours).unwrap();
        drop(theirs);
        assert_eq!(monitor.last_word().as_deref(), Some("guest-reset"));
    }
}
