//! The threads that listen to a guest: its console and its agent become events in one queue.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evidence::console::{Death, Watcher};
use protocol::{Reply, Word};

use crate::cancel;

/// What is kept of a console, in bytes: a guest that floods it shall not fill the disk.
const LARGEST_CONSOLE: u64 = 64 << 20;

/// What stands at the end of one of which that was not all.
const CUT: &str = "\n[parprobe: the console said more than is kept; what follows is left out]\n";

/// How many words of an agent may wait to be heard: one that says more than it is asked waits itself, and fills no memory.
pub(super) const WORDS_AT_ONCE: usize = 64;

/// Longest line that is looked at as one.
const LONGEST_LINE: u64 = 64 << 10;

/// Something came from the guest.
#[derive(Debug)]
pub(crate) enum Event {
    /// Its kernel announced its death, with this line.
    Death(Death, String),
    /// Its agent spoke.
    Word(Word, Vec<u8>),
    /// Its agent said something that is not in the protocol.
    Rubbish(String),
    /// QEMU closed the console: it has ended.
    ConsoleClosed,
}

/// The way of calls to an agent. A write ends when the agent does not take it in time, or when we were told to stop.
#[derive(Debug)]
pub(crate) struct Calls {
    socket: UnixStream,
    patience: Duration,
    given_up: fn() -> bool,
}

impl Calls {
    /// A write that is not taken within `patience` is an error, and one that is under way when `given_up` is true.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn over(socket: UnixStream, patience: Duration, given_up: fn() -> bool) -> io::Result<Self> {
        socket.set_write_timeout(Some(cancel::LOOK_EVERY))?;
        Ok(Self { socket, patience, given_up })
    }
}

impl Write for Calls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.socket.write(bytes) {
                Err(e)
                    if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                        && Instant::now() < deadline
                        && !(self.given_up)() => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// The last line of a console, shared with the thread that reads it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastLine(Arc<Mutex<String>>);

impl LastLine {
    /// The line, with what could harm a terminal left out.
    pub(crate) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, line: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = line.to_owned();
    }
}

/// The begin of what a guest says, in a file that ends with a word where there was more.
struct Copy<W> {
    file: W,
    left: u64,
}

impl<W: Write> Copy<W> {
    fn add(&mut self, line: &[u8]) {
        if self.left == 0 {
            return;
        }
        let kept = usize::try_from(self.left).map_or(line.len(), |left| left.min(line.len()));
        self.left -= kept as u64;
        // A full disk must not end the watch for deaths.
        let _ = self.file.write_all(&line[..kept]);
        if kept < line.len() || self.left == 0 {
            self.left = 0;
            let _ = self.file.write_all(CUT.as_bytes());
        }
    }
}

/// What the harness and the thread that listens to the agent both know of their talk.
#[derive(Clone, Debug)]
pub(crate) struct Talk(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    /// Whether the guest was saved by another talk: it may still answer what it was asked then.
    restored: bool,
    /// The numbers of calls without a reply; whether raw bytes may follow it.
    asked: HashMap<u64, bool>,
    /// Whether a word has begun to come, and is not whole yet.
    half: bool,
}

impl Talk {
    /// With a guest that was restored, or with one that boots.
    pub(crate) fn with(restored: bool) -> Self {
        Self(Arc::new(Mutex::new(Open { restored, asked: HashMap::new(), half: false })))
    }

    /// A call is about to be made, to whose reply raw bytes may belong.
    pub(crate) fn asks(&self, id: u64, bytes: bool) {
        self.open().asked.insert(id, bytes);
    }

    /// Whether a part of a word has come, and its rest has not.
    pub(crate) fn is_half_said(&self) -> bool {
        self.open().half
    }

