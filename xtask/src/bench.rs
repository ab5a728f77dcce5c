//! `bench`: kernels to boots to a verdict.

use std::fs;
use std::path::Path;

use evidence::judge::{self, Outcome};
use evidence::stats::{self, Ratio};
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::kernel::Catalogue;
use lab::run::{self, Lineup, Place, Request};
use lab::watch::Watch;
use report::document::{BootEntry, CaseEntry, Comparison, Document, Host, KernelEntry, ResultEntry, SCHEMA};
use testcases::{BootResult, Case, Circumstances, DRIVER_AFTER_DEVICES, End, KernelResult, Seen, Verdict};

use crate::cli::BenchArguments;
use crate::exit;
use crate::screen::print;

pub(crate) fn run(arguments: &BenchArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let case = &DRIVER_AFTER_DEVICES;
    let topology = arguments.topology();
    topology.check().map_err(|unsound| {
        let next = "see `cargo xtask bench --help` for the numbers and their defaults";
        Failure::new(Kind::Asked, "make such a guest", unsound.to_string(), next)
    })?;
    let place = match &arguments.out {
        Some(folder) => Place::Named(folder.clone()),
        None => Place::Dated { runs: workspace.join("runs"), kind: "bench" },
    };
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    let recipes =
        arguments.kernels.iter().map(|name| catalogue.recipe(name)).collect::<Result<Vec<_>, _>>()?;
    let lineup = Lineup::of(
        &Request {
            workspace,
            recipes: &recipes,
            modules: Some(&case.modules()),
            wish: arguments.accel.into(),
            setup: arguments.setup,
            place,
        },
        watch,
    )?;
    let results = testcases::carry_out(case, &topology, &lineup, usize::from(arguments.boots), watch)
        .inspect_err(|failure| run::mark_unfinished(&lineup.run, failure))?;
    let document = document(case, &topology, &lineup, &results, &repeat(arguments, &topology));

    let text = report::text::render(&document);
    let json = document.to_json();
    for (name, content) in [("verdict.txt", &text), ("verdict.json", &json)] {
        let path = lineup.run.join(name);
        fs::write(&path, content).map_err(|e| Failure::file("write", &path, &e))?;
    }
    print(&if arguments.json { json + "\n" } else { text });
    Ok(exit::code_of_outcome(document.outcome))
}

/// The command that repeats the bench here, with every default spelt out: defaults may change, and depend on
/// the host.
fn repeat(arguments: &BenchArguments, topology: &Topology) -> String {
    let BenchArguments { kernels, boots, accel, .. } = arguments;
    let Topology { nodes, vcpus, hbas, luns, latency, oddities: _ } = topology;
    format!(
        "cargo xtask bench --kernels {} --nodes {nodes} --vcpus {vcpus} --hbas {hbas} --luns {luns} --latency {} --boots {boots} --accel {}",
        kernels.join(","),
        humantime::format_duration(*latency).to_string().replace(' ', ""),
        accel.name(),
    )
}

fn document(
    case: &Case,
    topology: &Topology,
    lineup: &Lineup,
    results: &[KernelResult],
    command: &str,
) -> Document {
    let host_cores = lab::host::host_cores();
    let circumstances = Circumstances { topology: *topology, host_cores };
    let entries: Vec<ResultEntry> =
        results.iter().map(|result| judged(case, &circumstances, result)).collect();
    let comparisons = compared(case, results);
    let outcomes = entries
        .iter()
        .map(|entry| entry.outcome)
        .chain(comparisons.iter().filter_map(|comparison| comparison.outcome));
    Document {
        schema: SCHEMA.to_owned(),
        outcome: Outcome::of_all(outcomes),
        accel: lineup.choice.accelerator.to_string().to_lowercase(),
        accel_reason: lineup.choice.why.clone(),
        topology: topology.to_string(),
        host: Host { qemu: lab::guest::qemu_version().unwrap_or_default(), cores: host_cores },
        run: lineup.run.display().to_string(),
        command: command.to_owned(),
        kernels: lineup
            .kernels
            .iter()
            .map(|(kernel, _)| KernelEntry {
                name: kernel.name.clone(),
                release: kernel.identity.release.clone(),
                id: kernel.identity.id.clone(),
                about: kernel.about.clone(),
            })
            .collect(),
        cases: vec![CaseEntry {
            name: case.name.to_owned(),
            situation: case.situation.to_owned(),
            claim: case.claim.to_owned(),
            source: case.source.to_owned(),
        }],
        results: entries,
        comparisons,
    }
}

fn judged(case: &Case, circumstances: &Circumstances, result: &KernelResult) -> ResultEntry {
    let seen =
        |boot: &BootResult| Seen { folder: boot.folder.clone(), end: End::Well(vec![boot.boot.clone()]) };
    let seen: Vec<Seen> = result.boots.iter().map(seen).collect();
    let Verdict { findings, others } = Verdict::of(case, result.behaves, circumstances, &seen);
    ResultEntry {
        case: case.name.to_owned(),
        kernel: result.kernel.clone(),
        outcome: Outcome::of_all(findings.iter().map(|finding| finding.outcome)),
        findings,
        others,
        boots: result
            .boots
            .iter()
            .map(|boot| BootEntry::new(&boot.folder, &boot.boot, &boot.blind_spots))
            .collect(),
    }
}

/// The first kernel against each of the others, boot by boot. A pair with a boot on which no claim can rest is
/// left out.
fn compared(case: &Case, results: &[KernelResult]) -> Vec<Comparison> {
    let Some((first, others)) = results.split_first() else { return Vec::new() };
    others
        .iter()
        .map(|other| {
            let all = first.boots.iter().zip(&other.boots);
            let sound = |boot: &BootResult| boot.boot.facts.makespan.filter(|_| boot.boot.doubt().is_none());
            let pairs: Vec<_> = all.filter_map(|(a, b)| Some((sound(a)?, sound(b)?))).collect();
            let ratio = stats::ratio(&pairs);
            let left_out = first.boots.len().min(other.boots.len()) - pairs.len();
            let mut comparison =
                Comparison::new(case.name, &first.kernel, &other.kernel, pairs.len(), left_out, ratio);
            let (faster, slower, claimed) = match (role(case, first), role(case, other)) {
                (Some(Role::Baseline), Some(Role::Candidate)) => (other, first, ratio),
                (Some(Role::Candidate), Some(Role::Baseline)) => (first, other, ratio.map(Ratio::inverse)),
                // A patch on top of one of them: nobody claims that it is faster.
                _ => {
                    comparison.claim = Some(format!("{} is as fast as {}", other.kernel, first.kernel));
                    comparison.outcome = Some(judge::judge_as_fast(ratio));
                    return comparison;
                }
            };
            comparison.claim = Some(format!("{} is faster than {}", faster.kernel, slower.kernel));
            comparison.outcome = Some(judge::judge_faster(claimed));
            comparison
        })
        .collect()
}

/// What a kernel is for a claim.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Role {
    Baseline,
    Candidate,
}

fn role(case: &Case, result: &KernelResult) -> Option<Role> {
    let behaves = result.behaves?;
    if case.candidates.contains(&behaves) {
        Some(Role::Candidate)
    } else {
        case.baselines.contains(&behaves).then_some(Role::Baseline)
    }
}
