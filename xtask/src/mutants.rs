//! `mutants`: known faults to the cases that catch them; and kernels against themselves, for false alarms.

use std::fs;
use std::path::Path;

use evidence::judge::{self, Finding, Outcome};
use evidence::sequential;
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::kernel::{Catalogue, Mutant, Mutants, Patch, Recipe};
use lab::run::{self, Bootable, Carried, Lineup, Place, Request};
use lab::watch::Watch;
use report::document::{
    Comparison, Fate, IntervalKind, MUTANTS_SCHEMA, MutantEntry, MutantsDocument, SelfEntry, Untold,
};
use testcases::{CASES, Case, Circumstances, DRIVER_AFTER_DEVICES, Seen, Verdict};

use crate::cli::MutantsArguments;
use crate::exit;
use crate::screen::print;

/// The kernels that are held against themselves.
const ALIKE: [&str; 2] = ["without", "mainline"];
/// Pairs of boots in each of these runs: until it is clear whether both are as fast.
const LEAST_PAIRS: usize = 3;
const MOST_PAIRS: usize = 30;

pub(crate) fn run(arguments: &MutantsArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    let mutants = Mutants::read(&catalogue.folder().join("mutants"))?;
    let on = catalogue.exactly(&mutants.on)?;
    let chosen = mutants.chosen(&arguments.names)?;
    for mutant in &chosen {
        cases_of(mutant)?;
    }
    let recipes = if arguments.aa {
        ALIKE.iter().map(|name| catalogue.recipe(name)).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![on.clone()]
    };
    let mut lineup = Lineup::of(
        &Request {
            workspace,
            recipes: &recipes,
            modules: Carried::Any(&testcases::modules()),
            wish: arguments.accel.into(),
            setup: arguments.setup,
            place: Place::Dated { runs: workspace.join("runs"), kind: "mutants" },
        },
        watch,
    )?;
    let mut document = MutantsDocument {
        schema: MUTANTS_SCHEMA.to_owned(),
        run: lineup.run.display().to_string(),
        command: repeat(arguments),
        mutants: Vec::new(),
        aa: Vec::new(),
    };
    let done = if arguments.aa {
        hold_against_themselves(usize::from(arguments.runs), &lineup, &mut document, watch)
    } else {
        hunt_all(&chosen, arguments.each, &on, &catalogue, &mut lineup, &mut document, watch)
    };
    done.map_err(|failure| run::unfinished(&lineup.run, failure))?;
    print(&if arguments.json { document.to_json() + "\n" } else { report::text::render_mutants(&document) });
    Ok(exit::code_of_outcome(document.outcome(arguments.each)))
}

fn hold_against_themselves(
    runs: usize,
    lineup: &Lineup,
    document: &mut MutantsDocument,
    watch: &dyn Watch,
) -> Result<(), Failure> {
    for kernel in ALIKE {
        for round in 1..=runs {
            watch.stage(&format!("{kernel} against itself, {round} of {runs}"));
            document.aa.push(against_itself(kernel, round, lineup)?);
            keep(document, &lineup.run)?;
        }
    }
    Ok(())
}

fn hunt_all(
    mutants: &[Mutant],
    each: bool,
    on: &Recipe,
    catalogue: &Catalogue,
    lineup: &mut Lineup,
    document: &mut MutantsDocument,
    watch: &dyn Watch,
) -> Result<(), Failure> {
    for mutant in mutants {
        let entry = hunt(mutant, each, on, catalogue, lineup, watch)?;
        watch.note(&report::text::render_mutant(&entry));
        document.mutants.push(entry);
        keep(document, &lineup.run)?;
    }
    Ok(())
}

/// Writes down what is known so far: it takes long, and may be interrupted.
fn keep(document: &MutantsDocument, run: &Path) -> Result<(), Failure> {
    let (text, json) = (report::text::render_mutants(document), document.to_json());
    for (name, content) in [("mutants.txt", &text), ("mutants.json", &json)] {
        let path = run.join(name);
        fs::write(&path, content).map_err(|e| Failure::file("write", &path, &e))?;
    }
    Ok(())
}

