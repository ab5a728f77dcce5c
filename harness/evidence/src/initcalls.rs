//! Compares the initcalls that ran with the table of the kernel image.

use std::collections::HashMap;

use crate::counted::Counted;

/// Looks at initcalls as they run.
///
/// `do_initcalls()` (init/main.c) runs the table from front to back: early ones, then levels 0 to 7. What is not
/// in the table is the init function of a module. A function that stands in it twice is left out: the log does
/// not say which of the two ran.
pub(crate) struct Order<'t> {
    places: HashMap<&'t str, Option<usize>>,
    /// How many the table has.
    of: usize,
    compared: usize,
    latest: Option<(usize, &'t str)>,
    found: Counted<String>,
}

impl<'t> Order<'t> {
    pub(crate) fn of(table: &'t [String]) -> Self {
        let mut places: HashMap<&str, Option<usize>> = HashMap::new();
        for (place, name) in table.iter().enumerate() {
            places.entry(name).and_modify(|known| *known = None).or_insert(Some(place));
        }
        Self { places, of: table.len(), compared: 0, latest: None, found: Counted::default() }
    }

    /// The next one, as the log names it: `init_sd+0x0/0x1000`, and with a module's name in brackets behind it for
    /// a module.
    pub(crate) fn ran(&mut self, symbol: &str) {
        if self.of == 0 || symbol.ends_with(']') {
            return;
        }
        let name = symbol.split_once('+').map_or(symbol, |(name, _)| name);
        let Some((&name, &Some(place))) = self.places.get_key_value(name) else { return };
        self.compared += 1;
        match self.latest {
            Some((before, other)) if place < before => {
                self.found.push_with(|| format!("{name} ran after {other}"));
            }
            _ => self.latest = Some((place, name)),
        }
    }

    /// Those that ran after one that stands behind them in the table; `None` where the log does not show at least half
    /// of the table.
    pub(crate) fn out_of_order(&self) -> Option<Vec<String>> {
        (self.of > 0 && self.compared * 2 >= self.of).then(|| self.found.told())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initcall_before_its_turn_is_named() {
        let out_of_order = |table: &[String], ran: &[&str]| {
            let mut order = Order::of(table);
            ran.iter().for_each(|symbol| order.ran(symbol));
            order.out_of_order()
        };
        let table = ["early", "core", "device", "late"].map(str::to_owned);
        let in_order = ["early+0x0/0x1", "core+0x0/0x1", "init_sd+0x0/0x1 [sd_mod]", "late+0x0/0x1"];
        assert_eq!(out_of_order(&table, &in_order), Some(vec![]));
        let swapped = ["early+0x0/0x1", "device+0x0/0x1", "core+0x0/0x1", "late+0x0/0x1"];
        assert_eq!(out_of_order(&table, &swapped), Some(vec!["core ran after device".to_owned()]));
        assert_eq!(out_of_order(&table, &["early+0x0/0x1"]), None);
        assert_eq!(out_of_order(&[], &[]), None);
    }
}
