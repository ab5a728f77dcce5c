//! Kernels as a person asks for them, with patches on top, to recipes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};
use crate::kernel::catalogue::Catalogue;
use crate::kernel::recipe::{Behaviour, Origin, Patch, Recipe};
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
    /// How they behave: one for all those of which nothing is known, and for patched ones; or one without the patches and
    /// one with them; or, where there are no patches, one for each kernel.
    pub behaves: Vec<Behaviour>,
    /// Those that were found already, without patches, by what they are called: a tree may be edited since, and a branch
    /// may have moved or gone.
    #[serde(default)]
    pub noted: BTreeMap<String, Recipe>,
    /// The patches, where they were read already.
    #[serde(default)]
    pub noted_patches: Vec<Patch>,
}

impl Wanted {
    /// The kernels without patches, and each of them with the patches, if there are any. A source tree that is taken
    /// as it stands is noted in the store: all that is made of these recipes is made of the same files.
    ///
    /// # Errors
    /// `Asked` for a kernel that cannot be found, or is named twice, and for `behaves` where that is known to be
    /// otherwise, of each or of the one that it is said of, or where it is not so many; `Series` where a file has no patch in it; `Files`.
    pub fn recipes(&self, catalogue: &Catalogue, keep: &Path, watch: &dyn Watch) -> Result<Pairs, Failure> {
        let mut patches = self.noted_patches.clone();
        for path in self.patches.iter().filter(|_| self.noted_patches.is_empty()) {
            patches.extend(patches::read(&self.folder.join(path), &keep.join("patches"), watch)?);
        }
        self.refuse_other_number(!patches.is_empty())?;
        let (mut plain, mut patched) = (Vec::new(), Vec::new());
        let mut believed = !patches.is_empty();
        for (number, kernel) in self.kernels.iter().enumerate() {
            let mut recipe = match self.noted.get(kernel) {
                Some(noted) => noted.clone(),
                None => self.find(kernel, catalogue, keep, watch)?,
            };
            refuse_twice(&recipe, &plain)?;
            recipe.name = distinct(recipe.name, &plain);
            let said = self.said(if patches.is_empty() { number } else { 0 });
            let contradicted = recipe.behaves.is_some() && said.is_some() && recipe.behaves != said;
            believed |= !contradicted;
            recipe.behaves = recipe.behaves.or(said);
            if !patches.is_empty() {
                let mut with = recipe.patched(&patches)?;
                with.behaves = self.said(1).or(with.behaves);
                patched.push(with);
            }
            plain.push(recipe);
            // One for all is for those of which nobody knows.
            if contradicted && self.behaves.len() > 1 {
                return Err(all_known(&plain[plain.len() - 1..]));
            }
        }
        if !believed {
            return Err(all_known(&plain));
        }
        Ok(Pairs { plain, patched })
    }

    /// What is said of the kernel with this number, or, where there are patches, of those without them (0) and with them
    /// (1).
    fn said(&self, number: usize) -> Option<Behaviour> {
        if let [one] = self.behaves[..] { Some(one) } else { self.behaves.get(number).copied() }
    }

    fn refuse_other_number(&self, patches: bool) -> Result<(), Failure> {
        let (said, kernels) = (self.behaves.len(), self.kernels.len());
        if said <= 1 || said == if patches { 2 } else { kernels } {
            return Ok(());
        }
        let seen = match patches {
            true => format!("there are {said}"),
            false => format!("there are {said}, and kernels: {kernels}"),
        };
        let next =
            "name one for all; or, with --patch, one without it and one with it; or else one for each kernel";
        Err(Failure::new(Kind::Asked, "go by --behaves", seen, next))
    }

    fn find(
        &self,
        kernel: &str,
        catalogue: &Catalogue,
        keep: &Path,
        watch: &dyn Watch,
    ) -> Result<Recipe, Failure> {
        let mut recipe = spec::find(kernel, &self.folder, catalogue, watch)?;
        if let Origin::Build(build) = &mut recipe.origin {
            build.source = Found::noted(&build.source, keep, watch)?;
        }
        Ok(recipe)
    }

