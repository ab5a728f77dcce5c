//! QMP, as far as the harness uses it: is QEMU there, why did it end, end now.

use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use qapi::{Dictionary, Enum, Qmp, Stream, qmp};

use crate::cancel;

/// QEMU answers from its main loop; with thousands of devices to set up the first answer takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

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

    /// Plugs a device in.
    pub(crate) fn plug(&mut self, driver: &str, id: &str, properties: Dictionary) -> io::Result<()> {
        let command = qmp::device_add {
            driver: driver.to_owned(),
            bus: None,
            id: Some(id.to_owned()),
            arguments: properties,
        };
        self.0.execute(&command).map(drop).map_err(io::Error::from)
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

/// QEMU speaks when its main loop runs. Until then: is it still there, and are we still wanted?
fn await_first_byte(reader: &mut BufReader<UnixStream>) -> io::Result<()> {
    reader.get_ref().set_read_timeout(Some(cancel::LOOK_EVERY))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if cancel::requested() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        match reader.fill_buf() {
            Ok([]) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before its greeting"));
            }
            Ok(_) => return Ok(()),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
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
