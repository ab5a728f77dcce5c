//! What agent and harness say to each other.

use std::fmt::Debug;
use std::io::{self, BufRead};

use protocol::Call;

use crate::pieces::Pieces;

/// What the agent says, with the raw bytes behind its lines.
pub(crate) fn words(input: &[u8]) {
    let whole = all(&mut &input[..], protocol::read_word);
    let pieces = all(&mut Pieces::of(input), protocol::read_word);
    same(&whole, &pieces);
    let mut again = Vec::new();
    for (word, body) in &whole.0 {
        assert_eq!(word.body_len(), body.len() as u64);
        if protocol::write_line(&mut again, word, body).is_err() {
            return;
        }
    }
    let written = all(&mut &again[..], protocol::read_word);
    assert_eq!(written.0, whole.0, "what was read and written is not read again");
}

/// What the harness asks for.
pub(crate) fn calls(input: &[u8]) {
    let whole: All<Call> = all(&mut &input[..], protocol::read_line);
    same(&whole, &all(&mut Pieces::of(input), protocol::read_line));
    let mut again = Vec::new();
    for call in &whole.0 {
        if protocol::write_line(&mut again, call, &[]).is_err() {
            return;
        }
    }
    let written: All<Call> = all(&mut &again[..], protocol::read_line);
    assert_eq!(written.0, whole.0, "what was read and written is not read again");
}

/// What is read up to the end, or to what is wrong.
type All<T> = (Vec<T>, Option<(io::ErrorKind, String)>);

fn all<S: BufRead, T>(stream: &mut S, read: impl Fn(&mut S) -> io::Result<Option<T>>) -> All<T> {
    let mut found = Vec::new();
    loop {
        match read(stream) {
            Ok(Some(one)) => found.push(one),
            Ok(None) => return (found, None),
            Err(e) => return (found, Some((e.kind(), e.to_string()))),
        }
    }
}

fn same<T: Debug + PartialEq>(whole: &All<T>, pieces: &All<T>) {
    assert_eq!(whole, pieces, "in pieces it says something else");
}
