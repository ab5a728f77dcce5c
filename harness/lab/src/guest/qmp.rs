//! QMP, as far as the harness uses it: fill the guest with LUNs, stop it, save it, let it run, end it, ask why it
//! ended.

mod connection;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use qapi::{Command, Dictionary, Empty, qmp};
use serde::Serialize;

use connection::{Connection, cancel_point};

/// QEMU answers from its main loop; with thousands of devices to set up the first answer takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many commands may wait for their answers: so many fit in a socket's buffer both ways, and QEMU never waits for
/// us.
const AT_ONCE: usize = 128;

/// How often QEMU is asked whether it has saved or read a guest, which takes it some tenths of a second.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// More than any wire carries, in bytes a second: QEMU's own limit is 128 MiB.
const NO_LIMIT: u64 = 1 << 40;

/// How long the last words of a QEMU whose console is closed may take to come: it has ended, or is about to.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A QEMU that has greeted us.
pub(crate) struct Monitor(Connection);

impl Monitor {
    /// Waits for QEMU's greeting and answers it.
    ///
    /// # Errors
    /// `UnexpectedEof` where QEMU ends before it greets, `TimedOut`, `InvalidData`, `Interrupted`.
    pub(crate) fn greet(stream: UnixStream) -> io::Result<Self> {
        let mut connection = Connection::open(stream, PATIENCE)?;
        connection.execute(&qmp::qmp_capabilities { enable: None })?;
        Ok(Self(connection))
    }

    /// Tells QEMU to end now. A power-off from inside would flush every disk, each at its latency.
    pub(crate) fn quit(&mut self) -> io::Result<()> {
        self.0.execute(&qmp::quit {}).map(drop)
    }

    /// Lets the guest run.
    pub(crate) fn cont(&mut self) -> io::Result<()> {
        self.0.execute(&qmp::cont {}).map(drop)
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
                self.0.send(command, &[])?;
            }
            for _ in batch {
                self.0.reply::<C>()?;
            }
        }
        Ok(())
    }

    /// Stops the guest and writes its state to this socket. When it returns, all is written, and the guest is stopped.
    pub(crate) fn save(&mut self, to: OwnedFd) -> io::Result<()> {
        const NAME: &str = "snapshot";
        self.0.execute(&qmp::stop {})?;
        let mut fast = no_parameters();
        fast.max_bandwidth = Some(NO_LIMIT);
        self.0.execute(&qmp::migrate_set_parameters(fast))?;
        self.hand_over(NAME, &to)?;
        // QEMU has it now, and closes it when all is written: so whoever reads at the other end sees the end.
        drop(to);
        let uri = Some(format!("fd:{NAME}"));
        self.0.execute(&qmp::migrate { uri, channels: None, detach: None, resume: None })?;
        self.ask_until("save the guest", |monitor| {
            let info = monitor.0.execute(&qmp::query_migrate {})?;
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
        self.0.execute(&command).map(drop)
    }

    /// Waits until QEMU has read the state of a guest that was saved.
    pub(crate) fn await_restored(&mut self) -> io::Result<()> {
        self.ask_until("read the saved guest", |monitor| {
            let info = monitor.0.execute(&qmp::query_status {})?;
            Ok(info.status != qmp::RunState::inmigrate)
        })
    }

    fn ask_until(&mut self, what: &str, done: impl Fn(&mut Self) -> io::Result<bool>) -> io::Result<()> {
        let patience = self.0.patience;
        let deadline = Instant::now() + patience;
        while !done(self)? {
            cancel_point()?;
            if Instant::now() >= deadline {
                let text = format!("QEMU did not {what} within {patience:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            std::thread::sleep(ASK_EVERY);
        }
        Ok(())
    }

    /// Gives QEMU a descriptor, under a name for later commands (unix(7), SCM_RIGHTS).
    fn hand_over(&mut self, name: &str, descriptor: &OwnedFd) -> io::Result<()> {
        self.0.send(&qmp::getfd { fdname: name.to_owned() }, &[descriptor.as_raw_fd()])?;
        self.0.reply::<qmp::getfd>().map(drop)
    }

    /// Says a line to the monitor that QEMU has for people, and returns what it says to it.
    pub(crate) fn human(&mut self, line: &str) -> io::Result<String> {
        let command = qmp::human_monitor_command { command_line: line.to_owned(), cpu_index: None };
        self.0.execute(&command)
    }

    /// Plugs a device in.
    pub(crate) fn plug(&mut self, device: &qmp::device_add) -> io::Result<()> {
        self.0.execute(device).map(drop)
    }

    /// Pulls a device out. The guest learns of it and lets go in its own time.
    pub(crate) fn unplug(&mut self, id: &str) -> io::Result<()> {
        self.0.execute(&qmp::device_del { id: id.to_owned() }).map(drop)
    }

    /// Why QEMU ended, in its own word (`guest-reset`, `host-signal`, …); `None` where it did not say.
    ///
    /// To be asked when QEMU is gone: what it said last is still in the socket.
    pub(crate) fn last_word(&mut self) -> Option<String> {
        self.0.hear_out(LAST_WORDS);
        self.0.reason.clone()
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

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"#;

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
        let shutdown = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        write!(theirs, "{GREETING}\n{{\"return\": {{}}, \"id\": 1}}\n{shutdown}\n").unwrap();
        let mut monitor = Monitor::greet(ours).unwrap();
        drop(theirs);
        assert_eq!(monitor.last_word().as_deref(), Some("guest-reset"));
    }
    #[test]
    fn a_qemu_that_answers_and_never_has_read_a_guest_is_not_asked_for_ever() {
        use std::io::{BufRead, BufReader, Write};
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        writeln!(theirs, "{GREETING}").unwrap();
        let qemu = std::thread::spawn(move || {
            let commands = BufReader::new(theirs.try_clone().unwrap()).lines();
            for (number, _) in (1..).zip(commands.map_while(Result::ok)) {
                let status = r#"{"status": "inmigrate", "running": false}"#;
                writeln!(theirs, "{{\"return\": {status}, \"id\": {number}}}").unwrap();
            }
        });
        let mut monitor = Monitor(Connection::open(ours, Duration::from_millis(300)).unwrap());
        let e = monitor.await_restored().unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
        assert_eq!(e.to_string(), "QEMU did not read the saved guest within 300ms");
        drop(monitor);
        qemu.join().unwrap();
    }
}
