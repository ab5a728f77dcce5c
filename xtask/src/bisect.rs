//! `bisect`: a history, a good end and a bad one to the first bad commit, and how sure that is.

mod ends;
mod examine;
mod guests;
mod kept;
mod line;
pub(crate) mod outside;
#[cfg(test)]
mod played;
mod question;
mod search;
mod settings;
mod step;

pub(crate) use examine::MOST_BOOTS;

use std::path::Path;

use lab::failure::Failure;
use lab::kernel::Catalogue;
use lab::run::{Carried, Lineup, Place, Request};
use lab::watch::Watch;
use report::document::Ended;

use crate::cli::{BisectArguments, BisectVerb, SearchArguments};
use crate::exit;
use crate::screen::print;
use examine::Bench;
use guests::Guests;
use kept::{Folder, read};
use question::Question;
use search::Search;
use settings::Settings;
pub(crate) use step::stop_code;

pub(crate) fn run(arguments: &BisectArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    if let Some(BisectVerb::Step(arguments)) = &arguments.step {
        return step::run(arguments, workspace, watch);
    }
    let arguments = &arguments.search;
    let mut search = open(arguments, workspace, watch)?;
    search.carry_out()?;
    let document = &search.document;
    print(&if arguments.json { document.to_json() + "\n" } else { report::text::render_bisect(document) });
    Ok(match &document.ended {
        Some(Ended::Found { confirmed: true, .. }) => exit::SUPPORTED,
        Some(Ended::Found { .. } | Ended::OneOf { .. } | Ended::NoFault { .. }) | None => exit::INCONCLUSIVE,
    })
}

/// Opens a search, or one that goes on, with guests to boot.
fn open<'a>(
    arguments: &SearchArguments,
    workspace: &Path,
    watch: &'a dyn Watch,
) -> Result<Search<'a>, Failure> {
    let settings = match &arguments.resume {
        Some(run) => read(&run.join("search.json"))?,
        None => {
            Question::of(&arguments.question)?;
            Settings::of(arguments)?
        }
    };
    let question = Question::of(&settings.question)?;
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    // Before anything is made: what cannot be found is found out now.
    let [good, bad] = settings.line.specs_of_ends();
    let good = catalogue.recipe(&good)?;
    catalogue.recipe(&bad)?;
    let run = match &arguments.resume {
        Some(run) => run.canonicalize().map_err(|e| Failure::file("find", run, &e))?,
        None => match &arguments.out {
            Some(folder) => Place::Named(folder.clone()),
            None => Place::Dated { runs: workspace.join("runs"), kind: "bisect" },
        }
        .make()?,
    };
    let run = Folder::enter(run)?;
    let document = match &arguments.resume {
        Some(_) => read(&run.path.join("bisect.json"))?,
        None => settings.document(&run.path),
    };
    run.keep("search.json", &serde_json::to_string_pretty(&settings).unwrap_or_default())?;
    run.keep("bisect.json", &document.to_json())?;
    let session = (1..).map(|number| run.path.join(format!("boots-{number}"))).find(|path| !path.exists());
    let lineup = Lineup::of(
        &Request {
            workspace,
            recipes: std::slice::from_ref(&good),
            modules: Carried::Any(&question.case.modules()),
            wish: settings.question.accel.into(),
            setup: arguments.setup,
            place: Place::Named(session.unwrap_or_else(|| run.path.join("boots"))),
        },
        watch,
    )
    .map_err(|failure| run.goes_on(failure))?;
    let bench = Bench { question, lab: Box::new(Guests { question, lineup, watch }), watch };
    Ok(Search { settings, run, catalogue, bench, document, watch })
}
