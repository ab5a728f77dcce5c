//! Finds, after `make olddefconfig`, what was asked for and not granted.

use std::collections::HashMap;

/// Lines of fragments that the final configuration does not have, each with what it has instead.
///
/// Kconfig drops a symbol without a word when its dependencies are not met.
pub(crate) fn lost(fragments: &str, granted: &str) -> Vec<String> {
    let granted: HashMap<&str, &str> = granted.lines().filter_map(read_line).collect();
    // A later fragment may take back what an earlier one asked for.
    let mut asked: Vec<(&str, &str)> = Vec::new();
    for (symbol, value) in fragments.lines().filter_map(read_line) {
        asked.retain(|(known, _)| *known != symbol);
        asked.push((symbol, value));
    }
    asked
        .into_iter()
        .filter_map(|(symbol, value)| {
            // A symbol that this kernel does not know is as good as "not set".
            let got = granted.get(symbol).copied().unwrap_or("n");
            (got != value).then(|| format!("{symbol}: asked for {value}, got {got}"))
        })
        .collect()
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
            lost(asked, granted),
            ["CONFIG_TMPFS: asked for y, got n", "CONFIG_SCSI: asked for m, got y"]
        );
    }

    #[test]
    fn the_last_fragment_that_names_a_symbol_decides() {
        assert_eq!(lost("CONFIG_SCSI=m\nCONFIG_SCSI=y\n", "CONFIG_SCSI=y\n"), Vec::<String>::new());
    }
}