    /// Reads the next word. A reply is the only one to a call that was made: what else comes is nobody's, and would be
    /// kept for ever.
    fn hear(&self, stream: &mut impl BufRead) -> io::Result<Option<(Word, Vec<u8>)>> {
        loop {
            match stream.fill_buf() {
                Ok([]) => return Ok(None),
                Ok(_) => {}
                // A child of ours has ended: that is no end of the stream.
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            self.open().half = true;
            let heard = protocol::read_word(stream)?;
            let mut open = self.open();
            open.half = false;
            let Some((Word::Reply(Reply { id, .. }), body)) = &heard else { return Ok(heard) };
            let rubbish = match open.asked.remove(id) {
                Some(false) if !body.is_empty() => {
                    format!("{} bytes after a reply that has none", body.len())
                }
                Some(_) => return Ok(heard),
                None if open.restored => continue,
                None => format!("a reply to call {id}, which nobody asked or which has its reply"),
            };
            return Err(io::Error::new(ErrorKind::InvalidData, rubbish));
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies the console to a file, and tells of the first death: of those after it there may be any number, and nobody
/// takes them. Ends with the stream.
pub(crate) fn listen_to_console(
    stream: impl Read + Send + 'static,
    copy: File,
    events: SyncSender<Event>,
    last_line: LastLine,
) {
    std::thread::spawn(move || {
        watch_console(stream, copy, &events, &last_line);
        let _ = events.send(Event::ConsoleClosed);
    });
}

/// The same until the stream ends.
pub(crate) fn watch_console(
    stream: impl Read,
    copy: impl Write,
    events: &SyncSender<Event>,
    last_line: &LastLine,
) {
    let mut stream = BufReader::new(stream);
    let mut watcher = Watcher::default();
    let mut copy = Copy { file: copy, left: LARGEST_CONSOLE };
    let mut dead = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        match stream.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => copy.add(&line),
        }
        let text: String =
            String::from_utf8_lossy(&line).trim_end().chars().filter(|c| !c.is_control()).collect();
        if text.is_empty() {
            continue;
        }
        last_line.set(&text);
        if let Some(death) = watcher.see(&text)
            && !dead
        {
            dead = true;
            if events.send(Event::Death(death, text)).is_err() {
                break;
            }
        }
    }
}

/// Turns what the agent says into events. Ends with the stream, and where the agent is not to be understood. As each
/// reply is to a call, and a second hello is the last word, no more events wait to be taken than calls were made.
pub(crate) fn listen_to_agent(stream: UnixStream, talk: Talk, events: SyncSender<Event>) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut greeted = false;
        loop {
            let event = match talk.hear(&mut stream) {
                Ok(Some((word, body))) => Event::Word(word, body),
                Err(e) if e.kind() == ErrorKind::InvalidData => Event::Rubbish(e.to_string()),
                // The port is QEMU's end of the socket: it closes with QEMU, perhaps in the middle of a word,
                // and the console says so.
                Ok(None) | Err(_) => break,
            };
            let is_hello = matches!(event, Event::Word(Word::Hello(_), _));
            let is_last = matches!(event, Event::Rubbish(_)) || (is_hello && greeted);
            greeted |= is_hello;
            if events.send(event).is_err() || is_last {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Answer;
    use std::sync::mpsc::{Receiver, sync_channel};

    #[test]
    fn a_console_that_is_too_long_is_cut_and_says_so_and_its_death_is_heard_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let said = LARGEST_CONSOLE + (1 << 20);
        let flood = io::repeat(b'x').take(said).chain(&b"\n[   1.0] Kernel panic - not syncing: x\n"[..]);
        let (sender, events) = sync_channel(WORDS_AT_ONCE);
        listen_to_console(flood, File::create(&path).unwrap(), sender, LastLine::default());
        assert!(matches!(events.recv().unwrap(), Event::Death(Death::Panic, _)));
        assert!(matches!(events.recv().unwrap(), Event::ConsoleClosed));
        let kept = std::fs::read(&path).unwrap();
        assert_eq!(kept.len() as u64, LARGEST_CONSOLE + CUT.len() as u64);
        assert!(kept.ends_with(CUT.as_bytes()));
    }

    #[test]
    fn a_call_that_nobody_takes_is_given_up_when_it_is_told_to_and_not_before() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let long = Duration::from_secs(3600);
        let mut calls = Calls::over(ours, long, || true).unwrap();
        // What is taken at once is sent all the same.
        assert!(calls.write_all(b"{}").is_ok());
        let full = (0..1 << 20).find_map(|_| calls.write_all(&[0; 4096]).err()).unwrap();
        assert!(matches!(full.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{full}");
        // It would go on for an hour, so it is enough to see that it goes on.
        calls.given_up = || false;
        let waits = std::thread::spawn(move || calls.write_all(&[0; 4096]));
        std::thread::sleep(cancel::LOOK_EVERY * 4);
        assert!(!waits.is_finished());
        drop(theirs);
        assert!(waits.join().unwrap().is_err());
    }

    fn listened_to() -> (UnixStream, Talk, Receiver<Event>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (talk, (sender, events)) = (Talk::with(false), sync_channel(WORDS_AT_ONCE));
        listen_to_agent(ours, talk.clone(), sender);
        (theirs, talk, events)
    }

    fn reply(id: u64) -> Word {
        Word::Reply(Reply { id, result: Ok(Answer::Done) })
    }

    #[test]
    fn a_reply_is_heard_once_and_what_nobody_asked_is_the_last_that_is_listened_to() {
        let (mut agent, talk, events) = listened_to();
        talk.asks(7, false);
        for id in [7, 7, 7] {
            protocol::write_line(&mut agent, &reply(id), &[]).unwrap();
        }
        drop(agent);
        let heard: Vec<Event> = events.iter().collect();
        assert!(matches!(&heard[0], Event::Word(word, _) if *word == reply(7)), "{heard:?}");
        assert!(matches!(&heard[1], Event::Rubbish(why) if why.contains("call 7")), "{heard:?}");
        assert_eq!(heard.len(), 2, "{heard:?}");
    }

    #[test]
    fn bytes_are_heard_where_they_may_be_and_else_they_are_the_last() {
        let (mut agent, talk, events) = listened_to();
        talk.asks(1, true);
        talk.asks(2, false);
        for id in [1, 2] {
            let result = Ok(Answer::Bytes { len: 3 });
            protocol::write_line(&mut agent, &Word::Reply(Reply { id, result }), b"abc").unwrap();
        }
        drop(agent);
        let heard: Vec<Event> = events.iter().collect();
        assert!(matches!(&heard[0], Event::Word(_, body) if body == b"abc"), "{heard:?}");
        assert!(matches!(&heard[1], Event::Rubbish(why) if why.contains("3 bytes after")), "{heard:?}");
    }

    #[test]
    fn a_guest_that_was_restored_may_answer_what_it_was_asked_before_it_was_saved() {
        let (ours, mut agent) = UnixStream::pair().unwrap();
        let (talk, (sender, events)) = (Talk::with(true), sync_channel(WORDS_AT_ONCE));
        listen_to_agent(ours, talk.clone(), sender);
        talk.asks(1, false);
        for id in [9, 1] {
            protocol::write_line(&mut agent, &reply(id), &[]).unwrap();
        }
        drop(agent);
        let heard: Vec<Event> = events.iter().collect();
        assert!(matches!(&heard[..], [Event::Word(word, _)] if *word == reply(1)), "{heard:?}");
    }

    #[test]
    fn a_word_is_half_said_until_its_rest_comes() {
        let (mut agent, talk, events) = listened_to();
        assert!(!talk.is_half_said());
        talk.asks(1, false);
        let mut word = Vec::new();
        protocol::write_line(&mut word, &reply(1), &[]).unwrap();
        agent.write_all(&word[..5]).unwrap();
        while !talk.is_half_said() {
            std::thread::yield_now();
        }
        agent.write_all(&word[5..]).unwrap();
        assert!(events.recv_timeout(Duration::from_secs(60)).is_ok());
        assert!(!talk.is_half_said());
    }

    #[test]
    fn of_a_console_full_of_deaths_the_first_is_told() {
        let (sender, events) = sync_channel(WORDS_AT_ONCE);
        let text = "Kernel panic - not syncing: one\nKernel panic - not syncing: two\n".repeat(1000);
        listen_to_console(io::Cursor::new(text), tempfile::tempfile().unwrap(), sender, LastLine::default());
        let told: Vec<Event> = events.iter().collect();
        let [Event::Death(Death::Panic, line), Event::ConsoleClosed] = &told[..] else { panic!("{told:?}") };
        assert!(line.ends_with("one"));
    }
}
