//! QMP, as far as the harness uses it: is QEMU there, why did it end, end now.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use qapi::{Enum, Qmp, Stream, qmp};

/// QEMU answers from its main loop; with thousands of devices to set up the first answer takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
pub(crate) struct Monitor(Qmp<Stream<BufReader<UnixStream>, UnixStream>>);

impl Monitor {
    /// Greets QEMU over this stream and waits for its answer.
    pub(crate) fn greet(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Qmp::new(Stream::new(BufReader::new(stream.try_clone()?), stream));
        connection.handshake()?;
        Ok(Self(connection))
    }

    /// Tells QEMU to end now. A power-off from inside would flush every disk, each at its latency.
    pub(crate) fn quit(&mut self) -> io::Result<()> {
        self.0.execute(&qmp::quit {}).map(drop).map_err(io::Error::from)
    }

    /// Why QEMU ended, in its own word (`guest-reset`, `host-signal`, …); `None` where it did not say.
    ///
    /// To be asked when QEMU is gone: what it said last is still in the socket.
    pub(crate) fn last_word(&mut self) -> Option<String> {
        // The answer never comes; the events before the end of the stream do.
        let _ = self.0.nop();
        self.0.events().find_map(|event| match event {
            qmp::Event::SHUTDOWN { data, .. } => Some(data.reason.name().to_owned()),
            _ => None,
        })
    }
}