    /// The same, with what was found for it: for other processes.
    pub fn with_noted(self, pairs: &Pairs) -> Self {
        let noted = self.kernels.iter().cloned().zip(pairs.plain.iter().cloned()).collect();
        let series = |recipe: Option<&Recipe>| match recipe.map(|recipe| &recipe.origin) {
            Some(Origin::Build(build)) => build.series.clone(),
            _ => Vec::new(),
        };
        let own = series(pairs.plain.first()).len();
        let noted_patches = series(pairs.patched.first()).into_iter().skip(own).collect();
        Self { noted, noted_patches, ..self }
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

    /// Which are held against each other, by name: each with the patches against itself without; where there are no
    /// patches, each against the first.
    pub fn compared(&self) -> Vec<(String, String)> {
        let pair = |(plain, other): (&Recipe, &Recipe)| (plain.name.clone(), other.name.clone());
        match (&self.plain[..], &self.patched[..]) {
            ([first, others @ ..], []) => others.iter().map(|other| pair((first, other))).collect(),
            (plain, patched) => plain.iter().zip(patched).map(pair).collect(),
        }
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
        let wanted = |kernels: &[String], behaves: &[Behaviour]| Wanted {
            kernels: kernels.to_vec(),
            patches: vec![patch.clone()],
            behaves: behaves.to_vec(),
            ..Wanted::default()
        };
        let trees = ["a/linux", "b/linux"].map(|tree| folder.path().join(tree).display().to_string());
        let pairs = wanted(&trees, &[]).recipes(&catalogue, folder.path(), &Nobody).unwrap();
        let name = |of: &str| of.to_owned();
        assert_eq!(
            pairs.compared(),
            [(name("linux"), name("linux-patched")), (name("linux-2"), name("linux-2-patched"))]
        );
        let names: Vec<String> = pairs.all().into_iter().map(|recipe| recipe.name).collect();
        assert_eq!(names, ["linux", "linux-patched", "linux-2", "linux-2-patched"]);

        let known = ["without".to_owned(), "mainline".to_owned()];
        let behaves = |behaves: &[Behaviour]| {
            let pairs = wanted(&known, behaves).recipes(&catalogue, folder.path(), &Nobody);
            pairs.unwrap().subjects().into_iter().map(|recipe| recipe.behaves).collect::<Vec<_>>()
        };
        // Where apt does not have its source, another kernel has its name.
        let mainline = Wanted { kernels: vec!["mainline".to_owned()], ..Wanted::default() };
        let mainline = mainline.recipes(&catalogue, folder.path(), &Nobody).unwrap().subjects().remove(0);
        assert!(mainline.behaves.is_some());
        assert_eq!(behaves(&[]), [None, mainline.behaves]);
        assert_eq!(behaves(&[Behaviour::PerDevice]), [Some(Behaviour::PerDevice); 2]);

        let spoken_for = |kernels: &[String], behaves: &[Behaviour], patches: &[PathBuf]| {
            let wanted = Wanted {
                kernels: kernels.to_vec(),
                behaves: behaves.to_vec(),
                patches: patches.to_vec(),
                ..Wanted::default()
            };
            let all = wanted.recipes(&catalogue, folder.path(), &Nobody)?.all();
            Ok::<_, Failure>(all.into_iter().filter_map(|recipe| recipe.behaves).collect::<Vec<_>>())
        };
        let refused = spoken_for(&known, &[Behaviour::PerDevice], &[]).unwrap_err();
        assert!(refused.seen.ends_with("otherwise: without, mainline"), "{refused}");
        // True of one, or there is one of which nobody knows.
        assert!(spoken_for(&known, &[mainline.behaves.unwrap()], &[]).is_ok());
        assert!(spoken_for(&[known[1].clone(), trees[0].clone()], &[Behaviour::PerDriver], &[]).is_ok());

        // Another process has the same, whatever became of the places.
        let asked =
            Wanted { kernels: vec![trees[0].clone() + "+debug", known[0].clone()], ..wanted(&[], &[]) };
        let here = asked.recipes(&catalogue, folder.path(), &Nobody).unwrap();
        let there = asked.clone().with_noted(&here);
        let there: Wanted = serde_json::from_str(&serde_json::to_string(&there).unwrap()).unwrap();
        fs::rename(folder.path().join("a"), folder.path().join("c")).unwrap();
        let text = fs::read_to_string(&patch).unwrap();
        fs::write(&patch, text.replace("+b", "+c")).unwrap();
        assert_eq!(there.recipes(&catalogue, folder.path(), &Nobody).unwrap(), here);
        assert!(asked.recipes(&catalogue, folder.path(), &Nobody).is_err());
        fs::rename(folder.path().join("c"), folder.path().join("a")).unwrap();
        fs::write(&patch, text).unwrap();

        // A patch that is to change it; two trees, each with its own.
        let two = [Behaviour::PerDriver, Behaviour::PerDevice];
        assert_eq!(spoken_for(&trees[..1], &two, std::slice::from_ref(&patch)).unwrap(), two);
        assert_eq!(spoken_for(&trees, &two, &[]).unwrap(), two);
        let refused = spoken_for(&known[1..], &two, std::slice::from_ref(&patch)).unwrap_err();
        assert!(refused.seen.ends_with("otherwise: mainline"), "{refused}");
        assert_eq!(spoken_for(&trees[..1], &two, &[]).unwrap_err().seen, "there are 2, and kernels: 1");
        let three = [two[0], two[1], two[1]];
        let refused = spoken_for(&trees, &three, std::slice::from_ref(&patch)).unwrap_err();
        assert_eq!(refused.seen, "there are 3");

        let twice = wanted(&["mainline".to_owned(), "mainline".to_owned()], &[]);
        let refused = twice.recipes(&catalogue, folder.path(), &Nobody).unwrap_err();
        assert!(refused.seen.contains("named twice"));
    }
}
