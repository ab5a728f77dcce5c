//! Shows that the ends of a search are what they are said to be, and what the fault is.

use std::time::Instant;

use evidence::certainty::{Tally, chance_of_fault};
use evidence::units::micros;
use lab::failure::{Failure, Kind};
use lab::kernel::bisection::Bisection;
use lab::run::Bootable;
use report::document::{MetricEntry, RatioEntry, Role};
use testcases::Seen;

use super::Search;
use super::examine::{EndBoots, Found};
use super::question::{Expected, Fault};
use crate::cli::Symptom;
use crate::metric::Metric;

impl Search<'_> {
    /// Shows that the good end is good and the bad one bad, and what the fault is. In words why not, if they are not.
    pub(super) fn prove(
        &mut self,
        bisection: &Bisection,
        good: &str,
        bad: &str,
    ) -> Result<Option<String>, Failure> {
        if self.known(Role::BadEnd, &self.settings.line.name(bad)).is_some() {
            return Ok(None);
        }
        let mut ends = Vec::new();
        for commit in [good, bad] {
            let begun = Instant::now();
            let recipe = self.recipe(commit)?;
            let kernel = self.bench.lab.kernel(&recipe)?.map_err(|why| {
                let attempt = format!("build an end of the search, {}", self.settings.line.name(commit));
                Failure::new(Kind::Build, attempt, why, "name an end that can be built")
            })?;
            ends.push((commit, kernel, micros(begun.elapsed())));
        }
        match self.bench.question.metric {
            Some(metric) => self.prove_slower(bisection, metric, &ends),
            None => self.prove_failing(bisection, &ends),
        }
    }

    fn prove_slower(
        &mut self,
        bisection: &Bisection,
        metric: Metric,
        ends: &[(&str, Bootable, u64)],
    ) -> Result<Option<String>, Failure> {
        let [(good, of_good, good_build), (bad, of_bad, bad_build)] = ends else { return Ok(None) };
        let begun = Instant::now();
        let folder = self.run.path.join("times").join("ends");
        let found = self.bench.lab.compare(metric, (of_good, of_bad), 1.0, &folder)?;
        let boots = micros(begun.elapsed());
        let ratio = match (found.bad, &found.ratio) {
            (Some(true), Some(RatioEntry { ratio, .. })) => *ratio,
            (Some(_), _) => {
                return Ok(Some(format!("the bad end is not slower than the good one: {}", found.why)));
            }
            (None, _) => {
                return Ok(Some(format!("nothing shows that the bad end is slower: {}", found.why)));
            }
        };
        self.document.metric = Some(MetricEntry { name: metric.name().to_owned(), threshold: ratio.sqrt() });
        let same = Found {
            bad: Some(false),
            why: "what others are compared with".to_owned(),
            ratio: None,
            ..found.clone()
        };
        self.add(bisection, Role::GoodEnd, good, same, *good_build, 0)?;
        self.add(bisection, Role::BadEnd, bad, found, *bad_build, boots)?;
        Ok(None)
    }

    fn prove_failing(
        &mut self,
        bisection: &Bisection,
        ends: &[(&str, Bootable, u64)],
    ) -> Result<Option<String>, Failure> {
        let [(good, of_good, good_build), (bad, of_bad, bad_build)] = ends else { return Ok(None) };
        let (question, asked) = (self.bench.question, self.settings.boots);
        let begun = Instant::now();
        let told = |seen: &Seen| question.judged(self.settings.question.behaves, seen).told();
        let EndBoots { seen: seen_good, silent } =
            self.bench.boots("good end", of_good, asked, false, &told)?;
        let good_boots = micros(begun.elapsed());
        let behaves = self.settings.question.behaves.or_else(|| question.behaviour(&seen_good));
        let faults = |seen: &Seen| question.judged(behaves, seen).faults;
        // What the good end shows is not what is searched for.
        let mut tolerated: Vec<String> = seen_good.iter().flat_map(faults).map(|fault| fault.what).collect();
        tolerated.extend((!silent.is_empty()).then(|| Fault::SILENT.to_owned()));
        tolerated.sort_unstable();
        tolerated.dedup();

        let begun = Instant::now();
        let asked_for = self.settings.symptom;
        let wanted = |fault: &Fault| asked_for == Symptom::Same || asked_for.is(fault, &[]);
        let any = Expected { behaves, tolerated: &tolerated, is_fault: &|_| true, silence: true };
        let told = |seen: &Seen| question.shows(&any, seen).map(drop);
        let hang = Fault::silent("");
        let may_hang = wanted(&hang) && any.seeks(&hang);
        let EndBoots { seen: seen_bad, silent } =
            self.bench.boots("bad end", of_bad, asked, may_hang, &told)?;
        // Where it does not always fall silent, the host may have stalled.
        let silent = if seen_bad.is_empty() { silent } else { Vec::new() };
        let hangs: Vec<Fault> = silent.iter().map(|how| Fault::silent(how)).collect();
        let bad_boots = micros(begun.elapsed());
        let mut symptoms: Vec<String> = Vec::new();
        for fault in seen_bad.iter().flat_map(faults).chain(hangs.iter().cloned()) {
            if wanted(&fault) && !tolerated.contains(&fault.what) && !symptoms.contains(&fault.what) {
                symptoms.push(fault.what);
            }
        }
        self.document.behaves = behaves.map(|behaves| behaves.to_string());
        self.document.tolerated = tolerated;
        self.document.symptoms = symptoms;

        let is_fault = |fault: &Fault| self.is_fault(fault);
        let tolerated = &self.document.tolerated;
        let expected = Expected { behaves, tolerated, is_fault: &is_fault, silence: true };
        let shown = |seen: &[Seen]| -> Vec<Option<String>> {
            seen.iter().filter_map(|seen| question.shows(&expected, seen).ok()).collect()
        };
        let tally = |shown: &[Option<String>]| {
            shown.iter().fold(Tally::default(), |tally, shown| tally.with(shown.is_some()))
        };
        let (of_good, mut of_bad) = (shown(&seen_good), shown(&seen_bad));
        of_bad.extend(hangs.iter().map(|hang| Some(hang.to_string())));
        let shows = of_bad.iter().flatten().next().cloned().unwrap_or_default();
        let (of_good, of_bad) = (tally(&of_good), tally(&of_bad));
        if of_bad.shown == 0 {
            let kept = self.document.behaves.as_deref().unwrap_or("of no known kind");
            return Ok(Some(format!(
                "none of {} boots of the bad end shows a fault that the good end does not show (a good kernel is {kept})",
                seen_bad.len(),
            )));
        }
        let end = |bad: bool, why: &str, tally: Tally, other: (Tally, Tally)| Found {
            bad: Some(bad),
            why: why.to_owned(),
            tally,
            ratio: None,
            sure: if bad {
                chance_of_fault(tally, other.0, other.1)
            } else {
                1.0 - chance_of_fault(tally, other.0, other.1)
            },
        };
        let nothing = Tally::default();
        let good_end = end(false, "shows no fault", of_good, (of_bad, nothing));
        let bad_end = end(true, &shows, of_bad, (nothing, of_good));
        self.add(bisection, Role::GoodEnd, good, good_end, *good_build, good_boots)?;
        self.add(bisection, Role::BadEnd, bad, bad_end, *bad_build, bad_boots)?;
        Ok(None)
    }
}
