//! Kernels as a person asks for them, with patches on top, to recipes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};
use crate::kernel::catalogue::Catalogue;
use crate::kernel::recipe::{Behaviour, Origin, Patch, Recipe, Source, State};
use crate::kernel::source::Found;
use crate::kernel::{patches, spec};
use crate::watch::Watch;

/// Kernels as a person asks for them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wanted {
    /// The folder that relative paths start from; the current one, if it is empty.
    pub folder: PathBuf,
    /// What they are called by.
    pub kernels: Vec<String>,
    /// Files with patches that are to be on top of each.
    pub patches: Vec<PathBuf>,
    /// How those behave of which nothing is known.
    pub behaves: Option<Behaviour>,
    /// How those with the patches behave, where that is something else.
    #[serde(default)]
    pub patched_behaves: Option<Behaviour>,
    /// Source trees that are taken as they stood: the folder, and what was noted of it in the store.
    #[serde(default)]
    pub noted: BTreeMap<PathBuf, String>,
}

impl Wanted {
    /// The kernels without patches, and each of them with the patches, if there are any. A source tree that is taken
    /// as it stands is noted in the store: all that is made of these recipes is made of the same files.
    ///
    /// # Errors
    /// `Asked` for a kernel that cannot be found, or is named twice, for `behaves` where that is known to be otherwise of
    /// each, and for `patched_behaves` without a patch; `Series` where a file has no patch in it; `Files`.
    pub fn recipes(&self, catalogue: &Catalogue, keep: &Path, watch: &dyn Watch) -> Result<Pairs, Failure> {
        let mut patches: Vec<Patch> = Vec::new();
        for path in &self.patches {
            patches.extend(patches::read(&self.folder.join(path), &keep.join("patches"), watch)?);
        }
        if patches.is_empty() && self.patched_behaves.is_some() {
            let next = "name one, or a patch with --patch";
            return Err(Failure::new(Kind::Asked, "go by --behaves", "of its two, one is for a patch", next));
        }
        let (mut plain, mut patched) = (Vec::new(), Vec::new());
        let mut believed = !patches.is_empty();
        for kernel in &self.kernels {
            let mut recipe = spec::find(kernel, &self.folder, catalogue, watch)?;
            if let Origin::Build(build) = &mut recipe.origin {
                build.source = self.as_noted(&build.source, keep, watch)?;
            }
            refuse_twice(&recipe, &plain)?;
            recipe.name = distinct(recipe.name, &plain);
            believed |= recipe.behaves.is_none() || recipe.behaves == self.behaves;
            recipe.behaves = recipe.behaves.or(self.behaves);
            if !patches.is_empty() {
                let mut with = recipe.patched(&patches)?;
                with.behaves = self.patched_behaves.or(self.behaves).or(with.behaves);
                patched.push(with);
            }
            plain.push(recipe);
        }
        if self.behaves.is_some() && !believed {
            return Err(all_known(&plain));
        }
        Ok(Pairs { plain, patched })
    }

    fn as_noted(&self, source: &Source, store: &Path, watch: &dyn Watch) -> Result<Source, Failure> {
        if let Source::Tree { folder, state: State::AsItStands } = source
            && let Some(tree) = self.noted.get(folder)
        {
            return Ok(Source::Tree { folder: folder.clone(), state: State::Noted(tree.clone()) });
        }
        Found::noted(source, store, watch)
    }

    /// The same, with source trees as they are in these recipes of it: for other processes.
    pub fn with_noted(mut self, recipes: &[Recipe]) -> Self {
        for recipe in recipes {
            if let Origin::Build(build) = &recipe.origin
                && let Source::Tree { folder, state: State::Noted(tree) } = &build.source
            {
                self.noted.insert(folder.clone(), tree.clone());
            }
        }
        self
    }
}

/// Kernels without and with patches.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pairs {
    /// Each as it is.
    pub plain: Vec<Recipe>,
    /// Each with the patches on top; empty where there are none.
    pub patched: Vec<Recipe>,
}

impl Pairs {
    /// Each kernel, followed by itself with the patches.
    pub fn all(self) -> Vec<Recipe> {
        let mut patched = self.patched.into_iter();
        self.plain.into_iter().flat_map(|plain| std::iter::once(plain).chain(patched.next())).collect()
    }

    /// Those that are about: the patched ones, or all where there are no patches.
    pub fn subjects(self) -> Vec<Recipe> {
        if self.patched.is_empty() { self.plain } else { self.patched }
    }
}

/// What somebody says of kernels is true of none, and would change nothing.
fn all_known(kernels: &[Recipe]) -> Failure {
    let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    let seen =
        format!("how each of these behaves is known already, and it is otherwise: {}", names.join(", "));
    let next = "leave out --behaves: it is for kernels of which nobody knows, and for patches";
    Failure::new(Kind::Asked, "go by --behaves", seen, next)
}

