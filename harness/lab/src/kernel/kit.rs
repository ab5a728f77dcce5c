//! What guest tests need on a machine that builds nothing: finished kernels and the agent, in a folder.
//!
//! It travels in the archive of cargo-nextest (`archive.include` in `.config/nextest.toml`) and is found there beside
//! the test binary.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::copy;
use crate::failure::{Failure, Kind};
use crate::kernel::{Behaviour, Catalogue, Kernel, Pairs, Recipe, Wanted, identity};

/// The folder's name below cargo's target folder. It is there only while an archive is made, and where one was
/// unpacked.
const FOLDER: &str = "parprobe-kit";
const MANIFEST: &str = "kit.json";
const AGENT: &str = "agent";
const CONFIGS: &str = "kernel-configs";
const KERNELS: &str = "kernels";

/// A kit.
#[derive(Clone, Debug)]
pub struct Kit {
    folder: PathBuf,
    manifest: Manifest,
}

/// What is in a kit: `kit.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Manifest {
    /// The kernels that cases and benches are carried out on.
    subjects: Pairs,
    /// How these were asked for.
    wanted: Wanted,
    /// Every kernel that is there, those of flavours and of the harness's own tests as well.
    kernels: Vec<Entry>,
    /// The names of all tests: whoever joins results knows what is missing.
    tests: Vec<String>,
}

/// A kernel of a kit.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Entry {
    name: String,
    about: String,
    behaves: Option<Behaviour>,
    id: String,
    patches: Vec<PathBuf>,
}

/// What a kit is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The kernels that cases and benches are carried out on.
    pub subjects: &'a Pairs,
    /// How these were asked for.
    pub wanted: &'a Wanted,
    /// Every kernel that tests boot.
    pub kernels: &'a [Kernel],
    /// The agent's binary.
    pub agent: &'a Path,
    /// `kernel-configs/`.
    pub catalogue: &'a Catalogue,
    /// The names of all tests.
    pub tests: &'a [String],
}

impl Kit {
    /// The kit beside this program, where cargo-nextest has unpacked one.
    ///
    /// # Errors
    /// `Files` where it is damaged.
    pub fn find() -> Result<Option<Self>, Failure> {
        // It sets NEXTEST for tests (nexte.st, "Environment variables"). A test binary is in <target>/<profile>/deps.
        let program = std::env::current_exe().ok().filter(|_| std::env::var_os("NEXTEST").is_some());
        let target = program.as_deref().and_then(|program| program.ancestors().nth(3));
        let folder = target.map(|target| target.join(FOLDER)).filter(|folder| folder.is_dir());
        folder.map(|folder| Self::read(&folder)).transpose()
    }

    fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
        let manifest = serde_json::from_str(&text).map_err(|e| {
            let attempt = format!("read {}", path.display());
            Failure::new(Kind::Files, attempt, e.to_string(), "make the archive again")
        })?;
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// Where one is written below cargo's target folder.
    pub fn folder(target: &Path) -> PathBuf {
        target.join(FOLDER)
    }

