//! Follows the loads of modules by the harness's marks, and finds the probes that they should have waited for.

use std::time::Duration;

use crate::timeline::Probe;
use crate::units::KernelTime;

/// How a load of a module in the phase went.
pub(super) struct Load {
    pub(super) module: String,
    pub(super) begun: KernelTime,
    pub(super) returned: Option<Returned>,
    pub(super) initcall: Option<Duration>,
}

/// A load came to its end.
#[derive(Clone, Copy)]
pub(super) struct Returned {
    /// When.
    pub(super) at: KernelTime,
    /// The line that says so.
    pub(super) line: usize,
}

/// By what is told whether a probe ended after a load returned.
///
/// The stamps of printk() are of the clock of one CPU, and those of two CPUs may be some milliseconds apart where the
/// kernel does not take its TSC for stable, as under TCG (kernel/sched/clock.c). So stamps of a log tell nothing that
/// close, not even beside those of a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    /// Both in the log, which is in the order in which it was written.
    Lines,
    /// Both in the trace: its clock is held back from running behind what another CPU has recorded, unless two record at
    /// the same moment (trace_clock_global(), kernel/trace/trace_clock.c). Its lines are of one CPU after the other where
    /// stamps are the same.
    Stamps,
}

/// Probes that a load should have waited for: they ended after it had returned, and began before the next one did.
/// While another load is under way nobody is to wait: its probes come and go.
pub(super) fn late_probes(probes: &[Probe], loads: &[Load], order: Order) -> Option<usize> {
    let mut late = None;
    for (number, load) in loads.iter().enumerate() {
        let Some(returned) = load.returned else { continue };
        let under_way =
            |other: &Load| other.begun < returned.at && other.returned.is_none_or(|its| its.at > returned.at);
        if loads.iter().enumerate().any(|(other, its)| other != number && under_way(its)) {
            continue;
        }
        let next = loads.iter().map(|other| other.begun).filter(|begun| *begun > returned.at).min();
        let ended_later = |probe: &Probe| match order {
            Order::Lines => probe.lines.1 > returned.line,
            Order::Stamps => probe.end > returned.at,
        };
        let missed = |probe: &&Probe| ended_later(probe) && next.is_none_or(|next| probe.start < next);
        *late.get_or_insert(0) += probes.iter().filter(missed).count();
    }
    late
}

/// `insmod sd_mod begins`, `insmod sd_mod ends`.
pub(super) fn note(loads: &mut Vec<Load>, mark: &str, time: KernelTime, line: usize) {
    let Some(rest) = mark.strip_prefix("insmod ") else { return };
    if let Some(module) = rest.strip_suffix(" begins") {
        loads.push(Load { module: module.to_owned(), begun: time, returned: None, initcall: None });
    } else if let Some(module) = rest.strip_suffix(" ends") {
        let open = loads.iter_mut().rev().find(|load| load.module == module && load.returned.is_none());
        if let Some(load) = open {
            load.returned = Some(Returned { at: time, line });
        }
    }
}

/// An initcall has ended: how long it took, unless it failed.
pub(super) fn note_initcall(loads: &mut [Load], symbol: &str, took: Option<Duration>) {
    if let Some(load) = loads.last_mut()
        && let Some(module) =
            symbol.strip_suffix(']').and_then(|rest| rest.strip_suffix(load.module.as_str()))
        && module.ends_with('[')
    {
        load.initcall = took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_has_to_wait_for_the_probes_of_its_round_unless_another_is_under_way() {
        let at = KernelTime::from_micros;
        let probe = |start, end| Probe {
            device: String::new(),
            start: at(start),
            end: at(end),
            returned: 0,
            thread: None,
            lines: (1, 1),
            cpus: None,
        };
        let load = |begun, returned| Load {
            module: String::new(),
            begun: at(begun),
            returned: Some(Returned { at: at(returned), line: 5 }),
            initcall: None,
        };
        let probes = [probe(1, 9), probe(21, 35)];
        let late_probes = |probes: &[Probe], loads: &[Load]| late_probes(probes, loads, Order::Stamps);
        assert_eq!(late_probes(&probes, &[load(0, 10), load(20, 40)]), Some(0));
        assert_eq!(late_probes(&probes, &[load(0, 10), load(20, 30)]), Some(1));
        // The first round is judged as well as the last.
        assert_eq!(late_probes(&probes, &[load(0, 5), load(20, 40)]), Some(1));
        // The second load returns while the first, whose scan goes on, is under way.
        assert_eq!(late_probes(&probes, &[load(0, 40), load(20, 30)]), Some(0));
        assert_eq!(late_probes(&probes, &[]), None);
    }

    #[test]
    fn in_a_log_it_is_lines_and_not_stamps_that_tell_what_came_first() {
        let at = KernelTime::from_micros;
        let probe = |end, line| Probe {
            device: String::new(),
            start: at(1),
            end: at(end),
            returned: 0,
            thread: None,
            lines: (line, line),
            cpus: None,
        };
        let returned = Some(Returned { at: at(10), line: 5 });
        let load = [Load { module: String::new(), begun: at(0), returned, initcall: None }];
        // The clock of its CPU is ahead, or behind.
        let (ahead, behind) = ([probe(12, 4)], [probe(8, 6)]);
        let late = |probes: &[Probe], order| late_probes(probes, &load, order);
        assert_eq!((late(&ahead, Order::Lines), late(&behind, Order::Lines)), (Some(0), Some(1)));
        assert_eq!((late(&ahead, Order::Stamps), late(&behind, Order::Stamps)), (Some(1), Some(0)));
        // Lines of a trace are of one CPU after the other.
        assert_eq!(late(&[probe(10, 6)], Order::Stamps), Some(0));
    }
}
