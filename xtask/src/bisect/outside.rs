//! What a search makes of what its run kept.

use lab::failure::Failure;
use lab::kernel::bisection::Ends;
use report::document::BisectDocument;

use super::kept::parse;
use super::question::Question;
use super::search::sure;
use super::settings::Settings;

/// What a search that goes on says of itself, from the texts of `search.json` and `bisect.json`.
///
/// # Errors
/// What is wrong with them.
pub fn search(settings: &str, document: &str) -> Result<String, Failure> {
    let path = "/nowhere".as_ref();
    let (settings, document): (Settings, BisectDocument) = (parse(settings, path)?, parse(document, path)?);
    let question = Question::of(&settings.question)?;
    let [good, bad] = settings.line.specs_of_ends();
    let ends = Ends { good, bad };
    let named = settings.line.name(&ends.good) + &settings.line.spec(&ends.bad);
    let said = report::text::render_bisect(&document);
    Ok(format!("{named} {} {} {}\n{said}", settings.command(), question.topology, sure(&document)))
}
