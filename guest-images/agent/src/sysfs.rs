//! Reads CPUs, nodes and the devices of a bus from sysfs.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

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
    // Both are in order.
    Ok(bound.iter().filter(|name| devices.binary_search(name).is_ok()).count() as u64)
}

/// The SCSI bus also has entries for hosts and targets: a LUN is `H:C:T:L`.
fn is_device(bus: &str, name: &str) -> bool {
    let is_lun = || name.split(':').count() == 4 && name.split(':').all(|part| part.parse::<u64>().is_ok());
    bus != "scsi" || is_lun()
}

/// What sysfs shows of every device of a bus. One that goes away meanwhile is left out.
pub(crate) fn describe(bus: &str) -> io::Result<Vec<DeviceFacts>> {
    // Thousands of LUNs have few parents.
    let mut nodes: HashMap<PathBuf, Option<u32>> = HashMap::new();
    let describe = |name: String| -> io::Result<DeviceFacts> {
        let place = place_of(bus, &name)?;
        let driver = std::fs::read_link(place.join("driver")).ok();
        let parent = place.parent().unwrap_or(Path::new("/"));
        let inherited = || match nodes.get(parent) {
            Some(node) => *node,
            None => *nodes.entry(parent.to_owned()).or_insert_with(|| node_of(parent)),
        };
        let disk = entries(&format!("{}/block", place.display()))?.into_iter().next();
        Ok(DeviceFacts {
            node: own_node_of(&place).unwrap_or_else(inherited),
            reads: disk.as_deref().and_then(|disk| reads_of(&place, disk)),
            disk,
            driver: driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
            name,
        })
    };
    let described = devices(bus)?.into_iter().map(describe);
    described.filter(|facts| !matches!(facts, Err(e) if e.kind() == io::ErrorKind::NotFound)).collect()
}

/// How many reads a disk has completed: the first number of `stat` (Documentation/block/stat.rst).
fn reads_of(place: &Path, disk: &str) -> Option<u64> {
    let text = std::fs::read_to_string(place.join("block").join(disk).join("stat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Where a device is: the bus has a link to it, `../../../devices/…`.
fn place_of(bus: &str, name: &str) -> io::Result<PathBuf> {
    let link = std::fs::read_link(format!("{BUSES}/{bus}/devices/{name}"))?;
    let below_sys = link.components().filter(|part| !matches!(part, Component::ParentDir));
    Ok(Path::new("/sys").join(below_sys.collect::<PathBuf>()))
}

/// A SCSI device has no `numa_node` of its own: it inherits that of the PCI function above it, which has.
fn node_of(place: &Path) -> Option<u32> {
    place.ancestors().find_map(own_node_of)?
}

/// What its own `numa_node` says, if it has one. The kernel writes -1 for no node.
fn own_node_of(place: &Path) -> Option<Option<u32>> {
    let text = std::fs::read_to_string(place.join("numa_node")).ok()?;
    Some(text.trim().parse().ok())
}
