//! Reads CPUs, nodes and the devices of a bus from sysfs.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use protocol::{Cpu, DeviceFacts};

const BUSES: &str = "/sys/bus";
const SCSI: &str = "scsi";

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
    bus != SCSI || is_lun()
}

/// What sysfs shows of every device of a bus. One that goes away meanwhile is left out.
///
/// Drivers, disks and reads are taken from lists of them: to walk down to each device for each of them takes an
/// emulated guest twice as long (seen with 256 LUNs: 155 ms, and 78).
pub(crate) fn describe(bus: &str) -> io::Result<Vec<DeviceFacts>> {
    // Devices first: what one of them gets meanwhile is seen.
    let names = devices(bus)?;
    let (drivers, disks, reads) =
        (drivers(&format!("{BUSES}/{bus}/drivers"))?, disks("/sys/block")?, reads());
    // Thousands of LUNs have few parents.
    let mut nodes: HashMap<PathBuf, Option<u32>> = HashMap::new();
    let describe = |name: String| -> io::Result<DeviceFacts> {
        let place = place_of(&format!("{BUSES}/{bus}/devices/{name}"))?;
        let parent = place.parent().unwrap_or(Path::new("/"));
        let inherited = || match nodes.get(parent) {
            Some(node) => *node,
            None => *nodes.entry(parent.to_owned()).or_insert_with(|| node_of(parent)),
        };
        // A LUN has none of its own, and need not be asked.
        let own = if bus == SCSI { None } else { own_node_of(&place) };
        let disk = disks.get(&place);
        Ok(DeviceFacts {
            node: own.unwrap_or_else(inherited),
            // A list that is read in parts may lack a line where another disk went away meanwhile.
            reads: disk.and_then(|disk| reads.get(disk).copied().or_else(|| reads_of(&place, disk))),
            disk: disk.cloned(),
            driver: drivers.get(&name).cloned(),
            name,
        })
    };
    let described = names.into_iter().map(describe);
    described.filter(|facts| !matches!(facts, Err(e) if e.kind() == io::ErrorKind::NotFound)).collect()
}

/// The driver of each device of a bus that has one, by the device's name: in this folder each driver has one, with a
/// link to each of its devices.
fn drivers(folder: &str) -> io::Result<HashMap<String, String>> {
    let mut drivers = HashMap::new();
    for driver in entries(folder)? {
        drivers
            .extend(entries(&format!("{folder}/{driver}"))?.into_iter().map(|name| (name, driver.clone())));
    }
    Ok(drivers)
}

/// The first disk of each device that has one, by the device's place: this folder has a link to each disk.
fn disks(folder: &str) -> io::Result<HashMap<PathBuf, String>> {
    let mut disks = HashMap::new();
    for disk in entries(folder)? {
        match place_of(&format!("{folder}/{disk}")) {
            Ok(place) => {
                if let Some(device) = device_of_disk(&place) {
                    disks.entry(device.to_owned()).or_insert(disk);
                }
            }
            // It went away; or it is a folder, as on kernels with CONFIG_SYSFS_DEPRECATED, which nobody can follow.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(disks)
}

/// A disk is in the folder `block` of its device.
fn device_of_disk(place: &Path) -> Option<&Path> {
    let folder = place.parent()?;
    (folder.file_name()? == "block").then(|| folder.parent())?
}

/// How many reads each disk has completed; of none, where the kernel does not say.
fn reads() -> HashMap<String, u64> {
    let text = std::fs::read_to_string("/proc/diskstats").unwrap_or_default();
    text.lines().filter_map(reads_of_disk).collect()
}

/// The same of one disk, by its own file, whose first number it is (Documentation/block/stat.rst).
fn reads_of(device: &Path, disk: &str) -> Option<u64> {
    let text = std::fs::read_to_string(device.join("block").join(disk).join("stat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// A line of `/proc/diskstats`: major and minor number, name, reads completed, and more
/// (Documentation/admin-guide/iostats.rst). In sysfs a `/` of its name is a `!`.
fn reads_of_disk(line: &str) -> Option<(String, u64)> {
    let mut words = line.split_whitespace().skip(2);
    Some((words.next()?.replace('/', "!"), words.next()?.parse().ok()?))
}

/// Where a device is to which there is a link, `../../../devices/…`.
fn place_of(link: &str) -> io::Result<PathBuf> {
    let link = std::fs::read_link(link)?;
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

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, create_dir_all, write};
    use std::os::unix::fs::symlink;

    use super::*;

    const LUN: &str = "devices/pci0000:20/virtio1/host0/target0:0:0/0:0:0:17";

    #[test]
    fn drivers_are_known_by_the_devices_that_they_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        create_dir(path.join("sd")).unwrap();
        create_dir(path.join("sr")).unwrap();
        write(path.join("sd/bind"), "").unwrap();
        symlink(format!("../../../../{LUN}"), path.join("sd/0:0:0:17")).unwrap();
        let drivers = drivers(path.to_str().unwrap()).unwrap();
        assert_eq!(drivers.get("0:0:0:17").map(String::as_str), Some("sd"));
        assert_eq!(drivers.get("0:0:0:18"), None);
    }

    #[test]
    fn disks_are_known_by_where_their_devices_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        symlink(format!("../{LUN}/block/sdq"), path.join("sdq")).unwrap();
        symlink("../devices/pci0000:00/nvme/nvme0/nvme0n1", path.join("nvme0n1")).unwrap();
        create_dir_all(path.join("loop0")).unwrap();
        let disks = disks(path.to_str().unwrap()).unwrap();
        assert_eq!(disks, HashMap::from([(Path::new("/sys").join(LUN), "sdq".to_owned())]));
    }

    #[test]
    fn reads_are_the_first_number_after_the_name() {
        let line = "   8      16 sdb 3 0 24 65 0 0 0 0 0 72 65 0 0 0 0 0 0";
        assert_eq!(reads_of_disk(line), Some(("sdb".to_owned(), 3)));
        assert_eq!(reads_of_disk(" 104 0 cciss/c0d0 7 0"), Some(("cciss!c0d0".to_owned(), 7)));
        assert_eq!(reads_of_disk("   8      16 sdb"), None);
    }
}
