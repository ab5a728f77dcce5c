//! Words for a POSIX shell.

/// A word as a shell has to be given it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,.:/+@%~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("--kernels=~/linux@v6.1,mainline"), "--kernels=~/linux@v6.1,mainline");
        assert_eq!(["", "a b", "it's"].map(quoted), ["''", "'a b'", r"'it'\''s'"]);
    }
}
