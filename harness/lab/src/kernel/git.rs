//! Runs git: on trees and repositories that people name, which it only reads, and on those of the store.

mod snapshot;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel;
use crate::child::{self, Output};
use crate::failure::{Failure, Kind};
use crate::scarce;

pub(crate) use snapshot::Chosen;

/// How long git may take for one thing; to write a whole tree takes half a minute.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A folder that git is run for.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    /// Options before the verb.
    options: Vec<String>,
    variables: Vec<(&'static str, PathBuf)>,
    folder: PathBuf,
    /// Held by git as well, so that nobody changes what it still writes.
    lock: Option<Arc<File>>,
}

impl Git {
    /// In this folder, and whatever repository it belongs to.
    pub(crate) fn within(folder: &Path) -> Self {
        Self { options: Vec::new(), variables: Vec::new(), folder: folder.to_owned(), lock: None }
    }

    /// In this folder, which belongs to no repository, although one may lie above it.
    pub(crate) fn outside(folder: &Path, lock: Option<Arc<File>>) -> Self {
        let ceiling = folder.parent().unwrap_or(folder).to_owned();
        let variables = vec![("GIT_CEILING_DIRECTORIES", ceiling)];
        Self { variables, lock, ..Self::within(folder) }
    }

    /// In this repository, with that folder as its tree.
    pub(crate) fn of(repository: &Path, tree: &Path, lock: Option<Arc<File>>) -> Self {
        // The store's repositories are for content alone: nothing is to be translated or watched, and to squeeze what is
        // not packed by somebody else takes longer than to write it.
        let settings =
            ["core.autocrlf=false", "core.fsmonitor=false", "core.bare=false", "core.compression=0"];
        let mut options =
            vec![format!("--git-dir={}", repository.display()), format!("--work-tree={}", tree.display())];
        options.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting.to_owned()]));
        Self { options, variables: Vec::new(), folder: tree.to_owned(), lock }
    }

    /// In this repository, without a tree. What it writes has a name and a time that do not depend on who writes it.
    pub(crate) fn bare(repository: &Path) -> Self {
        let mut git = Self::within(repository);
        git.options = vec![format!("--git-dir={}", repository.display())];
        let who = ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"];
        git.variables = who.into_iter().map(|name| (name, "parprobe".into())).collect();
        let when = ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"];
        git.variables.extend(when.into_iter().map(|name| (name, "1970-01-01T00:00:00Z".into())));
        // Nor on how anybody likes to read: what git says of it is for us.
        let settings = ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"];
        git.variables.extend(settings.into_iter().map(|name| (name, "/dev/null".into())));
        git
    }

    /// With another index than the usual one.
    pub(crate) fn with_index(mut self, index: PathBuf) -> Self {
        self.variables.push(("GIT_INDEX_FILE", index));
        self
    }

    /// Runs it and returns what it said, whether it succeeded or not.
    ///
    /// # Errors
    /// `Host` without git, or without memory for it; `Files` where the disk is full; `Interrupted`.
    pub(crate) fn run(&self, attempt: &str, arguments: &[&str]) -> Result<Output, Failure> {
        self.run_on(attempt, arguments, None)
    }

    /// The same, with a file as its input.
    pub(crate) fn run_on(
        &self,
        attempt: &str,
        arguments: &[&str],
        input: Option<File>,
    ) -> Result<Output, Failure> {
        let mut git = Command::new("git");
        git.args(&self.options).args(arguments).current_dir(&self.folder);
        // What is set where git runs us, for its own repository; and what would change its words.
        for variable in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            "GIT_COMMON_DIR",
            "GIT_NAMESPACE",
            "GIT_PREFIX",
            "GIT_DIFF_OPTS",
            "GIT_EXTERNAL_DIFF",
            "GIT_LITERAL_PATHSPECS",
            "GIT_ICASE_PATHSPECS",
        ] {
            git.env_remove(variable);
        }
        git.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // No refresh of an index that is not ours.
        git.env("GIT_OPTIONAL_LOCKS", "0");
        let input = input.map_or_else(Stdio::null, Stdio::from);
        let inherited = self.lock.iter().map(|lock| lock.try_clone().map(Into::into));
        let inherited = inherited
            .collect::<io::Result<Vec<_>>>()
            .map_err(|e| Failure::file("share the lock of", &self.folder, &e))?;
        let output = child::output_on(&mut git, input, PATIENCE, inherited).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => Failure::interrupted(attempt),
            io::ErrorKind::TimedOut => {
                let next = format!("look what holds git up in {}", self.folder.display());
                Failure::new(Kind::Host, attempt, format!("git: {e}"), next)
            }
            _ => Failure::new(Kind::Host, attempt, format!("git: {e}"), "apt-get install git"),
        })?;
        // Whatever it was asked, this is no answer.
        match scarce::of(attempt, output.status, &output.stderr) {
            Some(failure) if !output.status.success() => Err(failure),
            _ => Ok(output),
        }
    }

    /// Runs it; what it wrote on its standard output, without the newline at the end.
    ///
    /// # Errors
    /// As [`Git::run`]; of this kind where git fails.
    pub(crate) fn ask(
        &self,
        attempt: &str,
        arguments: &[&str],
        kind: Kind,
        next: &str,
    ) -> Result<String, Failure> {
        let output = self.run(attempt, arguments)?;
        if output.status.success() {
            return Ok(output.stdout.trim_end().to_owned());
        }
        Err(Failure::new(kind, attempt, output.stderr.trim(), next))
    }
}

