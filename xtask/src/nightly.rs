//! `nightly`: tests and a bench to a night of a history, red only for what changed.

mod checks;
pub(crate) mod judge;

use std::path::Path;
use std::time::Instant;

use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::kernel::{Broken, Catalogue, Recipe, Store, Wanted};
use lab::run::{Carried, Lineup, Place, Request};
use lab::watch::Watch;
use report::document::{
    CheckEntry, Document, HISTORY_SCHEMA, HistoryEntry, MachineEntry, NIGHTLY_SCHEMA, NightDocument,
    TestResult,
};
use testcases::DRIVER_AFTER_DEVICES;
use testcases::chosen::Chosen;

use crate::cli::{NightlyArguments, as_options};
use crate::history::{self, Nights};
use crate::screen::print;
use crate::{bench, test};
use checks::Named;

pub(crate) fn run(arguments: &NightlyArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let when = lab::history::now();
    let topology = arguments.topology()?;
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    // A name that is not there is found out now.
    let pairs = arguments.wanted().recipes(&catalogue, Store::open()?.root(), watch)?;
    let compared = pairs.compared();
    // The tests are of the same files as the bench.
    let wanted = arguments.wanted().with_noted(&pairs);
    let recipes = pairs.all();
    test::find(workspace, &wanted, &arguments.tests, watch)?;
    let place = Place::Dated { runs: workspace.join("runs"), kind: "nightly" };
    place.check()?;
    lab::history::prepare(&arguments.history)?;
    let night = Night { arguments, wanted, compared, workspace, run: &place.make()?, watch };
    let entry = night.carry_out(&when, topology, &recipes)?;
    let mut document = tell(entry, history::read(&arguments.history)?);
    let NightDocument { entry, file, .. } = &mut document;
    let text = serde_json::to_string_pretty(entry).unwrap_or_default() + "\n";
    *file =
        lab::history::append(&arguments.history, &entry.when, &entry.runner, &text)?.display().to_string();
    let (text, json) = (report::text::render_night(&document), document.to_json() + "\n");
    print(if arguments.json { &json } else { &text });
    for (name, content) in [("nightly.txt", &text), ("nightly.json", &json)] {
        let path = night.run.join(name);
        std::fs::write(&path, content).map_err(|e| Failure::file("write", &path, &e))?;
    }
    Ok(document.exit_code)
}

/// Holds a night against those before it, and has it keep what makes it red; it is not in the history yet.
pub(crate) fn tell(mut entry: HistoryEntry, history: Nights) -> NightDocument {
    let Nights { entries, left_out } = history;
    let alike: Vec<&HistoryEntry> = entries.iter().filter(|night| night.machine == entry.machine).collect();
    let before: Vec<&HistoryEntry> = alike.iter().copied().filter(|night| night.when <= entry.when).collect();
    let nights: Vec<&HistoryEntry> = before.iter().copied().chain([&entry]).collect();
    let (checks, series) = (judge::checks(&entry, &before), judge::series(&nights, false));
    let exit_code = judge::exit_code(&entry, &checks, &series);
    let (days, runners) = (history::days(&before), history::runners(&before));
    entry.told = Some(judge::told(&series));
    NightDocument {
        schema: NIGHTLY_SCHEMA.to_owned(),
        exit_code,
        file: String::new(),
        before: days,
        runners,
        left_out,
        checks,
        series,
        entry,
    }
}

/// A night under way.
struct Night<'a> {
    arguments: &'a NightlyArguments,
    wanted: Wanted,
    /// Which kernels the bench holds against each other, by name.
    compared: Vec<(String, String)>,
    workspace: &'a Path,
    run: &'a Path,
    watch: &'a dyn Watch,
}

