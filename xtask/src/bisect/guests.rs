//! Builds the kernels of a search and boots them in guests.

use std::path::Path;
use std::time::Duration;

use evidence::judge::{Finding, Outcome};
use evidence::sequential;
use evidence::stats::Ratio;
use lab::failure::{Failure, Kind};
use lab::guest::Cause;
use lab::kernel::Recipe;
use lab::run::{self, Bootable, Lineup};
use lab::watch::Watch;
use report::document::RatioEntry;
use testcases::{End, KernelResult, Rounds, Seen, Standing, Verdict};

use super::examine::{Boots, Found, SURE, Sight};
use super::question::Question;
use crate::metric::Metric;

/// Pairs of boots, where a time is compared.
const ROUNDS: Rounds = Rounds::UntilClear { least: 3, most: 30 };

/// Kernels lined up to be booted in guests.
pub(super) struct Guests<'a> {
    pub(super) question: Question,
    pub(super) lineup: Lineup,
    pub(super) watch: &'a dyn Watch,
}

impl Boots for Guests<'_> {
    fn kernel(&mut self, recipe: &Recipe) -> Result<Result<Bootable, String>, Failure> {
        match self.lineup.add(recipe, &self.question.case.modules(), self.watch) {
            Ok(kernel) => Ok(Ok(kernel.clone())),
            Err(failure) if matches!(failure.kind, Kind::Build | Kind::Series) => {
                let first = failure.seen.lines().find(|line| line.contains("error")).unwrap_or(&failure.seen);
                Ok(Err(format!("could not {}: {}", failure.attempt, first.trim())))
            }
            Err(failure) => Err(failure),
        }
    }

    fn boot(&mut self, kernel: &Bootable) -> Result<Sight, Failure> {
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
            }) => Ok(Sight::Silent(cause.to_string())),
            Ok(Seen { end: End::Died { cause: cause @ Cause::Starved { .. }, .. }, .. }) => {
                Ok(Sight::Unclear(cause.to_string()))
            }
            Ok(seen) => Ok(Sight::Told(Box::new(seen))),
            Err(failure) if failure.kind == Kind::Guest => Ok(Sight::Unclear(failure.to_string())),
            Err(failure) if failure.kind == Kind::Build => Ok(Sight::Never(failure.to_string())),
            Err(failure) => Err(failure),
        }
    }

    fn compare(
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
        let results = match testcases::carry_out(case, &topology, &pair, ROUNDS, forks, standing, self.watch)
        {
            Ok(results) => results,
            Err(failure) if failure.kind == Kind::Build => return Ok(Found::untold(failure.to_string())),
            Err(failure) => return Err(failure),
        };
        let samples = results.iter().flat_map(|result| &result.boots).flat_map(|boot| &boot.samples);
        for sample in samples {
            match &sample.end {
                End::Died { cause, .. } if cause.may_be_the_hosts() => {
                    let next = format!("read console.log in {}/{}", pair.run.display(), sample.folder);
                    return Err(Failure::new(Kind::Guest, "compare times", cause.to_string(), next));
                }
                End::Died { cause, .. } => return Ok(Found::untold(format!("fails otherwise: {cause}"))),
                End::Well(_) | End::Refused(_) => {}
            }
        }
        if let [good, other] = &results[..]
            && let Some(fault) = otherwise(self.question, good, other)
        {
            return Ok(Found::untold(format!("fails otherwise: {fault}")));
        }
        let mut found = Found::untold(String::new());
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

/// How this kernel does not probe and bind what it is to, unless the good end does not either. One that loses its probes
/// is not as fast as one that has them.
fn otherwise(question: Question, good: &KernelResult, other: &KernelResult) -> Option<String> {
    let refuted = |result: &KernelResult| {
        let findings = Verdict::of_devices(question.case, &question.circumstances(), &result.seen());
        let is_refuted = |finding: &Finding| finding.outcome == Outcome::Refuted;
        findings.into_iter().filter(is_refuted).collect::<Vec<_>>()
    };
    let known = refuted(good);
    let is_new = |finding: &Finding| known.iter().all(|known| known.expected != finding.expected);
    let Finding { expected, seen, .. } = refuted(other).into_iter().find(is_new)?;
    Some(format!("{expected}: {seen}"))
}

/// How many times as long as the first the second takes.
fn times_as_long(pairs: &[(Duration, Duration)]) -> Option<Ratio> {
    sequential::ratio_at(pairs, SURE).map(Ratio::inverse)
}

#[cfg(test)]
mod tests {
    use evidence::boot::Boot;
    use testcases::{BootResult, DRIVER_AFTER_DEVICES, Sample};

    use super::*;

    #[test]
    fn a_kernel_that_loses_its_probes_is_not_as_fast_as_one_that_has_them() {
        let case = &DRIVER_AFTER_DEVICES;
        let question = Question { case, topology: case.topology, metric: Some(Metric::Makespan) };
        let of = |bound: usize| {
            let mut boot = Boot::default();
            boot.facts.devices = usize::try_from(case.topology.luns).unwrap();
            boot.facts.bound = bound;
            let end = End::Well(vec![boot]);
            let folder = "boots/001".to_owned();
            let sample = Sample { folder, end, blind_spots: Vec::new(), neighbours: None, memory: None };
            let boots = vec![BootResult { samples: vec![sample] }];
            KernelResult { kernel: "a".to_owned(), behaves: None, boots }
        };
        let (well, lost) = (of(usize::try_from(case.topology.luns).unwrap()), of(0));
        assert!(otherwise(question, &well, &lost).unwrap().contains("probed once and bound"));
        assert_eq!(otherwise(question, &well, &well), None);
        // Of no account where the good end has it, too.
        assert_eq!(otherwise(question, &lost, &lost), None);
    }
}
