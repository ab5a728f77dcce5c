//! From the start of QEMU to the agent's first word, against a bare init; and where that time goes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evidence::dmesg::{self, Line};
use evidence::kmsg::{self, Piece, Record};
use evidence::units::KernelTime;
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::guest::{Guest, Image, Order, Patience, image};
use lab::run::Lineup;
use lab::watch::Watch;
use protocol::Request;

use super::{Row, bootable, folder, mean, seconds};

const ROUNDS: u64 = 5;
/// Sizes of the guest, in LUNs.
const SIZES: [u32; 2] = [1, 1024];
/// How much longer than with a bare init it may take.
const MOST: f64 = 1.1;
/// What is shown of the kernel's part.
const SHOWN: Duration = Duration::from_millis(10);

pub(super) fn measure(workspace: &Path, lineup: &mut Lineup, watch: &dyn Watch) -> Result<Vec<Row>, Failure> {
    let bare = lineup.run.join("bare.cpio");
    image::write(&bare, &image::bare_beside(&image::build_agent(workspace)?), &[], &[])?;
    let agent = bootable(lineup)?.initramfs;
    let mut times = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    let mut log = String::new();
    for round in 0..ROUNDS {
        watch.count(round, Some(ROUNDS), "rounds");
        for (luns, [with_agent, with_bare]) in SIZES.into_iter().zip(&mut times) {
            let (time, said) = to_first_word(lineup, luns, &agent)?;
            with_agent.extend(time);
            with_bare.push(to_line(lineup, luns, &bare)?);
            if luns == SIZES[0] {
                log = said;
            }
        }
    }
    let mut rows = Vec::new();
    for (luns, [with_agent, with_bare]) in SIZES.into_iter().zip(&times) {
        let s = if luns == 1 { "" } else { "s" };
        let (with_agent, with_bare) = (mean(with_agent)?, mean(with_bare)?);
        rows.push(Row::plain(
            format!("QEMU's start to the agent's first word, {luns} LUN{s}"),
            seconds(with_agent),
        ));
        rows.push(Row::plain("  to the line of a bare init", seconds(with_bare)));
        rows.push(Row::at_most(
            "  the one against the other",
            with_agent.as_secs_f64() / with_bare.as_secs_f64(),
            MOST,
        ));
    }
    let kernel = kernel_part(&log);
    let all = mean(&times[0][0])?;
    rows.push(Row::plain("of 1 LUN: QEMU, loader, and the agent", seconds(all.saturating_sub(kernel))));
    rows.push(Row::plain("of 1 LUN: the kernel, to /init", seconds(kernel)));
    rows.extend(
        slow_parts(&log).into_iter().map(|(what, time)| Row::plain(format!("  {what}"), seconds(time))),
    );
    Ok(rows)
}

fn order<'a>(
    lineup: &Lineup,
    topology: &'a Topology,
    kernel: &'a Image,
    initramfs: &'a Path,
    folder: &'a Path,
) -> Order<'a> {
    let accelerator = lineup.choice.accelerator;
    let patience = Patience::of(accelerator);
    Order {
        kernel,
        initramfs,
        parameters: "",
        topology,
        accelerator,
        cpus: topology.host_cpus(),
        patience,
        folder,
    }
}

fn shape(luns: u32) -> Topology {
    Topology::new(2, luns.min(4), luns, Duration::from_millis(20))
}

/// To the agent's first word, and the kernel's log up to there. `None` where QEMU crashed and was started once more: that
/// is no boot's time.
fn to_first_word(
    lineup: &mut Lineup,
    luns: u32,
    initramfs: &Path,
) -> Result<(Option<Duration>, String), Failure> {
    let (at, kernel, topology) =
        (folder(lineup, &format!("agent-{luns}"))?, bootable(lineup)?.image, shape(luns));
    let order = order(lineup, &topology, &kernel, initramfs, &at);
    let begun = Instant::now();
    let mut guest = Guest::start(&order)?;
    let time = Some(begun.elapsed()).filter(|_| guest.crashes().is_empty());
    let log = guest.quick_call("read the kernel log", Request::ReadKmsg);
    guest.end();
    let next = "read console.log in the folder of the run";
    let (_, log) =
        log.map_err(|e| Failure::new(Kind::Guest, "read the kernel log", format!("{e:?}"), next))?;
    Ok((time, String::from_utf8_lossy(&log).into_owned()))
}

/// To the line that a bare init says.
fn to_line(lineup: &mut Lineup, luns: u32, initramfs: &Path) -> Result<Duration, Failure> {
    let (at, kernel, topology): (PathBuf, _, _) =
        (folder(lineup, &format!("bare-{luns}"))?, bootable(lineup)?.image, shape(luns));
    Ok(lab::guest::time_to_line(&order(lineup, &topology, &kernel, initramfs, &at), protocol::BARE)?)
}

fn records(text: &str) -> impl Iterator<Item = Record<'_>> {
    kmsg::read(text).filter_map(|piece| match piece {
        Piece::Record(record) => Some(record),
        Piece::Attached(_) | Piece::Broken(_) => None,
    })
}

/// The kernel's own time, from its first line to the start of `/init`.
fn kernel_part(kmsg: &str) -> Duration {
    let start = records(kmsg).find(|record| record.text.starts_with("Run /init"));
    start.map_or(Duration::ZERO, |record| record.time.since(KernelTime::default()))
}

/// What in the kernel's log took long: initcalls, and silences between two lines, with the line that ended each.
fn slow_parts(kmsg: &str) -> Vec<(String, Duration)> {
    let mut parts = Vec::new();
    let mut last = KernelTime::default();
    for record in records(kmsg) {
        if record.text.starts_with("Run /init") {
            break;
        }
        let gap = record.time.since(last);
        match dmesg::recognise(record.text) {
            Line::InitcallEnds { symbol, took, .. } if took >= SHOWN => {
                let name = symbol.split('+').next().unwrap_or(symbol);
                parts.push((format!("initcall {name}"), took));
            }
            _ if gap >= SHOWN => {
                let text: String = record.text.chars().take(40).collect();
                parts.push((format!("before \"{text}\""), gap));
            }
            _ => {}
        }
        last = last.max(record.time);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "6,0,0,-;Linux version 6.1\n\
        6,1,120000,-;smpboot: CPU0\n\
        7,2,121000,-;calling  acpi_init+0x0/0x500 @ 1\n\
        7,3,189000,-;initcall acpi_init+0x0/0x500 returned 0 after 68000 usecs\n\
        6,4,190000,-;Run /init as init process\n\
        6,5,990000,-;sd: later\n";

    #[test]
    fn initcalls_and_silences_before_init_are_what_took_long() {
        let parts = slow_parts(LOG);
        let expected = [
            ("before \"smpboot: CPU0\"".to_owned(), Duration::from_millis(120)),
            ("initcall acpi_init".to_owned(), Duration::from_millis(68)),
        ];
        assert_eq!(parts, expected);
        assert_eq!(kernel_part(LOG), Duration::from_millis(190));
    }
}
