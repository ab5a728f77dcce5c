//! Holds the two witnesses of a boot against each other.

use std::collections::HashMap;

use crate::boot::Testimony;
use crate::timeline::{self, Probe};

/// Where the witnesses differ: in the devices probed, in what a probe returned, in the thread that ran it, in
/// how many ran at once.
pub(crate) fn differences(log: &Testimony, trace: &Testimony) -> Vec<String> {
    let mut found = Vec::new();
    let (mut in_log, in_trace) = (by_device(log), by_device(trace));
    for (device, traced) in in_order(&in_trace) {
        let Some(logged) = in_log.remove(device) else {
            found.push(format!("only the trace shows a probe of {device}"));
            continue;
        };
        if logged.len() != traced.len() {
            found.push(format!(
                "{device}: {} probes in the log, {} in the trace",
                logged.len(),
                traced.len()
            ));
            continue;
        }
        for (logged, traced) in logged.iter().zip(traced) {
            if logged.returned != traced.returned {
                let (in_log, in_trace) = (logged.returned, traced.returned);
                found.push(format!("{device}: returned {in_log} in the log, {in_trace} in the trace"));
            }
            if let (Some(in_log), Some(in_trace)) = (logged.thread, traced.thread)
                && in_log != in_trace
            {
                found
                    .push(format!("{device}: probed by thread {in_log} in the log, {in_trace} in the trace"));
            }
        }
    }
    let only_logged = in_order(&in_log).into_iter();
    found.extend(only_logged.map(|(device, _)| format!("only the log shows a probe of {device}")));
    let (in_log, in_trace) = (timeline::max_in_flight(&log.probes), timeline::max_in_flight(&trace.probes));
    if in_log.abs_diff(in_trace) > in_trace / SLACK {
        found.push(format!("most in flight: {in_log} in the log, {in_trace} in the trace"));
    }
    found
}

/// The probes of each device.
fn by_device(testimony: &Testimony) -> HashMap<&str, Vec<&Probe>> {
    let mut by_device: HashMap<&str, Vec<&Probe>> = HashMap::new();
    for probe in &testimony.probes {
        by_device.entry(&probe.device).or_default().push(probe);
    }
    by_device
}

/// By the names of the devices: witnesses that differ do so in the same order each time.
fn in_order<'m, 'p>(by_device: &'m HashMap<&'p str, Vec<&'p Probe>>) -> Vec<(&'p str, &'m [&'p Probe])> {
    let mut devices: Vec<_> = by_device.iter().map(|(device, probes)| (*device, probes.as_slice())).collect();
    devices.sort_unstable_by_key(|(device, _)| *device);
    devices
}

/// The witnesses may differ by one in so many in how many probes they saw at once, rounded down: below ten
/// they have to agree.
///
/// The trace stamps the return of `really_probe()`, the log the print after it. Between the two the thread may
/// have to wait for a CPU, while another probe begins. Seen: 46 against 45.
const SLACK: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{KernelTime, ThreadId};

    fn testimony(probes: &[(&str, u64, u64, u32)]) -> Testimony {
        let probe = |&(device, start, end, thread): &(&str, u64, u64, u32)| Probe {
            device: device.to_owned(),
            start: KernelTime::from_micros(start),
            end: KernelTime::from_micros(end),
            returned: 0,
            thread: Some(ThreadId(thread)),
            lines: (1, 1),
            cpus: None,
        };
        Testimony { probes: probes.iter().map(probe).collect(), ..Testimony::default() }
    }

    #[test]
    fn witnesses_that_saw_the_same_do_not_differ_however_their_stamps_do() {
        let log = testimony(&[("0:0:0:0", 1, 10, 7), ("0:0:0:1", 12, 20, 7)]);
        let trace = testimony(&[("0:0:0:0", 0, 9, 7), ("0:0:0:1", 11, 19, 7)]);
        assert_eq!(differences(&log, &trace), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_said() {
        let log = testimony(&[("0:0:0:0", 0, 10, 7), ("0:0:0:1", 5, 20, 8), ("0:0:0:3", 30, 40, 7)]);
        let mut trace = testimony(&[("0:0:0:0", 0, 10, 7), ("0:0:0:1", 10, 20, 7), ("0:0:0:2", 30, 40, 7)]);
        trace.probes[0].returned = 19;
        let expected = [
            "0:0:0:0: returned 0 in the log, 19 in the trace",
            "0:0:0:1: probed by thread 8 in the log, 7 in the trace",
            "only the trace shows a probe of 0:0:0:2",
            "only the log shows a probe of 0:0:0:3",
            "most in flight: 2 in the log, 1 in the trace",
        ];
        assert_eq!(differences(&log, &trace), expected);
    }
}