impl Night<'_> {
    fn carry_out(&self, when: &str, topology: Topology, recipes: &[Recipe]) -> Result<HistoryEntry, Failure> {
        let lineup = Lineup::of_others(
            &Request {
                workspace: self.workspace,
                recipes,
                modules: Carried::These(&DRIVER_AFTER_DEVICES.modules()),
                wish: self.arguments.accel.into(),
                setup: self.arguments.setup,
                place: Place::Named(self.run.join("bench")),
            },
            self.watch,
        )
        // Nothing was booted, so there is no run to keep.
        .inspect_err(|_| drop(std::fs::remove_dir(self.run)))?;
        let machine = lab::host::machine();
        let mut entry = HistoryEntry {
            schema: HISTORY_SCHEMA.to_owned(),
            when: when.to_owned(),
            runner: self.arguments.runner.clone().unwrap_or(machine.name),
            machine: MachineEntry {
                cpu: machine.cpu,
                cores: lab::host::host_cores(),
                memory_gib: machine.memory_gib,
                accel: lineup.choice.accelerator.to_string().to_lowercase(),
                qemu: lab::guest::qemu_version().unwrap_or_default(),
            },
            parprobe: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.run.display().to_string(),
            command: repeat(self.arguments, &topology),
            topology: topology.to_string(),
            kernels: Vec::new(),
            checks: Vec::new(),
            comparisons: Vec::new(),
            structure: Vec::new(),
            told: None,
        };
        let (lacking, goes_on) = without(&lineup.broken, &self.compared);
        entry.checks.extend(lacking);
        if goes_on {
            self.bench(&mut entry, &lineup, &topology, recipes)?;
        }
        if !self.arguments.no_tests {
            match self.tests(&mut entry, &lineup.broken) {
                // What the bench showed is not lost with them.
                Err(failure) if failure.kind != Kind::Interrupted => {
                    entry.checks.push(lost("tests".to_owned(), &failure, "tests"));
                }
                done => done?,
            }
        }
        Ok(entry)
    }

    /// The bench, and once more where a claim is refuted. Times are those of the first, which nobody chose.
    fn bench(
        &self,
        entry: &mut HistoryEntry,
        lineup: &Lineup,
        topology: &Topology,
        recipes: &[Recipe],
    ) -> Result<(), Failure> {
        let case = &DRIVER_AFTER_DEVICES;
        let carry_out = |lineup: &Lineup| -> Result<Result<Document, Failure>, Failure> {
            let plan = bench::Plan {
                case,
                topology,
                rounds: self.arguments.boots,
                forks: self.arguments.forks.number(case, &self.compared, recipes),
                compared: self.compared.clone(),
                command: &entry.command,
                begun: Instant::now(),
            };
            match bench::carry_out(&plan, lineup, self.watch) {
                Err(failure) if failure.kind == Kind::Interrupted => Err(failure),
                done => Ok(done),
            }
        };
        let first = match carry_out(lineup)? {
            Ok(document) => document,
            // The tests may go well.
            Err(failure) => {
                entry.checks.push(lost("bench".to_owned(), &failure, "bench"));
                return Ok(());
            }
        };
        let tried = checks::of_bench(&first, "bench");
        let again = if failed(&tried).is_empty() {
            Vec::new()
        } else {
            self.watch.note("a claim of the bench was refuted: it is carried out once more");
            let names: Vec<&str> = lineup.kernels.iter().map(|(kernel, _)| kernel.name.as_str()).collect();
            match carry_out(&lineup.among(&names, self.run.join("bench-again"))?)? {
                Ok(document) => checks::of_bench(&document, "bench-again"),
                Err(failure) => both_lost(&tried, &failure, "bench-again"),
            }
        };
        entry.checks.extend(joined(tried, &again));
        entry.comparisons.extend(first.comparisons.iter().filter_map(checks::compared));
        entry.structure.extend(first.results.iter().map(checks::structure));
        entry.kernels = first.kernels;
        Ok(())
    }

    /// The tests, and those once more that fail.
    fn tests(&self, entry: &mut HistoryEntry, broken: &[Broken]) -> Result<(), Failure> {
        let carry_out = |filters: &[String], exact: bool, folder: &str| -> Result<Vec<Named>, Failure> {
            let order = test::Order {
                workspace: self.workspace,
                wanted: &self.wanted,
                broken,
                chosen: &Chosen { filters: filters.to_vec(), exact },
                parts: &[test::GUESTS],
                accel: self.arguments.accel,
                setup: self.arguments.setup,
                quiet: self.watch.quiet(),
                to_standard_error: true,
                place: Place::Named(self.run.join(folder)),
                command: entry.command.clone(),
            };
            let tested = test::carry_out(&order, self.watch)?;
            if let Some(folder) = &tested.folder {
                let path = folder.join("test.json");
                let json = tested.document.to_json() + "\n";
                std::fs::write(&path, json).map_err(|e| Failure::file("write", &path, &e))?;
            }
            Ok(checks::of_tests(&tested, folder))
        };
        let tried = carry_out(&self.arguments.tests, false, "tests")?;
        let again = match &failed(&tried)[..] {
            [] => Ok(Vec::new()),
            // Nobody knows which of them it was.
            failed if failed.iter().any(|name| name == "tests") => {
                carry_out(&self.arguments.tests, false, "tests-again").map(checks::ended_well)
            }
            failed => {
                self.watch.note(&format!("tried again, as they failed: {}", failed.join(", ")));
                carry_out(failed, true, "tests-again")
            }
        };
        let again = match again {
            Err(failure) if failure.kind != Kind::Interrupted => both_lost(&tried, &failure, "tests-again"),
            again => again?,
        };
        entry.checks.extend(joined(tried, &again));
        Ok(())
    }
}

