//! Boots of one kernel to what they show of a fault.

use std::path::Path;
use std::time::Duration;

use evidence::certainty::Tally;
use evidence::judge::{Finding, Outcome};
use evidence::sequential;
use evidence::stats::Ratio;
use lab::failure::{Failure, Kind};
use lab::guest::Cause;
use lab::guest::topology::Topology;
use lab::kernel::{Behaviour, Recipe};
use lab::run::{self, Bootable, Lineup};
use lab::watch::Watch;
use report::document::RatioEntry;
use testcases::{CASES, Case, Circumstances, End, KernelResult, Rounds, Seen, Standing, Verdict};

use crate::cli::{QuestionArguments, Symptom};
use crate::metric::Metric;

/// How sure an answer has to be.
pub(super) const SURE: f64 = 0.99;
/// Boots after which a kernel is given up: of which nobody can tell by then, nobody will tell soon.
const MOST_BOOTS: u32 = 40;
/// Boots that show nothing, one way or the other, after which it is given up.
const MOST_UNCLEAR: u32 = 3;
/// Pairs of boots, where a time is compared.
const ROUNDS: Rounds = Rounds::UntilClear { least: 3, most: 30 };

/// What is asked of each kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) case: &'static Case,
    pub(super) topology: Topology,
    pub(super) metric: Option<Metric>,
}

/// Something that is not as expected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    /// What was expected, or how the kernel died: the same in each boot.
    pub(super) what: String,
    /// What was seen.
    pub(super) seen: String,
    /// Whether the kernel died or hung.
    pub(super) died: bool,
}

/// What a boot showed.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    /// It came to its end, or its kernel died.
    Told(Box<Seen>),
    /// Nothing: it has to be repeated.
    Unclear(String),
    /// Nothing, and it never will: the kernel lacks something.
    Never(String),
}

/// What is known of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// Whether it has the fault; `None` where nobody can tell.
    pub(super) bad: Option<bool>,
    /// What it showed, or why nobody can tell.
    pub(super) why: String,
    pub(super) tally: Tally,
    pub(super) ratio: Option<RatioEntry>,
    /// The chance that this is right.
    pub(super) sure: f64,
}

impl Question {
    /// # Errors
    /// `Asked` for a case that there is not, or cannot be asked so.
    pub(super) fn of(arguments: &QuestionArguments) -> Result<Self, Failure> {
        let name = &arguments.case;
        let case = CASES.iter().copied().find(|case| case.name == *name).ok_or_else(|| {
            let known = CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
            let attempt = format!("find the case \"{name}\"");
            Failure::new(Kind::Asked, attempt, "there is none of that name", format!("use one of: {known}"))
        })?;
        Ok(Self { case, topology: arguments.shape.on(case.topology)?, metric: arguments.metric })
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances { topology: self.topology, host_cores: lab::host::host_cores() }
    }

    /// What a boot shows that is not as expected of a kernel that behaves so; an error where it cannot tell.
    pub(super) fn faults(&self, behaves: Option<Behaviour>, seen: &Seen) -> Result<Vec<Fault>, String> {
        let boots = std::slice::from_ref(seen);
        let Verdict { findings, others: _ } = Verdict::of(self.case, behaves, &self.circumstances(), boots);
        let refuted = findings.iter().filter(|finding| finding.outcome == Outcome::Refuted);
        let faults: Vec<Fault> = refuted
            .map(|finding| match &seen.end {
                End::Died { cause, .. } => Fault {
                    what: match cause {
                        Cause::Kernel { death, line: _ } => format!("the kernel lives: {death}"),
                        other => format!("the kernel lives: {other}"),
                    },
                    seen: finding.seen.clone(),
                    died: true,
                },
                End::Well(_) | End::Refused(_) => {
                    Fault { what: finding.expected.clone(), seen: finding.seen.clone(), died: false }
                }
            })
            .collect();
        match findings.iter().find(|finding| finding.outcome == Outcome::Inconclusive) {
            Some(unclear) if faults.is_empty() => Err(format!("{}: {}", unclear.expected, unclear.seen)),
            _ => Ok(faults),
        }
    }

    /// The fault that a boot shows, in words, if it shows one that is searched for; an error where it cannot tell, or
    /// fails otherwise.
    fn shows(&self, expected: &Expected<'_>, seen: &Seen) -> Result<Option<String>, String> {
        let mut faults = self.faults(expected.behaves, seen)?;
        faults.retain(|fault| !expected.tolerated.contains(&fault.what));
        let told = |fault: &Fault| format!("{}: {}", fault.what, fault.seen);
        match (faults.iter().find(|fault| (expected.is_fault)(fault)), faults.first()) {
            (Some(fault), _) => Ok(Some(told(fault))),
            (None, None) => Ok(None),
            (None, Some(other)) => Err(format!("fails otherwise: {}", told(other))),
        }
    }

