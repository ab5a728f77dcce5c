//! Programs and schemas of others that judge the formats we write: for tests. Only this module runs Python.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flate2::read::GzDecoder;

use crate::child;
use crate::debian::{self, find_program};
use crate::failure::{Failure, Kind};
use crate::kernel::Scratch;
use crate::watch::Watch;

/// What pip installs: KernelCI's own check of what is sent to it, and a validator for XML schemas.
const PACKAGES: [&str; 2] = ["kcidb-io==141", "xmlschema==4.3.2"];
/// Whose source has the schema of Jenkins' xUnit plugin, and where.
const WITH_SCHEMA: &str = "pytest==8.3.5";
const SCHEMA: &str = "junit-10.xsd";
/// In the store: renamed whenever what is in it changes.
const FOLDER: &str = "validators-1";
/// A slow index takes minutes; this is for one that does not answer.
const PATIENCE: Duration = Duration::from_secs(600);

/// Programs and schemas, in a folder of the kernel store.
#[derive(Clone, Debug)]
pub struct Validators {
    folder: PathBuf,
}

impl Validators {
    /// Those that are installed, in the store at `root`.
    pub fn find(root: &Path) -> Option<Self> {
        let folder = root.join(FOLDER);
        folder.is_dir().then_some(Self { folder })
    }

    /// Installs them: a Python environment of its own, from the package index that pip is configured for.
    ///
    /// # Errors
    /// `Host` where pip fails; `Files`; `Interrupted`.
    pub fn install(root: &Path, watch: &dyn Watch) -> Result<Self, Failure> {
        if let Some(there) = Self::find(root) {
            return Ok(there);
        }
        // Debian's Python comes without what makes an environment.
        let mut probe = Command::new("python3");
        if child::text_of(probe.args(["-c", "import ensurepip, venv"]), PATIENCE).is_err() {
            debian::install(&["python3-venv"], watch)?;
        }
        watch.stage("install validators of report formats");
        let partial = Scratch::partial(root)?;
        let (to, python) = (partial.path(), partial.path().join("bin/python"));
        run(Command::new("python3").args(["-m", "venv"]).arg(to))?;
        let pip = || {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]);
            pip
        };
        run(pip().arg("install").args(PACKAGES))?;
        let source = ["download", "--no-deps", "--no-binary", ":all:", "--dest", ".", WITH_SCHEMA];
        run(pip().args(source).current_dir(to))?;
        unpack_schema(to)?;
        // Another process may have been faster: what it made is as good.
        let folder = root.join(FOLDER);
        match fs::rename(to, &folder) {
            Err(e) if !folder.is_dir() => Err(Failure::file("create", &folder, &e)),
            _ => Ok(Self { folder }),
        }
    }

    /// A command that runs this Python program with these arguments.
    pub fn python(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join("bin/python"));
        command.args(["-c", program]);
        command
    }

    /// The schema of JUnit XML.
    pub fn junit_schema(&self) -> PathBuf {
        self.folder.join(SCHEMA)
    }
}

/// The KUnit tool of a kernel source in the store at `root`, which parses KTAP; `None` before a kernel was built.
pub fn kunit(root: &Path) -> Option<PathBuf> {
    let sources = fs::read_dir(root.join("sources")).ok()?.flatten();
    let mut tools = sources.map(|source| source.path().join("tree/tools/testing/kunit/kunit.py"));
    tools.find(|tool| tool.is_file())
}

/// A browser that can be driven without a screen.
pub fn browser() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find_program)
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let attempt = format!("run {command:?}");
    child::text_of(command, PATIENCE).map(drop).map_err(|e| match e.kind() {
        std::io::ErrorKind::Interrupted => Failure::interrupted(&attempt),
        _ => {
            let next = "see that python3 works, and that pip reaches a package index";
            Failure::new(Kind::Host, attempt, e.to_string(), next)
        }
    })
}

/// Takes the schema out of the source archive in a folder.
fn unpack_schema(folder: &Path) -> Result<(), Failure> {
    let failed = |e| Failure::file("unpack the schema in", folder, &e);
    for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
        let path = entry.path();
        if !path.to_string_lossy().ends_with(".tar.gz") {
            continue;
        }
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(&path).map_err(failed)?));
        for file in archive.entries().map_err(failed)? {
            let mut file = file.map_err(failed)?;
            if file.path().is_ok_and(|path| path.ends_with(SCHEMA)) {
                let mut out = File::create(folder.join(SCHEMA)).map_err(failed)?;
                std::io::copy(&mut file, &mut out).map_err(failed)?;
                return fs::remove_file(&path).map_err(failed);
            }
        }
    }
    let attempt = format!("find {SCHEMA} in the source of {WITH_SCHEMA}");
    Err(Failure::new(Kind::Host, attempt, "it is not there", "report this"))
}
