//! Text of strangers to text that does nothing to whoever looks at it.
//!
//! A kernel, a patch or a commit may say anything: sequences that move a terminal's cursor, rename its window or answer
//! for its user, and characters that turn the order of a line around (CVE-2021-42574). Here they become what JSON would
//! write for them, `\u001b`: to be read by a person, and within a JSON text the same string as before.

use std::borrow::Cow;
use std::fmt::Write;

/// With every character that is not plain text made visible. Lines and tabs stay. Twice is as good as once.
pub fn plain(text: &str) -> Cow<'_, str> {
    escape(text, |c| does_something(c) && c != '\n')
}

/// The same for what is to stay on one line.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, does_something)
}

fn escape(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&is_bad) else { return Cow::Borrowed(text) };
    let (good, rest) = text.split_at(first);
    let mut out = good.to_owned();
    for c in rest.chars() {
        if is_bad(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal or a page does anything else for it than show it.
fn does_something(c: char) -> bool {
    match c {
        '\t' => false,
        // ESC, BEL, CR and DEL among them, and the 8-bit forms of sequences (ECMA-48, C1).
        c if c.is_control() => true,
        // Bidirectional marks, embeddings, overrides and isolates (Unicode, UAX 9).
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // Separators of lines and paragraphs.
        '\u{2028}' | '\u{2029}' => true,
        // What nobody sees: soft hyphen, zero width space, word joiner and its like, byte order mark, annotations,
        // tags.
        '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_something_is_shown_and_all_else_stays() {
        let text = "\u{1b}]0;mine\u{7}\u{1b}[2J a\rb \u{9b}31m \u{202e}drow\u{202c} \u{7f} \u{200b}\u{e0041}\n\tnext";
        assert_eq!(
            plain(text),
            "\\u001b]0;mine\\u0007\\u001b[2J a\\u000db \\u009b31m \\u202edrow\\u202c \\u007f \\u200b\\udb40\\udc41\n\tnext"
        );
        for good in ["", "plain", "naïve ☃ 日本語 👩\u{200d}🚀\n", "<script>&amp;\\u001b"] {
            assert!(matches!(plain(good), Cow::Borrowed(same) if same == good));
        }
        assert_eq!(line("one\nverdict:  supported"), "one\\u000averdict:  supported");
    }

    #[test]
    fn once_is_enough() {
        let once = plain("\u{1b}[1m").into_owned();
        assert_eq!(plain(&once), once);
    }
}
