//! The folder of a run to what reports are made of: its document, its kernels, and probes of its boots.

use std::fs;
use std::path::{Path, PathBuf};

use lab::failure::{Failure, Kind};
use lab::run::{Kept, Record};
use report::document::{BootEntry, ResultEntry, SCHEMA, TEST_SCHEMA, TestDocument, TestEntry};
use report::findings::{Found, Made};
use report::lanes::{Left, Timeline, Title};
use serde::Deserialize;

/// What the documents of runs are called.
const DOCUMENTS: [&str; 2] = ["verdict.json", "test.json"];

/// The folder of the bench, where a run is a night: what its tests showed is in nightly.txt.
pub(super) fn with_bench(run: PathBuf) -> PathBuf {
    let bench = run.join("bench");
    if document(&run).is_none() && document(&bench).is_some() { bench } else { run }
}

/// The document of a run, where it has one.
pub(super) fn document(run: &Path) -> Option<PathBuf> {
    DOCUMENTS.iter().map(|name| run.join(name)).find(|path| path.is_file())
}

/// What a run found.
///
/// # Errors
/// `Asked` for a folder that is no run, or of one that did not come to its end; `Files` for a damaged document.
pub(super) fn found(run: &Path) -> Result<Found, Failure> {
    let attempt = format!("report on {}", run.display());
    let Some(path) = document(run) else {
        let unfinished = fs::read_to_string(run.join("unfinished.txt")).ok();
        let (seen, next) = match unfinished {
            Some(why) => {
                let why = why.lines().next().unwrap_or_default().to_owned();
                (format!("it did not come to its verdict: {why}"), "carry it out again")
            }
            None if run.join("bisect.json").is_file() => {
                ("it is a search".to_owned(), "its bisect.txt is what there is to read of it")
            }
            None if !run.is_dir() => ("there is no such folder".to_owned(), "name the folder of a run"),
            None => {
                let names = DOCUMENTS.join(" nor a ");
                (format!("it has neither a {names}"), "name the folder of a bench or of tests")
            }
        };
        return Err(Failure::new(Kind::Asked, attempt, seen, next));
    };
    let text = fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
    parse(&text).map_err(|seen| {
        let attempt = format!("read {}", path.display());
        Failure::new(Kind::Files, attempt, seen, "carry the run out again, or use the parprobe that wrote it")
    })
}

/// The same for the text of its document; else what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Which {
        schema: String,
    }
    let wrong = |e: serde_json::Error| e.to_string();
    match serde_json::from_str::<Which>(text).map_err(wrong)?.schema.as_str() {
        SCHEMA => serde_json::from_str(text).map(Found::Bench).map_err(wrong),
        TEST_SCHEMA => serde_json::from_str(text).map(Found::Tests).map_err(wrong),
        other => Err(format!("its schema is {other}, and known are {SCHEMA} and {TEST_SCHEMA}")),
    }
}

/// The kernels of a run, those of a bench in the order in which they were asked for.
///
/// # Errors
/// `Files`.
pub(super) fn kernels(run: &Path, found: &Found) -> Result<Vec<Made>, Failure> {
    let mut kernels: Vec<Made> = Vec::new();
    for folder in folders(run) {
        for kernel in Kept::of_run(&folder)? {
            if !kernels.iter().any(|known| known.name == kernel.name) {
                kernels.push(made(kernel));
            }
        }
    }
    if let Found::Bench(document) = found {
        kernels.sort_by_key(|made| document.kernels.iter().position(|kernel| kernel.name == made.name));
    }
    Ok(kernels)
}

/// The folders that have boots and kernels: that of the run, one in it for each process of tests, or one in each of its
/// parts, where several machines ran one.
fn folders(run: &Path) -> Vec<PathBuf> {
    let within = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
        folders.sort();
        folders
    };
    let first = within(run);
    let second: Vec<PathBuf> = first.iter().flat_map(|folder| within(folder)).collect();
    let all = std::iter::once(run.to_owned()).chain(first).chain(second);
    all.filter(|path| path.join("kernels").is_dir()).collect()
}

