//! Pairs begins and ends of initcalls, asynchronous calls and waits; what is left over is told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use crate::counted::{Counted, beginning};
use crate::units::ThreadId;

/// What begins and ends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum What<'a> {
    /// An initcall, by its symbol.
    Initcall(&'a str),
    /// An asynchronous call, by its cookie and its function.
    Call(u64, &'a str),
    /// A wait for asynchronous calls, by its thread.
    Wait(ThreadId),
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initcall(symbol) => write!(f, "initcall {}", beginning(symbol)),
            Self::Call(cookie, function) => write!(f, "async call {cookie}_{}", beginning(function)),
            Self::Wait(thread) => write!(f, "async wait of {thread}"),
        }
    }
}

/// What has begun and not ended, or the other way round. What has done both is forgotten.
#[derive(Default)]
pub(super) struct Pairs<'a> {
    /// Begins less ends, never 0, and the line since which that is so.
    open: HashMap<What<'a>, (i64, usize)>,
}

impl<'a> Pairs<'a> {
    pub(super) fn begins(&mut self, what: What<'a>, line: usize) {
        self.count(what, 1, line);
    }

    pub(super) fn ends(&mut self, what: What<'a>, line: usize) {
        self.count(what, -1, line);
    }

    fn count(&mut self, what: What<'a>, step: i64, line: usize) {
        match self.open.entry(what) {
            Entry::Vacant(entry) => {
                entry.insert((step, line));
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().0 += step;
                if entry.get().0 == 0 {
                    entry.remove();
                }
            }
        }
    }

    /// What is left over, in the order of the log.
    pub(super) fn open(self) -> Counted<String> {
        let mut open: Vec<_> = self.open.into_iter().collect();
        open.sort_unstable_by_key(|(_, (_, line))| *line);
        let mut found = Counted::default();
        for (what, (count, _)) in open {
            found.push_with(|| match count {
                1.. => format!("log: {what} has {count} begins without an end"),
                _ => format!("log: {what} has {} ends without a begin", -count),
            });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_begun_and_ended_is_forgotten_and_the_rest_is_told_as_it_came() {
        let mut pairs = Pairs::default();
        pairs.begins(What::Call(7, "f"), 1);
        pairs.ends(What::Initcall("late"), 2);
        pairs.begins(What::Initcall("paired"), 3);
        pairs.begins(What::Wait(ThreadId(9)), 4);
        pairs.begins(What::Call(7, "f"), 5);
        pairs.ends(What::Initcall("paired"), 6);
        assert_eq!(pairs.open.len(), 3);
        let told = pairs.open().told();
        let expected = [
            "log: async call 7_f has 2 begins without an end",
            "log: initcall late has 1 ends without a begin",
            "log: async wait of 9 has 1 begins without an end",
        ];
        assert_eq!(told, expected);
    }
}
