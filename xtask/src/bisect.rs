//! `bisect`: a history, a good end and a bad one to the first bad commit, and how sure that is.

mod ends;
mod examine;
mod line;
mod settings;
mod step;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use evidence::certainty::{Tally, chance_of_fault};
use evidence::units::micros;
use lab::failure::{Failure, Kind};
use lab::kernel::bisection::{Bisection, Mark, Next};
use lab::kernel::{Behaviour, Catalogue, Patch, Recipe};
use lab::run::{Bootable, Carried, Lineup, Place, Request};
use lab::watch::Watch;
use report::document::{Answer, BISECT_SCHEMA, BisectDocument, CommitEntry, Ended, Role, StepEntry};
use serde::Deserialize;

use crate::cli::{BisectArguments, BisectVerb, SearchArguments, behaviour};
use crate::exit;
use crate::screen::print;
use examine::{Bench, Expected, Fault, Found, Question};
use line::Line;
use settings::Settings;

pub(crate) fn run(arguments: &BisectArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    if let Some(BisectVerb::Step(arguments)) = &arguments.step {
        return step::run(arguments, workspace, watch);
    }
    let arguments = &arguments.search;
    let mut search = Search::open(arguments, workspace, watch)?;
    search.carry_out().map_err(|mut failure| {
        if failure.kind == Kind::Interrupted {
            failure.next = format!("go on with: cargo xtask bisect --resume {}", search.run.display());
        }
        failure
    })?;
    let document = &search.document;
    print(&if arguments.json { document.to_json() + "\n" } else { report::text::render_bisect(document) });
    Ok(match &document.ended {
        Some(Ended::Found { confirmed: true, .. }) => exit::SUPPORTED,
        Some(Ended::Found { .. } | Ended::OneOf { .. } | Ended::NoFault { .. }) | None => exit::INCONCLUSIVE,
    })
}

/// A search under way. What it knows is in the folder of the run after each step.
struct Search<'a> {
    settings: Settings,
    run: PathBuf,
    catalogue: Catalogue,
    line: Line,
    bench: Bench<'a>,
    document: BisectDocument,
    watch: &'a dyn Watch,
}

impl<'a> Search<'a> {
    fn open(arguments: &SearchArguments, workspace: &Path, watch: &'a dyn Watch) -> Result<Self, Failure> {
        let settings = match &arguments.resume {
            Some(run) => read(&run.join("search.json"))?,
            None => Settings::of(arguments)?,
        };
        let question = Question::of(&settings.question)?;
        let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
        // Before anything is made: what cannot be found is found out now.
        let line =
            Line::of(settings.tree.as_deref(), settings.package.as_deref(), &settings.good, &settings.bad)?;
        for end in [&settings.good, &settings.bad] {
            catalogue.recipe(&line.spec_of_end(end))?;
        }
        let run = match &arguments.resume {
            Some(run) => run.canonicalize().map_err(|e| Failure::file("find", run, &e))?,
            None => match &arguments.out {
                Some(folder) => Place::Named(folder.clone()),
                None => Place::Dated { runs: workspace.join("runs"), kind: "bisect" },
            }
            .make()?,
        };
        let document = match &arguments.resume {
            Some(run) => read(&run.join("bisect.json"))?,
            None => BisectDocument {
                schema: BISECT_SCHEMA.to_owned(),
                command: settings.command(),
                run: run.display().to_string(),
                case: settings.question.case.clone(),
                behaves: settings.question.behaves.map(|behaves| behaves.to_string()),
                symptoms: Vec::new(),
                tolerated: Vec::new(),
                metric: None,
                good: settings.good.clone(),
                bad: settings.bad.clone(),
                steps: Vec::new(),
                ended: None,
            },
        };
        keep(&run, "search.json", &serde_json::to_string_pretty(&settings).unwrap_or_default())?;
        keep(&run, "bisect.json", &document.to_json())?;
        let good = catalogue.recipe(&line.spec_of_end(&settings.good))?;
        let session = (1..).map(|number| run.join(format!("boots-{number}"))).find(|path| !path.exists());
        let lineup = Lineup::of(
            &Request {
                workspace,
                recipes: std::slice::from_ref(&good),
                modules: Carried::Any(&question.case.modules()),
                wish: settings.question.accel.into(),
                setup: arguments.setup,
                place: Place::Named(session.unwrap_or_else(|| run.join("boots"))),
            },
            watch,
        )
        .map_err(|mut failure| {
            failure.next = format!("{}; then: cargo xtask bisect --resume {}", failure.next, run.display());
            failure
        })?;
        let bench = Bench { question, lineup, watch };
        Ok(Self { settings, run, catalogue, line, bench, document, watch })
    }

