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
            let there = there().unwrap_or_else(|e| e.to_string());
            return Err(io::Error::other(format!(
                "no virtio-serial port {name} within {PATIENCE:?}; {there}"
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What there is instead, in a line: ports with their names, virtio devices with their drivers, how often each interrupted.
fn there() -> io::Result<String> {
    let mut parts = Vec::new();
    for port in sysfs::entries("/sys/class/virtio-ports")? {
        let name = sysfs::read(&format!("/sys/class/virtio-ports/{port}/name")).unwrap_or_default();
        parts.push(format!("port {port} is called {:?}", name.trim()));
    }
    for device in sysfs::devices("virtio")? {
        let driver = std::fs::read_link(format!("/sys/bus/virtio/devices/{device}/driver"));
        let driver = driver.ok().and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        parts.push(format!("{device} has {}", driver.as_deref().unwrap_or("no driver")));
    }
    let interrupts = sysfs::read("/proc/interrupts")?;
    for line in interrupts.lines().filter(|line| line.contains("virtio")) {
        parts.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok(parts.join("; "))
}
