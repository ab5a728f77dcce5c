//! `test`: unit and golden tests through cargo, then guest tests through libtest-mimic.

mod kernels;
mod runner;

use std::path::{Path, PathBuf};

use evidence::judge::Outcome;
use lab::failure::{Failure, Kind};
use lab::host;
use lab::kernel::{Broken, Catalogue, Recipe, Store, Wanted};
use lab::run::Place;
use lab::shell::quoted;
use lab::validators::Validators;
use lab::watch::Watch;
use report::document::{Host, TEST_SCHEMA, TestDocument, TestResult};
use testcases::chosen::Chosen;

use crate::cli::{Accel, TestArguments, as_options};
use crate::exit;
use crate::results::Noted;
use crate::screen::{complain, print};
pub(crate) use kernels::kernels_for;
use kernels::{is_broken, nothing_left, own_kernels};
use runner::Tests;
pub(crate) use runner::cargo;

/// Tests that boot no guest.
const FAST: &[&str] = &["--workspace"];
/// Tests that do.
pub(crate) const GUESTS: &[&str] = &["--package", "testcases", "--test", "guests"];
/// Benches, as tests of an archive.
pub(crate) const BENCHES: &[&str] = &["--package", "xtask", "--test", "bench_parts"];
/// Tests that hold what we write against programs and schemas of others.
const FORMATS: &[&str] = &["--package", "xtask", "--test", "formats"];
/// Tests that break guests in the middle of a bench.
const FAULTS: &[&str] = &["--package", "xtask", "--test", "guest_faults"];
/// The kernel of their guests.
const OF_FAULTS: &str = "with";

pub(crate) fn run(arguments: &TestArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let wanted = arguments.wanted();
    let order = Order {
        workspace,
        wanted: &wanted,
        broken: &[],
        chosen: &Chosen { filters: arguments.filters.clone(), exact: false },
        parts: if arguments.fast { &[FAST] } else { &[FAST, GUESTS, FORMATS, FAULTS] },
        accel: arguments.accel,
        setup: arguments.setup,
        quiet: watch.quiet(),
        to_standard_error: arguments.json,
        place: Place::Dated { runs: workspace.join("runs"), kind: "test" },
        command: repeat(arguments),
    };
    if arguments.list {
        // A name that is not there is found out now.
        wanted.recipes(&Catalogue::read(&workspace.join("kernel-configs"))?, Store::open()?.root(), watch)?;
        return list(&order, watch);
    }
    let Tested { document, folder, stopped, all_known, silent_passed } = carry_out(&order, watch)?;
    let json = document.to_json() + "\n";
    // First: where it cannot be written, it is seen at least.
    print(&if arguments.json { json.clone() } else { report::text::render_unknown(&document) });
    if let Some(folder) = &folder {
        let path = folder.join("test.json");
        std::fs::write(&path, &json).map_err(|e| Failure::file("write", &path, &e))?;
    }
    if let Some(failure) = stopped {
        complain(&format!("error: {failure}"));
    }
    if document.exit_code != exit::SUPPORTED {
        complain(&closing_words(&document, all_known, silent_passed));
    }
    Ok(document.exit_code)
}

/// What did not pass. The runner of each part names its own, and what it names is far above by now.
fn closing_words(document: &TestDocument, all_known: bool, silent_passed: bool) -> String {
    let mut words = format!("\n{}", report::text::render_not_passed(document));
    if !silent_passed {
        words.push_str("failed        tests that boot no guest: their names are above\n");
    }
    if !all_known {
        words.push_str(
            "failed        a process of tests that ended before it had told of each: what it said is above\n",
        );
    }
    // What cargo says to repeat knows of no kernels and no patches.
    words + &format!("repeat: {}", document.command)
}

/// Lists the tests of these names.
fn list(order: &Order<'_>, watch: &dyn Watch) -> Result<u8, Failure> {
    let tests = Tests { order, run: None, broken: &[] };
    watch.stage("compile the tests");
    for (part, names) in order.parts.iter().zip(find_each(&tests)?) {
        if is_asked(names.as_deref()) {
            watch.hand_over();
            tests.cargo_test(part, &["--list"])?;
        }
    }
    Ok(exit::SUPPORTED)
}

