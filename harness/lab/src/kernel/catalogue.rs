//! Reads `kernel-configs/kernels.toml`: names to recipes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::debian;
use crate::failure::{Failure, Kind};
use crate::kernel::recipe::{Behaviour, Build, Origin, Patch, Recipe, Source};
use crate::kernel::spec;
use crate::watch::Nobody;

/// The named kernels, and how any kernel is built.
#[derive(Clone, Debug)]
pub struct Catalogue {
    folder: PathBuf,
    file: File,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The configuration of every kernel.
    config: Vec<PathBuf>,
    modules: PathBuf,
    flavour: BTreeMap<String, Flavour>,
    /// Read one by one, when it is asked for: a slip in one of them is no reason to refuse the others.
    kernel: BTreeMap<String, toml::Value>,
}

/// A configuration that any of the kernels can have instead of its usual one: `<kernel>+<flavour>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flavour {
    about: String,
    config: Vec<PathBuf>,
    #[serde(default)]
    bzimage: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    about: String,
    behaves: Option<Behaviour>,
    source: String,
    /// The kernel that has this name where apt knows packages of kernel source, but not this one.
    instead: Option<String>,
    series: Vec<PathBuf>,
    /// On top of that of every kernel.
    #[serde(default)]
    config: Vec<PathBuf>,
}

impl Catalogue {
    /// Reads `kernels.toml` in this folder.
    ///
    /// # Errors
    /// `Files` where it cannot be read, `Asked` where it is not what it should be.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("kernels.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
        Self::parse(&text, folder)
    }

    /// The same for the text of that file.
    pub(crate) fn parse(text: &str, folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("kernels.toml");
        let file: File = toml::from_str(text).map_err(|e| {
            let attempt = format!("read {}", path.display());
            Failure::new(Kind::Asked, attempt, e.to_string(), "mend the file at that place")
        })?;
        Ok(Self { folder: folder.to_owned(), file })
    }

    /// The file it was read from.
    pub fn path(&self) -> PathBuf {
        self.folder.join("kernels.toml")
    }

    /// The folder it was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of the kernels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.file.kernel.keys().map(String::as_str)
    }

    /// The names of the flavours.
    pub fn flavours(&self) -> impl Iterator<Item = &str> {
        self.file.flavour.keys().map(String::as_str)
    }

    /// The recipe of a named kernel, or of one in a flavour: `<kernel>+<flavour>`.
    ///
    /// # Errors
    /// `Asked` with the names there are, or with what is wrong with this one.
    pub fn recipe(&self, name: &str) -> Result<Recipe, Failure> {
        spec::find(name, Path::new(""), self, &Nobody)
    }

    /// The recipe of a named kernel of just the source that the file says: for patches that were made for that one.
    ///
    /// # Errors
    /// As [`Catalogue::recipe`].
    pub fn exactly(&self, name: &str) -> Result<Recipe, Failure> {
        match self.file.kernel.get(name) {
            Some(entry) => self.read_entry(name, entry, &|| None),
            None => self.recipe(name),
        }
    }

    /// The recipe of a named kernel; `None` for a name that is not here.
    pub(super) fn named(&self, name: &str) -> Option<Result<Recipe, Failure>> {
        Some(self.read_entry(name, self.file.kernel.get(name)?, &debian::sources))
    }

    /// The recipe of an entry, on a system whose apt knows these packages of kernel source.
    fn read_entry(
        &self,
        name: &str,
        entry: &toml::Value,
        known: &dyn Fn() -> Option<Vec<String>>,
    ) -> Result<Recipe, Failure> {
        let wrong = |seen: String| {
            let attempt = format!("read [kernel.{name}] in {}", self.path().display());
            Failure::new(Kind::Asked, attempt, seen, "mend the entry; `mainline` is an example")
        };
        let entry: Entry = entry.clone().try_into().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        let Entry { about, behaves, source, instead, series, config } = entry;
        let found = spec::source(&source, &self.folder, &Nobody)?;
        let (_, found) = found.ok_or_else(|| wrong(format!("there is no source \"{source}\"")))?;
        let mut build = self.plain(found)?;
        build.config.extend(self.absolute(&config));
        let series = self.absolute(&series);
        if let Some(path) = series.iter().chain(&build.config).find(|path| !path.is_file()) {
            return Err(wrong(format!("there is no file {}", path.display())));
        }
        build.series = series.into_iter().map(Patch::file).collect();
        let recipe = Recipe { name: name.to_owned(), about, behaves, origin: Origin::Build(build) };
        let Some(instead) = instead else { return Ok(recipe) };
        let other = self.file.kernel.get(&instead);
        let other = other.ok_or_else(|| wrong(format!("there is no kernel \"{instead}\"")))?;
        if !is_out_of_reach(&recipe, known) {
            return Ok(recipe);
        }
        let other = self.read_entry(&instead, other, known)?;
        if is_out_of_reach(&other, known) {
            return Ok(recipe);
        }
        let about = format!("{}; this is {instead}, as apt has no {source} here", other.about);
        Ok(Recipe { name: recipe.name, about, ..other })
    }

    /// How a source is built as it is.
    ///
    /// # Errors
    /// `Files` where the folder of modules cannot be read.
    pub(super) fn plain(&self, source: Source) -> Result<Build, Failure> {
        Ok(Build {
            source,
            series: Vec::new(),
            config: self.absolute(&self.file.config),
            modules: files_in(&self.folder.join(&self.file.modules))?,
            bzimage: false,
        })
    }

    /// The same kernel in another configuration; in the usual one, if no flavour is named.
    ///
    /// # Errors
    /// `Asked` with the flavours there are; for a kernel that is not built here.
    pub fn in_flavour(&self, recipe: &Recipe, flavour: &str) -> Result<Recipe, Failure> {
        if flavour.is_empty() {
            return Ok(recipe.clone());
        }
        if recipe.name.split('+').skip(1).any(|known| known == flavour) {
            let attempt = format!("configure {} as {flavour}", recipe.name);
            return Err(Failure::new(Kind::Asked, attempt, "it is so already", "name the flavour once"));
        }
        let mut build = recipe.build("configure otherwise")?.clone();
        let of = self.file.flavour.get(flavour).ok_or_else(|| {
            let known = self.flavours().collect::<Vec<_>>().join(", ");
            Failure::new(
                Kind::Asked,
                format!("find the flavour \"{flavour}\" of the kernel \"{}\"", recipe.name),
                format!("there is none of that name in {}", self.path().display()),
                format!("use one of: {known}"),
            )
        })?;
        build.config.extend(self.absolute(&of.config));
        build.bzimage |= of.bzimage;
        Ok(Recipe {
            name: format!("{}+{flavour}", recipe.name),
            about: format!("{}; {}", recipe.about, of.about),
            behaves: recipe.behaves,
            origin: Origin::Build(build),
        })
    }

    fn absolute(&self, paths: &[PathBuf]) -> Vec<PathBuf> {
        paths.iter().map(|path| self.folder.join(path)).collect()
    }
}