    /// How a kernel behaves, by its boots: the most that all of them keep, whatever else they do not keep.
    pub(super) fn behaviour(&self, seen: &[Seen]) -> Option<Behaviour> {
        use Behaviour::{NearNode, PerDevice, PerDriver, PerNode};
        let findings = |behaves| Verdict::of(self.case, behaves, &self.circumstances(), seen).findings;
        // What is expected of every kernel tells none of them from the others.
        let of_every = findings(None);
        if of_every.first().is_none_or(|survival| survival.outcome != Outcome::Supported) {
            return None;
        }
        let keeps = |behaves: &Behaviour| {
            let own = |finding: &&Finding| !of_every.iter().any(|other| other.expected == finding.expected);
            findings(Some(*behaves)).iter().filter(own).all(|finding| finding.outcome == Outcome::Supported)
        };
        [PerNode, NearNode, PerDevice, PerDriver].into_iter().find(keeps)
    }
}

impl Symptom {
    /// Whether a fault is what is searched for, where the bad end shows these.
    pub(super) fn is(self, fault: &Fault, of_bad_end: &[String]) -> bool {
        match self {
            Self::Same => of_bad_end.contains(&fault.what),
            Self::Died => fault.died,
            Self::Failed => !fault.died,
            Self::Any => true,
        }
    }
}

/// What is expected of a kernel, and what of the rest is searched for.
pub(super) struct Expected<'a> {
    pub(super) behaves: Option<Behaviour>,
    /// Faults that are of no account.
    pub(super) tolerated: &'a [String],
    /// Which of the others are searched for.
    pub(super) is_fault: &'a dyn Fn(&Fault) -> bool,
}

/// Kernels and their boots.
pub(super) struct Bench<'a> {
    pub(super) question: Question,
    pub(super) lineup: Lineup,
    pub(super) watch: &'a dyn Watch,
}

