//! What was asked of a search, kept so that it can go on.

use std::path::{Path, PathBuf};

use lab::failure::{Failure, Kind};
use report::document::{BISECT_SCHEMA, BisectDocument};
use serde::{Deserialize, Serialize};

use super::line::Line;
use crate::cli::{QuestionArguments, SearchArguments, Symptom};

/// What was asked for: `search.json` in the folder of the run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Settings {
    pub(super) tree: Option<PathBuf>,
    pub(super) package: Option<String>,
    /// The ends as they were named then.
    pub(super) good: String,
    pub(super) bad: String,
    /// What they were then, and what was between them.
    pub(super) line: Line,
    pub(super) paths: Vec<String>,
    pub(super) question: QuestionArguments,
    pub(super) symptom: Symptom,
    pub(super) boots: u32,
}

impl Settings {
    /// # Errors
    /// `Files` for a tree that is not there; what makes a search impossible.
    pub(super) fn of(arguments: &SearchArguments) -> Result<Self, Failure> {
        let SearchArguments { tree, package, good, bad, paths, question, symptom, boots, .. } = arguments;
        if let (Some(package), Some(path)) = (package, paths.first()) {
            let attempt = format!("search the versions of {package} that touch {path}");
            let next = "leave the path out: it is for --tree";
            return Err(Failure::new(Kind::Asked, attempt, "a package has no history of paths", next));
        }
        let tree = match tree {
            Some(tree) => Some(tree.canonicalize().map_err(|e| Failure::named_file("find", tree, &e))?),
            None => None,
        };
        let [good, bad] = [good, bad].map(|end| end.clone().unwrap_or_default());
        let line = match (&tree, package) {
            (_, Some(package)) => Line::of_package(package, &good, &bad)?,
            (tree, None) => Line::of_tree(tree.as_deref().unwrap_or(Path::new(".")), &good, &bad, paths)?,
        };
        Ok(Self {
            tree,
            package: package.clone(),
            good,
            bad,
            line,
            paths: paths.clone(),
            question: question.clone(),
            symptom: *symptom,
            boots: *boots,
        })
    }

    /// What is known before the first step.
    pub(super) fn document(&self, run: &Path) -> BisectDocument {
        BisectDocument {
            schema: BISECT_SCHEMA.to_owned(),
            command: self.command(),
            run: run.display().to_string(),
            case: self.question.case.clone(),
            behaves: self.question.behaves.map(|behaves| behaves.to_string()),
            symptoms: Vec::new(),
            tolerated: Vec::new(),
            metric: None,
            good: self.good.clone(),
            bad: self.bad.clone(),
            steps: Vec::new(),
            ended: None,
        }
    }

    /// The command that asks for it.
    pub(super) fn command(&self) -> String {
        let Self { tree, package, good, bad, line: _, paths, question, symptom, boots } = self;
        let QuestionArguments { case, metric, behaves, shape, accel } = question;
        let quoted = lab::shell::quoted;
        let mut command = "cargo xtask bisect".to_owned();
        if let Some(tree) = tree {
            command.push_str(&format!(" --tree {}", quoted(&tree.display().to_string())));
        }
        if let Some(package) = package {
            command.push_str(&format!(" --package {}", quoted(package)));
        }
        command.push_str(&format!(" --good {} --bad {} --case {case}", quoted(good), quoted(bad)));
        match metric {
            Some(metric) => command.push_str(&format!(" --metric {}", metric.name())),
            None => command.push_str(&format!(" --symptom {}", format!("{symptom:?}").to_lowercase())),
        }
        if let Some(behaves) = behaves {
            command.push_str(&format!(" --behaves {behaves}"));
        }
        command.push_str(&format!("{} --boots {boots} --accel {}", shape.as_options(), accel.name()));
        if !paths.is_empty() {
            command.push_str(" --");
            for path in paths {
                command.push_str(&format!(" {}", quoted(path)));
            }
        }
        command
    }
}
