//! Tests that boot guests. Names filter, `--list` is instant: nothing is built before a test needs it.

mod cases;
mod closed;
mod deaths;
mod elsewhere;
mod endings;
mod faults;
mod forks;
mod laboratory;
mod needs;
mod neighbours;
mod outcome;
mod rounds;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use testcases::noted;

fn main() -> ExitCode {
    if let Err(why) = noted::begin() {
        return complain(&why);
    }
    if let Some(ended) = endings::be_the_harness() {
        return ended.map_or_else(|why| complain(&why), |()| ExitCode::SUCCESS);
    }
    let mut arguments = Arguments::from_args();
    // Two vCPUs a guest: as many side by side as the host has room for.
    let side_by_side = usize::try_from(lab::host::host_cores() / 2).unwrap_or(1).max(1);
    arguments.test_threads.get_or_insert(side_by_side);
    let mut trials = match cases::trials() {
        Ok(trials) => trials,
        Err(failure) => return complain(&failure.to_string()),
    };
    trials.extend(closed::trials());
    trials.extend(deaths::trials());
    trials.extend(elsewhere::trials());
    trials.extend(endings::trials());
    trials.extend(faults::trials());
    trials.extend(forks::trials());
    trials.extend(neighbours::trials());
    trials.extend(needs::trials());
    trials.extend(rounds::trials());
    // cargo-nextest lists them before it runs them: nothing is run, and nothing noted.
    if arguments.list {
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    match noted::carry_out(|| libtest_mimic::run(&arguments, trials), |done| done.num_failed) {
        Ok(conclusion) => conclusion.exit_code(),
        Err(e) => complain(&format!("the results cannot be written: {e}")),
    }
}

#[allow(clippy::print_stderr)]
fn complain(text: &str) -> ExitCode {
    eprintln!("{}", evidence::plain::plain(text));
    ExitCode::FAILURE
}
