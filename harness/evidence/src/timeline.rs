//! Turns probe intervals into numbers: most in flight, workers, makespan.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{CpuId, KernelTime, ThreadId};

/// One probe of one device, as one witness saw it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Probe {
    /// Name of the device.
    pub device: String,
    /// When `really_probe()` was entered.
    pub start: KernelTime,
    /// When it returned.
    pub end: KernelTime,
    /// What it returned: 0 for bound, an errno for failed; see also
    /// [`FAILED_SOMEHOW`](crate::boot::FAILED_SOMEHOW).
    pub returned: i64,
    /// The thread that ran it; `None` where the log does not say.
    pub thread: Option<ThreadId>,
    /// The lines of the witness's text with its start and its end, from 1. A log has only the end.
    pub lines: (usize, usize),
    /// The CPUs it was entered and left on; `None` where the witness does not know: only a trace does.
    pub cpus: Option<(CpuId, CpuId)>,
}

/// The highest number of probes that ran at the same time.
pub fn max_in_flight(probes: &[Probe]) -> usize {
    peak(probes).map_or(0, |(most, _)| most)
}

/// The highest number of probes that ran at the same time, and when that was first so.
///
/// A probe that ends in the microsecond in which another starts did not overlap it.
pub fn peak(probes: &[Probe]) -> Option<(usize, KernelTime)> {
    // Both come nearly in order, which a stable sort makes use of.
    let sorted = |time: fn(&Probe) -> KernelTime| {
        let mut times: Vec<KernelTime> = probes.iter().map(time).collect();
        times.sort();
        times
    };
    let (starts, ends) = (sorted(|probe| probe.start), sorted(|probe| probe.end));
    let mut ended = 0;
    let mut most: Option<(usize, KernelTime)> = None;
    for (begun, start) in starts.into_iter().enumerate() {
        ended += ends[ended..].iter().take_while(|end| **end <= start).count();
        let running = (begun + 1).saturating_sub(ended);
        if most.is_none_or(|(count, _)| running > count) {
            most = Some((running, start));
        }
    }
    most
}

/// How many threads ran probes; `None` where the witness does not know the thread of every probe.
pub fn workers(probes: &[Probe]) -> Option<usize> {
    let threads: Option<BTreeSet<ThreadId>> = probes.iter().map(|probe| probe.thread).collect();
    threads.map(|threads| threads.len())
}

/// From the start of the first probe to the end of the last; `None` without probes.
pub fn makespan(probes: &[Probe]) -> Option<Duration> {
    let first = probes.iter().map(|probe| probe.start).min()?;
    let last = probes.iter().map(|probe| probe.end).max()?;
    Some(last.since(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(start: u64, end: u64, thread: u32) -> Probe {
        Probe {
            device: format!("0:0:0:{start}"),
            start: KernelTime::from_micros(start),
            end: KernelTime::from_micros(end),
            returned: 0,
            thread: Some(ThreadId(thread)),
            lines: (1, 1),
            cpus: None,
        }
    }

    #[test]
    fn probes_end_to_end_are_one_in_flight() {
        assert_eq!(max_in_flight(&[probe(0, 10, 1), probe(10, 20, 1), probe(20, 30, 1)]), 1);
    }

    #[test]
    fn probes_that_overlap_are_counted_where_most_do() {
        let probes = [probe(0, 10, 1), probe(5, 30, 2), probe(9, 12, 3), probe(11, 20, 1)];
        assert_eq!(max_in_flight(&probes), 3);
        assert_eq!(workers(&probes), Some(3));
        assert_eq!(makespan(&probes), Some(Duration::from_micros(30)));
    }

    #[test]
    fn nothing_probed_has_no_makespan() {
        assert_eq!(max_in_flight(&[]), 0);
        assert_eq!(makespan(&[]), None);
    }

    #[test]
    fn one_probe_without_a_thread_leaves_the_workers_unknown() {
        let unknown = Probe { thread: None, ..probe(0, 1, 1) };
        assert_eq!(workers(&[probe(0, 1, 1), unknown]), None);
    }

    proptest::proptest! {
        #[test]
        fn in_flight_lies_between_one_and_all_and_is_what_a_count_at_every_start_gives(
            spans in proptest::collection::vec((0u64..200, 1u64..50), 1..40)
        ) {
            let probes: Vec<Probe> = spans.iter().map(|&(start, len)| probe(start, start + len, 1)).collect();
            let by_count = probes
                .iter()
                .map(|at| probes.iter().filter(|p| p.start <= at.start && at.start < p.end).count())
                .max();
            assert_eq!(Some(max_in_flight(&probes)), by_count);
        }
    }
}
