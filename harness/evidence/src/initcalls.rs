//! Compares the initcalls that ran with the table of the kernel image.

use std::collections::HashMap;

/// Initcalls that ran after one that stands behind them in the table, each as the log names it.
///
/// `do_initcalls()` (init/main.c) runs the table from front to back: early ones, then levels 0 to 7. What is not
/// in the table is the init function of a module. A function that stands in it twice is left out: the log does
/// not say which of the two ran.
pub(crate) fn out_of_order(table: &[String], ran: &[&str]) -> Vec<String> {
    let mut places: HashMap<&str, Option<usize>> = HashMap::new();
    for (place, name) in table.iter().enumerate() {
        places.entry(name).and_modify(|known| *known = None).or_insert(Some(place));
    }
    let mut found = Vec::new();
    let mut latest: Option<(usize, &str)> = None;
    for symbol in ran {
        // `init_sd+0x0/0x1000`, and with a module's name in brackets behind it for a module.
        let name = symbol.split_once('+').map_or(*symbol, |(name, _)| name);
        let of_module = symbol.ends_with(']');
        let Some(place) = places.get(name).copied().flatten().filter(|_| !of_module) else { continue };
        match latest {
            Some((before, other)) if place < before => found.push(format!("{name} ran after {other}")),
            _ => latest = Some((place, name)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initcall_before_its_turn_is_named() {
        let table = ["early", "core", "device", "late"].map(str::to_owned);
        let in_order = ["early+0x0/0x1", "core+0x0/0x1", "init_sd+0x0/0x1 [sd_mod]", "late+0x0/0x1"];
        assert_eq!(out_of_order(&table, &in_order), Vec::<String>::new());
        let swapped = ["early+0x0/0x1", "device+0x0/0x1", "core+0x0/0x1", "late+0x0/0x1"];
        assert_eq!(out_of_order(&table, &swapped), ["core ran after device"]);
    }
}
