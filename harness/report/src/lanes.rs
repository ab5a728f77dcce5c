//! Probes of a boot to bars in lanes: what a timeline is drawn of.

use std::collections::{BTreeMap, HashMap};

use evidence::boot::{Boot, Device};
use evidence::timeline::Probe;
use evidence::units::{CpuId, NodeId, ThreadId};

/// The probes of one phase of a boot, in lanes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Timeline {
    /// The case.
    pub case: String,
    /// The kernel.
    pub kernel: String,
    /// The boot's folder, relative to that of the run.
    pub folder: String,
    /// The phase, where the boot has several.
    pub phase: Option<String>,
    /// Which witness saw the probes: `trace.txt` or `kmsg.txt`.
    pub witness: &'static str,
    /// The name of each lane: a worker, or only a place where no other probe is in the way.
    pub lanes: Vec<String>,
    /// The probes, by their start. Time zero is the start of the first.
    pub bars: Vec<Bar>,
}

/// A probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bar {
    /// Its device.
    pub device: String,
    /// Its lane, from 0.
    pub lane: usize,
    /// When it began, in microseconds after the first probe of the timeline.
    pub start_us: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// What it returned: 0 for bound.
    pub returned: i64,
    /// The thread that ran it.
    pub thread: Option<ThreadId>,
    /// The CPUs it began and ended on.
    pub cpus: Option<(CpuId, CpuId)>,
    /// The node of its device.
    pub node: Option<NodeId>,
    /// Whether it began and ended on a CPU of that node; `None` where nobody knows.
    pub at_home: Option<bool>,
    /// Lines of the witnesses: file, number from 1, text.
    pub lines: Vec<(&'static str, usize, String)>,
}

/// What a boot left, as far as timelines are drawn of it.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    /// CPUs with their nodes.
    pub cpus: &'a [(CpuId, Option<NodeId>)],
    /// The devices of the phase.
    pub devices: &'a [Device],
    /// The lines of `kmsg.txt`.
    pub kmsg: &'a [&'a str],
    /// The lines of `trace.txt`; empty without one.
    pub trace: &'a [&'a str],
}

/// What a timeline is of.
#[derive(Clone, Copy, Debug)]
pub struct Title<'a> {
    /// The case.
    pub case: &'a str,
    /// The kernel.
    pub kernel: &'a str,
    /// The boot's folder, relative to that of the run.
    pub folder: &'a str,
    /// The phase, where the boot has several.
    pub phase: Option<&'a str>,
}

impl Timeline {
    /// The probes of a phase of a boot.
    pub fn of(title: Title<'_>, boot: &Boot, left: Left<'_>) -> Self {
        let nodes: HashMap<&str, NodeId> =
            left.devices.iter().filter_map(|device| Some((device.name.as_str(), device.node?))).collect();
        let node_of_cpu: HashMap<CpuId, NodeId> =
            left.cpus.iter().filter_map(|(cpu, node)| Some((*cpu, (*node)?))).collect();
        let mut probes: Vec<&Probe> = boot.best().probes.iter().collect();
        probes.sort_by_key(|probe| (probe.start, probe.end));
        let zero = probes.first().map(|probe| probe.start).unwrap_or_default();
        let (names, places) = lanes(&probes);
        let mut in_log: HashMap<&str, Vec<usize>> = HashMap::new();
        if boot.trace.is_some() {
            for probe in &boot.log.probes {
                in_log.entry(&probe.device).or_default().push(probe.lines.1);
            }
        }
        let witness = if boot.trace.is_some() { "trace.txt" } else { "kmsg.txt" };
        let text = |file: &'static str, number: usize| {
            let lines = if file == "trace.txt" { left.trace } else { left.kmsg };
            Some((file, number, (*lines.get(number.checked_sub(1)?)?).to_owned()))
        };
        let bars = probes.iter().zip(places).map(|(probe, lane)| {
            let node = nodes.get(probe.device.as_str()).copied();
            let at_home = probe.cpus.zip(node).and_then(|((begun, ended), node)| {
                Some(*node_of_cpu.get(&begun)? == node && *node_of_cpu.get(&ended)? == node)
            });
            let (begin, end) = probe.lines;
            let own = if begin == end { vec![end] } else { vec![begin, end] };
            let own = own.into_iter().filter_map(|number| text(witness, number));
            let logged = in_log.get(probe.device.as_str()).into_iter().flatten();
            Bar {
                device: probe.device.clone(),
                lane,
                start_us: us(probe.start.since(zero)),
                took_us: us(probe.end.since(probe.start)),
                returned: probe.returned,
                thread: probe.thread,
                cpus: probe.cpus,
                node,
                at_home,
                lines: own.chain(logged.filter_map(|number| text("kmsg.txt", *number))).collect(),
            }
        });
        let bars = bars.collect();
        let Title { case, kernel, folder, phase } = title;
        Self {
            case: case.to_owned(),
            kernel: kernel.to_owned(),
            folder: folder.to_owned(),
            phase: phase.map(str::to_owned),
            witness,
            lanes: names,
            bars,
        }
    }

    /// From the first start to the last end, in microseconds.
    pub fn makespan_us(&self) -> u64 {
        self.bars.iter().map(Bar::end_us).max().unwrap_or(0)
    }

    /// How many probes run from when on: a step at each time, in microseconds, at which that changes.
    pub fn in_flight(&self) -> Vec<(u64, usize)> {
        let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
        for bar in &self.bars {
            *changes.entry(bar.start_us).or_default() += 1;
            *changes.entry(bar.end_us()).or_default() -= 1;
        }
        let mut running = 0;
        let step = |(time, change)| {
            running += change;
            (time, usize::try_from(running).unwrap_or(0))
        };
        changes.into_iter().filter(|(_, change)| *change != 0).map(step).collect()
    }
}