/// The names of the tests of each part that are chosen, and `None` where all are: each filter is a part of some name. One
/// that is not is a slip, and no success.
fn find_each(tests: &Tests<'_>) -> Result<Vec<Option<Vec<String>>>, Failure> {
    let Order { parts, chosen, .. } = tests.order;
    if chosen.filters.is_empty() {
        return Ok(vec![None; parts.len()]);
    }
    let mut names = parts.iter().map(|part| tests.names(part)).collect::<Result<Vec<_>, _>>()?;
    let known = |filter: &str| names.iter().flatten().any(|name| chosen.names(filter, name));
    let unknown: Vec<String> = chosen.filters.iter().filter(|filter| !known(filter)).cloned().collect();
    if !unknown.is_empty() {
        return Err(no_such_test(&unknown));
    }
    names.iter_mut().for_each(|names| names.retain(|name| chosen.has(name)));
    Ok(names.into_iter().map(Some).collect())
}

/// Whether any test of a part is chosen.
fn is_asked(names: Option<&[String]>) -> bool {
    names.is_none_or(|names| !names.is_empty())
}

fn no_such_test(filters: &[String]) -> Failure {
    let attempt = format!("find tests named {}", filters.join(", "));
    Failure::new(Kind::Asked, attempt, "there are none", "`cargo xtask test --list` shows the names")
}

/// What to test, and how.
pub(crate) struct Order<'a> {
    pub(crate) workspace: &'a Path,
    pub(crate) wanted: &'a Wanted,
    /// Kernels of which it is known that they cannot be built.
    pub(crate) broken: &'a [Broken],
    /// Which tests.
    pub(crate) chosen: &'a Chosen,
    /// Some of [`FAST`], [`GUESTS`], [`FORMATS`] and [`FAULTS`].
    pub(crate) parts: &'a [&'a [&'a str]],
    pub(crate) accel: Accel,
    /// Install what the host lacks.
    pub(crate) setup: bool,
    /// Guests tell nothing of what they do, only what came of it.
    pub(crate) quiet: bool,
    /// Standard output is for a document.
    pub(crate) to_standard_error: bool,
    /// Where guests leave their logs.
    pub(crate) place: Place,
    /// The command that repeats it.
    pub(crate) command: String,
}

/// What tests showed.
pub(crate) struct Tested {
    pub(crate) document: TestDocument,
    /// The folder of the run, where there were tests that note what became of them.
    pub(crate) folder: Option<PathBuf>,
    /// What kept others from being started.
    pub(crate) stopped: Option<Failure>,
    /// Whether the outcome of every test that notes it is known.
    pub(crate) all_known: bool,
    /// Whether all tests passed that note nothing.
    pub(crate) silent_passed: bool,
}