fn repeat(arguments: &MutantsArguments) -> String {
    let MutantsArguments { names, each, aa, runs, accel, json: _, setup: _ } = arguments;
    let what = match (aa, each) {
        (true, _) => format!("--aa --runs {runs}"),
        (_, true) => format!("{} --each", names.join(" ")),
        _ => names.join(" "),
    };
    format!("cargo xtask mutants {what} --accel {}", accel.name()).replace("  ", " ")
}

fn cases_of(mutant: &Mutant) -> Result<Vec<&'static Case>, Failure> {
    let find = |name: &String| {
        CASES.iter().copied().find(|case| case.name == *name).ok_or_else(|| {
            let attempt = format!("find the case \"{name}\" of the mutant \"{}\"", mutant.name);
            let next = "mend kernel-configs/mutants/mutants.toml";
            Failure::new(Kind::Asked, attempt, "there is none of that name", next)
        })
    };
    mutant.cases.iter().map(find).collect()
}

/// Carries out the cases that could see a fault, until one does; with `each`, all of them.
fn hunt(
    mutant: &Mutant,
    each: bool,
    on: &Recipe,
    catalogue: &Catalogue,
    lineup: &mut Lineup,
    watch: &dyn Watch,
) -> Result<MutantEntry, Failure> {
    let Mutant { name, breaks, happened, survives, .. } = mutant.clone();
    let mut entry = MutantEntry::new(name, breaks, happened, survives);
    for case in cases_of(mutant)? {
        let mut said = Said::Passed;
        for flavour in case.flavours {
            let plain = catalogue.recipe(&Case::on(&on.name, flavour))?;
            let mut recipe = plain.patched(&[Patch::file(mutant.patch.clone())])?;
            recipe.name = Case::on(&mutant.name, flavour);
            recipe.about.clone_from(&mutant.breaks);
            let kernel = lineup.add(&recipe, &testcases::modules(), watch)?.clone();
            watch.stage(&format!("carry out {} on {}", case.name, recipe.name));
            entry.cases.push(format!("{}::{}", case.name, recipe.name));
            said = said.or(examine(case, case.seeds_in(flavour), on, &kernel, lineup)?);
            if matches!(said, Said::Caught(..)) {
                break;
            }
        }
        let name = case.name.to_owned();
        match said {
            Said::Caught(..) if entry.outcome == Fate::Caught => entry.also_caught_by.push(name),
            Said::Caught(finding, seed) => {
                (entry.outcome, entry.caught_by) = (Fate::Caught, Some(name));
                (entry.finding, entry.seed) = (Some(finding), Some(seed));
            }
            Said::Passed => entry.missed_by.push(name),
            Said::Nothing(why) => {
                entry.untold_by.push(Untold { case: name, why });
                if entry.outcome == Fate::Survived {
                    entry.outcome = Fate::Untold;
                }
            }
        }
        if entry.outcome == Fate::Caught && !each {
            break;
        }
    }
    Ok(entry)
}

/// What a case says of a kernel with a fault.
enum Said {
    /// This is refuted, by the boot with this seed.
    Caught(Finding, u64),
    /// All that is expected holds.
    Passed,
    /// It cannot tell, and why.
    Nothing(String),
}

impl Said {
    /// What it says with another flavour of the kernel, besides.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Passed, other) | (_, other @ Self::Caught(..)) => other,
            (told, _) => told,
        }
    }
}