impl Bar {
    /// When it ended, in microseconds after the first probe of the timeline.
    pub fn end_us(&self) -> u64 {
        self.start_us + self.took_us
    }
}

fn us(duration: std::time::Duration) -> u64 {
    evidence::units::micros(duration)
}

/// The lanes, and the lane of each probe: one for each thread, in the order in which they began to probe. Where the
/// witness does not know every thread, a probe is in the first lane that is free.
fn lanes(probes: &[&Probe]) -> (Vec<String>, Vec<usize>) {
    let threads: Option<Vec<ThreadId>> = probes.iter().map(|probe| probe.thread).collect();
    let mut names = Vec::new();
    let Some(threads) = threads else {
        let mut free = Vec::new();
        let mut place = |probe: &&Probe| {
            let lane = free.iter().position(|end| *end <= probe.start).unwrap_or(free.len());
            if lane == free.len() {
                free.push(probe.end);
                names.push(format!("lane {}", lane + 1));
            }
            free[lane] = probe.end;
            lane
        };
        let places = probes.iter().map(&mut place).collect();
        return (names, places);
    };
    let mut known: HashMap<ThreadId, usize> = HashMap::new();
    let mut place = |thread: ThreadId| {
        *known.entry(thread).or_insert_with(|| {
            names.push(format!("thread {thread}"));
            names.len() - 1
        })
    };
    let places = threads.into_iter().map(&mut place).collect();
    (names, places)
}

#[cfg(test)]
mod tests {
    use evidence::boot::Testimony;
    use evidence::units::KernelTime;

    use super::*;

    fn probe(device: &str, start: u64, end: u64, thread: Option<u32>) -> Probe {
        Probe {
            device: device.to_owned(),
            start: KernelTime::from_micros(start),
            end: KernelTime::from_micros(end),
            returned: 0,
            thread: thread.map(ThreadId),
            lines: (1, 2),
            cpus: Some((CpuId(0), CpuId(1))),
        }
    }

    fn timeline(probes: Vec<Probe>) -> Timeline {
        let trace = Testimony { probes, ..Testimony::default() };
        let boot = Boot { trace: Some(trace), ..Boot::default() };
        let device = |name: &str| Device {
            name: name.to_owned(),
            node: Some(NodeId(0)),
            disk: None,
            driver: None,
            reads: None,
        };
        let left = Left {
            cpus: &[(CpuId(0), Some(NodeId(0))), (CpuId(1), Some(NodeId(1)))],
            devices: &[device("a"), device("b")],
            kmsg: &[],
            trace: &["first", "second"],
        };
        let title = Title { case: "case", kernel: "with", folder: "boots/001-with", phase: None };
        Timeline::of(title, &boot, left)
    }

    #[test]
    fn a_worker_has_a_lane_and_time_begins_with_the_first_probe() {
        let drawn = timeline(vec![
            probe("b", 150, 300, Some(9)),
            probe("a", 100, 200, Some(7)),
            probe("a", 300, 400, Some(9)),
        ]);
        assert_eq!(drawn.lanes, ["thread 7", "thread 9"]);
        let seen: Vec<_> =
            drawn.bars.iter().map(|bar| (bar.device.as_str(), bar.lane, bar.start_us, bar.took_us)).collect();
        assert_eq!(seen, [("a", 0, 0, 100), ("b", 1, 50, 150), ("a", 1, 200, 100)]);
        assert_eq!(drawn.makespan_us(), 300);
        // The end of one probe is the start of the next: nothing changes there.
        assert_eq!(drawn.in_flight(), [(0, 1), (50, 2), (100, 1), (300, 0)]);
        assert_eq!(drawn.bars[0].at_home, Some(false));
        assert_eq!(
            drawn.bars[0].lines,
            [("trace.txt", 1, "first".into()), ("trace.txt", 2, "second".into())]
        );
    }

    #[test]
    fn without_threads_a_probe_is_in_the_first_lane_that_is_free() {
        let drawn =
            timeline(vec![probe("a", 0, 10, None), probe("b", 5, 20, Some(1)), probe("a", 10, 15, None)]);
        assert_eq!(drawn.bars.iter().map(|bar| bar.lane).collect::<Vec<_>>(), [0, 1, 0]);
        assert_eq!(drawn.lanes, ["lane 1", "lane 2"]);
    }
}
