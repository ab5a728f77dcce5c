//! Commands to a QEMU become its replies: each wait has an end, and so has each line. The other end is not trusted.

use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use qapi::{Command, Execute, qmp};
use serde::Deserialize;
use serde_json::Value;

use crate::cancel;

/// Longest line, in bytes. The longest real one is what the monitor for people says to `info qtree`.
const LONGEST_LINE: usize = 4 << 20;

/// How much of what QEMU says goes into an error, in characters.
const SHOWN: usize = 1000;

/// A socket to a QEMU.
pub(super) struct Connection {
    reader: BufReader<UnixStream>,
    pub(super) patience: Duration,
    /// The number of the last command; each has the next.
    sent: u64,
    /// The number of the last command that has its reply: QEMU answers in turn.
    answered: u64,
    /// Why QEMU ends, as it said itself.
    pub(super) reason: Option<String>,
}

/// What QEMU says after its greeting, as far as it is of use (docs/interop/qmp-spec of QEMU). Of events most are not.
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Refusal>,
    id: Option<u64>,
    event: Option<String>,
    data: Option<Value>,
}

/// What a message is for us.
enum Heard {
    /// Of those nothing is kept but why QEMU ends: there may be any number of them.
    Event,
    /// To the command of this number.
    Reply(Option<u64>, Result<Value, Refusal>),
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

impl Connection {
    /// Waits for QEMU's greeting.
    ///
    /// # Errors
    /// `UnexpectedEof` where QEMU ends before it greets, `TimedOut`, `InvalidData`, `Interrupted`.
    pub(super) fn open(socket: UnixStream, patience: Duration) -> io::Result<Self> {
        // QEMU speaks when its main loop runs. Until then: are we still wanted?
        socket.set_read_timeout(Some(cancel::LOOK_EVERY))?;
        socket.set_write_timeout(Some(cancel::LOOK_EVERY))?;
        let reader = BufReader::new(socket);
        let mut connection = Self { reader, patience, sent: 0, answered: 0, reason: None };
        match connection.line(Instant::now() + patience) {
            Ok(Some(line)) => match serde_json::from_slice::<qmp::QapiCapabilities>(&line) {
                Ok(_) => Ok(connection),
                Err(e) => Err(not_understood(&format!("no greeting ({e})"), &line)),
            },
            Ok(None) => Err(unanswered(ErrorKind::UnexpectedEof, "it ended before its greeting")),
            Err(e) if e.kind() == ErrorKind::TimedOut => {
                Err(unanswered(ErrorKind::TimedOut, &format!("no greeting within {patience:?}")))
            }
            Err(e) => Err(e),
        }
    }

