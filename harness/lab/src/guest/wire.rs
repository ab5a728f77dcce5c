//! The threads that listen to a guest: its console and its agent become events in one queue.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use evidence::console::{Death, Watcher};
use protocol::Word;

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

/// Copies the console to a file, and tells of deaths. Ends with the stream.
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
            && events.send(Event::Death(death, text)).is_err()
        {
            break;
        }
    }
}

/// Turns what the agent says into events. Ends with the stream.
pub(crate) fn listen_to_agent(stream: UnixStream, events: SyncSender<Event>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_console_that_is_too_long_is_cut_and_says_so_and_its_death_is_heard_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let said = LARGEST_CONSOLE + (1 << 20);
        let flood =
            std::io::repeat(b'x').take(said).chain(&b"\n[   1.0] Kernel panic - not syncing: x\n"[..]);
        let (sender, events) = sync_channel(WORDS_AT_ONCE);
        listen_to_console(flood, File::create(&path).unwrap(), sender, LastLine::default());
        assert!(matches!(events.recv().unwrap(), Event::Death(Death::Panic, _)));
        assert!(matches!(events.recv().unwrap(), Event::ConsoleClosed));
        let kept = std::fs::read(&path).unwrap();
        assert_eq!(kept.len() as u64, LARGEST_CONSOLE + CUT.len() as u64);
        assert!(kept.ends_with(CUT.as_bytes()));
    }

    #[test]
    fn an_agent_that_says_more_than_it_is_asked_waits() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sender, events) = sync_channel(WORDS_AT_ONCE);
        listen_to_agent(ours, sender);
        theirs.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let word = b"{\"reply\":{\"id\":1,\"result\":{\"Ok\":\"done\"}}}\n";
        // More than queue, buffers of the socket and of the reader hold.
        let taken = (0..1_000_000).take_while(|_| theirs.write_all(word).is_ok()).count();
        assert!(taken < 1_000_000, "it could go on for ever");
        assert!(matches!(events.recv().unwrap(), Event::Word(..)));
    }
}
