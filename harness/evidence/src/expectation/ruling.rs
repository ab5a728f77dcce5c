//! Rules on an expectation by a boot: whether it holds, what was seen, and where that can be read.

use std::time::Duration;

use super::{Expectation, Which};
use crate::boot::{Boot, Heard, Said};
use crate::timeline::{self, Probe};
use crate::units::KernelTime;

/// What one boot says about an expectation.
pub(crate) enum Ruling {
    Holds,
    Fails,
    /// It cannot tell, for this reason.
    CannotTell(String),
}

/// Rules on an expectation by one boot.
pub(crate) fn rule(expectation: &Expectation, boot: &Boot) -> Ruling {
    // A complaint is one even where other lines are lost.
    if let Expectation::NoComplaint = expectation
        && !boot.splats.is_empty()
    {
        return Ruling::Fails;
    }
    if let Some(doubt) = boot.doubt() {
        return Ruling::CannotTell(doubt);
    }
    if let Some(text) = expectation.asks()
        && !boot.said.contains_key(text)
    {
        return Ruling::CannotTell(format!("nobody listened for \"{text}\" in the log"));
    }
    let facts = &boot.facts;
    let all_bound = |of: usize| facts.devices == of && facts.bound == of;
    let holds = match *expectation {
        Expectation::AllBound { of, rounds } => {
            Some(all_bound(of) && facts.probes_of_one == (rounds, rounds))
        }
        Expectation::AllBoundInTheEnd { of } => Some(all_bound(of)),
        Expectation::Bound { bound, of } => Some(facts.bound == bound && facts.devices == of),
        Expectation::InFlightAtLeast(_)
        | Expectation::InFlightAtMost(_)
        | Expectation::ReadsOverlap { .. }
        | Expectation::SlowestHoldsUpNobody
            if facts.probes < 2 =>
        {
            return Ruling::CannotTell("it takes two probes to run side by side".to_owned());
        }
        // Where the log names no thread, nothing tells a probe that began as another one ended from one that began before
        // it: boot/log.rs says how far the clocks are apart.
        Expectation::InFlightAtLeast(2) | Expectation::InFlightAtMost(1)
            if boot.trace.is_none() && facts.workers.is_none() && facts.max_in_flight == 2 =>
        {
            return Ruling::CannotTell(
                "no witness names threads, and two may be one after the other".to_owned(),
            );
        }
        Expectation::InFlightAtLeast(n) if (2..n).contains(&facts.max_in_flight) => {
            let seen = facts.max_in_flight;
            return Ruling::CannotTell(format!("{seen} is more than one at a time, and fewer than {n}"));
        }
        Expectation::InFlightAtLeast(n) => Some(facts.max_in_flight >= n),
        Expectation::AttachedBy { function, calls } => {
            let seen: Vec<_> =
                facts.attach_calls.iter().map(|(name, count)| (name.as_str(), *count)).collect();
            (!seen.is_empty()).then(|| seen == [(function, calls)])
        }
        Expectation::ReadsOverlap { latency } => match (ends_apart(boot), reads(boot, latency)) {
            (Some(apart), Some(reads)) if apart * 10 < reads * 9 => Some(true),
            (Some(_), Some(reads)) if cpu_of_one(boot).is_some_and(|cpu| cpu * 2 <= reads) => Some(false),
            (Some(apart), Some(reads)) => {
                return Ruling::CannotTell(format!(
                    "probes end {apart:?} apart, and their CPU time may explain that as well as {reads:?} of reads"
                ));
            }
            _ => None,
        },
        Expectation::InFlightAtMost(n) => Some(facts.max_in_flight <= n),
        Expectation::WorkersAtMost(n) => facts.workers.map(|workers| workers <= n),
        Expectation::LocalAtLeast { .. } | Expectation::BegunLocalAtLeast { .. }
            if facts.placeable == Some(0) =>
        {
            return Ruling::CannotTell("no device has a node with CPUs".to_owned());
        }
        Expectation::BegunLocalAtLeast { percent } => match (facts.begun_local, facts.placeable) {
            (Some(begun), Some(all)) if (all + 1..).contains(&(begun * 2)) && begun * 100 < all * percent => {
                return Ruling::CannotTell(format!("{begun} of {all} is more than half, and not much more"));
            }
            (Some(begun), Some(all)) => Some(begun * 100 >= all * percent),
            _ => None,
        },
        Expectation::LocalAtLeast { percent } => match (facts.local_probes, facts.placeable) {
            (Some(local), Some(placeable)) => Some(local * 100 >= placeable * percent),
            _ => None,
        },
        Expectation::LoadWaits => facts.late_probes.map(|late| late == 0),
        Expectation::LoadReturnsEarly => facts.late_probes.map(|late| late > 0),
        Expectation::NeverProbed { device, gone } => {
            let went = lines_with(boot, gone).find(|said| said.text.ends_with(gone)).map(|said| said.time);
            match (probed_though_gone(boot, device), went, &boot.trace) {
                (_, None, _) | (_, _, None) => None,
                (None, Some(_), Some(_)) => Some(true),
                (Some(probe), Some(went), _) if probe.start > went => Some(false),
                (Some(_), Some(_), _) => {
                    return Ruling::CannotTell("its probe began before it went".to_owned());
                }
            }
        }
        Expectation::MeetsProbes { which, when } => match met(boot, which, when) {
            Met { moments, probes: 0, lines: _ } => {
                return Ruling::CannotTell(format!("there was none at any of {moments} moments"));
            }
            Met { .. } => Some(true),
        },
        Expectation::SlowestHoldsUpNobody => held_up(boot).map(|(_, held)| held.is_empty()),
        Expectation::Says { text, times } => Some(how_many(boot, text) == times),
        Expectation::NoComplaint => Some(true),
        Expectation::InitcallsInOrder => facts.initcalls_out_of_order.as_ref().map(Vec::is_empty),
        Expectation::NothingPendingAtInit => facts.pending_at_init.map(|pending| pending == 0),
    };
    match holds {
        Some(true) => Ruling::Holds,
        Some(false) => Ruling::Fails,
        None => Ruling::CannotTell("neither log nor trace shows it on this kernel".to_owned()),
    }
}

