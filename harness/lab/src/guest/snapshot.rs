//! A guest that was saved: its state as QEMU writes it to migrate a guest, in a file that nobody else sees.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use protocol::Hello;

use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::guest::qmp::Monitor;

/// How long the rest of a state may take to reach the file when QEMU has written all of it.
const COPY_PATIENCE: Duration = Duration::from_secs(60);

/// How long the copy may take to say why QEMU could not go on.
const AFTER_A_FAILURE: Duration = Duration::from_millis(500);

/// A guest's state: memory and devices, but not the latencies of its LUNs, which are QEMU's.
///
/// The file has no name, so it is gone when this is, however the harness ends.
#[derive(Debug)]
pub struct Snapshot {
    file: File,
    hello: Hello,
}

impl Snapshot {
    /// Stops the guest and saves it. The file is on the disk of this folder.
    pub(super) fn take(monitor: &mut Monitor, hello: Hello, folder: &Path) -> Result<Self, Failure> {
        let of_files = |e: io::Error| Failure::file("save a guest in", folder, &e);
        let mut file = tempfile::tempfile_in(folder).map_err(of_files)?;
        let (ours, theirs) = UnixStream::pair().map_err(of_files)?;
        // A socket and not the file itself: for that QEMU 9.1 and later want another way than those before 8.2 have.
        let copied = copy(ours, file.try_clone().map_err(of_files)?);
        let saved = monitor.save(OwnedFd::from(theirs));
        whole(saved, &copied, COPY_PATIENCE).map_err(|e| match e {
            NotWhole::Qemu(e) => failure("save", folder, &e),
            NotWhole::File(e) => of_files(e),
            NotWhole::Interrupted => Failure::interrupted("save a guest"),
        })?;
        file.rewind().map_err(of_files)?;
        Ok(Self { file, hello })
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

/// Copies what QEMU writes, beside whatever else goes on, and tells how that went.
fn copy(mut from: UnixStream, mut to: File) -> Receiver<io::Result<u64>> {
    let (sender, copied) = channel();
    // It ends with the state, with QEMU, or with the disk. Nobody may be left to tell.
    thread::spawn(move || drop(sender.send(io::copy(&mut from, &mut to))));
    copied
}

/// Why a state is not whole.
#[derive(Debug)]
enum NotWhole {
    Qemu(io::Error),
    File(io::Error),
    Interrupted,
}

/// Whether QEMU wrote all and all was kept. A disk that is full breaks QEMU's pipe: then the disk is the reason.
fn whole(
    saved: io::Result<()>,
    copied: &Receiver<io::Result<u64>>,
    patience: Duration,
) -> Result<(), NotWhole> {
    let patience = if saved.is_ok() { patience } else { AFTER_A_FAILURE };
    let deadline = Instant::now() + patience;
    let copied = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match copied.recv_timeout(left.min(cancel::LOOK_EVERY)) {
            _ if cancel::requested() => return Err(NotWhole::Interrupted),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            came => break came,
        }
    };
    match (copied, saved) {
        (Ok(Err(e)), _) => Err(NotWhole::File(e)),
        (_, Err(e)) => Err(NotWhole::Qemu(e)),
        (Ok(Ok(_)), Ok(())) => Ok(()),
        (Err(e), Ok(())) => {
            let text = format!(
                "QEMU has written the state, and the file has not all of it ({e} after {patience:?})"
            );
            Err(NotWhole::File(io::Error::new(io::ErrorKind::TimedOut, text)))
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_full_disk_is_the_reason_and_not_the_pipe_that_breaks_for_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let copied = copy(ours, File::options().write(true).open("/dev/full").unwrap());
        theirs.write_all(&[1; 4096]).unwrap();
        let broken = Err(io::Error::from(io::ErrorKind::BrokenPipe));
        match whole(broken, &copied, COPY_PATIENCE) {
            Err(NotWhole::File(e)) => assert_eq!(e.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_qemu_says_is_the_reason_where_the_file_is_well() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let copied = copy(ours, file.try_clone().unwrap());
        (&theirs).write_all(b"state").unwrap();
        drop(theirs);
        assert!(whole(Ok(()), &copied, COPY_PATIENCE).is_ok());
        file.rewind().unwrap();
        let mut kept = String::new();
        file.read_to_string(&mut kept).unwrap();
        assert_eq!(kept, "state");
        let (_sender, silent) = channel();
        let refused = Err(io::Error::other("refused"));
        assert!(matches!(whole(refused, &silent, COPY_PATIENCE), Err(NotWhole::Qemu(_))));
    }

    #[test]
    fn a_copy_that_does_not_end_is_no_state() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let copied = copy(ours, tempfile::tempfile().unwrap());
        match whole(Ok(()), &copied, Duration::from_millis(100)) {
            Err(NotWhole::File(e)) => {
                assert_eq!(e.kind(), io::ErrorKind::TimedOut);
                assert!(e.to_string().ends_with("after 100ms)"), "{e}");
            }
            other => panic!("{other:?}"),
        }
    }
}