fn made(kernel: Kept) -> Made {
    let Kept { name, identity, config, patches } = kernel;
    Made {
        name,
        id: identity.id,
        release: identity.release,
        source: identity.source.name,
        source_blake3: identity.source.blake3,
        compiler: identity.compiler,
        fragments: identity.config.into_iter().map(|piece| piece.name).collect(),
        config,
        patches,
    }
}

/// Probes of a boot for each kernel in each case, and what could not be read.
pub(super) fn timelines(run: &Path, found: &Found) -> (Vec<Timeline>, Vec<String>) {
    let (mut timelines, mut remarks) = (Vec::new(), Vec::new());
    for Drawn { case, kernel, folder } in drawn(found) {
        match Record::load(&run.join(&folder)) {
            Ok(record) => timelines.extend(of_record(&record, &case, &kernel, &folder)),
            // Of a kernel that died there is only its log.
            Err(_) if run.join(&folder).is_dir() && !run.join(&folder).join("guest.json").exists() => {}
            Err(failure) => remarks.push(format!("{folder} is not drawn: {failure}")),
        }
    }
    (timelines, remarks)
}

/// A boot that is drawn.
struct Drawn {
    case: String,
    kernel: String,
    /// Relative to the folder of the run.
    folder: String,
}

fn drawn(found: &Found) -> Vec<Drawn> {
    match found {
        Found::Bench(document) => document.results.iter().filter_map(middle).collect(),
        Found::Tests(document) => tests(document),
    }
}

/// The boot in the middle, by makespan.
fn middle(result: &ResultEntry) -> Option<Drawn> {
    let ResultEntry { case, kernel, .. } = result;
    let mut boots: Vec<&BootEntry> = result.boots.iter().collect();
    boots.sort_by_key(|boot| boot.facts.makespan_us);
    let folder = boots.get(boots.len().checked_sub(1)? / 2)?.folder.clone();
    Some(Drawn { case: case.clone(), kernel: kernel.clone(), folder })
}

/// Of each case on each kernel the first boot that is to blame, or the first. Cases come as they end: those of one are
/// brought together.
fn tests(document: &TestDocument) -> Vec<Drawn> {
    let mut entries: Vec<&TestEntry> = document.results.iter().collect();
    let first = |entry: &TestEntry| document.results.iter().position(|other| other.case == entry.case);
    entries.sort_by_key(|entry| first(entry));
    let draw = |entry: &&TestEntry| {
        let decisive = entry.findings.iter().filter(|finding| finding.outcome == entry.outcome);
        let evidence: Vec<&String> = decisive.flat_map(|finding| &finding.evidence).collect();
        let to_blame = |boot: &&String| evidence.first().is_some_and(|line| line.contains(boot.as_str()));
        let boot = entry.boots.iter().find(to_blame).or(entry.boots.first())?;
        let folder = Path::new(boot).strip_prefix(&document.run).unwrap_or(Path::new(boot));
        let folder = folder.display().to_string();
        Some(Drawn { case: entry.case.clone(), kernel: entry.kernel.clone(), folder })
    };
    entries.iter().filter_map(draw).collect()
}

/// Probes of a boot.
pub(crate) fn of_record(record: &Record, case: &str, kernel: &str, folder: &str) -> Vec<Timeline> {
    let kmsg: Vec<&str> = record.kmsg.lines().collect();
    let trace: Vec<&str> = record.trace.as_deref().unwrap_or_default().lines().collect();
    let phases = &record.left.phases;
    let boots = record.read(&[]);
    let draw = |(boot, phase): (&evidence::boot::Boot, &lab::run::Phase)| {
        let name = phase.name.as_deref().filter(|_| phases.len() > 1);
        let left = Left { cpus: &record.left.cpus, devices: &phase.devices, kmsg: &kmsg, trace: &trace };
        Timeline::of(Title { case, kernel, folder, phase: name }, boot, left)
    };
    boots.iter().zip(phases).map(draw).filter(|timeline| !timeline.bars.is_empty()).collect()
}
