//! Mounts what the agent reads and writes.

use std::io;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// Kernel file systems of the guest: type, place, and whether the guest is of no use without it.
const MOUNTS: [(&str, &str, bool); 5] = [
    ("devtmpfs", "/dev", true),
    ("proc", "/proc", true),
    ("sysfs", "/sys", true),
    // Kernels without tracing have neither; the harness finds out when it asks for a trace.
    ("debugfs", "/sys/kernel/debug", false),
    ("tracefs", "/sys/kernel/tracing", false),
];

/// Mounts all of them. A kernel may have mounted devtmpfs already.
pub(crate) fn mount_all() -> io::Result<()> {
    for (kind, place, needed) in MOUNTS {
        // Below /sys the kernel makes the mount points itself, where it has the file system.
        if needed {
            std::fs::create_dir_all(place)?;
        }
        match mount(Some("none"), place, Some(kind), MsFlags::empty(), None::<&str>) {
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(_) if !needed => {}
            Err(e) => return Err(io::Error::other(format!("mounting {kind} on {place}: {e}"))),
        }
    }
    Ok(())
}