/// What a bench lacks without these kernels, and whether it goes on. Without those that others are held against, it does
/// not: with another one in their place it would be another bench, and its history that of another.
fn without(broken: &[Broken], compared: &[(String, String)]) -> (Vec<CheckEntry>, bool) {
    let failure = |name: &String| broken.iter().find(|of| of.recipe.name == *name).map(|of| &of.failure);
    let firsts = || compared.iter().filter_map(|(first, _)| failure(first));
    let ends = !compared.is_empty() && firsts().count() == compared.len();
    let bench = firsts().next().filter(|_| ends).map(|failure| lost("bench".to_owned(), failure, "bench"));
    let of = |Broken { recipe, failure }: &Broken| {
        // That of the whole bench says why it is not there.
        let told = ends && compared.iter().any(|(first, _)| *first == recipe.name);
        (!told).then(|| lost(format!("bench::{}", recipe.name), failure, "bench"))
    };
    (bench.into_iter().chain(broken.iter().filter_map(of)).collect(), !ends)
}

/// What could not be carried out.
fn lost(name: String, failure: &Failure, folder: &str) -> CheckEntry {
    CheckEntry { name, first: checks::lost(failure, folder), again: None }
}

/// The names of what failed.
fn failed(tried: &[Named]) -> Vec<String> {
    let of = tried.iter().filter(|(_, of)| of.result == TestResult::Failed);
    of.map(|(name, _)| name.clone()).collect()
}

/// What failed, and could not be carried out to its end when it was tried again.
fn both_lost(tried: &[Named], failure: &Failure, folder: &str) -> Vec<Named> {
    failed(tried).into_iter().map(|name| (name, checks::lost(failure, folder))).collect()
}

/// Both tries of what failed, and the one of everything else.
fn joined(tried: Vec<Named>, again: &[Named]) -> Vec<CheckEntry> {
    let known: Vec<String> = tried.iter().map(|(name, _)| name.clone()).collect();
    let join = |(name, first): Named| {
        let again = again.iter().find(|(of, _)| *of == name && first.result == TestResult::Failed);
        CheckEntry { again: again.map(|(_, again)| again.clone()), name, first }
    };
    // What only the second try came to.
    let new = again.iter().filter(|(name, _)| !known.contains(name)).cloned();
    let new = new.map(|(name, first)| CheckEntry { name, first, again: None });
    tried.into_iter().map(join).chain(new).collect()
}

/// The command that repeats a night, with every default that could change spelt out.
fn repeat(arguments: &NightlyArguments, topology: &Topology) -> String {
    let NightlyArguments { history, runner, tests, no_tests, boots, forks, accel, .. } = arguments;
    let quoted = |name: &str, value: &str| format!(" --{name} {}", lab::shell::quoted(value));
    let mut command = format!("cargo xtask nightly{}", quoted("history", &history.display().to_string()));
    command.extend(runner.iter().map(|runner| quoted("runner", runner)));
    command.push_str(&format!(" {}", as_options(&arguments.wanted())));
    command.extend(tests.iter().map(|filter| quoted("tests", filter)));
    command.push_str(if *no_tests { " --no-tests" } else { "" });
    command.push(' ');
    command.push_str(&bench::guests_as_options(topology, *boots, *forks, *accel));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_goes_on_without_a_kernel_that_cannot_be_built_but_not_without_its_first() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-configs");
        let catalogue = Catalogue::read(&configs).unwrap();
        let [without, with] = ["without", "with"].map(|name| catalogue.recipe(name).unwrap());
        let broken = |recipe: &Recipe| Broken {
            recipe: recipe.clone(),
            failure: Failure::new(Kind::Build, format!("build {}", recipe.name), "an error", "look"),
        };
        let told = |broken: &[Broken]| {
            let pair = |first: &str, other: &str| (first.to_owned(), other.to_owned());
            let compared = [pair("without", "with")];
            let (lost, goes_on) = super::without(broken, &compared);
            let of = |check: CheckEntry| (check.name, check.first.exit_code, check.first.why.concat());
            (lost.into_iter().map(of).collect::<Vec<_>>(), goes_on)
        };
        let of = |name: &str, kernel: &str| {
            (name.to_owned(), Some(71), format!("could not build {kernel}: an error\nnext: look"))
        };
        assert_eq!(told(&[]), (vec![], true));
        assert_eq!(told(&[broken(&with)]), (vec![of("bench::with", "with")], true));
        assert_eq!(
            told(&[broken(&with), broken(&without)]),
            (vec![of("bench", "without"), of("bench::with", "with")], false)
        );
        // Of a kernel alone there is nothing to compare, and still a bench.
        assert_eq!(super::without(&[], &[]), (vec![], true));
    }
}
