//! QMP, as far as the harness uses it: fill the guest with LUNs, stop it, save it, let it run, end it, ask why it
//! ended.

mod connection;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use qapi::{Command, Dictionary, Empty, qmp};
use serde::{Deserialize, Serialize};

use connection::{Connection, cancel_point};

#[cfg(test)]
pub(crate) use connection::GREETING;

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
            // All of them: what is not read would be taken for the reply to the next command.
            let mut refused = None;
            for _ in batch {
                match self.0.reply::<C>() {
                    // QEMU's own no.
                    Err(e) if e.kind() == io::ErrorKind::Other => refused = refused.or(Some(e)),
                    done => drop(done?),
                }
            }
            if let Some(e) = refused {
                return Err(e);
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
            let Migration { status, error_desc } = monitor.0.execute(&QueryMigrate {})?;
            match status.as_deref() {
                Some("completed") => Ok(true),
                Some("failed" | "cancelled") => {
                    Err(io::Error::other(error_desc.unwrap_or_else(|| "it failed".to_owned())))
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

/// `query-migrate`. Its answer has other numbers in each release of QEMU, and `qapi` asks for those of the newest.
#[derive(Clone, Debug, Serialize)]
struct QueryMigrate {}

/// What of the answer is of use (qapi/migration.json of QEMU, `MigrationInfo`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Migration {
    status: Option<String>,
    error_desc: Option<String>,
}

impl Command for QueryMigrate {
    type Ok = Migration;

    const NAME: &'static str = "query-migrate";
    const ALLOW_OOB: bool = false;
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

    #[test]
    fn after_a_refusal_among_many_the_next_command_has_its_own_reply() {
        use std::io::Write;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let replies = [
            r#"{"return": {}, "id": 1}"#,
            r#"{"return": {}, "id": 2}"#,
            r#"{"error": {"class": "GenericError", "desc": "no room"}, "id": 3}"#,
            r#"{"error": {"class": "GenericError", "desc": "later"}, "id": 4}"#,
            r#"{"return": "its own", "id": 5}"#,
        ];
        writeln!(theirs, "{GREETING}\n{}", replies.join("\n")).unwrap();
        let mut monitor = Monitor::greet(ours).unwrap();
        let three = vec![BlockdevAdd(Dictionary::default()); 3];
        assert_eq!(monitor.execute_all(&three).unwrap_err().to_string(), "no room");
        assert_eq!(monitor.human("info").unwrap(), "its own");
    }

    /// What 5.2 answers (its qapi/migration.json): without the numbers that 7.0 and 7.1 have added.
    #[test]
    fn an_older_qemu_says_that_a_guest_was_saved_as_well() {
        let answer = r#"{"status": "completed", "total-time": 33, "downtime": 2, "setup-time": 1, "ram":
            {"transferred": 1, "remaining": 0, "total": 2, "duplicate": 0, "skipped": 0, "normal": 1,
             "normal-bytes": 4096, "dirty-pages-rate": 0, "mbps": 1.5, "dirty-sync-count": 3,
             "postcopy-requests": 0, "page-size": 4096, "multifd-bytes": 0, "pages-per-second": 0}}"#;
        let Migration { status, error_desc } = serde_json::from_str(answer).unwrap();
        assert_eq!((status.as_deref(), error_desc), (Some("completed"), None));
        assert!(
            serde_json::from_str::<qmp::MigrationInfo>(answer).is_err(),
            "qapi's own type would do by now"
        );
    }
}