    /// Writes one below cargo's target folder, in place of any that is there.
    ///
    /// # Errors
    /// `Files`; `Interrupted`.
    pub fn write(target: &Path, parts: &Parts<'_>) -> Result<(), Failure> {
        let Parts { subjects, wanted, kernels, agent, catalogue, tests } = parts;
        let folder = Self::folder(target);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| Failure::file("remove", &folder, &e))?;
        }
        let mut entries = Vec::new();
        for (number, kernel) in kernels.iter().enumerate() {
            let Kernel { name, about, behaves, identity, patches, folder: from, holds: _ } = kernel;
            copy::folder(from, &folder.join(KERNELS).join(&identity.id))?;
            let mut copied = Vec::new();
            for (place, patch) in patches.iter().enumerate() {
                let file = patch.file_name().unwrap_or_default();
                let kept = Path::new("patches").join(number.to_string()).join(place.to_string()).join(file);
                copy::file(patch, &folder.join(&kept))?;
                copied.push(kept);
            }
            entries.push(Entry {
                name: name.clone(),
                about: about.clone(),
                behaves: *behaves,
                id: identity.id.clone(),
                patches: copied,
            });
        }
        copy::file(agent, &folder.join(AGENT))?;
        copy::folder(catalogue.folder(), &folder.join(CONFIGS))?;
        let manifest = Manifest {
            subjects: (*subjects).clone(),
            wanted: (*wanted).clone(),
            kernels: entries,
            tests: tests.to_vec(),
        };
        let json = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        let path = folder.join(MANIFEST);
        fs::write(&path, json).map_err(|e| Failure::file("write", &path, &e))
    }

    /// The kernels that cases and benches are carried out on.
    pub fn subjects(&self) -> &Pairs {
        &self.manifest.subjects
    }

    /// How these were asked for.
    pub fn wanted(&self) -> &Wanted {
        &self.manifest.wanted
    }

    /// The names of all tests.
    pub fn tests(&self) -> &[String] {
        &self.manifest.tests
    }

    /// What tells it apart from another: a hash of all that is in it, kernels by their addresses.
    pub fn id(&self) -> String {
        let all = serde_json::to_string(&self.manifest).unwrap_or_default();
        blake3::hash(all.as_bytes()).to_hex()[..16].to_owned()
    }

    /// The agent's binary.
    pub fn agent(&self) -> PathBuf {
        self.folder.join(AGENT)
    }

    /// Its copy of `kernel-configs/`.
    pub fn configs(&self) -> PathBuf {
        self.folder.join(CONFIGS)
    }

    /// The kernel of a recipe, by its name.
    ///
    /// # Errors
    /// `Host` where it is not in the kit, `Files` where it is damaged.
    pub fn kernel(&self, recipe: &Recipe) -> Result<Kernel, Failure> {
        let attempt = || format!("take the kernel \"{}\" from the archive", recipe.name);
        let Some(entry) = self.manifest.kernels.iter().find(|entry| entry.name == recipe.name) else {
            let next = "make an archive with it: `cargo xtask archive --kernels …`";
            return Err(Failure::new(Kind::Host, attempt(), "it is not there", next));
        };
        let Entry { name, about, behaves, id, patches } = entry;
        let folder = self.folder.join(KERNELS).join(id);
        let identity = identity::intact(&folder).ok_or_else(|| {
            Failure::new(Kind::Files, attempt(), "it is damaged", "fetch the archive again")
        })?;
        Ok(Kernel {
            name: name.clone(),
            about: about.clone(),
            behaves: *behaves,
            identity,
            patches: patches.iter().map(|patch| self.folder.join(patch)).collect(),
            folder,
            holds: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kit_has_what_was_put_in_and_says_what_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-configs");
        let catalogue = Catalogue::read(&configs).unwrap();
        let made = folder.path().join("made");
        fs::create_dir_all(made.join("modules")).unwrap();
        fs::write(made.join("modules/sd_mod.ko"), "module").unwrap();
        let identity = r#"{"id":"1","source":{"name":"a","blake3":"2"},"patches":[],"config":[],"modules":[],
            "compiler":"gcc","release":"6.1.0","files":{}}"#;
        let mut identity: crate::kernel::Identity = serde_json::from_str(identity).unwrap();
        identity.write(&made).unwrap();
        let kernel = Kernel {
            name: "with".to_owned(),
            about: "changed".to_owned(),
            behaves: Some(Behaviour::PerDevice),
            identity,
            patches: vec![configs.join("kernels.toml")],
            folder: made,
            holds: Vec::new(),
        };
        let agent = folder.path().join("agent");
        fs::write(&agent, "agent").unwrap();
        let with = catalogue.recipe("with").unwrap();
        let pairs = Pairs { plain: vec![with.clone()], patched: Vec::new() };
        let parts = Parts {
            subjects: &pairs,
            wanted: &Wanted::default(),
            kernels: &[kernel],
            agent: &agent,
            catalogue: &catalogue,
            tests: &["a::with".to_owned()],
        };
        Kit::write(folder.path(), &parts).unwrap();
        let kit = Kit::read(&Kit::folder(folder.path())).unwrap();
        assert_eq!(kit.subjects(), &pairs);
        assert_eq!(kit.tests(), ["a::with"]);
        assert_eq!(fs::read_to_string(kit.agent()).unwrap(), "agent");
        let found = kit.kernel(&with).unwrap();
        assert!(found.folder.join("modules/sd_mod.ko").is_file() && found.patches[0].is_file());
        assert_eq!(found.behaves, Some(Behaviour::PerDevice));
        assert!(Catalogue::read(&kit.configs()).unwrap().recipe("mainline").is_ok());
        let without = catalogue.recipe("without").unwrap();
        assert_eq!(kit.kernel(&without).unwrap_err().kind, Kind::Host);
        fs::write(found.folder.join("modules/sd_mod.ko"), "cut").unwrap();
        assert_eq!(kit.kernel(&with).unwrap_err().kind, Kind::Files);
    }
}
