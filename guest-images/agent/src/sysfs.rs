//! Reads CPUs, nodes and the devices of a bus from sysfs.

use std::io::{self, Write};
use std::path::Path;

use protocol::{Cpu, DeviceFacts};

const BUSES: &str = "/sys/bus";

/// The content of a small file, with its path in the error.
pub(crate) fn read(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path).map_err(|e| io::Error::new(e.kind(), format!("reading {path}: {e}")))
}

/// Writes a value as one write, with path and value in the error.
pub(crate) fn write(path: &str, value: &str) -> io::Result<()> {
    // Opened without truncation: to kprobe_events that would mean "forget the events before this one".
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|e| io::Error::new(e.kind(), format!("writing {value:?} to {path}: {e}")))
}

/// Names in a folder, in order; a folder that is not there has none.
pub(crate) fn entries(path: &str) -> io::Result<Vec<String>> {
    let mut names = match std::fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    names.sort();
    Ok(names)
}

/// Online CPUs with their nodes: `cpuN/nodeM` is a link on kernels with NUMA.
pub(crate) fn cpus() -> io::Result<Vec<Cpu>> {
    let mut cpus = Vec::new();
    for name in entries("/sys/devices/system/cpu")? {
        let Some(cpu) = name.strip_prefix("cpu").and_then(|n| n.parse().ok()) else {
            continue;
        };
        let path = format!("/sys/devices/system/cpu/{name}");
        // A CPU that cannot be unplugged has no such file: it is online.
        if std::fs::read_to_string(format!("{path}/online")).is_ok_and(|online| online.trim() == "0") {
            continue;
        }
        let node = entries(&path)?.iter().find_map(|entry| entry.strip_prefix("node")?.parse().ok());
        cpus.push(Cpu { cpu, node });
    }
    cpus.sort_by_key(|cpu| cpu.cpu);
    Ok(cpus)
}

/// Names of the devices of a bus.
pub(crate) fn devices(bus: &str) -> io::Result<Vec<String>> {
    let mut names = entries(&format!("{BUSES}/{bus}/devices"))?;
    names.retain(|name| is_device(bus, name));
    Ok(names)
}

/// How many devices of a bus this driver has.
pub(crate) fn bound_to(bus: &str, driver: &str) -> io::Result<u64> {
    let devices = devices(bus)?;
    let bound = entries(&format!("{BUSES}/{bus}/drivers/{driver}"))?;
    Ok(bound.iter().filter(|name| devices.contains(name)).count() as u64)
}

/// The SCSI bus also has entries for hosts and targets: a LUN is `H:C:T:L`.
fn is_device(bus: &str, name: &str) -> bool {
    let is_lun = || name.split(':').count() == 4 && name.split(':').all(|part| part.parse::<u64>().is_ok());
    bus != "scsi" || is_lun()
}

/// What sysfs shows of every device of a bus. One that goes away meanwhile is left out.
pub(crate) fn describe(bus: &str) -> io::Result<Vec<DeviceFacts>> {
    let describe = |name: String| -> io::Result<DeviceFacts> {
        let link = format!("{BUSES}/{bus}/devices/{name}");
        let place = std::fs::canonicalize(&link)?;
        let driver = std::fs::read_link(place.join("driver")).ok();
        Ok(DeviceFacts {
            node: node_of(&place),
            disk: entries(&format!("{link}/block"))?.into_iter().next(),
            driver: driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
            name,
        })
    };
    let described = devices(bus)?.into_iter().map(describe);
    described.filter(|facts| !matches!(facts, Err(e) if e.kind() == io::ErrorKind::NotFound)).collect()
}

/// A SCSI device has no `numa_node` of its own: it inherits that of the PCI function above it, which has.
/// The kernel writes -1 for no node.
fn node_of(place: &Path) -> Option<u32> {
    let text = place.ancestors().find_map(|path| std::fs::read_to_string(path.join("numa_node")).ok())?;
    text.trim().parse().ok()
}