/// A kernel named twice could not be told from itself in the tables.
fn refuse_twice(recipe: &Recipe, known: &[Recipe]) -> Result<(), Failure> {
    if known.iter().any(|known| known.origin == recipe.origin) {
        let seen = format!("\"{}\" is named twice", recipe.name);
        let next = "name each once; `cargo xtask mutants --aa` holds kernels against themselves";
        return Err(Failure::new(Kind::Asked, "tell the kernels apart", seen, next));
    }
    Ok(())
}

/// Another name, where another kernel has this one.
fn distinct(name: String, known: &[Recipe]) -> String {
    let taken = |name: &str| known.iter().any(|known| known.name == name);
    if !taken(&name) {
        return name;
    }
    (2..).map(|number| format!("{name}-{number}")).find(|name| !taken(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Nobody;
    use std::fs;

    #[test]
    fn kernels_and_the_same_with_patches_come_in_turn_and_have_names_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-configs");
        let catalogue = Catalogue::read(&configs).unwrap();
        for tree in ["a/linux", "b/linux"] {
            for file in ["Makefile", "Kconfig", "drivers/base/dd.c"] {
                let path = folder.path().join(tree).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
        }
        let patch = folder.path().join("my.patch");
        fs::write(&patch, "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n").unwrap();
        let wanted = |kernels: &[String], behaves| Wanted {
            folder: PathBuf::new(),
            kernels: kernels.to_vec(),
            patches: vec![patch.clone()],
            behaves,
            ..Wanted::default()
        };
        let trees = ["a/linux", "b/linux"].map(|tree| folder.path().join(tree).display().to_string());
        let pairs = wanted(&trees, None).recipes(&catalogue, folder.path(), &Nobody).unwrap();
        let names: Vec<String> = pairs.all().into_iter().map(|recipe| recipe.name).collect();
        assert_eq!(names, ["linux", "linux-patched", "linux-2", "linux-2-patched"]);

        let known = ["without".to_owned(), "mainline".to_owned()];
        let behaves = |behaves| {
            let pairs = wanted(&known, behaves).recipes(&catalogue, folder.path(), &Nobody);
            pairs.unwrap().subjects().into_iter().map(|recipe| recipe.behaves).collect::<Vec<_>>()
        };
        // Where apt does not have its source, another kernel has its name.
        let mainline = Wanted { kernels: vec!["mainline".to_owned()], ..Wanted::default() };
        let mainline = mainline.recipes(&catalogue, folder.path(), &Nobody).unwrap().subjects().remove(0);
        assert!(mainline.behaves.is_some());
        assert_eq!(behaves(None), [None, mainline.behaves]);
        assert_eq!(behaves(Some(Behaviour::PerDevice)), [Some(Behaviour::PerDevice); 2]);
        // A patch that is to change it, on a tree of which nobody knows.
        let changes = Wanted {
            patched_behaves: Some(Behaviour::PerDevice),
            ..wanted(&trees[..1], Some(Behaviour::PerDriver))
        };
        let found = changes.recipes(&catalogue, folder.path(), &Nobody).unwrap().all();
        let found: Vec<_> = found.into_iter().map(|recipe| recipe.behaves).collect();
        assert_eq!(found, [Some(Behaviour::PerDriver), Some(Behaviour::PerDevice)]);
        let of_none = Wanted { patches: Vec::new(), ..changes };
        let refused = of_none.recipes(&catalogue, folder.path(), &Nobody).unwrap_err();
        assert!(refused.seen.contains("one is for a patch"), "{refused}");

        let named =
            Wanted { kernels: known.to_vec(), behaves: Some(Behaviour::PerDevice), ..Wanted::default() };
        let refused = named.recipes(&catalogue, folder.path(), &Nobody).unwrap_err();
        assert!(refused.seen.ends_with("otherwise: without, mainline"), "{refused}");
        // True of one, or there is one of which nobody knows.
        let spoken_for = |kernels: Vec<String>, behaves| {
            let wanted = Wanted { kernels, behaves: Some(behaves), ..Wanted::default() };
            wanted.recipes(&catalogue, folder.path(), &Nobody).map(drop)
        };
        assert_eq!(spoken_for(known.to_vec(), mainline.behaves.unwrap()), Ok(()));
        assert_eq!(spoken_for(vec![known[1].clone(), trees[0].clone()], Behaviour::PerDriver), Ok(()));

        let twice = wanted(&["mainline".to_owned(), "mainline".to_owned()], None);
        let refused = twice.recipes(&catalogue, folder.path(), &Nobody).unwrap_err();
        assert!(refused.seen.contains("named twice"));
    }
}
