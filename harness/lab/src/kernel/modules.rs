//! Finds the modules a run needs, with those they depend on, in an order in which they can be loaded.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

use crate::failure::{Failure, Kind};

/// A module file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Module {
    /// Its name, with underscores, without `.ko`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The modules that have to be loaded before it.
    pub depends: Vec<String>,
}

/// The modules of one kernel.
#[derive(Clone, Debug, Default)]
pub struct Modules(BTreeMap<String, Module>);

impl Modules {
    /// These, by their names.
    pub(super) fn of(modules: BTreeMap<String, Module>) -> Self {
        Self(modules)
    }

    /// Reads every `.ko` in a folder.
    ///
    /// # Errors
    /// `Files` where a file cannot be read or is no module.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let mut modules = BTreeMap::new();
        let entries = std::fs::read_dir(folder).map_err(|e| Failure::file("list", folder, &e))?;
        for entry in entries {
            let path = entry.map_err(|e| Failure::file("list", folder, &e))?.path();
            let Some(name) = module_name(&path) else { continue };
            let data = std::fs::read(&path).map_err(|e| Failure::file("read", &path, &e))?;
            let depends = depends(&data).map_err(|seen| {
                let attempt = format!("read the module {}", path.display());
                Failure::new(
                    Kind::Files,
                    attempt,
                    seen,
                    "remove the kernel from the store: it is built again",
                )
            })?;
            modules.insert(name.clone(), Module { name, path, depends });
        }
        Ok(Self::of(modules))
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Those that a guest needs to speak, where they are no part of the kernel: the agent loads them first.
    ///
    /// # Errors
    /// As [`Modules::closure`].
    pub fn to_speak(&self, built_in: &[String]) -> Result<Vec<Module>, Failure> {
        let needed = ["virtio_pci", "virtio_console"].into_iter();
        let missing =
            needed.filter(|name| !built_in.iter().any(|built_in| built_in == name) && self.has(name));
        self.closure(&missing.collect::<Vec<_>>())
    }

    /// These modules and all they depend on, dependencies first.
    ///
    /// # Errors
    /// `Build` where the kernel has no such module.
    pub fn closure<'a>(&'a self, wanted: &[&'a str]) -> Result<Vec<Module>, Failure> {
        let (mut order, mut seen) = (Vec::new(), HashSet::new());
        for name in wanted {
            self.add(name, &mut order, &mut seen)?;
        }
        Ok(order)
    }

    /// Adds a module behind those that it depends on. The kernel's build refuses circles, but modules may come from
    /// elsewhere: what is being added already is not begun again, and the guest says what cannot be loaded.
    fn add<'a>(
        &'a self,
        name: &'a str,
        order: &mut Vec<Module>,
        seen: &mut HashSet<&'a str>,
    ) -> Result<(), Failure> {
        if !seen.insert(name) {
            return Ok(());
        }
        let Some(module) = self.0.get(name) else {
            let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Failure::new(
                Kind::Build,
                format!("find the module {name}"),
                format!("the kernel has only: {known}"),
                "ask for it as =m in the configuration fragment of the kernel",
            ));
        };
        for dependency in &module.depends {
            self.add(dependency, order, seen)?;
        }
        order.push(module.clone());
        Ok(())
    }
}

/// The names in a `modules.builtin`: paths of what would be modules (Documentation/kbuild/kbuild.rst).
///
/// # Errors
/// `Files`.
pub fn built_in(file: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::file("read", file, &e))?;
    Ok(text.lines().filter_map(|line| module_name(Path::new(line))).collect())
}

fn module_name(path: &Path) -> Option<String> {
    (path.extension()? == "ko").then_some(())?;
    Some(path.file_stem()?.to_str()?.replace('-', "_"))
}

/// The `depends=` entry of the section `.modinfo`.
pub(super) fn depends(data: &[u8]) -> Result<Vec<String>, String> {
    let names = entry(data, "depends")?;
    Ok(names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

/// The release of the kernel that a module was built for: the first word of `vermagic=` (include/linux/vermagic.h).
pub(super) fn built_for(data: &[u8]) -> Result<String, String> {
    Ok(entry(data, "vermagic")?.split(' ').next().unwrap_or_default().to_owned())
}

/// An entry of `.modinfo`: strings that end in NUL (include/linux/moduleparam.h).
fn entry(data: &[u8], name: &str) -> Result<String, String> {
    let file = object::File::parse(data).map_err(|e| e.to_string())?;
    let section = file.section_by_name(".modinfo").ok_or("it has no section .modinfo")?;
    let info = section.data().map_err(|e| e.to_string())?;
    let found = info
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .ok_or_else(|| format!(".modinfo has no {name}="))?;
    Ok(String::from_utf8_lossy(found).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(table: &[(&str, &[&str])]) -> Modules {
        let entry = |(name, depends): &(&str, &[&str])| {
            let depends = depends.iter().map(|name| (*name).to_owned()).collect();
            let name = (*name).to_owned();
            (name.clone(), Module { path: PathBuf::from(format!("{name}.ko")), name, depends })
        };
        Modules(table.iter().map(entry).collect())
    }

    fn names(order: &[Module]) -> Vec<&str> {
        order.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let modules = modules(&[
            ("scsi_common", &[]),
            ("scsi_mod", &["scsi_common"]),
            ("sd_mod", &["scsi_mod", "scsi_common"]),
            ("virtio_scsi", &["scsi_mod"]),
        ]);
        let order = modules.closure(&["virtio_scsi", "sd_mod"]).unwrap();
        assert_eq!(names(&order), ["scsi_common", "scsi_mod", "virtio_scsi", "sd_mod"]);
    }

    #[test]
    fn a_module_that_is_not_there_is_named_with_those_that_are() {
        let error = modules(&[("scsi_mod", &[])]).closure(&["sd_mod"]).unwrap_err();
        assert_eq!(error.attempt, "find the module sd_mod");
        assert_eq!(error.seen, "the kernel has only: scsi_mod");
    }

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        assert!(depends(b"not an ELF file").is_err());
    }
}
