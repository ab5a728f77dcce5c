//! The LUNs of a guest, as QEMU arguments; or, where a command line cannot hold them, as QMP commands.

use std::collections::HashSet;

use qapi::{Dictionary, qmp};
use serde_json::{Value, json};

use crate::guest::qmp::BlockdevAdd;
use crate::guest::topology::Topology;

/// Most LUNs that go on the command line: each takes some 130 bytes of it, and 230 with a latency of its own; Linux
/// allows 2 MiB.
const MOST_ON_A_COMMAND_LINE: u32 = 4096;

/// QEMU's device for a LUN.
const DISK: &str = "scsi-hd";

/// How many LUNs of an HBA may share what is behind them.
///
/// QEMU looks a block device up by its name among all there are (bdrv_find_node()), and where one more uses it, holds
/// each of its users against each other (bdrv_parent_perms_conflict(), both block.c). Seen with 8000 LUNs of 16 HBAs,
/// QEMU 7.2: made in 19 s where none share, in 11 s where 8 or 32 do, with 309 and 113 MiB; with 4096 of 8 HBAs, 128 to
/// a device are as slow as one to each.
const SHARE: u32 = 32;

/// Whether the LUNs fit on a command line.
pub(crate) fn fit_on_a_command_line(topology: &Topology) -> bool {
    topology.luns + topology.oddities.spare <= MOST_ON_A_COMMAND_LINE
}

/// The options and values that make them.
pub(crate) fn arguments(topology: &Topology) -> Vec<(&'static str, String)> {
    let disk = |lun| format!("{DISK},id={},{}", disk_id(lun), flat(&properties(topology, lun)));
    let blocks = blocks(topology).map(|block| ("-blockdev", flat(&block)));
    blocks.chain((0..topology.luns).map(|lun| ("-device", disk(lun)))).collect()
}

/// The commands that make them: the block devices, then the disks.
pub(crate) fn commands(topology: &Topology) -> (Vec<BlockdevAdd>, Vec<qmp::device_add>) {
    let disks = (0..topology.luns).map(|lun| disk(topology, lun));
    (blocks(topology).map(BlockdevAdd).collect(), disks.collect())
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
        "drive": behind(topology, lun),
        "share-rw": true,
        "serial": format!("lun{lun}"),
        "cyls": 1024,
        "heads": 16,
        "secs": 8,
    }))
}

/// The name of what is behind a LUN: its own where it is not as usual, else one that it shares with its neighbours on
/// the HBA, whose I/O thread serves them all. Each of their reads waits for itself all the same, but where one of them
/// is pulled out: QEMU lets the reads of all end first (blk_drain(), block/block-backend.c).
fn behind(topology: &Topology, lun: u32) -> String {
    if topology.latency_of(lun) != topology.latency || is_faulty(topology, lun) || lun >= topology.luns {
        return format!("d{lun}");
    }
    let (hba, target, number) = topology.place_of_lun(lun);
    format!("d{hba}-{target}-{}", number / SHARE)
}

/// What is behind all LUNs, the spare ones included.
fn blocks(topology: &Topology) -> impl Iterator<Item = Dictionary> {
    let mut there = HashSet::new();
    let new = move |lun: &u32| there.insert(behind(topology, *lun));
    (0..topology.luns + topology.oddities.spare).filter(new).map(|lun| block(topology, lun))
}

fn is_faulty(topology: &Topology, lun: u32) -> bool {
    lun + topology.oddities.faulty >= topology.luns && lun < topology.luns
}

/// What is behind a LUN: a null device that answers every read after its latency, without a file.
fn block(topology: &Topology, lun: u32) -> Dictionary {
    let nanos = u64::try_from(topology.latency_of(lun).as_nanos()).unwrap_or(u64::MAX);
    let image = json!({"driver": "null-co", "size": 64 << 20, "read-zeroes": true, "latency-ns": nanos});
    let mut block = if is_faulty(topology, lun) {
        // Rules for the event "none" hold for every request (block/blkdebug.c).
        let rule = json!({"event": "none", "iotype": "read", "errno": 5});
        json!({"driver": "blkdebug", "image": image, "inject-error": [rule]})
    } else {
        image
    };
    block["node-name"] = json!(behind(topology, lun));
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
    use std::collections::HashMap;
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
    fn luns_share_what_is_behind_them_only_where_it_is_the_same() {
        let oddities =
            Oddities { faulty: 2, spare: 1, slow: Some(Duration::from_secs(1)), ..Oddities::default() };
        let topology = Topology { oddities, ..Topology::new(2, 2, 200, Duration::from_millis(20)) };
        let made: HashMap<String, Dictionary> =
            blocks(&topology).map(|block| (block["node-name"].as_str().unwrap().to_owned(), block)).collect();
        let mut users: HashMap<String, Vec<u32>> = HashMap::new();
        for lun in 0..=topology.luns {
            let mut own = block(&topology, lun);
            let name = behind(&topology, lun);
            own["node-name"] = json!(name);
            assert_eq!(made[&name], own, "LUN {lun}");
            users.entry(name).or_default().push(lun);
        }
        assert_eq!(users.len(), made.len(), "one that nobody uses");
        for users in users.values() {
            let hba = |lun: &u32| topology.place_of_lun(*lun).0;
            assert!(
                users.iter().all(|lun| hba(lun) == hba(&users[0])),
                "{users:?} have different I/O threads"
            );
            assert!(users.len() <= SHARE as usize, "{users:?}");
        }
        for alone in [0, 198, 199, 200] {
            assert_eq!(users[&format!("d{alone}")], [alone]);
        }
        // 100 behind each HBA, of which one or two are alone.
        assert_eq!(users.len(), 4 + 2 * 4);
        // With a seed each has its own latency, and behind the next target others begin.
        let seeded = Topology { oddities: Oddities { seed: Some(7), ..Oddities::default() }, ..topology };
        assert_eq!(blocks(&seeded).count(), 200);
        let targets = Topology::new(1, 1, 1025, Duration::ZERO);
        assert_ne!(behind(&targets, 1024), behind(&targets, 0));
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
