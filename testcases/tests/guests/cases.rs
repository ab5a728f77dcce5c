//! Each case on each kernel: what is expected of it holds, and what is expected of its opposite does not.

use std::time::Instant;

use evidence::judge::{Finding, Outcome};
use lab::failure::Failure;
use lab::kernel::{Origin, Recipe};
use libtest_mimic::{Completion, Failed, Trial};
use report::document::{TestEntry, TestLine, TestResult};
use testcases::noted::note;
use testcases::{CASES, Case, Circumstances, Seen, Verdict, limit};

use crate::laboratory;
use crate::outcome::{Wrong, millis};

pub(crate) fn trials() -> Result<Vec<Trial>, Failure> {
    let mut trials = Vec::new();
    for case in CASES {
        for kernel in laboratory::kernels()? {
            for flavour in case.flavours {
                let name = format!("{}::{}", case.name, Case::on(&kernel.name, flavour));
                trials.push(Trial::ignorable_test(name, move || carry_out(case, kernel, flavour)));
            }
        }
    }
    Ok(trials)
}

fn carry_out(case: &Case, kernel: &Recipe, flavour: &str) -> Result<Completion, Failed> {
    let behaves = kernel.behaves;
    let mut entry = TestEntry {
        case: case.name.to_owned(),
        situation: case.situation.to_owned(),
        claim: case.claim.to_owned(),
        source: case.source.to_owned(),
        kernel: Case::on(&kernel.name, flavour),
        behaves: behaves.map(|behaves| behaves.to_string()),
        about: kernel.about.clone(),
        topology: case.topology.to_string(),
        accel: None,
        took_ms: None,
        outcome: Outcome::NotRun,
        result: TestResult::Skipped,
        skipped: case.skipped_on(behaves, flavour).or_else(|| cannot(case, kernel, flavour)),
        lost: None,
        seeds: Vec::new(),
        boots: Vec::new(),
        limit: None,
        spent: None,
        findings: Vec::new(),
        others: Vec::new(),
    };
    if let Some(why) = entry.skipped.clone() {
        note(&TestLine::Case(Box::new(entry)))?;
        return Ok(Completion::ignored_with(why));
    }
    let begun = Instant::now();
    let done = check(case, kernel, flavour, &mut entry);
    entry.took_ms = Some(millis(begun));
    let wrong = done.as_ref().err();
    // "Not run" is a result: without it the others would look like all there is.
    (entry.result, entry.lost) =
        (wrong.map_or(TestResult::Passed, Wrong::result), wrong.and_then(Wrong::lost));
    note(&TestLine::Case(Box::new(entry)))?;
    done?;
    Ok(Completion::Completed)
}

/// Why a case cannot be carried out on a kernel as it is configured, if it cannot. That it cannot be built is found out
/// later.
fn cannot(case: &Case, kernel: &Recipe, flavour: &str) -> Option<String> {
    let by_others = !matches!(kernel.origin, Origin::Build(_));
    if by_others && !flavour.is_empty() {
        return Some("it was built by somebody else, and cannot be configured otherwise".to_owned());
    }
    let recipe = laboratory::catalogue().ok()?.in_flavour(kernel, flavour).ok()?;
    let bootable = laboratory::made_of(&recipe).ok()?;
    if let Some(module) = case.comes_too_early(&bootable.built_in) {
        return Some(format!("{module} is built in: what it drives is probed before anybody looks"));
    }
    let has = |name: &str| {
        bootable.modules.iter().any(|module| module.name == name)
            || bootable.built_in.iter().any(|built_in| built_in == name)
    };
    let lacks = case.modules().into_iter().find(|name| !has(name)).filter(|_| by_others)?;
    Some(format!("it was built by somebody else, without {lacks}"))
}

/// Boots a case and judges what it showed; what was seen is in the entry.
fn check(case: &Case, kernel: &Recipe, flavour: &str, entry: &mut TestEntry) -> Result<(), Wrong> {
    let behaves = kernel.behaves;
    let catalogue = laboratory::catalogue()?;
    let bootable = laboratory::made_of(&catalogue.in_flavour(kernel, flavour)?)?;
    let accelerator = laboratory::accelerator()?;
    entry.accel = Some(accelerator.to_string().to_lowercase());
    let circumstances = Circumstances { topology: case.topology, host_cores: lab::host::host_cores() };
    let (mut seen, mut lost) = (Vec::new(), None);
    for seed in 1..=case.seeds_in(flavour) {
        let (folder, _) = laboratory::folder(&format!("{}-{}", case.name, entry.kernel))?;
        let ending = testcases::boot(case, &case.topology, &bootable, accelerator, seed, &folder);
        entry.seeds.push(seed);
        entry.boots.push(folder.display().to_string());
        match Seen::of(case, &circumstances, &folder.display().to_string(), ending) {
            Ok(boot) => seen.push(boot),
            // What the boots before it say is not lost with it.
            Err(failure) => {
                lost = Some(failure);
                break;
            }
        }
    }
    let first = seen.first().and_then(|first| {
        let topology = testcases::drawn(case, &case.topology, *entry.seeds.first()?);
        limit::of_one(&Circumstances { topology, ..circumstances }, first.phases()?.first()?)
    });
    (entry.limit, entry.spent) = first.as_ref().map(|(limit, spent)| (limit.into(), spent.into())).unzip();
    let Verdict { findings, others } = Verdict::of(case, behaves, &circumstances, &seen);
    // What is missing might have refuted it.
    let missing = lost.iter().map(|_| Outcome::Inconclusive);
    entry.outcome = Outcome::of_all(findings.iter().map(|finding| finding.outcome).chain(missing));
    (entry.findings, entry.others) = (findings, others);
    let (mut wrong, mut untold) = (Vec::new(), Vec::new());
    let mut hold = |what: &str, finding: &Finding, needed: Outcome| {
        if finding.outcome == needed {
            return;
        }
        let told = matches!(finding.outcome, Outcome::Supported | Outcome::Refuted);
        if told { &mut wrong } else { &mut untold }.push(describe(what, finding));
    };
    for finding in &entry.findings {
        hold("expected of this kernel", finding, Outcome::Supported);
    }
    // Our own are told apart by the change alone: what one side promises has to fail on the other.
    let own = catalogue.names().any(|name| name == kernel.name);
    if let (Some(kernel), None, true) = (behaves, &lost, own) {
        for finding in Verdict::contraries(case, kernel, &circumstances, &seen) {
            hold("of other kernels only, and so to be refuted here", &finding, Outcome::Refuted);
        }
    }
    match (&wrong[..], lost, &untold[..]) {
        ([], None, []) => Ok(()),
        ([], Some(failure), _) => Err(failure.into()),
        ([], None, untold) => Err(Wrong::Inconclusive(untold.join("\n"))),
        (wrong, _, untold) => Err(Wrong::Failed([wrong, untold].concat().join("\n"))),
    }
}

fn describe(what: &str, finding: &Finding) -> String {
    let Finding { expected, seen, outcome, evidence } = finding;
    format!("{what}: {expected}; seen: {seen}; {outcome}\n  {}", evidence.join("\n  "))
}