/// Carries out tests.
pub(crate) fn carry_out(order: &Order<'_>, watch: &dyn Watch) -> Result<Tested, Failure> {
    let catalogue = Catalogue::read(&order.workspace.join("kernel-configs"))?;
    // A name that is not there is found out now.
    let pairs = order.wanted.recipes(&catalogue, Store::open()?.root(), watch)?;
    // Somebody may edit a tree, or move a branch, while its tests run: each process takes what it was here.
    let wanted = order.wanted.clone().with_noted(&pairs);
    let kernels = pairs.subjects();
    let order =
        &Order { wanted: &wanted, place: order.place.clone(), command: order.command.clone(), ..*order };
    let tests = Tests { order, run: None, broken: &[] };
    if !order.chosen.filters.is_empty() {
        watch.stage("compile the tests");
    }
    // Which parts have tests of these names: no kernel is built, and none of what builds one asked for, where no test
    // boots it.
    let names = find_each(&tests)?;
    let asked = || order.parts.iter().zip(&names).filter(|(_, names)| is_asked(names.as_deref()));
    let (mut needed, own) = match asked().find(|(part, _)| **part == GUESTS) {
        Some((_, names)) => {
            let names = names.as_deref();
            (kernels_for(&kernels, &catalogue, names)?, own_kernels(&catalogue, names)?)
        }
        None => (Vec::new(), Vec::new()),
    };
    // Benches of the faults would each build it, or each fail to.
    let of_faults = match asked().any(|(part, _)| *part == FAULTS) {
        true => vec![catalogue.recipe(OF_FAULTS)?],
        false => Vec::new(),
    };
    let all = [&needed[..], &of_faults].concat();
    if !all.is_empty() {
        host::prepare(|| host::examine(&all), order.setup, watch)?;
    }
    // Here, and not when their turn comes, so that a missing network is seen before the kernels are built.
    if order.setup && asked().any(|(part, _)| *part == FORMATS) {
        install_validators(watch)?;
    }
    // Of each process whether all of its tests passed: of those that note what became of each, and of the others.
    let (mut noting, mut silent) = (Vec::new(), Vec::new());
    let (mut folder, mut stopped, mut broken) = (None, None, order.broken.to_vec());
    // Every part runs, so that one failure does not hide another.
    for (part, _) in asked() {
        if *part != FAULTS && *part != GUESTS {
            begin(&tests, part, watch)?;
            silent.push(tests.cargo_test(part, &[])?);
            continue;
        }
        // Here, and not within a test, so that a kernel that does not build has its own exit code.
        let built = match *part == FAULTS {
            true => Store::open().and_then(|store| store.ensure(&of_faults, watch)).map(drop),
            false => {
                let is_subject = |kernel: &&Recipe| kernels.contains(kernel) || !own.contains(kernel);
                let subjects: Vec<Recipe> = needed.iter().filter(is_subject).cloned().collect();
                needed.retain(|kernel| !is_broken(&broken, kernel));
                let others = Store::open().and_then(|store| store.ensure_others(&needed, watch));
                others.and_then(|others| {
                    broken.extend(others.broken);
                    nothing_left(&subjects, &broken).map_or(Ok(()), Err)
                })
            }
        };
        match built {
            Err(failure) if failure.kind == Kind::Interrupted => return Err(failure),
            // What was tested until now is not lost with it.
            Err(failure) => {
                stopped = Some(failure);
                break;
            }
            Ok(()) => {}
        }
        let run = in_folder(&mut folder, &order.place)?;
        let broken: &[Broken] = if *part == GUESTS { &broken } else { &[] };
        let tests = Tests { run: Some(run), broken, ..tests };
        begin(&tests, part, watch)?;
        noting.push(tests.cargo_test(part, &[])?);
    }
    let noted = folder.as_deref().map(Noted::read).transpose()?.unwrap_or_default();
    let outcomes = noted.cases.iter().filter(|entry| entry.skipped.is_none()).map(|entry| entry.outcome);
    let all_known = all_known(&noting, &noted);
    let document = TestDocument {
        schema: TEST_SCHEMA.to_owned(),
        outcome: Outcome::of_all(outcomes),
        passed: stopped.is_none() && silent.iter().chain(&noting).all(|passed| *passed),
        exit_code: exit_code(&silent, &noting, &noted, stopped.as_ref()),
        host: Host {
            qemu: lab::guest::qemu_version().unwrap_or_default(),
            cores: host::host_cores(),
            open: lab::guest::Walls::of_host().open(),
        },
        run: folder.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default(),
        command: order.command.clone(),
        results: noted.cases,
        harness: noted.harness,
        benches: noted.benches,
        missing: Vec::new(),
    };
    Ok(Tested { document, folder, stopped, all_known, silent_passed: !silent.contains(&false) })
}

/// Compiles a part of the tests, says that it begins, and leaves the screen to it.
fn begin(tests: &Tests<'_>, part: &[&str], watch: &dyn Watch) -> Result<(), Failure> {
    let what = match part {
        _ if part == GUESTS => "the guest tests",
        _ if part == FORMATS => "the tests of formats",
        _ if part == FAULTS => "the faults of guests",
        _ => "the tests that boot no guest",
    };
    watch.stage(&format!("compile {what}"));
    tests.compile(part)?;
    watch.hand_over();
    if !watch.quiet() {
        let number = tests.order.parts.iter().position(|of| *of == part).map_or(0, |place| place + 1);
        watch.note(&format!("begin {what}, part {number} of {}", tests.order.parts.len()));
    }
    Ok(())
}

