//! Results of boots to the document of a bench.

use std::time::Duration;

use evidence::boot::Boot;
use evidence::judge::Outcome;
use evidence::limit::{Limit, Schedule};
use evidence::units::micros;
use lab::guest::topology::Topology;
use lab::run::Lineup;
use report::document::{
    BootEntry, CaseEntry, Comparison, Document, EndedEntry, Host, KernelEntry, LimitEntry, ResultEntry,
    SCHEMA, SpentEntry, TimeEntry,
};
use testcases::limit::schedule;
use testcases::{BootResult, Case, Circumstances, KernelResult, Verdict};

use super::compared::Role;

/// What a bench has seen and found, as it is written and printed.
pub(super) fn document(
    case: &Case,
    topology: &Topology,
    lineup: &Lineup,
    results: &[KernelResult],
    compared: &[(String, String)],
    comparisons: Vec<Comparison>,
    command: &str,
) -> Document {
    let host_cores = lab::host::host_cores();
    let circumstances = Circumstances { topology: *topology, host_cores };
    let limit = limit(&circumstances, results);
    let entries: Vec<ResultEntry> =
        results.iter().map(|result| judged(case, &circumstances, limit.as_ref(), result)).collect();
    // The claim is about candidates: what other kernels do is what makes it worth something, and not a test of it.
    let judged = results.iter().any(|result| Role::of_result(case, result) == Some(Role::Candidate));
    let known = |name: &String| results.iter().find(|result| result.kernel == *name).map(|of| of.behaves);
    // Held against a baseline there is to be one, and what nobody knows of is none: whether it is one is what was asked.
    let asked = |(first, other): &(String, String)| match (known(first), known(other)) {
        (Some(Some(known)), Some(None)) | (Some(None), Some(Some(known))) => {
            Role::of(case, known) == Some(Role::Baseline)
        }
        _ => false,
    };
    let about = judged || results.iter().any(|result| result.behaves.is_none());
    let tested = about && !compared.iter().any(asked);
    let outcomes = entries
        .iter()
        .map(|entry| entry.outcome)
        .chain(comparisons.iter().filter_map(|comparison| comparison.outcome))
        .chain((!tested).then_some(Outcome::NotRun));
    Document {
        schema: SCHEMA.to_owned(),
        outcome: Outcome::of_all(outcomes),
        accel: lineup.choice.accelerator.to_string().to_lowercase(),
        accel_reason: lineup.choice.why.clone(),
        topology: topology.to_string(),
        host: Host {
            qemu: lab::guest::qemu_version().unwrap_or_default(),
            cores: host_cores,
            open: lab::guest::Walls::of_host().open(),
        },
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
                behaves: kernel.behaves.map(|behaves| behaves.to_string()),
            })
            .collect(),
        cases: vec![CaseEntry {
            name: case.name.to_owned(),
            situation: case.situation.to_owned(),
            claim: case.claim.to_owned(),
            source: case.source.to_owned(),
            tested,
            judged,
            limit: limit.as_ref().map(LimitEntry::from),
        }],
        results: entries,
        comparisons,
        time: None,
    }
}

/// Where the time went. The module may be loaded longer than its guest's clock says, where the host has no time for it.
pub(super) fn time(wall: Duration, until_boot: Duration, results: &[KernelResult]) -> TimeEntry {
    let samples = results.iter().flat_map(|result| &result.boots).flat_map(|boot| &boot.samples);
    let measured = samples.clone().filter_map(|sample| sample.boot()?.facts.insmod).sum();
    TimeEntry {
        wall_us: micros(wall),
        until_boot_us: micros(until_boot),
        measured_us: micros(measured),
        guests: u32::try_from(samples.count()).unwrap_or(u32::MAX),
    }
}

/// What all boots together say of how short the makespan can be.
fn limit(circumstances: &Circumstances, results: &[KernelResult]) -> Option<Limit> {
    let Circumstances { topology, host_cores } = circumstances;
    let samples = results.iter().flat_map(|result| &result.boots).flat_map(|boot| &boot.samples);
    let schedules: Vec<Schedule> = samples.filter_map(|sample| schedule(topology, sample.boot()?)).collect();
    Limit::of(&schedules, topology.vcpus.min(*host_cores))
}

fn judged(
    case: &Case,
    circumstances: &Circumstances,
    limit: Option<&Limit>,
    result: &KernelResult,
) -> ResultEntry {
    let spent = |boot: &Boot| {
        let schedule = schedule(&circumstances.topology, boot)?;
        Some(SpentEntry::from(&limit?.spent(&schedule)))
    };
    let Verdict { findings, others } = Verdict::of(case, result.behaves, circumstances, &result.seen());
    ResultEntry {
        case: case.name.to_owned(),
        kernel: result.kernel.clone(),
        outcome: Outcome::of_all(findings.iter().map(|finding| finding.outcome)),
        findings,
        others,
        boots: result.boots.iter().flat_map(|boot| entries(boot, &spent)).collect(),
        ended: result.boots.iter().flat_map(ended).collect(),
    }
}

fn ended(boot: &BootResult) -> impl Iterator<Item = EndedEntry> {
    let origin = boot.samples.first().map(|sample| sample.folder.clone());
    boot.samples.iter().filter_map(move |sample| {
        let (folder, why) = (sample.folder.clone(), sample.end.why()?);
        let fork_of = origin.clone().filter(|origin| *origin != folder);
        Some(EndedEntry { folder, fork_of, why })
    })
}

fn entries(
    boot: &BootResult,
    spent: &impl Fn(&Boot) -> Option<SpentEntry>,
) -> impl Iterator<Item = BootEntry> {
    let origin = boot.samples.first().map(|sample| sample.folder.clone());
    boot.samples.iter().filter_map(move |sample| {
        let boot = sample.boot()?;
        let mut entry = BootEntry::new(&sample.folder, boot, &sample.blind_spots);
        entry.spent = spent(boot);
        entry.met(sample.neighbours.as_ref());
        entry.memory = sample.memory;
        entry.fork_of = origin.clone().filter(|origin| *origin != sample.folder);
        Some(entry)
    })
}

#[cfg(test)]
mod tests {
    use lab::guest::Cause;
    use testcases::{End, Sample};

    use super::*;

    #[test]
    fn a_boot_or_fork_that_died_or_refused_is_told_with_its_reason_and_origin() {
        let sample = |folder: &str, end: End| Sample {
            folder: folder.to_owned(),
            end,
            blind_spots: Vec::new(),
            neighbours: None,
            memory: None,
        };
        let died = End::Died { cause: Cause::Reset, doing: "load sd_mod".to_owned(), log: String::new() };
        let refused = End::Refused("could not load sd_mod: ENOENT".to_owned());
        let boot = BootResult {
            samples: vec![
                sample("boots/001-with", died),
                sample("boots/002-with", End::Well(Vec::new())),
                sample("boots/003-with", refused),
            ],
        };
        let told: Vec<(String, Option<String>, String)> =
            ended(&boot).map(|EndedEntry { folder, fork_of, why }| (folder, fork_of, why)).collect();
        let of = |folder: &str, fork_of: Option<&str>, why: &str| {
            (folder.to_owned(), fork_of.map(str::to_owned), why.to_owned())
        };
        assert_eq!(
            told,
            [
                of("boots/001-with", None, &format!("{}; while it was to load sd_mod", Cause::Reset)),
                of("boots/003-with", Some("boots/001-with"), "could not load sd_mod: ENOENT"),
            ]
        );
    }
}