/// How long after the one before a probe ended: half of them sooner, half of them later.
fn ends_apart(boot: &Boot) -> Option<Duration> {
    let mut ends: Vec<KernelTime> = boot.best().probes.iter().map(|probe| probe.end).collect();
    ends.sort_unstable();
    let mut apart: Vec<Duration> = ends.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    apart.sort_unstable();
    apart.get(apart.len().checked_sub(1)? / 2).copied()
}

/// How long the reads of a probe take, one after another.
fn reads(boot: &Boot, latency: Duration) -> Option<Duration> {
    let (fewest, _) = boot.facts.reads_of_one?;
    latency.checked_mul(u32::try_from(fewest).ok()?)
}

/// CPU time of a probe.
fn cpu_of_one(boot: &Boot) -> Option<Duration> {
    boot.facts.cpu?.checked_div(u32::try_from(boot.facts.probes).ok()?)
}

/// A probe of this device, which is gone.
fn probed_though_gone<'a>(boot: &'a Boot, device: &str) -> Option<&'a Probe> {
    boot.gone.iter().find(|probe| probe.device == device)
}

/// The moments at which something was done, and the most probes of the kind there were at one of them.
struct Met {
    moments: usize,
    probes: usize,
    /// The lines of the log that name the moments.
    lines: Vec<usize>,
}

