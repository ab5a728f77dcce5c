//! What tests are told by whoever started them, in variables, and what they note for them: lines in the folder of the
//! run.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::failure::{Failure, Kind};
use lab::kernel::{Broken, Store, Wanted};
use libtest_mimic::{Arguments, Trial};
use report::document::{Host, TEST_LINES, TestLine};

use crate::chosen::Chosen;
use crate::{KERNELS, so_far};

/// Begins a process of tests: it ends with whoever started it, winds down on Ctrl-C, and knows where its notes go.
///
/// # Errors
/// Why not, in words.
pub fn begin() -> Result<(), String> {
    lab::child::end_with_parent()
        .map_err(|e| format!("the tests would outlive whoever started them: {e}"))?;
    let stop = || {
        lab::cancel::request();
    };
    ctrlc::set_handler(stop).map_err(|e| format!("Ctrl-C cannot be handled: {e}"))?;
    run().map(drop).map_err(|e| e.to_string())
}

/// The folder of the run, where somebody named one.
///
/// # Errors
/// A relative path: tests are run in the folder of their package, which is nobody's intention.
pub fn run() -> io::Result<Option<PathBuf>> {
    let run = std::env::var_os("PARPROBE_RUN").map(PathBuf::from);
    if run.as_deref().is_some_and(Path::is_relative) {
        let why = "PARPROBE_RUN is a relative path: name an absolute one, as $PWD/part-1";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(run)
}

/// The kernels that `PARPROBE_KERNELS` asks for, else those that are usual.
///
/// # Errors
/// `Asked` where it is not as `cargo xtask` writes it.
pub fn wanted() -> Result<Wanted, Failure> {
    match std::env::var("PARPROBE_KERNELS") {
        Ok(text) => serde_json::from_str(&text).map_err(misread("PARPROBE_KERNELS")),
        Err(_) => Ok(Wanted { kernels: KERNELS.map(str::to_owned).to_vec(), ..Wanted::default() }),
    }
}

/// The kernels that `PARPROBE_BROKEN` says cannot be built: nobody tries once more.
///
/// # Errors
/// As [`wanted`].
pub fn broken() -> Result<Vec<Broken>, Failure> {
    match std::env::var("PARPROBE_BROKEN") {
        Ok(text) => serde_json::from_str(&text).map_err(misread("PARPROBE_BROKEN")),
        Err(_) => Ok(Vec::new()),
    }
}

/// A variable that is not as it is written for us.
pub(crate) fn misread(variable: &str) -> impl Fn(serde_json::Error) -> Failure {
    move |e| {
        let next = "start the tests with `cargo xtask test`";
        Failure::new(Kind::Asked, format!("read {variable}"), e.to_string(), next)
    }
}

/// Whether nothing is to be told but what was found.
pub fn quiet() -> bool {
    std::env::var_os("PARPROBE_QUIET").is_some()
}

/// Hands a result to whoever started the tests and wants them as data.
///
/// # Errors
/// Where it cannot be written.
pub fn note(line: &TestLine) -> io::Result<()> {
    if matches!(line, TestLine::Case(_) | TestLine::Harness(_) | TestLine::Bench(_)) {
        so_far::one_more();
    }
    let Some(run) = run()? else { return Ok(()) };
    lab::private::folder(&run)?;
    let mut file = File::options().create(true).append(true).open(run.join(TEST_LINES))?;
    file.write_all((serde_json::to_string(line)? + "\n").as_bytes())
}

/// Those of these tests that are to be carried out.
///
/// # Errors
/// `Asked` where `PARPROBE_TESTS` is not as `cargo xtask` writes it.
pub fn chosen(mut trials: Vec<Trial>) -> Result<Vec<Trial>, Failure> {
    let chosen = Chosen::of_variable()?;
    trials.retain(|trial| chosen.has(trial.name()));
    Ok(trials)
}

/// Carries out the tests of a process that are chosen, and notes that it came to its end. Those that are only listed, as cargo-nextest
/// does before it runs them, are not noted.
pub fn carry_out(arguments: &Arguments, trials: Vec<Trial>) -> ExitCode {
    let trials = match chosen(trials) {
        Ok(trials) => trials,
        Err(failure) => return complain(&failure.to_string()),
    };
    if arguments.list {
        return libtest_mimic::run(arguments, trials).exit_code();
    }
    if !quiet() {
        let counts = |trial: &&Trial| !arguments.is_filtered_out(trial) && !arguments.is_ignored(trial);
        so_far::begin(trials.iter().filter(counts).count());
    }
    let carried_out = note_part().and_then(|()| {
        let conclusion = libtest_mimic::run(arguments, trials);
        note(&TestLine::Ended { failed: conclusion.num_failed })?;
        Ok(conclusion)
    });
    match carried_out {
        Ok(conclusion) => conclusion.exit_code(),
        Err(e) => complain(&format!("the results cannot be written: {e}")),
    }
}

/// Says why tests cannot be carried out.
#[allow(clippy::print_stderr)]
pub fn complain(why: &str) -> ExitCode {
    eprintln!("{}", evidence::plain::plain(why));
    ExitCode::FAILURE
}

/// Says which machine this is, which archive its tests come from and what tests there are, where each machine runs a
/// part of them: once in a folder, unless that has results of another archive.
fn note_part() -> io::Result<()> {
    let Some(run) = run()? else { return Ok(()) };
    let store = Store::open().map_err(|failure| io::Error::other(failure.to_string()))?;
    let Some(kit) = store.kit() else { return Ok(()) };
    let archive = kit.id();
    let noted = std::fs::read_to_string(run.join(TEST_LINES)).unwrap_or_default();
    if noted.contains(&format!("\"archive\":\"{archive}\"")) {
        return Ok(());
    }
    let (qemu, cores) = (lab::guest::qemu_version().unwrap_or_default(), lab::host::host_cores());
    note(&TestLine::Part {
        archive,
        host: Host { qemu, cores, open: lab::guest::Walls::of_host().open() },
        tests: kit.tests().to_vec(),
    })
}
