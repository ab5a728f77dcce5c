//! A guest that was saved: its state as QEMU writes it to migrate a guest, in a file that nobody else sees.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use protocol::Hello;

use crate::failure::{Failure, Kind};
use crate::guest::qmp::Monitor;

/// A guest's state: memory and devices, but not the latencies of its LUNs, which are QEMU's.
///
/// The file has no name, so it is gone when this is, however the harness ends.
#[derive(Debug)]
pub struct Snapshot {
    file: File,
    bytes: u64,
    hello: Hello,
}

impl Snapshot {
    /// Stops the guest and saves it. The file is on the disk of this folder.
    pub(super) fn take(monitor: &mut Monitor, hello: Hello, folder: &Path) -> Result<Self, Failure> {
        let mut file =
            tempfile::tempfile_in(folder).map_err(|e| Failure::file("save a guest in", folder, &e))?;
        let failure = |e: io::Error| failure("save", folder, &e);
        let (mut ours, theirs) = UnixStream::pair().map_err(failure)?;
        let mut to = file.try_clone().map_err(failure)?;
        // A socket and not the file itself: for that QEMU 9.1 and later want another way than those before 8.2 have.
        let copy = thread::spawn(move || io::copy(&mut ours, &mut to));
        monitor.save(OwnedFd::from(theirs)).map_err(failure)?;
        let copied = copy.join().unwrap_or_else(|_| Err(io::Error::other("the copy panicked")));
        let bytes = copied.map_err(|e| Failure::file("save a guest in", folder, &e))?;
        file.rewind().map_err(failure)?;
        Ok(Self { file, bytes, hello })
    }

    /// Its size, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the agent had said first.
    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The end of a socket from which a QEMU can read the state.
    pub(super) fn feed(&self) -> io::Result<OwnedFd> {
        let (mut ours, theirs) = UnixStream::pair()?;
        // Of its own, with a position of its own, for guests that are restored side by side.
        let mut file = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file)))?;
        // It ends with the state, or with QEMU: and what that has to say of a state cut short comes from itself.
        thread::spawn(move || io::copy(&mut file, &mut ours));
        Ok(OwnedFd::from(theirs))
    }
}

/// What went wrong with a snapshot, as a failure.
pub(super) fn failure(doing: &str, folder: &Path, e: &io::Error) -> Failure {
    if e.kind() == io::ErrorKind::Interrupted {
        return Failure::interrupted(format!("{doing} a guest"));
    }
    let next = format!("read qemu.log in {}; --forks 0 does without", folder.display());
    Failure::new(Kind::Guest, format!("{doing} a guest"), format!("QEMU: {e}"), next)
}