fn met(boot: &Boot, which: Which, when: &str) -> Met {
    let all = || boot.best().probes.iter().chain(&boot.gone);
    let of_kind = |probe: &Probe, time| match which {
        Which::UnderWay => probe.start <= time && time < probe.end,
        Which::ToBegin => time < probe.start,
    };
    let count = |time| all().filter(|probe| of_kind(probe, time)).count();
    Met {
        moments: how_many(boot, when),
        probes: lines_with(boot, when).map(|said| count(said.time)).max().unwrap_or(0),
        lines: lines_with(boot, when).map(|said| said.line).collect(),
    }
}

/// The longest probe, and those that waited for it.
fn held_up(boot: &Boot) -> Option<(&Probe, Vec<&Probe>)> {
    let probes = &boot.best().probes;
    let took = |probe: &Probe| probe.end.since(probe.start);
    let slow = probes.iter().max_by_key(|probe| took(probe))?;
    let held = |probe: &&Probe| {
        probe.device != slow.device && (probe.end > slow.end || took(probe) * 2 > took(slow))
    };
    Some((slow, probes.iter().filter(held).collect()))
}

/// The lines with this text that are kept.
fn lines_with<'a>(boot: &'a Boot, text: &str) -> impl Iterator<Item = &'a Said> {
    boot.said.get(text).into_iter().flat_map(Heard::iter)
}

/// How many lines have this text.
fn how_many(boot: &Boot, text: &str) -> usize {
    boot.said.get(text).map_or(0, Heard::len)
}

/// What it was, and where in a boot's files it can be read.
pub(crate) fn show(expectation: &Expectation, place: &str, boot: &Boot) -> String {
    let file = if boot.trace.is_some() { "trace.txt" } else { "kmsg.txt" };
    let testimony = boot.best();
    let range = |file: &str, lines: &[usize]| match (lines.iter().min(), lines.iter().max()) {
        (Some(first), Some(last)) if first == last => format!("{place}/{file}:{first}"),
        (Some(first), Some(last)) => format!("{place}/{file}:{first}-{last}"),
        _ => format!("{place}/{file}"),
    };
    let lines_of = |probes: &mut dyn Iterator<Item = &Probe>| {
        range(file, &probes.flat_map(|probe| [probe.lines.0, probe.lines.1]).collect::<Vec<_>>())
    };
    let value = value(expectation, boot);
    match expectation {
        Expectation::AllBound { .. } | Expectation::AllBoundInTheEnd { .. } | Expectation::Bound { .. } => {
            format!("{value} in {place}/guest.json")
        }
        Expectation::AttachedBy { .. } => format!("{value} in {}", range(file, &testimony.call_lines)),
        Expectation::InFlightAtLeast(_) | Expectation::InFlightAtMost(_) => {
            match timeline::peak(&testimony.probes) {
                Some((most, at)) => {
                    let mut then = testimony.probes.iter().filter(|p| p.start <= at && at < p.end);
                    format!("{most} at {at}, from start to end within {}", lines_of(&mut then))
                }
                None => format!("no probe in {place}/{file}"),
            }
        }
        Expectation::ReadsOverlap { .. }
        | Expectation::WorkersAtMost(_)
        | Expectation::LocalAtLeast { .. }
        | Expectation::BegunLocalAtLeast { .. }
        | Expectation::LoadWaits
        | Expectation::LoadReturnsEarly => {
            format!("{value} in {}", lines_of(&mut testimony.probes.iter()))
        }
        Expectation::NeverProbed { device, .. } => match probed_though_gone(boot, device) {
            Some(probe) => format!("{value} in {}", lines_of(&mut std::iter::once(probe))),
            None => format!("{value} in {place}/{file}"),
        },
        Expectation::MeetsProbes { which, when } => {
            format!("{value} in {}", range("kmsg.txt", &met(boot, *which, when).lines))
        }
        Expectation::SlowestHoldsUpNobody => match held_up(boot) {
            Some((slow, _)) => format!("{value} in {}", lines_of(&mut std::iter::once(slow))),
            None => value,
        },
        Expectation::Says { text, .. } => {
            format!(
                "{value} in {}",
                range("kmsg.txt", &lines_with(boot, text).map(|said| said.line).collect::<Vec<_>>())
            )
        }
        Expectation::NoComplaint => match boot.splats.first() {
            Some((line, _)) => format!("{value} in {}", range("kmsg.txt", &[*line])),
            None => format!("{value} in {place}/kmsg.txt"),
        },
        Expectation::InitcallsInOrder | Expectation::NothingPendingAtInit => {
            format!("{value} in {place}/kmsg.txt")
        }
    }
}

