//! Finds in which lines a text stands, by looking through many lines at once.

use memchr::memmem::Finder;

/// So far ahead is looked at once, in bytes: what has been looked through is still in the cache when its lines are
/// read.
const AHEAD: usize = 64 << 10;

/// A text looked for in a larger one, from front to back.
pub(crate) struct Needle<'n, 'a> {
    finder: Finder<'n>,
    text: &'a [u8],
    /// Where it stands next, as far as is known.
    next: Option<usize>,
    /// It begins at no other place before this one.
    looked: usize,
}

impl<'n, 'a> Needle<'n, 'a> {
    pub(crate) fn new(needle: &'n str, text: &'a str) -> Self {
        Self { finder: Finder::new(needle), text: text.as_bytes(), next: None, looked: 0 }
    }

    /// Whether it stands in these bytes of the text, which begin behind those that were asked for before.
    #[inline]
    pub(crate) fn is_in(&mut self, from: usize, to: usize) -> bool {
        let length = self.finder.needle().len();
        loop {
            if let Some(at) = self.next.filter(|at| *at >= from) {
                return at + length <= to;
            }
            let start = self.looked.max(from);
            if start + length > to {
                return false;
            }
            self.look(start, length);
        }
    }

    fn look(&mut self, start: usize, length: usize) {
        let end = self.text.len().min(start + length + AHEAD);
        self.next = self.finder.find(&self.text[start..end]).map(|at| start + at);
        // Behind a find, what overlaps it has still to be looked at.
        self.looked = match self.next {
            Some(at) => at + 1,
            None => (end + 1).saturating_sub(length).max(start + 1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn each_line_is_said_to_have_it_that_has(
            lines in proptest::collection::vec("[ab;]{0,12}", 0..40),
            needle in "[ab]{1,3}",
            skipped in 0usize..4,
        ) {
            let text = lines.join("\n");
            let mut sought = Needle::new(&needle, &text);
            for line in crate::lines::Lines::of(&text) {
                let skipped = skipped.min(line.text.len());
                let (from, to) = (line.at + skipped, line.at + line.text.len());
                assert_eq!(sought.is_in(from, to), line.text[skipped..].contains(&needle), "{text:?} {needle}");
            }
        }
    }

    #[test]
    fn it_is_found_across_the_end_of_what_is_looked_at_at_once() {
        for shift in 0..8 {
            let text = format!("{}needle", "x".repeat(AHEAD + shift));
            assert!(Needle::new("needle", &text).is_in(0, text.len()), "{shift}");
            assert!(!Needle::new("needle", &text).is_in(0, text.len() - 1), "{shift}");
        }
    }
}
