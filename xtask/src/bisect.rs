//! `bisect`: a history, a good end and a bad one to the first bad commit, and how sure that is.

mod ends;
mod examine;
mod guests;
mod kept;
mod line;
#[cfg(test)]
mod played;
mod question;
mod search;
mod settings;
mod step;

use std::path::Path;

use lab::failure::{Failure, Kind};
use lab::kernel::Catalogue;
use lab::run::{Carried, Lineup, Place, Request};
use lab::watch::Watch;
use report::document::Ended;

use crate::cli::{BisectArguments, BisectVerb, SearchArguments};
use crate::exit;
use crate::screen::print;
use examine::Bench;
use guests::Guests;
use kept::{keep, read};
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
    search.carry_out().map_err(|mut failure| {
        if failure.kind == Kind::Interrupted {
            failure.next = format!("go on with: cargo xtask bisect --resume {}", search.run.display());
        }
        failure
    })?;
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
    let document = match &arguments.resume {
        Some(run) => read(&run.join("bisect.json"))?,
        None => settings.document(&run),
    };
    keep(&run, "search.json", &serde_json::to_string_pretty(&settings).unwrap_or_default())?;
    keep(&run, "bisect.json", &document.to_json())?;
    let session = (1..).map(|number| run.join(format!("boots-{number}"))).find(|path| !path.exists());
    let lineup = Lineup::of(
        &Request {
            workspace,
            recipes: std::slice::from_ref(&good),
            modules: Carried::Any(&question.case.modules()),
            wish: settings.question.accel.into(),
            setup: arguments.setup,
            place: Place::Named(session.unwrap_or_else(|| run.join("boots"))),
        },
        watch,
    )
    .map_err(|mut failure| {
        failure.next = format!("{}; then: cargo xtask bisect --resume {}", failure.next, run.display());
        failure
    })?;
    let bench = Bench { question, lab: Box::new(Guests { question, lineup, watch }), watch };
    Ok(Search { settings, run, catalogue, bench, document, watch })
}