/// The last file of a repository that is written; and the lock on its index of snapshots.
const MADE: &str = "parprobe-made";

/// A repository in the store that shares the objects of another one and never writes to that.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    path: PathBuf,
}

impl Repository {
    /// The one at this path, made if need be. `objects` is where the other one keeps its objects, if there is one.
    pub(crate) fn at(path: PathBuf, objects: Option<&Path>) -> Result<Self, Failure> {
        let repository = Self { path };
        let path = &repository.path;
        // The last file that is written: with it all is there.
        if !path.join(MADE).exists() {
            fs::create_dir_all(path).map_err(|e| Failure::file("create", path, &e))?;
            let attempt = format!("make a repository in {}", path.display());
            let next = "look at what git says";
            let init = ["init", "--quiet", "--bare", "."];
            Git::outside(path, None).ask(&attempt, &init, Kind::Files, next)?;
        }
        // See gitrepository-layout(5). It may have moved since.
        let alternates = objects.map(|objects| format!("{}\n", objects.display())).unwrap_or_default();
        for (name, content) in [("objects/info/alternates", alternates.as_str()), (MADE, "")] {
            let file = path.join(name);
            // Others may be reading it.
            if !fs::read_to_string(&file).is_ok_and(|known| known == content) {
                fs::write(&file, content).map_err(|e| Failure::file("write", &file, &e))?;
            }
        }
        Ok(repository)
    }

    /// Whether this object is there.
    pub(crate) fn has(&self, object: &str) -> Result<bool, Failure> {
        let output = Git::bare(&self.path).run("look for a tree", &["cat-file", "-e", object])?;
        Ok(output.status.success())
    }

    /// Makes a folder of the store just what a tree object says. Files that are so already are not touched.
    pub(crate) fn check_out(&self, tree: &str, into: &Path, lock: &Arc<File>) -> Result<(), Failure> {
        let attempt = format!("write the tree {tree} to {}", into.display());
        fs::create_dir_all(into).map_err(|e| Failure::file("create", into, &e))?;
        // The lock of the workshop is held: whoever left this one is gone.
        self.unlock("index.lock")?;
        let git = Git::of(&self.path, into, Some(Arc::clone(lock)));
        let next = "free some space there, or look at what git says";
        git.ask(&attempt, &["read-tree", "--reset", "-u", tree], Kind::Files, next)?;
        // One that was killed has written files that no index knows of: a header among them would be taken for that of
        // a later build. make writes elsewhere, and what is set aside for patches is beside this folder.
        git.ask(&attempt, &["clean", "-ffdxq"], Kind::Files, next).map(drop)
    }

    /// Waits for others who write to the index of snapshots, and keeps them off.
    fn lock(&self, attempt: &str) -> Result<File, Failure> {
        self.lock_within(attempt, PATIENCE)
    }

    fn lock_within(&self, attempt: &str, patience: Duration) -> Result<File, Failure> {
        let path = self.path.join(MADE);
        let failed = |e: io::Error| Failure::file("lock", &path, &e);
        let file = File::options().write(true).open(&path).map_err(failed)?;
        let asked = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(e)) => return Err(failed(e)),
                Err(TryLockError::WouldBlock) => {}
            }
            cancel::check(attempt)?;
            if asked.elapsed() > patience {
                let seen = format!("another process has held {} for {patience:?}", path.display());
                return Err(Failure::new(Kind::Files, attempt, seen, "look for it; if it hangs, end it"));
            }
            std::thread::sleep(cancel::LOOK_EVERY);
        }
    }

    fn unlock(&self, name: &str) -> Result<(), Failure> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::file("remove", &path, &e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_the_snapshots_does_so_for_so_long_and_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::at(folder.path().join("snapshots"), None).unwrap();
        let _first = repository.lock("keep a snapshot").unwrap();
        let failure = repository.lock_within("keep a snapshot", Duration::from_millis(100)).unwrap_err();
        assert_eq!((failure.kind, &*failure.attempt), (Kind::Files, "keep a snapshot"));
        assert!(failure.seen.ends_with("parprobe-made for 100ms"), "{failure}");
    }
}
