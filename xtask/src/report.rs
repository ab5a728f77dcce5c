//! `report`: the folder of a run to a page, or to a format of other tools.

pub(crate) mod kept;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use lab::failure::{Failure, Kind};
use report::findings::Found;
use report::html::Page;

use crate::cli::{ReportArguments, ReportFormat};
use crate::exit;
use crate::screen::{complain, print};

pub(crate) fn run(arguments: &ReportArguments, workspace: &Path) -> Result<u8, Failure> {
    let run = match &arguments.run {
        Some(run) => run.clone(),
        None => newest(&workspace.join("runs"))?,
    };
    let run = kept::the_one(run)?;
    let found = kept::found(&run)?;
    if kept::document(&run).is_none() {
        complain("it did not come to its verdict: this is what was known when it ended");
    }
    let text = render(arguments.format, &run, &found)?;
    match &arguments.output {
        Some(path) => write(path, &text)?,
        None => print(&text),
    }
    Ok(exit::SUPPORTED)
}

fn render(format: ReportFormat, run: &Path, found: &Found) -> Result<String, Failure> {
    Ok(match format {
        ReportFormat::Html => {
            let kernels = kept::kernels(run, found)?;
            let (timelines, remarks) = kept::timelines(run, found);
            remarks.iter().for_each(|remark| complain(remark));
            report::html::render(&Page { found, kernels: &kernels, timelines: &timelines, remarks: &remarks })
        }
        ReportFormat::Perfetto => {
            let (timelines, remarks) = kept::timelines(run, found);
            remarks.iter().for_each(|remark| complain(remark));
            if let (true, Some(why)) = (timelines.is_empty(), remarks.into_iter().next()) {
                let attempt = format!("draw the probes of {}", run.display());
                let next = "name a folder with its boots/, as the run left it";
                return Err(Failure::new(Kind::Files, attempt, why, next));
            }
            report::perfetto::render(&timelines)
        }
        ReportFormat::Junit => report::junit::render(found),
        ReportFormat::Ktap => report::ktap::render(found),
        ReportFormat::Kcidb => report::kcidb::render(found, &kept::kernels(run, found)?),
        ReportFormat::Csv => report::csv::render(found),
        ReportFormat::Mail => report::mail::render(found),
    })
}

/// Ends of the names of runs that come to a verdict.
const WITH_VERDICTS: [&str; 4] = ["-bench", "-test", "-nightly", "-merge"];

/// The newest run with a document; newer ones without are named.
fn newest(runs: &Path) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut runs_by_age: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    // Folders are named after the time.
    runs_by_age.sort();
    let mut newer = Vec::new();
    while let Some(run) = runs_by_age.pop() {
        if kept::with_documents(&run).is_empty() {
            let name = run.display().to_string();
            newer.extend(WITH_VERDICTS.iter().any(|kind| name.ends_with(kind)).then_some(name));
            continue;
        }
        if !newer.is_empty() {
            complain(&format!(
                "this is of {}: newer and without a verdict: {}",
                run.display(),
                newer.join(", ")
            ));
        }
        return Ok(run);
    }
    let next = "carry out `cargo xtask bench`, or name the folder of a run";
    Err(Failure::new(Kind::Asked, "report on the newest run", format!("none in {}", runs.display()), next))
}

/// Writes a file that is there whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |e: &io::Error| {
        let mut failure = Failure::file("write", path, e);
        failure.next = "name a file that can be written with -o".to_owned();
        failure
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Something that is there and no file, as /dev/stdout, is written to and not replaced.
    if path.exists() && !path.is_file() {
        return fs::write(path, text).map_err(|e| failed(&e));
    }
    if !folder.is_dir() {
        let seen = format!("there is no folder {}", folder.display());
        return Err(failed(&io::Error::new(ErrorKind::NotFound, seen)));
    }
    // Its errors have the name of the file that is to become this one, and that of the system within.
    let plain = |e: io::Error| {
        let of_system = e.get_ref().and_then(|e| e.source()?.downcast_ref::<io::Error>()?.raw_os_error());
        failed(&of_system.map_or_else(|| io::Error::from(e.kind()), io::Error::from_raw_os_error))
    };
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(plain)?;
    file.write_all(text.as_bytes()).map_err(|e| failed(&e))?;
    file.persist(path).map(drop).map_err(|e| failed(&e.error))
}
