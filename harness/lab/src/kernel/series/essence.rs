//! What a patch changes, without the words around it: the same change makes the same kernel, whether it came as a diff,
//! by mail or out of a mailbox.

/// Words by which a line says how a file changes (git-diff(1), "Generating patch text with -p"). `index` and how alike
/// two files are only repeat what the rest says.
const SAYS: [&[u8]; 9] = [
    b"diff --git ",
    b"old mode ",
    b"new mode ",
    b"deleted file mode ",
    b"new file mode ",
    b"copy from ",
    b"copy to ",
    b"rename from ",
    b"rename to ",
];

/// The lines of a patch that change something. All of it where there is none: git, which applies it, may see more in it.
pub(in crate::kernel) fn essence(patch: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut keep = |line: &[u8]| out.extend_from_slice(line);
    // Lines of a hunk that are still to come.
    let (mut old, mut new) = (0_usize, 0_usize);
    let mut of_binary = false;
    for line in patch.split_inclusive(|&byte| byte == b'\n') {
        if old > 0 || new > 0 {
            // An editor may have taken the space from an empty line of context.
            let sign =
                if matches!(line, b"\n" | b"\r\n") { b' ' } else { line.first().copied().unwrap_or(b' ') };
            if sign != b'\\' {
                old = old.saturating_sub(usize::from(sign != b'+'));
                new = new.saturating_sub(usize::from(sign != b'-'));
            }
            keep(line);
        } else if SAYS.iter().any(|says| line.starts_with(says)) {
            of_binary = false;
            keep(line);
        } else if of_binary || line.starts_with(b"GIT binary patch") {
            of_binary = true;
            keep(line);
        } else if let Some((sign @ (b"--- " | b"+++ "), name)) = line.split_at_checked(4) {
            keep(sign);
            // A date may follow.
            keep(name.split(|&byte| byte == b'\t').next().unwrap_or(name).trim_ascii_end());
            keep(b"\n");
        } else if let Some((range, lines)) = range(line) {
            // The function that follows is only for people.
            (old, new) = lines;
            keep(range);
            keep(b"\n");
        } else if line.starts_with(b"\\") {
            keep(line);
        }
    }
    if out.is_empty() { patch.to_vec() } else { out }
}

/// `@@ -5,2 +5,3 @@`, and how many lines there are before and after.
fn range(line: &[u8]) -> Option<(&[u8], (usize, usize))> {
    let ranges = line.strip_prefix(b"@@ -")?;
    let end = ranges.windows(3).position(|part| part == b" @@")?;
    let (before, after) = std::str::from_utf8(&ranges[..end]).ok()?.split_once(" +")?;
    let lines = |range: &str| range.split_once(',').map_or(Some(1), |(_, lines)| lines.parse().ok());
    Some((&line[..b"@@ -".len() + end + b" @@".len()], (lines(before)?, lines(after)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "diff --git a/f b/f\nindex 1111111..2222222 100644\n--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@ int main()\n a\n\n-- b\n+- c\n";

    fn of(patch: &str) -> String {
        String::from_utf8(essence(patch.as_bytes())).unwrap()
    }

    #[test]
    fn the_same_change_is_the_same_however_it_is_wrapped() {
        assert_eq!(of(DIFF), "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n\n-- b\n+- c\n");
        let mail = format!(
            "From 1 Mon Sep 17 00:00:00 2001\nSubject: [PATCH 1/2] f: b\n\nold words\n---\n f | 2 +-\n\n{DIFF}-- \n2.39.5\n\n"
        );
        assert_eq!(of(&mail), of(DIFF));
        let other_object = DIFF.replace("1111111", "333333333333").replace(" int main()", "");
        assert_eq!(of(&other_object), of(DIFF));
        let dated = DIFF.replace("--- a/f\n", "--- a/f\t2018-11-01 00:00:00\n");
        assert_eq!(of(&dated), of(DIFF));
    }

    #[test]
    fn another_change_is_another_and_so_is_another_place_for_it() {
        let others = [
            DIFF.replace("+- c", "+- d"),
            DIFF.replace("@@ -1,3 +1,3 @@", "@@ -2,3 +2,3 @@"),
            DIFF.replace("b/f", "b/g"),
            DIFF.replace("--- a/f", "old mode 100644\nnew mode 100755\n--- a/f"),
            format!("{DIFF}\\ No newline at end of file\n"),
            format!("{DIFF}{}", DIFF.replace("a/f", "a/g").replace("b/f", "b/g")),
        ];
        for other in others {
            assert_ne!(of(&other), of(DIFF), "{other}");
        }
        // The lines of a hunk are counted: one that looks like words, or like another file, is of it.
        let odd = "--- a/f\n+++ b/f\n@@ -1,2 +1 @@\n--- x\n-index 1..2\n";
        assert_ne!(of(odd), of(&odd.replace("1..2", "1..3")));
        let binary = "diff --git a/f b/f\nindex 1..2\nGIT binary patch\nliteral 1\nIcmZPo000310RR91\n\n";
        assert_ne!(of(binary), of(&binary.replace("Icm", "Jcm")));
    }

    #[test]
    fn what_has_no_change_to_be_seen_is_all_of_it() {
        assert_eq!(of("words\nand words\n"), "words\nand words\n");
        assert_eq!(of(""), "");
        assert_eq!(
            essence(b"@@ -1,99999999999999999999 +1 @@\n\xff"),
            b"@@ -1,99999999999999999999 +1 @@\n\xff"
        );
    }
}