/// What one boot has of the quantity that is expected.
pub(crate) fn value(expectation: &Expectation, boot: &Boot) -> String {
    let facts = &boot.facts;
    let or_unknown = |count: Option<usize>| count.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    match expectation {
        Expectation::AllBound { .. } => {
            let often = match facts.probes_of_one {
                (1, 1) => String::new(),
                (least, most) if least == most => format!(", each probed {least} times"),
                (least, most) => format!(", each probed {least} to {most} times"),
            };
            format!("{} of {}{often}", facts.bound, facts.devices)
        }
        Expectation::AllBoundInTheEnd { .. } | Expectation::Bound { .. } => {
            format!("{} of {}", facts.bound, facts.devices)
        }
        Expectation::AttachedBy { .. } => {
            let calls = facts.attach_calls.iter().map(|(name, count)| format!("{count} of {name}"));
            let calls = calls.collect::<Vec<_>>().join(" and ");
            if calls.is_empty() { "unknown".to_owned() } else { calls }
        }
        Expectation::InFlightAtLeast(_) | Expectation::InFlightAtMost(_) => facts.max_in_flight.to_string(),
        Expectation::ReadsOverlap { latency: _ } => {
            ends_apart(boot).map_or_else(|| "unknown".to_owned(), |apart| apart.as_millis().to_string())
        }
        Expectation::WorkersAtMost(_) => or_unknown(facts.workers),
        Expectation::LocalAtLeast { .. } => {
            format!("{} of {}", or_unknown(facts.local_probes), or_unknown(facts.placeable))
        }
        Expectation::BegunLocalAtLeast { .. } => {
            format!("{} of {}", or_unknown(facts.begun_local), or_unknown(facts.placeable))
        }
        Expectation::LoadWaits | Expectation::LoadReturnsEarly => match facts.late_probes {
            Some(0) => "all probes done".to_owned(),
            Some(late) => format!("{late} of {} probes still to end", boot.best().probes.len()),
            None => "unknown".to_owned(),
        },
        Expectation::NeverProbed { device, .. } => match probed_though_gone(boot, device) {
            Some(probe) => format!("probed at {}, which returned {}", probe.start, probe.returned),
            None => "never probed".to_owned(),
        },
        Expectation::MeetsProbes { which, when } => met(boot, *which, when).probes.to_string(),
        Expectation::SlowestHoldsUpNobody => match held_up(boot) {
            Some((slow, held)) => {
                let took = slow.end.since(slow.start);
                format!("{} took {took:?}, and {} probes waited or ended after it", slow.device, held.len())
            }
            None => "no probe".to_owned(),
        },
        Expectation::Says { text, .. } => how_many(boot, text).to_string(),
        Expectation::NoComplaint => match (boot.splats.first(), boot.splats.len()) {
            (None, _) => "none".to_owned(),
            (Some((_, text)), 1) => text.clone(),
            (Some((_, text)), all) => format!("{text} (and {} more)", all - 1),
        },
        Expectation::InitcallsInOrder => match facts.initcalls_out_of_order.as_deref() {
            Some([]) => "in order".to_owned(),
            Some([first, ..]) => first.clone(),
            None => "unknown".to_owned(),
        },
        Expectation::NothingPendingAtInit => match facts.pending_at_init {
            Some(0) => "nothing".to_owned(),
            pending => format!("{} ended later", or_unknown(pending)),
        },
    }
}
