//! The folder of a run to what reports are made of: its document, its kernels, and probes of its boots.

use std::fs;
use std::path::{Component, Path, PathBuf};

use evidence::boot::Boot;
use lab::failure::{Failure, Kind};
use lab::run::{Kept, Record};
use report::document::{
    BootEntry, FactsEntry, ResultEntry, SCHEMA, SO_FAR, TEST_SCHEMA, TestDocument, TestEntry,
};
use report::findings::{Found, Made};
use report::lanes::{Left, Timeline, Title};
use serde::Deserialize;

/// What the documents of runs are called.
const DOCUMENTS: [&str; 2] = ["verdict.json", "test.json"];

/// In the folder of a night: a folder for each of its runs.
const OF_A_NIGHT: [&str; 4] = ["bench", "bench-again", "tests", "tests-again"];

/// The folders with a document: the run itself, or the runs of a night.
pub(super) fn with_documents(run: &Path) -> Vec<PathBuf> {
    let of_a_night = OF_A_NIGHT.iter().map(|name| run.join(name));
    let all = std::iter::once(run.to_owned()).chain(of_a_night);
    let mut folders: Vec<PathBuf> = all.filter(|folder| document(folder).is_some()).collect();
    if folders.first().is_some_and(|first| first == run) {
        folders.truncate(1);
    }
    folders
}

/// The folder with the document of a run.
///
/// # Errors
/// `Asked` for a night of several runs, whatever came of each: one of them would hide the others.
pub(super) fn the_one(run: PathBuf) -> Result<PathBuf, Failure> {
    let mut folders = with_documents(&run);
    let of_a_night: Vec<PathBuf> =
        OF_A_NIGHT.iter().map(|name| run.join(name)).filter(|folder| folder.is_dir()).collect();
    match folders.len() {
        0 => Ok(run),
        1 if folders[0] == run || of_a_night.len() == 1 => Ok(folders.remove(0)),
        _ => {
            let names: Vec<String> = of_a_night.iter().map(|folder| folder.display().to_string()).collect();
            let seen = format!("it is a night of {} runs: {}", names.len(), names.join(", "));
            let next = format!(
                "name one of these; what the night found is in {}",
                run.join("nightly.txt").display()
            );
            Err(Failure::new(Kind::Asked, format!("report on {}", run.display()), seen, next))
        }
    }
}

/// The document of a run, where it has one.
pub(super) fn document(run: &Path) -> Option<PathBuf> {
    DOCUMENTS.iter().map(|name| run.join(name)).find(|path| path.is_file())
}

/// What a run found.
///
/// # Errors
/// `Asked` for a folder that is no run, or of one that ended before anything was known; `Files` for a damaged document.
pub(super) fn found(run: &Path) -> Result<Found, Failure> {
    let attempt = format!("report on {}", run.display());
    let so_far = || Some(run.join(SO_FAR)).filter(|path| path.is_file());
    let Some(path) = document(run).or_else(so_far) else {
        let unfinished = fs::read_to_string(run.join("unfinished.txt")).ok();
        let (seen, next) = match unfinished {
            Some(why) => {
                let why = why.lines().next().unwrap_or_default().to_owned();
                (format!("it did not come to its verdict: {why}"), "carry it out again")
            }
            None if run.join("bisect.json").is_file() => {
                ("it is a search".to_owned(), "its bisect.txt is what there is to read of it")
            }
            None if run.join("agent").is_file() => (
                "it did not come to its verdict: whoever carried it out was killed, or still does".to_owned(),
                "carry it out again; what was booted is in its boots/",
            ),
            None if run.is_file() => ("it is a file".to_owned(), "name the folder of a run"),
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
    for drawn in drawn(found) {
        let folder = &drawn.folder;
        // A run may come from elsewhere: its report shows what is in it.
        if !Path::new(folder).components().all(|part| matches!(part, Component::Normal(_))) {
            remarks.push(format!("{folder} is not drawn: it is not in the folder of the run"));
            continue;
        }
        match Record::load(&run.join(folder)) {
            Ok(record) => {
                let boots = record.read(&[]);
                remarks.extend(boots.first().and_then(|boot| otherwise(&drawn, boot)));
                let title = [&drawn.case, &drawn.kernel, &drawn.folder].map(String::as_str);
                timelines.extend(of_record(&record, &boots, title));
            }
            // Of a kernel that died there is only its log.
            Err(_) if run.join(folder).is_dir() && !run.join(folder).join("guest.json").exists() => {}
            Err(Failure { attempt, seen, .. }) => {
                remarks.push(format!("{folder} is not drawn: could not {attempt}: {seen}"));
            }
        }
    }
    (timelines, remarks)
}

/// Why a picture may show something else than what was judged; `None` where it does not.
fn otherwise(drawn: &Drawn, boot: &Boot) -> Option<String> {
    let Drawn { folder, judged, .. } = drawn;
    let now = FactsEntry::from(&boot.facts);
    match judged {
        Some(judged) if *judged != now => {
            let told = |facts: &FactsEntry| {
                let makespan = facts.makespan_us.map_or("unknown".to_owned(), |us| format!("{us} us"));
                format!("{} probes, makespan {makespan}", facts.probes)
            };
            Some(format!(
                "{folder} is drawn as its files are now ({}), and not as they were when it was judged ({}): they were \
                 changed or damaged since",
                told(&now),
                told(judged)
            ))
        }
        _ => boot.doubt().map(|doubt| format!("no claim can rest on {folder}, as it is drawn: {doubt}")),
    }
}

/// A boot that is drawn.
struct Drawn {
    case: String,
    kernel: String,
    /// Relative to the folder of the run.
    folder: String,
    /// Its numbers when it was judged, where the document has them.
    judged: Option<FactsEntry>,
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
    let boot = boots.get(boots.len().checked_sub(1)? / 2)?;
    let (folder, judged) = (boot.folder.clone(), Some(boot.facts.clone()));
    Some(Drawn { case: case.clone(), kernel: kernel.clone(), folder, judged })
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
        Some(Drawn { case: entry.case.clone(), kernel: entry.kernel.clone(), folder, judged: None })
    };
    entries.iter().filter_map(draw).collect()
}

/// Probes of a boot: of a case, on a kernel, in a folder.
pub(crate) fn of_record(record: &Record, boots: &[Boot], title: [&str; 3]) -> Vec<Timeline> {
    let [case, kernel, folder] = title;
    let kmsg: Vec<&str> = record.kmsg.lines().collect();
    let trace: Vec<&str> = record.trace.as_deref().unwrap_or_default().lines().collect();
    let phases = &record.left.phases;
    let draw = |(boot, phase): (&Boot, &lab::run::Phase)| {
        let name = phase.name.as_deref().filter(|_| phases.len() > 1);
        let left = Left { cpus: &record.left.cpus, devices: &phase.devices, kmsg: &kmsg, trace: &trace };
        Timeline::of(Title { case, kernel, folder, phase: name }, boot, left)
    };
    boots.iter().zip(phases).map(draw).filter(|timeline| !timeline.bars.is_empty()).collect()
}
