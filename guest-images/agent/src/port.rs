//! Finds the virtio-serial port by its name.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use crate::sysfs;

/// The port, for reading and writing.
pub(crate) type Port = File;

/// How long the port may take to appear. Its driver is built in or loaded from the image, its device is on
/// the PCI bus from the start; what remains is the handshake on the control queue.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens `/dev/vportXpY` of the port with this name.
pub(crate) fn open(name: &str) -> io::Result<Port> {
    let asked = Instant::now();
    loop {
        for port in sysfs::entries("/sys/class/virtio-ports")? {
            let of = sysfs::read(&format!("/sys/class/virtio-ports/{port}/name")).unwrap_or_default();
            if of.trim() == name {
                return File::options().read(true).write(true).open(format!("/dev/{port}"));
            }
        }
        if asked.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("no virtio-serial port {name} within {PATIENCE:?}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
