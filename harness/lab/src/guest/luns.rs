//! The LUNs of a guest, as QEMU arguments; or, where a command line cannot hold them, as QMP commands.

use qapi::{Dictionary, qmp};
use serde_json::{Value, json};

use crate::guest::qmp::BlockdevAdd;
use crate::guest::topology::Topology;

/// Most LUNs that go on the command line: each takes some 300 bytes of it, and Linux allows 2 MiB.
const MOST_ON_A_COMMAND_LINE: u32 = 4096;

/// QEMU's device for a LUN.
const DISK: &str = "scsi-hd";

/// Whether the LUNs fit on a command line.
pub(crate) fn fit_on_a_command_line(topology: &Topology) -> bool {
    topology.luns + topology.oddities.spare <= MOST_ON_A_COMMAND_LINE
}

/// The options and values that make them.
pub(crate) fn arguments(topology: &Topology) -> Vec<(&'static str, String)> {
    let mut options = Vec::new();
    for lun in 0..topology.luns + topology.oddities.spare {
        options.push(("-blockdev", flat(&block(topology, lun))));
        if lun < topology.luns {
            options.push((
                "-device",
                format!("{DISK},id={},{}", disk_id(lun), flat(&properties(topology, lun))),
            ));
        }
    }
    options
}

/// The commands that make them: the block devices, then the disks.
pub(crate) fn commands(topology: &Topology) -> (Vec<BlockdevAdd>, Vec<qmp::device_add>) {
    let blocks = (0..topology.luns + topology.oddities.spare).map(|lun| BlockdevAdd(block(topology, lun)));
    (blocks.collect(), (0..topology.luns).map(|lun| disk(topology, lun)).collect())
}

/// The same commands, and those around them, as lines for somebody who starts the guest by hand.
pub(crate) fn script(topology: &Topology) -> String {
    let (blocks, disks) = commands(topology);
    let line =
        |command: &str, arguments: Value| json!({"execute": command, "arguments": arguments}).to_string();
    let mut lines = vec![line("qmp_capabilities", json!({}))];
    lines.extend(blocks.iter().map(|block| line("blockdev-add", json!(block))));
    lines.extend(disks.iter().map(|disk| line("device_add", json!(disk))));
    lines.push(line("cont", json!({})));
    lines.join("\n") + "\n"
}

/// The command that plugs in a LUN.
pub(crate) fn disk(topology: &Topology, lun: u32) -> qmp::device_add {
    qmp::device_add {
        driver: DISK.to_owned(),
        bus: None,
        id: Some(disk_id(lun)),
        arguments: properties(topology, lun),
    }
}

/// The name of a LUN's device in QEMU.
pub(crate) fn disk_id(lun: u32) -> String {
    format!("lun{lun}")
}

/// The properties of a LUN's device.
///
/// The geometry is given because QEMU would otherwise read sector 0 to guess it, once for every LUN and before
/// the guest starts: 256 LUNs of 20 ms then take 5 s.
fn properties(topology: &Topology, lun: u32) -> Dictionary {
    let (hba, target, number) = topology.place_of_lun(lun);
    dictionary(json!({
        "bus": format!("hba{hba}.0"),
        "scsi-id": target,
        "lun": number,
        "drive": format!("d{lun}"),
        "serial": format!("lun{lun}"),
        "cyls": 1024,
        "heads": 16,
        "secs": 8,
    }))
}

/// What is behind a LUN: a null device that answers every read after its latency, without a file.
fn block(topology: &Topology, lun: u32) -> Dictionary {
    let nanos = u64::try_from(topology.latency_of(lun).as_nanos()).unwrap_or(u64::MAX);
    let image = json!({"driver": "null-co", "size": 64 << 20, "read-zeroes": true, "latency-ns": nanos});
    let faulty = lun + topology.oddities.faulty >= topology.luns && lun < topology.luns;
    let mut block = if faulty {
        // Rules for the event "none" hold for every request (block/blkdebug.c).
        let rule = json!({"event": "none", "iotype": "read", "errno": 5});
        json!({"driver": "blkdebug", "image": image, "inject-error": [rule]})
    } else {
        image
    };
    block["node-name"] = json!(format!("d{lun}"));
    dictionary(block)
}

fn dictionary(value: Value) -> Dictionary {
    match value {
        Value::Object(map) => map,
        other => unreachable!("{other} is no object"),
    }
}

/// As on a command line: `image.driver=null-co,read-zeroes=on`.
fn flat(map: &Dictionary) -> String {
    fn add(name: &str, value: &Value, parts: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| add(&format!("{name}.{key}"), value, parts))
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(at, value)| add(&format!("{name}.{at}"), value, parts));
            }
            Value::Bool(on) => parts.push(format!("{name}={}", if *on { "on" } else { "off" })),
            Value::String(text) => parts.push(format!("{name}={text}")),
            Value::Number(_) | Value::Null => parts.push(format!("{name}={value}")),
        }
    }
    let mut parts = Vec::new();
    for (key, value) in map {
        add(key, value, &mut parts);
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::guest::topology::Oddities;

    #[test]
    fn a_faulty_lun_has_its_rule_on_the_command_line_and_in_the_command() {
        let oddities = Oddities { faulty: 1, ..Oddities::default() };
        let topology = Topology { oddities, ..Topology::new(1, 1, 2, Duration::from_millis(20)) };
        assert_eq!(
            flat(&block(&topology, 1)),
            "driver=blkdebug,image.driver=null-co,image.latency-ns=20000000,image.read-zeroes=on,\
             image.size=67108864,inject-error.0.errno=5,inject-error.0.event=none,inject-error.0.iotype=read,\
             node-name=d1"
        );
        assert!(script(&topology).contains(r#""inject-error":[{"errno":5,"event":"none","iotype":"read"}]"#));
        assert!(!flat(&block(&topology, 0)).contains("inject-error"));
    }

    #[test]
    fn every_lun_has_an_address_of_its_own_that_virtio_scsi_can_have() {
        // Targets 0 to 255, LUNs 0 to 16383 (hw/scsi/virtio-scsi.c).
        let topology = Topology::new(2, 3, 20_000, Duration::ZERO);
        let mut places: Vec<_> = (0..topology.luns).map(|lun| topology.place_of_lun(lun)).collect();
        assert!(places.iter().all(|(hba, target, number)| *hba < 3 && *target < 256 && *number < 16384));
        assert!(places.iter().any(|(_, target, _)| *target > 0));
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 20_000);
    }
}
