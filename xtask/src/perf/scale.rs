//! What a LUN costs when there are many: 4096 against 256.

use std::time::{Duration, Instant};

use evidence::kmsg::{self, Piece};
use lab::failure::Failure;
use lab::guest::topology::Topology;
use lab::run::{self, Ending, Lineup, Record};
use lab::watch::Watch;

use super::{Row, bootable, folder, ordered, seconds};

/// What stands for a guest without LUNs: with fewer, no verdict could be given.
const HARDLY_ANY: u32 = 16;
const FEW: u32 = 256;
const MANY: u32 = 4096;
/// What many LUNs may take, to the verdict.
const MOST: Duration = Duration::from_secs(60);
/// How much more a LUN may cost among many than among few.
const MOST_TIMES: f64 = 1.5;

/// Where the time of a boot went.
struct Spent {
    all: Duration,
    scan: Duration,
    probes: Duration,
}

pub(super) fn measure(lineup: &mut Lineup, watch: &dyn Watch) -> Result<Vec<Row>, Failure> {
    let mut spent = Vec::new();
    for (number, luns) in [HARDLY_ANY, FEW, MANY].into_iter().enumerate() {
        watch.count(number as u64, Some(3), "guests");
        let hbas = luns.min(8);
        let topology = Topology::new(2, hbas, luns, Duration::from_millis(5));
        spent.push(boot(lineup, &topology)?);
    }
    let [least, few, many] = &spent[..] else { return Ok(Vec::new()) };
    // What the guest itself takes is no LUN's.
    let each = |spent: &Spent, luns: u32| spent.all.saturating_sub(least.all) / (luns - HARDLY_ANY);
    let part = |time: Duration, luns: u32| format!("{:.2} ms", time.as_secs_f64() * 1000.0 / f64::from(luns));
    let (at_few, at_many) = (each(few, FEW), each(many, MANY));
    let rest = |spent: &Spent| {
        let guest = least.all.saturating_sub(least.scan + least.probes);
        spent.all.saturating_sub(guest + spent.scan + spent.probes)
    };
    Ok(vec![
        Row::seconds_below(format!("{MANY} LUNs of 5 ms, to the verdict"), many.all, MOST),
        Row::plain("  of it, the scan", seconds(many.scan)),
        Row::plain("  of it, the probes", seconds(many.probes)),
        Row::plain(format!("{FEW} LUNs"), seconds(few.all)),
        Row::plain(format!("a LUN among {FEW}: scan"), part(few.scan, FEW)),
        Row::plain(format!("a LUN among {MANY}: scan"), part(many.scan, MANY)),
        Row::plain(format!("a LUN among {FEW}: probe (kernel)"), part(few.probes, FEW)),
        Row::plain(format!("a LUN among {MANY}: probe (kernel)"), part(many.probes, MANY)),
        Row::plain(format!("a LUN among {FEW}: QEMU's start, logs, verdict"), part(rest(few), FEW)),
        Row::plain(format!("a LUN among {MANY}: QEMU's start, logs, verdict"), part(rest(many), MANY)),
        Row::at_most(
            format!("a LUN among {MANY}, against one among {FEW}"),
            at_many.as_secs_f64() / at_few.as_secs_f64(),
            MOST_TIMES,
        ),
    ])
}

fn boot(lineup: &mut Lineup, topology: &Topology) -> Result<Spent, Failure> {
    let kernel = bootable(lineup)?;
    let at = folder(lineup, &format!("{}-luns", topology.luns))?;
    let begun = Instant::now();
    let ending = run::carry_out(&ordered(lineup, &kernel, topology, &at))?;
    let scan = match &ending {
        Ending::Well(record) => scan(record),
        Ending::Died { .. } => Duration::ZERO,
    };
    let probes = super::measured_part(lineup, topology, ending)?;
    Ok(Spent { all: begun.elapsed(), scan, probes })
}

/// How long the LUNs were looked for, by the guest's clock.
fn scan(record: &Record) -> Duration {
    let time = |what: &str| {
        let mark = format!("{} the scan for LUNs {what}", protocol::MARK);
        kmsg::read(&record.kmsg).find_map(|piece| match piece {
            Piece::Record(record) if record.text == mark => Some(record.time),
            _ => None,
        })
    };
    match (time("begins"), time("ends")) {
        (Some(from), Some(to)) => to.since(from),
        _ => Duration::ZERO,
    }
}
