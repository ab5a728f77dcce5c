//! A history, its ends and a bench to boot on, to the first bad commit.

use std::fs;
use std::time::Instant;

use evidence::certainty::{Tally, chance_of_fault};
use evidence::units::micros;
use lab::failure::{Failure, Kind};
use lab::kernel::bisection::{Bisection, Commit, Ends, Mark, Next};
use lab::kernel::{Behaviour, Catalogue, Patch, Recipe};
use lab::run::Bootable;
use lab::watch::Watch;
use report::document::{Answer, BisectDocument, CommitEntry, Ended, Role, StepEntry};

use super::examine::{Bench, Found};
use super::kept::Folder;
use super::line::Line;
use super::question::{Expected, Fault};
use super::settings::Settings;
use crate::cli::behaviour;

/// A search under way. What it knows is in the folder of the run after each step.
pub(super) struct Search<'a> {
    pub(super) settings: Settings,
    pub(super) run: Folder,
    pub(super) catalogue: Catalogue,
    pub(super) bench: Bench<'a>,
    pub(super) document: BisectDocument,
    pub(super) watch: &'a dyn Watch,
}

impl Search<'_> {
    /// Goes on to the end, which is in the document then.
    ///
    /// # Errors
    /// What is no fault of a kernel, with how to go on.
    pub(super) fn carry_out(&mut self) -> Result<(), Failure> {
        self.go_on().map_err(|failure| self.run.goes_on(failure))
    }

    fn go_on(&mut self) -> Result<(), Failure> {
        if self.document.ended.is_some() {
            return Ok(());
        }
        let (bisection, Ends { good, bad }) = self.settings.line.open(&self.run.path)?;
        if let Some(why) = self.prove(&bisection, &good, &bad)? {
            return self.end(Ended::NoFault { why });
        }
        let mut next = bisection.begin(&good, &bad, &self.settings.paths)?;
        loop {
            self.run.keep("bisect.log", &bisection.log()?)?;
            match next {
                Next::Examine { commit, left } => {
                    if let Some(left) = left {
                        self.watch.note(&format!("about {} more commits to examine", left + 1));
                    }
                    let mark = match self.known(Role::Step, &self.settings.line.name(&commit)) {
                        Some(step) => step.answer,
                        None => self.examine(&bisection, Role::Step, &commit)?,
                    };
                    let mark = match mark {
                        Answer::Good => Mark::Good,
                        Answer::Bad => Mark::Bad,
                        Answer::Skip => Mark::Skip,
                    };
                    next = bisection.mark(&commit, mark)?;
                }
                Next::OneOf(commits) => {
                    let commits = commits.iter().map(|commit| self.entry(&bisection, commit));
                    let commits = commits.collect::<Result<_, _>>()?;
                    return self.end(Ended::OneOf { commits });
                }
                Next::Found(commit) => return self.confirm(&bisection, &commit, &bad),
            }
        }
    }

    /// Examines the commit that was found and the one before it once more, and the bad end without it.
    fn confirm(&mut self, bisection: &Bisection, commit: &str, bad: &str) -> Result<(), Failure> {
        let found = bisection.describe(commit)?;
        let mut again = vec![(Role::Found, commit, Answer::Bad)];
        again.extend(found.parents.first().map(|parent| (Role::Before, parent.as_str(), Answer::Good)));
        let mut confirmed = true;
        for (role, commit, expected) in again {
            let answer = match self.known(role, &self.settings.line.name(commit)) {
                Some(step) => step.answer,
                None => self.examine(bisection, role, commit)?,
            };
            confirmed &= answer == expected;
        }
        let reverted = self.revert(bisection, commit, bad)?;
        let sure = sure(&self.document);
        let commit = self.entry(bisection, commit)?;
        self.end(Ended::Found { commit, sure, confirmed, reverted })
    }

    /// What becomes of the bad end without a commit, in words.
    fn revert(&mut self, bisection: &Bisection, commit: &str, bad: &str) -> Result<String, Failure> {
        if !matches!(self.settings.line, Line::Tree { .. }) {
            return Ok("not tried: versions of a package cannot be taken apart".to_owned());
        }
        let patch = self.run.path.join(format!("revert-{}.patch", &commit[..commit.len().min(12)]));
        fs::write(&patch, bisection.reverse(commit)?).map_err(|e| Failure::file("write", &patch, &e))?;
        let mut recipe = self.recipe(bad)?.patched(&[Patch::file(patch)])?;
        recipe.name =
            format!("{}-reverted", self.settings.line.name(bad).chars().take(12).collect::<String>());
        let begun = Instant::now();
        let kernel = match self.bench.lab.kernel(&recipe)? {
            Ok(kernel) => kernel,
            Err(why) => return Ok(format!("cannot be taken back there: {why}")),
        };
        let build = micros(begun.elapsed());
        let begun = Instant::now();
        let found = self.look(&kernel, "reverted")?;
        let text = match found.bad {
            Some(false) => "good: without it the fault is gone".to_owned(),
            Some(true) => format!("still bad: {}", found.why),
            None => format!("nobody can tell: {}", found.why),
        };
        self.add(bisection, Role::Reverted, bad, found, build, micros(begun.elapsed()))?;
        Ok(text)
    }

    fn examine(&mut self, bisection: &Bisection, role: Role, commit: &str) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let recipe = self.recipe(commit)?;
        let kernel = self.bench.lab.kernel(&recipe)?;
        let build = micros(begun.elapsed());
        let begun = Instant::now();
        let found = match kernel {
            Ok(kernel) => {
                self.look(&kernel, &format!("{:03}-{}", self.document.steps.len() + 1, kernel.name))?
            }
            Err(why) => Found::untold(why),
        };
        self.add(bisection, role, commit, found, build, micros(begun.elapsed()))
    }

    /// Boots a kernel until it is sure. Boots of commits that are told already say how a good and a bad one looks.
    fn look(&mut self, kernel: &Bootable, name: &str) -> Result<Found, Failure> {
        let threshold = self.document.metric.as_ref().map(|metric| metric.threshold);
        if let (Some(metric), Some(threshold)) = (self.bench.question.metric, threshold) {
            let recipe = self.catalogue.recipe(&self.settings.line.specs_of_ends()[0])?;
            let good = self.bench.lab.kernel(&recipe)?.map_err(|why| {
                Failure::new(Kind::Build, "build the good end again", why, "look at the kernel store")
            })?;
            let folder = self.run.path.join("times").join(name);
            return match self.bench.lab.compare(metric, (&good, kernel), threshold, &folder) {
                Err(failure) if failure.kind == Kind::Guest => Ok(Found::untold(failure.to_string())),
                found => found,
            };
        }
        let behaves = self.behaves()?;
        let [bad, good] =
            [Answer::Bad, Answer::Good].map(|answer| pooled(&self.document.steps, answer, None));
        let (symptom, symptoms) = (self.settings.symptom, self.document.symptoms.clone());
        let is_fault = |fault: &Fault| symptom.is(fault, &symptoms);
        let tolerated = &self.document.tolerated;
        let expected = Expected { behaves, tolerated, is_fault: &is_fault, silence: true };
        self.bench.tell(kernel, &expected, &|tally| chance_of_fault(tally, bad, good))
    }

    pub(super) fn is_fault(&self, fault: &Fault) -> bool {
        self.settings.symptom.is(fault, &self.document.symptoms)
            && self.document.symptoms.contains(&fault.what)
    }

    fn behaves(&self) -> Result<Option<Behaviour>, Failure> {
        let parse = |text: &String| {
            behaviour(text)
                .map_err(|why| Failure::new(Kind::Files, "read bisect.json", why, "begin the search anew"))
        };
        self.document.behaves.as_ref().map(parse).transpose()
    }

    pub(super) fn recipe(&self, commit: &str) -> Result<Recipe, Failure> {
        self.catalogue.recipe(&self.settings.line.spec(commit))
    }

    pub(super) fn known(&self, role: Role, name: &str) -> Option<&StepEntry> {
        self.document.steps.iter().find(|step| step.role == role && step.commit == name)
    }

    fn entry(&self, bisection: &Bisection, commit: &str) -> Result<CommitEntry, Failure> {
        let Commit { id: _, subject, author, date, parents: _ } = bisection.describe(commit)?;
        let (author, date) = match self.settings.line {
            Line::Tree { .. } => (author, date),
            Line::Packages { .. } => (String::new(), String::new()),
        };
        Ok(CommitEntry { id: self.settings.line.name(commit), subject, author, date })
    }

    /// Adds what was found of a commit, and writes it down.
    pub(super) fn add(
        &mut self,
        bisection: &Bisection,
        role: Role,
        commit: &str,
        found: Found,
        build_us: u64,
        boots_us: u64,
    ) -> Result<Answer, Failure> {
        let Found { bad, why, tally, ratio, sure } = found;
        let answer = match bad {
            Some(true) => Answer::Bad,
            Some(false) => Answer::Good,
            None => Answer::Skip,
        };
        let CommitEntry { id, subject, .. } = self.entry(bisection, commit)?;
        let step =
            StepEntry { role, commit: id, subject, answer, why, tally, ratio, sure, build_us, boots_us };
        self.watch.note(&report::text::render_step(&step));
        self.document.steps.push(step);
        self.run.keep("bisect.json", &self.document.to_json())?;
        Ok(answer)
    }

    fn end(&mut self, ended: Ended) -> Result<(), Failure> {
        self.document.ended = Some(ended);
        self.run.keep("bisect.json", &self.document.to_json())?;
        self.run.keep("bisect.txt", &report::text::render_bisect(&self.document))
    }
}

