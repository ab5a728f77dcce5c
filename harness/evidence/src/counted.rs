//! Keeps the first of many and counts all: what is found in a log stays small, whatever its size.

use serde::{Deserialize, Serialize};

/// Things found, of which the first `MOST` are kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counted<T, const MOST: usize = 100> {
    count: usize,
    first: Vec<T>,
}

impl<T, const MOST: usize> Default for Counted<T, MOST> {
    fn default() -> Self {
        Self { count: 0, first: Vec::new() }
    }
}

impl<T, const MOST: usize> Counted<T, MOST> {
    /// Counts one more.
    pub fn push(&mut self, item: T) {
        self.push_with(|| item);
    }

    /// Counts one more, and makes it only if it is kept.
    pub(crate) fn push_with(&mut self, item: impl FnOnce() -> T) {
        self.count += 1;
        if self.first.len() < MOST {
            self.first.push(item());
        }
    }

    /// Counts those of another kind behind these. Of each kind its first are kept: one does not crowd out another.
    pub(crate) fn append(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
    }

    /// Counts one more, of a kind of its own.
    pub(crate) fn append_one(&mut self, item: T) {
        self.count += 1;
        self.first.push(item);
    }

    /// How many there are, those that are not kept among them.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first.
    pub fn first(&self) -> Option<&T> {
        self.first.first()
    }

    /// Those that are kept.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.first.iter()
    }
}

impl<const MOST: usize> Counted<String, MOST> {
    /// Those that are kept, and how many more there are.
    pub fn told(&self) -> Vec<String> {
        let more = self.count - self.first.len();
        let rest = (more > 0).then(|| format!("and {more} more"));
        self.first.iter().cloned().chain(rest).collect()
    }
}

/// So much of a line that is shown: one of garbage may be as long as the log.
pub(crate) fn beginning(line: &str) -> &str {
    /// In bytes: no line of a sound log is nearly as long.
    const LONGEST: usize = 2048;
    let end = (0..=LONGEST.min(line.len())).rev().find(|end| line.is_char_boundary(*end));
    &line[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_shown_of_each_kind() {
        let mut broken: Counted<String, 2> = Counted::default();
        for number in 0..5 {
            broken.push(format!("broken {number}"));
        }
        let mut lost = Counted::default();
        lost.push("lost".to_owned());
        broken.append(lost);
        assert_eq!(broken.len(), 6);
        assert_eq!(broken.told(), ["broken 0", "broken 1", "lost", "and 3 more"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(beginning("short"), "short");
        assert_eq!(beginning(&format!("x{}", "é".repeat(4000))).len(), 2047);
    }
}
