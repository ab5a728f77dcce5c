//! Tests that boot guests. Names filter, `--list` is instant: nothing is built before a test needs it.

mod cases;
mod closed;
mod deaths;
mod elsewhere;
mod endings;
mod faults;
mod forks;
mod laboratory;
mod luns;
mod needs;
mod neighbours;
mod outcome;
mod rounds;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use testcases::noted;

fn main() -> ExitCode {
    if let Err(why) = noted::begin() {
        return noted::complain(&why);
    }
    if let Some(ended) = endings::be_the_harness() {
        return ended.map_or_else(|why| noted::complain(&why), |()| ExitCode::SUCCESS);
    }
    let mut arguments = Arguments::from_args();
    // Two vCPUs a guest: as many side by side as the host has room for.
    let side_by_side = usize::try_from(lab::host::host_cores() / 2).unwrap_or(1).max(1);
    arguments.test_threads.get_or_insert(side_by_side);
    let mut trials = match cases::trials() {
        Ok(trials) => trials,
        Err(failure) => return noted::complain(&failure.to_string()),
    };
    trials.extend(closed::trials());
    trials.extend(deaths::trials());
    trials.extend(elsewhere::trials());
    trials.extend(endings::trials());
    trials.extend(faults::trials());
    trials.extend(forks::trials());
    trials.extend(luns::trials());
    trials.extend(neighbours::trials());
    trials.extend(needs::trials());
    trials.extend(rounds::trials());
    noted::carry_out(&arguments, trials)
}