/// Whether a kernel is made of a package that is not here, and that apt cannot get, though it knows others like it.
fn is_out_of_reach(recipe: &Recipe, known: &dyn Fn() -> Option<Vec<String>>) -> bool {
    recipe.package().is_some_and(|(package, archive)| {
        !archive.is_file() && known().is_some_and(|known| !known.iter().any(|name| name == package))
    })
}

/// The files of a folder, in order.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut files =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    };
    read().map_err(|e| Failure::file("list", folder, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A catalogue with one sound kernel and one of this entry.
    fn with(entry: &str) -> (tempfile::TempDir, Catalogue) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("modules")).unwrap();
        let text = format!(
            "modules = \"modules\"\nflavour = {{}}\nconfig = []\n\
             [kernel.sound]\nabout = \"\"\nsource = \"s.tar\"\nseries = []\n[kernel.mine]\n{entry}"
        );
        std::fs::write(folder.path().join("s.tar"), "").unwrap();
        std::fs::write(folder.path().join("kernels.toml"), text).unwrap();
        let catalogue = Catalogue::read(folder.path()).unwrap();
        (folder, catalogue)
    }

    #[test]
    fn a_kernel_whose_source_apt_does_not_have_is_the_one_that_stands_in_for_it() {
        let entry = |version: &str, instead: &str| {
            format!("about = \"of {version}\"\nsource = \"linux-source-{version}\"\nseries = []\n{instead}")
        };
        let (old, new) = (entry("0.1", "instead = \"new\""), entry("0.12", "behaves = \"near-node\""));
        let (_folder, catalogue) = with(&format!("{old}\n[kernel.new]\n{new}"));
        let made = |known: Option<&[&str]>| {
            let known = || known.map(|known| known.iter().map(|name| (*name).to_owned()).collect());
            let recipe = catalogue.read_entry("mine", &catalogue.file.kernel["mine"], &known).unwrap();
            assert_eq!(recipe.name, "mine");
            (recipe.package().unwrap().0.to_owned(), recipe.behaves, recipe.about)
        };
        let first = ("linux-source-0.1".to_owned(), None, "of 0.1".to_owned());
        assert_eq!(made(Some(&["linux-source-0.1", "linux-source-0.12"])), first);
        let about = "of 0.12; this is new, as apt has no linux-source-0.1 here".to_owned();
        let second = ("linux-source-0.12".to_owned(), Some(Behaviour::NearNode), about);
        assert_eq!(made(Some(&["linux-source-0.12"])), second);
        // Neither, and nobody knows.
        assert_eq!(made(Some(&["linux-source-0.2"])), first);
        assert_eq!(made(None), first);

        let (_folder, catalogue) = with(&entry("0.1", "instead = \"nope\""));
        assert!(catalogue.recipe("mine").unwrap_err().seen.contains("there is no kernel \"nope\""));
    }

    #[test]
    fn a_slip_in_one_entry_is_told_when_it_is_asked_for_and_keeps_no_other_kernel_out() {
        let slips = [
            ("about = 1", "invalid type"),
            ("about = \"\"\nsource = \"linux\"\nseries = []", "there is no source \"linux\""),
            ("about = \"\"\nsource = \"s.tar\"\nseries = [\"/nope.patch\"]", "there is no file /nope.patch"),
        ];
        for (entry, seen) in slips {
            let (_folder, catalogue) = with(entry);
            assert!(catalogue.recipe("sound").is_ok());
            let failure = catalogue.recipe("mine").unwrap_err();
            assert_eq!(failure.kind, Kind::Asked);
            assert!(failure.seen.contains(seen), "{failure}");
        }
    }
}
