//! Compares the initcalls that ran with the table of the kernel image.

use std::collections::HashMap;

/// Initcalls that ran after one that stands behind them in the table, each as the log names it; `None` where the log
/// does not show at least half of the table.
///
/// `do_initcalls()` (init/main.c) runs the table from front to back: early ones, then levels 0 to 7. What is not
/// in the table is the init function of a module. A function that stands in it twice is left out: the log does
/// not say which of the two ran.
pub(crate) fn out_of_order(table: &[String], ran: &[&str]) -> Option<Vec<String>> {
    let mut places: HashMap<&str, Option<usize>> = HashMap::new();
    for (place, name) in table.iter().enumerate() {
        places.entry(name).and_modify(|known| *known = None).or_insert(Some(place));
    }
    let (mut found, mut compared) = (Vec::new(), 0);
    let mut latest: Option<(usize, &str)> = None;
    for symbol in ran {
        // `init_sd+0x0/0x1000`, and with a module's name in brackets behind it for a module.
        let name = symbol.split_once('+').map_or(*symbol, |(name, _)| name);
        let of_module = symbol.ends_with(']');
        let Some(place) = places.get(name).copied().flatten().filter(|_| !of_module) else { continue };
        compared += 1;
        match latest {
            Some((before, other)) if place < before => found.push(format!("{name} ran after {other}")),
            _ => latest = Some((place, name)),
        }
    }
    (!table.is_empty() && compared * 2 >= table.len()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initcall_before_its_turn_is_named() {
        let table = ["early", "core", "device", "late"].map(str::to_owned);
        let in_order = ["early+0x0/0x1", "core+0x0/0x1", "init_sd+0x0/0x1 [sd_mod]", "late+0x0/0x1"];
        assert_eq!(out_of_order(&table, &in_order), Some(vec![]));
        let swapped = ["early+0x0/0x1", "device+0x0/0x1", "core+0x0/0x1", "late+0x0/0x1"];
        assert_eq!(out_of_order(&table, &swapped), Some(vec!["core ran after device".to_owned()]));
        assert_eq!(out_of_order(&table, &["early+0x0/0x1"]), None);
        assert_eq!(out_of_order(&[], &[]), None);
    }
}
