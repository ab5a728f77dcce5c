//! What a configuration depends on, and, after `make allnoconfig`, what was asked for and not granted.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::Path;

/// A symbol that is not as it was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lost {
    /// Its name, with `CONFIG_`.
    pub(crate) symbol: String,
    asked: String,
    got: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { symbol, asked, got } = self;
        write!(f, "{symbol}: asked for {asked}, got {got}")
    }
}

/// What the final configuration does not have of what fragments ask for.
///
/// Kconfig drops a symbol without a word when its dependencies are not met.
pub(crate) fn lost(fragments: &str, granted: &str) -> Vec<Lost> {
    let granted: HashMap<&str, &str> = granted.lines().filter_map(read_line).collect();
    // A later fragment may take back what an earlier one asked for.
    let asked: Vec<(&str, &str)> = fragments.lines().filter_map(read_line).collect();
    let last: HashMap<&str, usize> =
        asked.iter().zip(0..).map(|((symbol, _), place)| (*symbol, place)).collect();
    asked
        .into_iter()
        .zip(0..)
        .filter(|((symbol, _), place)| last.get(symbol) == Some(place))
        .map(|(asked, _)| asked)
        .filter_map(|(symbol, value)| {
            // A symbol that this kernel does not know is as good as "not set".
            let got = granted.get(symbol).copied().unwrap_or("n");
            let lost = || Lost { symbol: symbol.to_owned(), asked: value.to_owned(), got: got.to_owned() };
            (got != value).then(lost)
        })
        .collect()
}

/// Whether a configuration may depend on what is in this file of a source.
///
/// Kconfig reads files of its own, runs programs of `scripts` and of `tools` folders, which make compiles, and is told
/// by makefiles what to run (Documentation/kbuild/kconfig-macro-language.rst). Sources that are compiled into the
/// kernel, and headers, it does not read.
pub(crate) fn may_depend_on(file: &Path) -> bool {
    let compiled =
        file.extension().is_some_and(|extension| ["c", "h", "S"].iter().any(|known| extension == *known));
    let of_the_build =
        file.components().any(|part| part.as_os_str() == "scripts" || part.as_os_str() == "tools");
    of_the_build || !compiled
}

/// The symbols that the Kconfig files of a source define, with `CONFIG_` (Documentation/kbuild/kconfig-language.rst).
pub(crate) fn symbols(source: &Path) -> io::Result<HashSet<String>> {
    fn collect(folder: &Path, found: &mut HashSet<String>) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                collect(&entry.path(), found)?;
            } else if entry.file_name().to_string_lossy().starts_with("Kconfig") {
                let text = std::fs::read(entry.path())?;
                let text = String::from_utf8_lossy(&text);
                let name = |line: &str| {
                    let line = line.trim_start();
                    let rest = line.strip_prefix("config ").or_else(|| line.strip_prefix("menuconfig "))?;
                    Some(format!("CONFIG_{}", rest.trim()))
                };
                found.extend(text.lines().filter_map(name));
            }
        }
        Ok(())
    }
    let mut found = HashSet::new();
    collect(source, &mut found)?;
    Ok(found)
}

/// `CONFIG_X=value` or `# CONFIG_X is not set`.
fn read_line(line: &str) -> Option<(&str, &str)> {
    if let Some(rest) = line.strip_prefix("# ") {
        return rest
            .strip_suffix(" is not set")
            .filter(|symbol| symbol.starts_with("CONFIG_"))
            .map(|s| (s, "n"));
    }
    line.split_once('=').filter(|(symbol, _)| symbol.starts_with("CONFIG_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_that_kconfig_dropped_is_named() {
        let asked = "# why\nCONFIG_SMP=y\nCONFIG_TMPFS=y\nCONFIG_SCSI=m\n# CONFIG_SLOB is not set\n";
        let granted = "CONFIG_SMP=y\n# CONFIG_TMPFS is not set\nCONFIG_SCSI=y\n";
        assert_eq!(
            lost(asked, granted).iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["CONFIG_TMPFS: asked for y, got n", "CONFIG_SCSI: asked for m, got y"]
        );
    }

    #[test]
    fn the_last_fragment_that_names_a_symbol_decides() {
        assert_eq!(lost("CONFIG_SCSI=m\nCONFIG_SCSI=y\n", "CONFIG_SCSI=y\n"), []);
    }

    #[test]
    fn a_configuration_depends_on_no_file_that_is_compiled_into_the_kernel() {
        let of = |file: &&str| may_depend_on(Path::new(file));
        let compiled = ["drivers/base/dd.c", "include/linux/async.h", "arch/x86/entry/entry_64.S"];
        assert!(!compiled.iter().any(of));
        let others = [
            "drivers/scsi/Kconfig",
            "lib/Kconfig.debug",
            "Makefile",
            "arch/x86/Makefile",
            "arch/x86/kernel/vmlinux.lds",
            "scripts/kconfig/conf.c",
            "scripts/kconfig/lkc.h",
            "tools/objtool/check.c",
            "arch/x86/tools/relocs.c",
        ];
        assert!(others.iter().all(of));
    }

    #[test]
    fn a_source_says_which_symbols_it_knows() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        std::fs::write(folder.path().join("Kconfig"), "menuconfig BLOCK\n\tbool\n").unwrap();
        std::fs::write(folder.path().join("lib/Kconfig.debug"), "if BLOCK\nconfig TEST_LOCKUP\nendif\n")
            .unwrap();
        let mut known: Vec<String> = symbols(folder.path()).unwrap().into_iter().collect();
        known.sort();
        assert_eq!(known, ["CONFIG_BLOCK", "CONFIG_TEST_LOCKUP"]);
    }
}
