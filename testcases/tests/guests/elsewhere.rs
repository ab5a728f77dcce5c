//! Kernels of another release, and kernels that somebody else has built: the main experiment gives the same verdict.

use evidence::judge::{Finding, Outcome};
use lab::debian;
use lab::kernel::{Behaviour, Recipe, Store, Wanted};
use lab::watch::Nobody;
use libtest_mimic::{Completion, Failed, Trial};
use testcases::{Circumstances, DRIVER_AFTER_DEVICES, Seen, Verdict};

use crate::laboratory;
use crate::outcome::{Wrong, skipped, trial};

/// Debian's newest kernel for virtual machines, whichever that is.
const DEBIANS: &str = "linux-image-cloud-amd64";

pub(crate) fn trials() -> Vec<Trial> {
    let named = |kernel: &'static str| {
        trial(format!("elsewhere::linux_6_12_is_judged_as_6_1_is::{kernel}"), move || {
            let recipe = laboratory::catalogue()?.recipe(kernel)?;
            keeps_its_promises(&recipe, recipe.behaves)
        })
    };
    vec![
        named("without-6.12"),
        named("mainline-6.12"),
        Trial::ignorable_test("elsewhere::a_kernel_that_debian_has_built".to_owned(), a_kernel_of_debian),
    ]
}

fn a_kernel_of_debian() -> Result<Completion, Failed> {
    let name = "elsewhere::a_kernel_that_debian_has_built";
    if Store::open().is_ok_and(|store| store.kit().is_some()) {
        return Ok(Completion::ignored_with(skipped(name, "an archive of tests has no kernel of Debian's")?));
    }
    if debian::versions(DEBIANS).is_ok_and(|versions| versions.is_empty()) {
        return Ok(Completion::ignored_with(skipped(name, "apt knows no such package here")?));
    }
    crate::outcome::carry_out(name, || {
        let wanted = Wanted { kernels: vec![DEBIANS.to_owned()], ..Wanted::default() };
        let recipes = wanted.recipes(laboratory::catalogue()?, Store::open()?.root(), &Nobody)?.plain;
        // Every kernel of Debian 12 and later has the change; since v6.6 a probe may leave its node.
        recipes.iter().try_for_each(|recipe| keeps_its_promises(recipe, Some(Behaviour::PerDevice)))
    })?;
    Ok(Completion::Completed)
}

fn keeps_its_promises(recipe: &Recipe, behaves: Option<Behaviour>) -> Result<(), Wrong> {
    let case = &DRIVER_AFTER_DEVICES;
    let kernel = laboratory::made_of(recipe)?;
    let circumstances = Circumstances { topology: case.topology, host_cores: lab::host::host_cores() };
    let (folder, name) = laboratory::folder(&format!("elsewhere-{}", recipe.name))?;
    let ending = testcases::boot(case, &case.topology, &kernel, laboratory::accelerator()?, 0, &folder);
    let seen = [Seen::of(case, &circumstances, &name, ending)?];
    let Verdict { findings, others: _ } = Verdict::of(case, behaves, &circumstances, &seen);
    let told = |finding: &&Finding| format!("{}: {}; {}", finding.expected, finding.seen, finding.outcome);
    let with =
        |outcome: Outcome| findings.iter().filter(|finding| finding.outcome == outcome).collect::<Vec<_>>();
    if let Some(refuted) = with(Outcome::Refuted).first() {
        return Err(format!("{}: {}", told(refuted), folder.display()).into());
    }
    match findings.iter().find(|finding| finding.outcome != Outcome::Supported) {
        Some(untold) => Err(Wrong::Inconclusive(format!("{}: {}", told(&untold), folder.display()))),
        None => Ok(()),
    }
}