impl Bench<'_> {
    /// The kernel of a recipe; in words why there is none, where that is the fault of its source.
    ///
    /// # Errors
    /// What is no fault of the source.
    pub(super) fn kernel(&mut self, recipe: &Recipe) -> Result<Result<Bootable, String>, Failure> {
        match self.lineup.add(recipe, &self.question.case.modules(), self.watch) {
            Ok(kernel) => Ok(Ok(kernel.clone())),
            Err(failure) if matches!(failure.kind, Kind::Build | Kind::Series) => {
                let first = failure.seen.lines().find(|line| line.contains("error")).unwrap_or(&failure.seen);
                Ok(Err(format!("could not {}: {}", failure.attempt, first.trim())))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Boots a kernel once.
    ///
    /// # Errors
    /// What is no fault of the kernel nor of its guest.
    pub(super) fn boot(&mut self, kernel: &Bootable) -> Result<Sight, Failure> {
        let Question { case, topology, metric: _ } = self.question;
        let number = self.lineup.next_boot();
        let name = run::boot_name(number, &kernel.name);
        let folder = run::make_boot_folder(&self.lineup.run, &name)?;
        let seed = u64::try_from(number).unwrap_or(0);
        let ending = testcases::boot(case, &topology, kernel, self.lineup.choice.accelerator, seed, &folder);
        match Seen::of(case, &self.question.circumstances(), &name, ending) {
            Ok(Seen {
                end: End::Died { cause: cause @ (Cause::Silence(_) | Cause::Overdue(_)), .. },
                ..
            }) => Ok(Sight::Unclear(cause.to_string())),
            Ok(seen) => Ok(Sight::Told(Box::new(seen))),
            Err(failure) if failure.kind == Kind::Guest => Ok(Sight::Unclear(failure.to_string())),
            Err(failure) if failure.kind == Kind::Build => Ok(Sight::Never(failure.to_string())),
            Err(failure) => Err(failure),
        }
    }

    /// Boots a kernel until so many boots have told something.
    ///
    /// # Errors
    /// As [`Bench::boot`]; `Guest` where boots tell nothing.
    pub(super) fn boots(&mut self, kernel: &Bootable, number: u32) -> Result<Vec<Seen>, Failure> {
        let (mut seen, mut unclear) = (Vec::new(), 0);
        self.watch.stage(&format!("boot {}", kernel.name));
        while seen.len() < number as usize {
            self.watch.count(seen.len() as u64, Some(u64::from(number)), "boots");
            let why = match self.boot(kernel)? {
                Sight::Told(boot) => {
                    seen.push(*boot);
                    continue;
                }
                Sight::Unclear(why) | Sight::Never(why) => why,
            };
            unclear += 1;
            if unclear >= MOST_UNCLEAR {
                let attempt = format!("boot the kernel \"{}\"", kernel.name);
                let next =
                    "see that the ends of the search boot: `cargo xtask boot` shows a kernel's console";
                return Err(Failure::new(Kind::Guest, attempt, why, next));
            }
        }
        Ok(seen)
    }

    /// Boots a kernel until it is sure whether it has the fault.
    ///
    /// # Errors
    /// As [`Bench::boot`].
    pub(super) fn tell(
        &mut self,
        kernel: &Bootable,
        expected: &Expected<'_>,
        chance: &dyn Fn(Tally) -> f64,
    ) -> Result<Found, Failure> {
        self.watch.stage(&format!("boot {}", kernel.name));
        let mut found = Found {
            bad: None,
            why: "shows no fault".to_owned(),
            tally: Tally::default(),
            ratio: None,
            sure: 0.5,
        };
        let mut unclear = 0;
        while found.tally.boots() < MOST_BOOTS {
            let shown = match self.boot(kernel)? {
                Sight::Told(seen) => self.question.shows(expected, &seen),
                Sight::Unclear(why) => Err(why),
                Sight::Never(why) => {
                    found.why = why;
                    return Ok(found);
                }
            };
            match shown {
                Ok(shown) => {
                    found.tally = found.tally.with(shown.is_some());
                    found.why = shown.unwrap_or(found.why);
                }
                Err(why) => {
                    unclear += 1;
                    if unclear >= MOST_UNCLEAR {
                        found.why = why;
                        return Ok(found);
                    }
                    continue;
                }
            }
            let chance = chance(found.tally);
            found.sure = chance.max(1.0 - chance);
            self.watch.count(u64::from(found.tally.boots()), None, "boots");
            if found.sure >= SURE {
                found.bad = Some(chance > 0.5);
                return Ok(found);
            }
        }
        found.why = format!("{} of {MOST_BOOTS} boots show it: neither good nor bad", found.tally.shown);
        Ok(found)
    }

    /// Compares a kernel with another one until it is clear whether it takes more than so many times as long.
    ///
    /// # Errors
    /// As [`testcases::carry_out`]; of a guest that is lost, none.
    pub(super) fn compare(
        &mut self,
        metric: Metric,
        (good, kernel): (&Bootable, &Bootable),
        threshold: f64,
        folder: &Path,
    ) -> Result<Found, Failure> {
        let Question { case, topology, metric: _ } = self.question;
        let pair = self.lineup.among(&[&good.name, &kernel.name], folder.to_owned())?;
        let ratio = |results: &[KernelResult]| match results {
            [good, other] => (metric.pairs(good, other).len(), times_as_long(&metric.pairs(good, other))),
            _ => (0, None),
        };
        let above = |ratio: Option<Ratio>| {
            let interval = ratio?.interval?;
            if interval.low > threshold { Some(true) } else { (interval.high < threshold).then_some(false) }
        };
        let standing = |results: &[KernelResult]| {
            let (_, ratio) = ratio(results);
            let interval = ratio.and_then(|ratio| ratio.interval);
            let told = interval.map(|of| format!("{:.2} to {:.2} times as long", of.low, of.high));
            Standing { clear: above(ratio).is_some(), told: told.unwrap_or_default() }
        };
        let forks = if testcases::can_fork(case) { 3 } else { 0 };
        let mut found =
            Found { bad: None, why: String::new(), tally: Tally::default(), ratio: None, sure: 0.5 };
        let results = match testcases::carry_out(case, &topology, &pair, ROUNDS, forks, standing, self.watch)
        {
            Ok(results) => results,
            Err(failure) if matches!(failure.kind, Kind::Guest | Kind::Build) => {
                found.why = failure.to_string();
                return Ok(found);
            }
            Err(failure) => return Err(failure),
        };
        let samples = results.iter().flat_map(|result| &result.boots).flat_map(|boot| &boot.samples);
        for sample in samples {
            if let End::Died { cause, .. } = &sample.end {
                found.why = format!("fails otherwise: {cause}");
                return Ok(found);
            }
        }
        let (pairs, ratio) = ratio(&results);
        found.tally.clean = u32::try_from(pairs).unwrap_or(u32::MAX);
        found.bad = above(ratio);
        found.ratio = ratio.map(|ratio| RatioEntry {
            ratio: ratio.ratio,
            low: ratio.interval.map(|interval| interval.low),
            high: ratio.interval.map(|interval| interval.high),
        });
        found.sure = if found.bad.is_some() { SURE } else { 0.5 };
        let name = metric.name();
        found.why = match ratio {
            Some(ratio) => format!("{name} {:.2} times that of the good end", ratio.ratio),
            None => format!("no boot has a {name} on which a claim can rest"),
        };
        Ok(found)
    }
}

/// How many times as long as the first the second takes.
fn times_as_long(pairs: &[(Duration, Duration)]) -> Option<Ratio> {
    sequential::ratio_at(pairs, SURE).map(Ratio::inverse)
}

#[cfg(test)]
mod tests;
