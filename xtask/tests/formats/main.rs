//! Holds what `report` writes against programs and schemas that are not ours: KernelCI's validator, the kernel's own
//! parser of KTAP, a published schema of JUnit XML, Python's reader of CSV, a browser.
//!
//! Where one of them is not on this host its test is ignored, with the reason. With `PARPROBE_FORMATS=required`, as in
//! CI, it fails.

mod browser;
mod run;

use std::process::{Command, ExitCode};

use lab::kernel::Store;
use lab::validators::{self, Validators};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use run::Run;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let test = |name: &str, test: fn() -> Result<Completion, Failed>| {
        Trial::ignorable_test(format!("formats::{name}"), test)
    };
    let trials = vec![
        test("junit_is_valid_against_the_schema_of_jenkins", junit),
        test("kcidb_is_valid_for_kernelci", kcidb),
        test("ktap_is_read_by_the_kernels_own_parser", ktap),
        test("csv_is_read_by_python", csv),
        test("a_page_opens_in_a_browser_and_shows_the_lines_behind_a_probe", browser::page),
    ];
    match testcases::noted::chosen(trials) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(failure) => testcases::noted::complain(&failure.to_string()),
    }
}

/// What to say of a test for which this is missing.
fn lacks(what: &str) -> Result<Completion, Failed> {
    match std::env::var("PARPROBE_FORMATS").as_deref() {
        Ok("required") => Err(format!("{what}, and PARPROBE_FORMATS says that it is required").into()),
        _ => Ok(Completion::ignored_with(what.to_owned())),
    }
}

fn store() -> Result<Store, Failed> {
    Store::open().map_err(|failure| failure.to_string().into())
}

const NO_VALIDATORS: &str = "no validators; `cargo xtask test --setup` installs them";

/// Runs a Python program on a report in both kinds of runs.
fn judged_by_python(format: &str, program: &str) -> Result<Completion, Failed> {
    let Some(validators) = Validators::find(store()?.root()) else { return lacks(NO_VALIDATORS) };
    for run in [Run::of_a_bench()?, Run::of_tests()?] {
        let report = run.report(format)?;
        let schema = validators.junit_schema();
        output(validators.python(program).arg(report).arg(schema))?;
    }
    Ok(Completion::Completed)
}

/// What a command wrote to standard output; its failure with all that it said.
fn output(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

fn junit() -> Result<Completion, Failed> {
    judged_by_python("junit", "import sys, xmlschema; xmlschema.XMLSchema(sys.argv[2]).validate(sys.argv[1])")
}

fn kcidb() -> Result<Completion, Failed> {
    judged_by_python(
        "kcidb",
        "import sys, json, kcidb_io; d = json.load(open(sys.argv[1])); kcidb_io.schema.LATEST.validate(d); \
         assert d['tests'] and d['builds'] and d['checkouts']",
    )
}

/// Every row has as many cells as the head, and one cell with quotes and a comma is what it was.
fn csv() -> Result<Completion, Failed> {
    judged_by_python(
        "csv",
        "import sys, csv; rows = list(csv.reader(open(sys.argv[1], newline=''), strict=True)); \
         assert len(rows) > 2 and all(len(row) == len(rows[0]) for row in rows), rows; \
         assert rows[0][0] != 'case' or 'why' not in rows[0] or any('\"quoted\", and' in c for r in rows for c in r)",
    )
}

/// The parser's summary counts each check: what is supported as passed, what is not as failed.
fn ktap() -> Result<Completion, Failed> {
    let Some(kunit) = validators::kunit(store()?.root()) else {
        return lacks("no kernel source in the store; building a kernel brings one");
    };
    for (run, summary) in [
        (Run::of_a_bench()?, "Ran 15 tests: passed: 13, failed: 2"),
        (Run::of_tests()?, "Ran 23 tests: passed: 16, failed: 6, skipped: 1"),
    ] {
        let report = run.report("ktap")?;
        // It ends with 1 where a test failed.
        let said = Command::new("python3").arg("-B").arg(&kunit).arg("parse").arg(report).output()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        if !said.contains(summary) || said.contains("ERROR") {
            return Err(format!("no \"{summary}\", or an error, in:\n{said}").into());
        }
    }
    Ok(Completion::Completed)
}