    /// Sends a command, and descriptors with it (unix(7), SCM_RIGHTS).
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`, those of the socket.
    pub(super) fn send<C: Command>(&mut self, command: &C, rights: &[RawFd]) -> io::Result<()> {
        self.sent += 1;
        let mut line = serde_json::to_vec(&Execute::with_id(command, self.sent))?;
        line.push(b'\n');
        let rights = [ControlMessage::ScmRights(rights)];
        let mut with: &[ControlMessage<'_>] =
            if matches!(rights, [ControlMessage::ScmRights([])]) { &[] } else { &rights };
        let (mut rest, deadline) = (&line[..], Instant::now() + self.patience);
        let socket = self.reader.get_ref().as_raw_fd();
        while !rest.is_empty() {
            match sendmsg::<()>(socket, &[IoSlice::new(rest)], with, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(sent) => (rest, with) = (&rest[sent..], &[]),
                // A child has ended: nobody has asked us to stop.
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => cancel_point()?,
                Err(e) => return Err(unanswered(io::Error::from(e).kind(), &format!("{}: {e}", C::NAME))),
            }
            if !rest.is_empty() && Instant::now() >= deadline {
                let why = format!("{} was not taken within {:?}", C::NAME, self.patience);
                return Err(unanswered(ErrorKind::TimedOut, &why));
            }
        }
        Ok(())
    }

    /// The reply to the first command that has none yet.
    ///
    /// # Errors
    /// `Other` is QEMU's own no. `TimedOut`, `InvalidData`, `UnexpectedEof`: it is of no more use. `Interrupted`.
    pub(super) fn reply<C: Command>(&mut self) -> io::Result<C::Ok> {
        let deadline = Instant::now() + self.patience;
        self.answered += 1;
        let mut events = 0_u64;
        loop {
            let line = match self.line(deadline) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    let why = format!("it ended before its answer to {}", C::NAME);
                    return Err(unanswered(ErrorKind::UnexpectedEof, &why));
                }
                Err(e) if e.kind() == ErrorKind::TimedOut => return Err(self.none_but::<C>(events)),
                Err(e) => return Err(e),
            };
            let Heard::Reply(id, answer) = self.hear(&line)? else {
                events += 1;
                cancel_point()?;
                if Instant::now() >= deadline {
                    return Err(self.none_but::<C>(events));
                }
                continue;
            };
            if id != Some(self.answered) {
                let why = format!("not the answer to {}, command {}", C::NAME, self.answered);
                return Err(not_understood(&why, &line));
            }
            let answer = answer.map_err(|Refusal { desc }| io::Error::other(shown(desc.as_bytes())))?;
            return serde_json::from_value(answer)
                .map_err(|e| not_understood(&format!("no answer to {} ({e})", C::NAME), &line));
        }
    }

    fn none_but<C: Command>(&self, events: u64) -> io::Error {
        let why = format!("none to {} within {:?}, but {events} events", C::NAME, self.patience);
        unanswered(ErrorKind::TimedOut, &why)
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// As [`Connection::send`] and [`Connection::reply`].
    pub(super) fn execute<C: Command>(&mut self, command: &C) -> io::Result<C::Ok> {
        self.send(command, &[])?;
        self.reply::<C>()
    }

    /// Hears what QEMU says that nobody waits for, until it ends, for at most this long.
    pub(super) fn hear_out(&mut self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        while let Ok(Some(line)) = self.line(deadline) {
            if self.hear(&line).is_err() || Instant::now() >= deadline {
                return;
            }
        }
    }

    fn hear(&mut self, line: &[u8]) -> io::Result<Heard> {
        let message: Message =
            serde_json::from_slice(line).map_err(|e| not_understood(&format!("not QMP ({e})"), line))?;
        match message {
            Message { answer: Some(answer), error: None, event: None, id, .. } => {
                Ok(Heard::Reply(id, Ok(answer)))
            }
            Message { answer: None, error: Some(no), event: None, id, .. } => Ok(Heard::Reply(id, Err(no))),
            Message { answer: None, error: None, event: Some(event), data, .. } => {
                if event == "SHUTDOWN" && self.reason.is_none() {
                    let reason = data.as_ref().and_then(|data| data.get("reason")?.as_str());
                    self.reason = reason.map(|reason| shown(reason.as_bytes()));
                }
                Ok(Heard::Event)
            }
            _ => Err(not_understood("neither answer nor event", line)),
        }
    }

    /// The next line; `None` at the end.
    fn line(&mut self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            let (come, whole) = match self.reader.fill_buf() {
                Ok([]) if line.is_empty() => return Ok(None),
                Ok([]) => {
                    let why = format!("it ended within a line: {}", shown(&line));
                    return Err(unanswered(ErrorKind::UnexpectedEof, &why));
                }
                Ok(bytes) => {
                    let end = bytes.iter().position(|&byte| byte == b'\n');
                    let come = end.map_or(bytes.len(), |end| end + 1);
                    line.extend_from_slice(&bytes[..come]);
                    (come, end.is_some())
                }
                // Nothing yet; or a child has ended, perhaps this QEMU: wait-timeout has a handler for SIGCHLD, and a
                // read with a time limit is not taken up again after one (signal(7)).
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    cancel_point()?;
                    (0, false)
                }
                Err(e) => return Err(unanswered(e.kind(), &e.to_string())),
            };
            self.reader.consume(come);
            if line.len() > LONGEST_LINE {
                return Err(not_understood("a line too long", &line));
            }
            // What is there is heard, however long we were stopped.
            if whole {
                return Ok(Some(line));
            }
            cancel_point()?;
            if Instant::now() >= deadline {
                return Err(unanswered(ErrorKind::TimedOut, "nothing came"));
            }
        }
    }
}

/// An error if a stop was asked for.
pub(super) fn cancel_point() -> io::Result<()> {
    if cancel::requested() { Err(io::Error::from(ErrorKind::Interrupted)) } else { Ok(()) }
}

fn unanswered(kind: ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, format!("no answer over QMP: {why}"))
}

fn not_understood(why: &str, line: &[u8]) -> io::Error {
    unanswered(ErrorKind::InvalidData, &format!("{why}: {}", shown(line)))
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(4 * SHOWN)]).trim_end().chars().take(SHOWN).collect()
}

/// What a QEMU says first.
#[cfg(test)]
pub(crate) const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::thread;

    const STATUS: &str = r#"{"return": {"status": "running", "running": true}, "id": 1}"#;
    const EVENT: &str = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "OF_A_LATER_QEMU"}"#;

    /// Long enough for what is there already.
    const LONG: Duration = Duration::from_secs(60);

    /// What `query-status` brings where QEMU says this.
    fn status(says: &[u8], patience: Duration) -> io::Result<qmp::StatusInfo> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        writeln!(theirs, "{GREETING}").unwrap();
        let says = says.to_vec();
        let speaker = thread::spawn(move || theirs.write_all(&says).map(|()| theirs));
        let mut connection = Connection::open(ours, patience)?;
        let status = connection.execute(&qmp::query_status {});
        drop(connection);
        // It may be stopped in the middle of a word.
        let _ = speaker.join().unwrap();
        status
    }

    #[test]
    fn an_answer_is_that_to_the_command_that_was_sent_whatever_events_came_before_it() {
        let said = format!("{EVENT}\n{EVENT}\n{STATUS}\n");
        assert_eq!(status(said.as_bytes(), LONG).unwrap().status, qmp::RunState::running);
    }

    #[test]
    fn what_is_not_the_answer_is_not_taken_for_it() {
        let other = STATUS.replace("\"id\": 1", "\"id\": 7");
        let without = STATUS.replace(", \"id\": 1", "");
        let both = STATUS.replace("\"id\"", "\"error\": {\"desc\": \"no\"}, \"id\"");
        let rubbish =
            ["HTTP/1.1 400 Bad Request", "[]", "{}", "17", "", r#"{"return": {}, "id": 1}"#, r#"{"id": 1}"#];
        for line in rubbish.into_iter().chain([&*other, &*without, &*both]) {
            let e = status(format!("{line}\n{STATUS}\n").as_bytes(), LONG).err().unwrap();
            assert_eq!(e.kind(), ErrorKind::InvalidData, "{line}: {e}");
            let text = e.to_string();
            assert!(text.starts_with("no answer over QMP: ") && text.ends_with(line), "{text}");
        }
    }

    #[test]
    fn a_line_without_end_ends_the_talk_and_is_not_shown_whole() {
        let e = status(&vec![b'x'; LONGEST_LINE + 9000], LONG).err().unwrap();
        assert_eq!(e.kind(), ErrorKind::InvalidData);
        assert!(e.to_string().contains("a line too long: xxx") && e.to_string().len() < 2 * SHOWN, "{e}");
    }

    #[test]
    fn events_that_never_end_are_no_answer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        writeln!(theirs, "{GREETING}").unwrap();
        let speaker = thread::spawn(move || while writeln!(theirs, "{EVENT}").is_ok() {});
        let mut connection = Connection::open(ours, LONG).unwrap();
        connection.patience = Duration::from_millis(300);
        let e = connection.execute(&qmp::query_status {}).err().unwrap();
        assert_eq!(e.kind(), ErrorKind::TimedOut);
        assert!(e.to_string().contains("none to query-status within 300ms, but "), "{e}");
        connection.hear_out(Duration::from_millis(300));
        drop(connection);
        speaker.join().unwrap();
    }

    #[test]
    fn a_line_that_comes_drop_by_drop_has_no_more_time_than_another() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        writeln!(theirs, "{GREETING}").unwrap();
        let speaker = thread::spawn(move || {
            while theirs.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut connection = Connection::open(ours, LONG).unwrap();
        connection.patience = Duration::from_millis(300);
        let e = connection.execute(&qmp::query_status {}).err().unwrap();
        assert_eq!(e.kind(), ErrorKind::TimedOut, "{e}");
        drop(connection);
        speaker.join().unwrap();
    }

    #[test]
    fn a_qemu_that_takes_no_command_is_not_waited_for_for_ever() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        writeln!(theirs, "{GREETING}").unwrap();
        let mut connection = Connection::open(ours, LONG).unwrap();
        connection.patience = Duration::from_millis(100);
        let full = (0..1 << 20).find_map(|_| connection.send(&qmp::query_status {}, &[]).err()).unwrap();
        assert_eq!(full.kind(), ErrorKind::TimedOut);
        assert!(full.to_string().ends_with("query-status was not taken within 100ms"), "{full}");
    }

    #[test]
    fn a_refusal_is_qemus_own_word() {
        let e =
            status(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no bus\"}, \"id\": 1}\n", LONG);
        assert_eq!(e.as_ref().err().map(io::Error::kind), Some(ErrorKind::Other));
        assert_eq!(e.err().unwrap().to_string(), "no bus");
    }

    #[test]
    fn no_greeting_and_another_greeting_are_told_apart() {
        let greeted = |says: &str| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(says.as_bytes()).unwrap();
            let e = Connection::open(ours, Duration::from_millis(100)).err().unwrap();
            (e.kind(), e.to_string())
        };
        assert_eq!(greeted("").0, ErrorKind::TimedOut);
        assert!(greeted("").1.ends_with("no greeting within 100ms"));
        assert_eq!(greeted("{\"QMP\": ").0, ErrorKind::TimedOut);
        let (kind, text) = greeted("{\"QMP\": {}}\n");
        assert_eq!(kind, ErrorKind::InvalidData);
        assert!(text.contains("no greeting (") && text.ends_with("{\"QMP\": {}}"), "{text}");
    }
}
