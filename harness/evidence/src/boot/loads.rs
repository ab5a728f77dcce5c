//! Follows the loads of modules by the harness's marks, and finds the probes that they should have waited for.

use std::time::Duration;

use crate::timeline::Probe;
use crate::units::KernelTime;

/// How far the clocks of two CPUs may be apart where the kernel does not take them for stable: a tick, of which there are
/// 100 a second at least (sched_clock_local(), kernel/sched/clock.c; CONFIG_HZ).
const TICK: Duration = Duration::from_millis(10);

/// How a load of a module in the phase went.
pub(super) struct Load {
    pub(super) module: String,
    pub(super) begun: KernelTime,
    pub(super) returned: Option<KernelTime>,
    pub(super) initcall: Option<Duration>,
}

/// Probes that a load should have waited for: they ended after it had returned, and began before the next one did.
/// While another load is under way nobody is to wait: its probes come and go. `None`, too, where the clocks may be apart
/// and no probe is later than that explains.
pub(super) fn late_probes(probes: &[Probe], loads: &[Load], one_clock: bool) -> Option<usize> {
    let apart = if one_clock { Duration::ZERO } else { TICK };
    let (mut late, mut surely) = (None, false);
    for (number, load) in loads.iter().enumerate() {
        let Some(returned) = load.returned else { continue };
        let under_way = |other: &Load| {
            other.begun < returned && other.returned.is_none_or(|its_return| its_return > returned)
        };
        if loads.iter().enumerate().any(|(other, its)| other != number && under_way(its)) {
            continue;
        }
        let next = loads.iter().map(|other| other.begun).filter(|begun| *begun > returned).min();
        let missed = |probe: &&Probe| probe.end > returned && next.is_none_or(|next| probe.start < next);
        let missed = || probes.iter().filter(missed);
        *late.get_or_insert(0) += missed().count();
        surely |= missed().any(|probe| probe.end.since(returned) > apart);
    }
    late.filter(|late| *late == 0 || surely)
}

/// `insmod sd_mod begins`, `insmod sd_mod ends`.
pub(super) fn note(loads: &mut Vec<Load>, mark: &str, time: KernelTime) {
    let Some(rest) = mark.strip_prefix("insmod ") else { return };
    if let Some(module) = rest.strip_suffix(" begins") {
        loads.push(Load { module: module.to_owned(), begun: time, returned: None, initcall: None });
    } else if let Some(module) = rest.strip_suffix(" ends") {
        let open = loads.iter_mut().rev().find(|load| load.module == module && load.returned.is_none());
        if let Some(load) = open {
            load.returned = Some(time);
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
            returned: Some(at(returned)),
            initcall: None,
        };
        let probes = [probe(1, 9), probe(21, 35)];
        assert_eq!(late_probes(&probes, &[load(0, 10), load(20, 40)], true), Some(0));
        assert_eq!(late_probes(&probes, &[load(0, 10), load(20, 30)], true), Some(1));
        // The first round is judged as well as the last.
        assert_eq!(late_probes(&probes, &[load(0, 5), load(20, 40)], true), Some(1));
        // The second load returns while the first, whose scan goes on, is under way.
        assert_eq!(late_probes(&probes, &[load(0, 40), load(20, 30)], true), Some(0));
        assert_eq!(late_probes(&probes, &[], true), None);
    }

    #[test]
    fn where_clocks_may_be_a_tick_apart_a_probe_is_late_only_by_more() {
        let at = KernelTime::from_micros;
        let probe = |end| Probe {
            device: String::new(),
            start: at(0),
            end: at(end),
            returned: 0,
            thread: None,
            lines: (1, 1),
            cpus: None,
        };
        let load = Load { module: String::new(), begun: at(0), returned: Some(at(100)), initcall: None };
        let late =
            |end, one_clock| late_probes(&[probe(99), probe(end)], std::slice::from_ref(&load), one_clock);
        assert_eq!((late(100, true), late(100, false)), (Some(0), Some(0)));
        assert_eq!((late(101, true), late(101, false)), (Some(1), None));
        assert_eq!((late(10_101, true), late(10_101, false)), (Some(1), Some(1)));
    }
}