/// Installs what judges our formats. A host on which that fails has tests that are ignored, with the reason, and no
/// kernel is worse for it.
fn install_validators(watch: &dyn Watch) -> Result<(), Failure> {
    match Validators::install(Store::open()?.root(), watch) {
        Err(failure) if failure.kind == Kind::Interrupted => Err(failure),
        Err(failure) => {
            watch.note(&format!("formats are not held against their validators: {failure}"));
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// The folder of the run, made once it is needed.
fn in_folder<'a>(folder: &'a mut Option<PathBuf>, place: &Place) -> Result<&'a Path, Failure> {
    match folder {
        Some(folder) => Ok(folder),
        None => Ok(folder.insert(place.make()?)),
    }
}

/// Whether the outcome of every test that notes it is known: no process died, nor said otherwise than it had noted.
fn all_known(noting: &[bool], noted: &Noted) -> bool {
    let not_passed = noted.results().filter(|(result, _)| *result > TestResult::Passed).count();
    usize::try_from(noted.ended.iter().fold(0, |sum: u64, failed| sum.saturating_add(*failed)))
        == Ok(not_passed)
        && noting.contains(&false) == (not_passed > 0)
        && noted.ended.len() == noting.len()
}

/// The exit code for tests that note nothing, for those that do, a verdict for each process, and for what kept others
/// from being started. A test of which nothing is known has failed.
fn exit_code(silent: &[bool], noting: &[bool], noted: &Noted, stopped: Option<&Failure>) -> u8 {
    let worst = noted.results().map(|(result, _)| result).max();
    if silent.contains(&false) || !all_known(noting, noted) || worst == Some(TestResult::Failed) {
        return exit::REFUTED;
    }
    if let Some(failure) = stopped {
        return failure.kind.exit_code();
    }
    noted.exit_code(if silent.is_empty() { exit::INCONCLUSIVE } else { exit::SUPPORTED })
}

fn repeat(arguments: &TestArguments) -> String {
    let TestArguments { filters, fast, accel, .. } = arguments;
    let mut command = "cargo xtask test".to_owned();
    for filter in filters {
        command.push_str(&format!(" {}", quoted(filter)));
    }
    if *fast {
        command.push_str(" --fast");
    }
    format!("{command} {} --accel {}", as_options(&arguments.wanted()), accel.name())
}

/// Sees to it that each of these is a part of the name of a test that boots guests.
pub(crate) fn find(
    workspace: &Path,
    wanted: &Wanted,
    filters: &[String],
    watch: &dyn Watch,
) -> Result<(), Failure> {
    if filters.is_empty() {
        return Ok(());
    }
    watch.stage("compile the tests");
    let names = names(workspace, wanted, &[GUESTS])?;
    match filters.iter().find(|filter| !names.iter().any(|name| name.contains(filter.as_str()))) {
        Some(filter) => Err(no_such_test(std::slice::from_ref(filter))),
        None => Ok(()),
    }
}

/// The names of the tests of these parts, on these kernels.
pub(crate) fn names(workspace: &Path, wanted: &Wanted, parts: &[&[&str]]) -> Result<Vec<String>, Failure> {
    let order = Order {
        workspace,
        wanted,
        broken: &[],
        chosen: &Chosen::default(),
        parts,
        accel: Accel::Auto,
        setup: false,
        quiet: true,
        to_standard_error: true,
        place: Place::Dated { runs: workspace.join("runs"), kind: "test" },
        command: String::new(),
    };
    let tests = Tests { order: &order, run: None, broken: &[] };
    let names = parts.iter().map(|part| tests.names(part)).collect::<Result<Vec<_>, _>>()?;
    Ok(names.concat())
}

#[cfg(test)]
mod tests;