/// The boots of all commits with this answer, but for one of them.
fn pooled(steps: &[StepEntry], answer: Answer, but: Option<usize>) -> Tally {
    let counted =
        steps.iter().enumerate().filter(|(place, step)| step.answer == answer && Some(*place) != but);
    counted.fold(Tally::default(), |tally, (_, step)| tally.and(step.tally))
}

/// The chance that every answer on the way was right, by all that is known at the end.
pub(super) fn sure(document: &BisectDocument) -> f64 {
    let BisectDocument { steps, metric, .. } = document;
    let of = |(place, step): (usize, &StepEntry)| match (step.role, step.answer) {
        // Both ends are compared once.
        (Role::Step | Role::BadEnd, Answer::Good | Answer::Bad) if metric.is_some() => step.sure,
        (Role::Step | Role::GoodEnd | Role::BadEnd, Answer::Good | Answer::Bad) if metric.is_none() => {
            let [bad, good] = [Answer::Bad, Answer::Good].map(|answer| pooled(steps, answer, Some(place)));
            let chance = chance_of_fault(step.tally, bad, good);
            if step.answer == Answer::Bad { chance } else { 1.0 - chance }
        }
        _ => 1.0,
    };
    steps.iter().enumerate().map(of).product()
}

#[cfg(test)]
mod tests;
