//! Splits a text into lines, with their numbers, without looking at a byte twice.

use memchr::memchr_iter;

/// The lines of a text, as [`str::lines`] has them.
pub(crate) struct Lines<'a> {
    text: &'a str,
    newlines: memchr::Memchr<'a>,
    start: usize,
    number: usize,
}

/// A line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Line<'a> {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// Where in the text it begins, in bytes.
    pub(crate) at: usize,
    /// What it says, without its end.
    pub(crate) text: &'a str,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self { text, newlines: memchr_iter(b'\n', text.as_bytes()), start: 0, number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        let at = self.start;
        let end = match self.newlines.next() {
            Some(end) => end,
            None if at < self.text.len() => self.text.len(),
            None => return None,
        };
        self.start = end + 1;
        self.number += 1;
        let line = &self.text[at..end];
        let whole = end < self.text.len();
        let text = if whole { line.strip_suffix('\r').unwrap_or(line) } else { line };
        Some(Line { number: self.number, at, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn they_are_those_of_the_standard_library(text in "[a\r\né]{0,30}") {
            let lines: Vec<Line<'_>> = Lines::of(&text).collect();
            assert!(lines.iter().map(|line| line.text).eq(text.lines()));
            assert!(lines.iter().map(|line| line.number).eq(1..=lines.len()));
            assert!(lines.iter().all(|line| text[line.at..].starts_with(line.text)));
        }
    }
}
