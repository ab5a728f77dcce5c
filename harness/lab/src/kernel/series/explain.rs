//! Says of a patch that does not apply what a person wants to know.

use std::fs;
use std::path::Path;

/// A hunk of a patch, as far as an error message needs it.
struct Hunk<'a> {
    /// First line in the file before the patch.
    at: usize,
    /// The lines it expects to find: context and removed ones.
    expected: Vec<&'a str>,
    /// The lines it leaves: context and added ones.
    left: Vec<&'a str>,
}

/// Makes of git's "patch failed: FILE:LINE" what a person wants to know: which hunk, what it expects, what
/// stands there, and whether it is in already.
pub(in crate::kernel) fn explain(said: &str, patch: &str, root: &Path) -> String {
    let Some((file, line)) = said.lines().find_map(failed_at) else {
        // "FILE: No such file or directory", "FILE: already exists in working directory".
        let errors: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        if let Some(missing) =
            errors.iter().find_map(|error| error.strip_suffix(": No such file or directory"))
            && let Some(name) = without_first_part(patch, missing, root)
        {
            return format!("its names lack the a/ and b/ of git: there is {name}, but no {missing}");
        }
        return if errors.is_empty() { said.trim().to_owned() } else { errors.join("; ") };
    };
    let hunks = hunks_of(patch, file);
    let Some(number) = hunks.iter().position(|hunk: &Hunk<'_>| hunk.at == line) else {
        return said.trim().to_owned();
    };
    let stands = fs::read(root.join(file)).unwrap_or_default();
    let stands = String::from_utf8_lossy(&stands);
    let stands: Vec<&str> = lines_of(&stands).collect();
    let Hunk { expected, left, at: _ } = &hunks[number];
    let which = format!("hunk {} of {} of {file}", number + 1, hunks.len());
    if let Some(place) = stands.windows(left.len().max(1)).position(|window| window == &left[..]) {
        return format!("{which} is applied already, at line {}; others are not", place + 1);
    }
    let place = likest(expected, &stands, line.saturating_sub(1).min(stands.len()));
    let Some(first) = (0..expected.len()).find(|i| stands.get(place + i) != Some(&expected[*i])) else {
        return format!(
            "{which} has too little context: its lines are there, at line {}, but without lines around them git takes \
             it for the beginning or the end of the file",
            place + 1
        );
    };
    let (wanted, found) = (expected[first], stands.get(place + first).copied().unwrap_or_default());
    if wanted.trim_end_matches('\r') == found.trim_end_matches('\r') {
        let (own, others) = if wanted.ends_with('\r') { ("CR LF", "LF") } else { ("LF", "CR LF") };
        return format!("{which} does not match: its lines end in {own}, those of the file in {others}");
    }
    format!(
        "{which} does not match; at line {}\n  expected: {}\n  found:    {}",
        place + first + 1,
        expected.get(first).unwrap_or(&""),
        stands.get(place + first).unwrap_or(&"(end of file)"),
    )
}

/// Where most lines of a hunk stand one after the other, as near to its own place as can be: there the line that was
/// changed is seen.
fn likest(expected: &[&str], stands: &[&str], own: usize) -> usize {
    let alike = |place: usize| {
        let pairs = expected.iter().zip(stands.iter().skip(place));
        // Empty lines and braces are everywhere.
        pairs
            .filter(|(a, b)| a.trim_end_matches('\r') == b.trim_end_matches('\r') && a.trim().len() > 2)
            .count()
    };
    let places = (0..stands.len()).map(|place| (alike(place), std::cmp::Reverse(place.abs_diff(own)), place));
    places.max().filter(|(alike, ..)| *alike > 0).map_or(own, |(_, _, place)| place)
}

/// The lines of a text, with the CR that some of them end in.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    text.split_terminator('\n')
}

/// The name in a patch of which -p1 makes this one, where there is such a file.
fn without_first_part<'a>(patch: &'a str, missing: &str, root: &Path) -> Option<&'a str> {
    let names =
        patch.lines().filter_map(|line| line.strip_prefix("--- ").or_else(|| line.strip_prefix("+++ ")));
    let mut names = names.filter_map(|name| name.split(['\t', ' ']).next());
    names.find(|name| {
        name.split_once('/').is_some_and(|(_, rest)| rest == missing) && root.join(name).is_file()
    })
}

fn failed_at(line: &str) -> Option<(&str, usize)> {
    let (file, line) = line.strip_prefix("error: patch failed: ")?.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

/// The hunks that change a file. How many lines each has stands at its head: what follows is no part of it.
fn hunks_of<'a>(patch: &'a str, file: &str) -> Vec<Hunk<'a>> {
    let mut hunks: Vec<Hunk<'a>> = Vec::new();
    let (mut in_file, mut old, mut new) = (false, 0, 0);
    let mut before = false;
    for line in lines_of(patch) {
        if old > 0 || new > 0 {
            let Some(hunk) = hunks.last_mut() else { continue };
            // "\ No newline at end of file", of the line before it.
            if line.starts_with('\\') {
                continue;
            }
            // An editor may have taken the space from an empty line of context.
            let (sign, text) = line.split_at_checked(1).unwrap_or((" ", ""));
            if sign != "+" && old > 0 {
                old -= 1;
                hunk.expected.push(text);
            }
            if sign != "-" && new > 0 {
                new -= 1;
                hunk.left.push(text);
            }
        } else if let Some(name) = line.strip_prefix("--- ") {
            before = names(name, file);
        } else if let Some(name) = line.strip_prefix("+++ ") {
            in_file = names(name, file) || before && name.starts_with("/dev/null");
        } else if let Some((at, lines, to)) = line.strip_prefix("@@ -").filter(|_| in_file).and_then(head) {
            (old, new) = (lines, to);
            hunks.push(Hunk { at, expected: Vec::new(), left: Vec::new() });
        }
    }
    hunks
}

/// Whether a `---` or `+++` line names this file, once its first part is taken off, as -p1 does. A date may follow.
fn names(text: &str, file: &str) -> bool {
    let rest = text.split_once('/').and_then(|(_, name)| name.strip_prefix(file));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']))
}

/// `5,2 +5,3 @@`: the first line, and how many lines there are before and after; one where no number is given.
fn head(text: &str) -> Option<(usize, usize, usize)> {
    let (old, rest) = text.split_once(" +")?;
    let new = rest.split(' ').next()?;
    let lines = |range: &str| range.split_once(',').map_or(Some(1), |(_, lines)| lines.parse().ok());
    Some((old.split(',').next()?.parse().ok()?, lines(old)?, lines(new)?))
}