/// What a case says of this kernel, which passes for the one it is made from. Boots until one refutes something.
fn examine(
    case: &Case,
    seeds: u64,
    on: &Recipe,
    kernel: &Bootable,
    lineup: &mut Lineup,
) -> Result<Said, Failure> {
    let mut boots = Vec::new();
    let mut lost = None;
    for seed in 1..=seeds {
        let name = run::boot_name(lineup.next_boot(), &format!("{}-{}", case.name, kernel.name));
        let folder = run::make_boot_folder(&lineup.run, &name)?;
        let ending = testcases::boot(case, &case.topology, kernel, lineup.choice.accelerator, seed, &folder);
        match Seen::of(case, &circumstances(&case.topology), &name, ending) {
            Ok(seen) => boots.push(seen),
            // The host's fault, perhaps: the hunt for other faults goes on.
            Err(failure) if failure.kind == Kind::Guest => {
                lost = Some(failure.to_string());
                continue;
            }
            Err(failure) => return Err(failure),
        }
        let findings = Verdict::of(case, on.behaves, &circumstances(&case.topology), &boots).findings;
        if let Some(finding) = findings.into_iter().find(|f| f.outcome == Outcome::Refuted) {
            return Ok(Said::Caught(finding, seed));
        }
    }
    if let Some(lost) = lost {
        return Ok(Said::Nothing(lost));
    }
    let findings = Verdict::of(case, on.behaves, &circumstances(&case.topology), &boots).findings;
    let untold = findings.into_iter().find(|finding| finding.outcome != Outcome::Supported);
    Ok(untold.map_or(Said::Passed, |Finding { expected, seen, outcome, evidence }| {
        let place = evidence.first().map_or_else(String::new, |place| format!("; {place}"));
        Said::Nothing(format!("{expected}; seen: {seen}; {outcome}{place}"))
    }))
}

fn circumstances(topology: &Topology) -> Circumstances {
    Circumstances { topology: *topology, host_cores: lab::host::host_cores() }
}

/// Boots the same kernel as baseline and as candidate, in turn, as a bench would.
fn against_itself(kernel: &str, round: usize, lineup: &Lineup) -> Result<SelfEntry, Failure> {
    let case = &DRIVER_AFTER_DEVICES;
    let found = lineup.kernels.iter().find(|(known, _)| known.name == kernel);
    let Some((_, bootable)) = found else {
        return Err(Failure::new(
            Kind::Asked,
            format!("find {kernel}"),
            "it was not lined up",
            "this is a bug",
        ));
    };
    let mut sides: [Vec<Seen>; 2] = [Vec::new(), Vec::new()];
    let mut pairs = Vec::new();
    for (number, (pair, side)) in run::interleaved(2, MOST_PAIRS).enumerate() {
        let number = (round - 1) * MOST_PAIRS * 2 + number + 1;
        let name = run::boot_name(number, &format!("{kernel}-{}", ["a", "b"][side]));
        let folder = run::make_boot_folder(&lineup.run, &name)?;
        let ending = testcases::boot(case, &case.topology, bootable, lineup.choice.accelerator, 0, &folder);
        let seen = Seen::of(case, &circumstances(&case.topology), &name, ending)?;
        sides[side].push(seen);
        if sides[0].len() != sides[1].len() {
            continue;
        }
        let both = sides[0].last().zip(sides[1].last());
        pairs.extend(both.and_then(|(a, b)| Some((a.makespan()?, b.makespan()?))));
        let clear = judge::judge_as_fast(sequential::ratio(&pairs));
        if pair + 1 >= LEAST_PAIRS && matches!(clear, Outcome::Supported | Outcome::Refuted) {
            break;
        }
    }
    let mut refuted: Vec<Finding> = Vec::new();
    for seen in &sides {
        let verdict = Verdict::of(case, bootable.behaves, &circumstances(&case.topology), seen);
        refuted.extend(verdict.findings.into_iter().filter(|f| f.outcome == Outcome::Refuted));
    }
    let ratio = sequential::ratio(&pairs);
    let left_out = sides[0].len() - pairs.len();
    let mut comparison = Comparison::new(case.name, kernel, kernel, pairs.len(), left_out, ratio);
    comparison.interval = IntervalKind::Sequence;
    comparison.claim = Some(format!("{kernel} is as fast as {kernel}"));
    comparison.outcome = Some(judge::judge_as_fast(ratio));
    Ok(SelfEntry { kernel: kernel.to_owned(), run: round, refuted, comparison })
}