    fn carry_out(&mut self) -> Result<(), Failure> {
        if self.document.ended.is_some() {
            return Ok(());
        }
        let bisection = self.line.open(&self.run)?;
        let [good, bad] =
            [&self.settings.good, &self.settings.bad].map(|end| self.line.resolve(&bisection, end));
        let (good, bad) = (good?, bad?);
        if let Some(why) = self.prove(&bisection, &good, &bad)? {
            return self.end(Ended::NoFault { why });
        }
        let mut next = bisection.begin(&good, &bad, &self.settings.paths)?;
        loop {
            keep(&self.run, "bisect.log", &bisection.log()?)?;
            match next {
                Next::Examine { commit, left } => {
                    if let Some(left) = left {
                        self.watch.note(&format!("about {} more commits to examine", left + 1));
                    }
                    let mark = match self.known(Role::Step, &self.line.name(&commit)) {
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
            let answer = match self.known(role, &self.line.name(commit)) {
                Some(step) => step.answer,
                None => self.examine(bisection, role, commit)?,
            };
            confirmed &= answer == expected;
        }
        let reverted = self.revert(bisection, commit, bad)?;
        let sure = self.sure();
        let commit = self.entry(bisection, commit)?;
        self.end(Ended::Found { commit, sure, confirmed, reverted })
    }

    /// What becomes of the bad end without a commit, in words.
    fn revert(&mut self, bisection: &Bisection, commit: &str, bad: &str) -> Result<String, Failure> {
        if !matches!(self.line, Line::Tree { .. }) {
            return Ok("not tried: versions of a package cannot be taken apart".to_owned());
        }
        let patch = self.run.join(format!("revert-{}.patch", &commit[..commit.len().min(12)]));
        fs::write(&patch, bisection.reverse(commit)?).map_err(|e| Failure::file("write", &patch, &e))?;
        let mut recipe = self.recipe(bad)?.patched(&[Patch::file(patch)])?;
        recipe.name = format!("{}-reverted", self.line.name(bad).chars().take(12).collect::<String>());
        let begun = Instant::now();
        let kernel = match self.bench.kernel(&recipe)? {
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
        let kernel = self.bench.kernel(&recipe)?;
        let build = micros(begun.elapsed());
        let begun = Instant::now();
        let found = match kernel {
            Ok(kernel) => {
                self.look(&kernel, &format!("{:03}-{}", self.document.steps.len() + 1, kernel.name))?
            }
            Err(why) => Found { bad: None, why, tally: Tally::default(), ratio: None, sure: 0.5 },
        };
        self.add(bisection, role, commit, found, build, micros(begun.elapsed()))
    }

    /// Boots a kernel until it is sure. Boots of commits that are told already say how a good and a bad one looks.
    fn look(&mut self, kernel: &Bootable, name: &str) -> Result<Found, Failure> {
        let threshold = self.document.metric.as_ref().map(|metric| metric.threshold);
        if let (Some(metric), Some(threshold)) = (self.bench.question.metric, threshold) {
            let recipe = self.catalogue.recipe(&self.line.spec_of_end(&self.settings.good))?;
            let good = self.bench.kernel(&recipe)?.map_err(|why| {
                Failure::new(Kind::Build, "build the good end again", why, "look at the kernel store")
            })?;
            let folder = self.run.join("times").join(name);
            return self.bench.compare(metric, (&good, kernel), threshold, &folder);
        }
        let behaves = self.behaves()?;
        let (bad, good) = (self.pooled(Answer::Bad, None), self.pooled(Answer::Good, None));
        let (symptom, symptoms) = (self.settings.symptom, self.document.symptoms.clone());
        let is_fault = |fault: &Fault| symptom.is(fault, &symptoms);
        let expected = Expected { behaves, tolerated: &self.document.tolerated, is_fault: &is_fault };
        self.bench.tell(kernel, &expected, &|tally| chance_of_fault(tally, bad, good))
    }

    fn is_fault(&self, fault: &Fault) -> bool {
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

    /// The boots of all commits with this answer, but for one of them.
    fn pooled(&self, answer: Answer, but: Option<usize>) -> Tally {
        let steps = self.document.steps.iter().enumerate();
        let counted = steps.filter(|(place, step)| step.answer == answer && Some(*place) != but);
        counted.fold(Tally::default(), |tally, (_, step)| tally.and(step.tally))
    }

    /// The chance that every answer on the way was right, by all that is known at the end.
    fn sure(&self) -> f64 {
        let of = |(place, step): (usize, &StepEntry)| match (step.role, step.answer) {
            (Role::Step, Answer::Good | Answer::Bad) if self.document.metric.is_some() => step.sure,
            (Role::Step, Answer::Good | Answer::Bad) => {
                let bad = self.pooled(Answer::Bad, Some(place));
                let good = self.pooled(Answer::Good, Some(place));
                let chance = chance_of_fault(step.tally, bad, good);
                if step.answer == Answer::Bad { chance } else { 1.0 - chance }
            }
            _ => 1.0,
        };
        self.document.steps.iter().enumerate().map(of).product()
    }

    fn recipe(&self, commit: &str) -> Result<Recipe, Failure> {
        self.catalogue.recipe(&self.line.spec(commit))
    }

    fn known(&self, role: Role, name: &str) -> Option<&StepEntry> {
        self.document.steps.iter().find(|step| step.role == role && step.commit == name)
    }

    fn entry(&self, bisection: &Bisection, commit: &str) -> Result<CommitEntry, Failure> {
        let lab::kernel::bisection::Commit { id: _, subject, author, date, parents: _ } =
            bisection.describe(commit)?;
        let (author, date) = match self.line {
            Line::Tree { .. } => (author, date),
            Line::Packages { .. } => (String::new(), String::new()),
        };
        Ok(CommitEntry { id: self.line.name(commit), subject, author, date })
    }

    /// Adds what was found of a commit, and writes it down.
    fn add(
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
        keep(&self.run, "bisect.json", &self.document.to_json())?;
        Ok(answer)
    }

    fn end(&mut self, ended: Ended) -> Result<(), Failure> {
        self.document.ended = Some(ended);
        keep(&self.run, "bisect.json", &self.document.to_json())?;
        keep(&self.run, "bisect.txt", &report::text::render_bisect(&self.document))
    }
}

/// Writes a file of the run, whole or not at all: the search may be interrupted at any time.
fn keep(run: &Path, name: &str, content: &str) -> Result<(), Failure> {
    let (path, new) = (run.join(name), run.join(format!("{name}.new")));
    let written = fs::write(&new, content).and_then(|()| fs::rename(&new, &path));
    written.map_err(|e| Failure::file("write", &path, &e))
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(path).map_err(|e| {
        let attempt = format!("go on with the search in {}", path.parent().unwrap_or(path).display());
        Failure::new(
            Kind::Asked,
            attempt,
            format!("{}: {e}", path.display()),
            "name the folder of a `bisect` run",
        )
    })?;
    serde_json::from_str(&text).map_err(|e| {
        let attempt = format!("read {}", path.display());
        Failure::new(Kind::Files, attempt, e.to_string(), "begin the search anew")
    })
}
