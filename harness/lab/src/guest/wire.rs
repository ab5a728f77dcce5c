//! The threads that listen to a guest: its console and its agent become events in one queue.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use evidence::console::{Death, Watcher};
use protocol::Word;

/// What is kept of a console, in bytes: a guest that floods it shall not fill the disk.
const LARGEST_CONSOLE: u64 = 64 << 20;

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

/// Copies the console to a file, and tells of deaths. Ends with the stream.
pub(crate) fn listen_to_console(
    stream: impl Read + Send + 'static,
    copy: File,
    events: Sender<Event>,
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
    mut copy: impl Write,
    events: &Sender<Event>,
    last_line: &LastLine,
) {
    let mut stream = BufReader::new(stream);
    let mut watcher = Watcher::default();
    let mut left = LARGEST_CONSOLE;
    let mut line = Vec::new();
    loop {
        line.clear();
        match stream.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                let kept = (n as u64).min(left);
                // A full disk must not end the watch for deaths.
                let _ = copy.write_all(&line[..usize::try_from(kept).unwrap_or(n)]);
                left -= kept;
            }
        }
        let text: String =
            String::from_utf8_lossy(&line).trim_end().chars().filter(|c| !c.is_control()).collect();
        if text.is_empty() {
            continue;
        }
        last_line.set(&text);
        if let Some(death) = watcher.see(&text)
            && events.send(Event::Death(death, text)).is_err()
        {
            break;
        }
    }
}

/// Turns what the agent says into events. Ends with the stream.
pub(crate) fn listen_to_agent(stream: UnixStream, events: Sender<Event>) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let event = match protocol::read_word(&mut stream) {
                Ok(Some((word, body))) => Event::Word(word, body),
                Err(e) if e.kind() == ErrorKind::InvalidData => Event::Rubbish(e.to_string()),
                // The port is QEMU's end of the socket: it closes with QEMU, perhaps in the middle of a word,
                // and the console says so.
                Ok(None) | Err(_) => break,
            };
            let is_rubbish = matches!(event, Event::Rubbish(_));
            if events.send(event).is_err() || is_rubbish {
                break;
            }
        }
    });
}
