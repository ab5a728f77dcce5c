//! Which tests are to be carried out, said by `cargo xtask` to each process of them. The test harness takes one filter.

use serde::{Deserialize, Serialize};

use lab::failure::Failure;

use crate::noted::misread;

/// The variable that says it.
pub const VARIABLE: &str = "PARPROBE_TESTS";

/// Some tests, by name; all of them by default.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Chosen {
    /// Parts of their names; all tests, if there are none.
    pub filters: Vec<String>,
    /// These are whole names.
    pub exact: bool,
}

impl Chosen {
    /// Those that `PARPROBE_TESTS` names.
    ///
    /// # Errors
    /// `Asked` where it is not as `cargo xtask` writes it.
    pub fn of_variable() -> Result<Self, Failure> {
        match std::env::var(VARIABLE) {
            Ok(text) => serde_json::from_str(&text).map_err(misread(VARIABLE)),
            Err(_) => Ok(Self::default()),
        }
    }

    /// Whether a test of this name is among them.
    pub fn has(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| self.names(filter, name))
    }

    /// Whether one of the filters names this test.
    pub fn names(&self, filter: &str, name: &str) -> bool {
        if self.exact { name == filter } else { name.contains(filter) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_chosen_by_any_part_of_its_name_or_by_all_of_it() {
        let chosen = |filters: &[&str], exact| Chosen {
            filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
            exact,
        };
        let name = "slow_one::with-numa";
        assert!(chosen(&[], false).has(name) && chosen(&[], true).has(name));
        assert!(chosen(&["race", "with"], false).has(name));
        assert!(!chosen(&["race", "slow_one::with"], true).has(name));
        assert!(chosen(&["race", name], true).has(name));
    }
}
