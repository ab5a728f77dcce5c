//! Where a boot is, and what rests on it, once the folder of its machine was copied.

use std::path::{Component, Path};

/// Where a boot is now that the part it belongs to was copied: the longest end of its path that is there.
pub(super) fn moved(boot: &str, run: &Path, part: &str) -> String {
    let path = Path::new(boot);
    let ends = path.ancestors().filter_map(|start| path.strip_prefix(start).ok());
    // What another machine has written leads nowhere else.
    let inside = ends.filter(|end| end.components().all(|part| matches!(part, Component::Normal(_))));
    let there = inside.map(|end| run.join(part).join(end)).filter(|path| path.is_dir());
    // The shortest end is empty, and that is the part itself.
    let found = there.filter(|path| *path != run.join(part).join("")).last();
    found.map_or_else(|| boot.to_owned(), |path| path.display().to_string())
}

/// A line of evidence that names places in the folder of its run, as of the folder where that is now.
pub(super) fn placed(line: &str, run: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("boots/") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        // Another path may end so.
        if !out.ends_with(|last: char| "/_-".contains(last) || last.is_alphanumeric()) {
            out.push_str(run);
            out.push('/');
        }
        out.push_str("boots/");
        rest = &from["boots/".len()..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_place_that_a_line_names_is_as_of_its_folder() {
        let line = "2 at 2.3, from start to end within boots/002-with/trace.txt:54; boots/001-a/kmsg.txt";
        let expected =
            "2 at 2.3, from start to end within /r/p/boots/002-with/trace.txt:54; /r/p/boots/001-a/kmsg.txt";
        assert_eq!(placed(line, "/r/p"), expected);
        assert_eq!(placed("kernel panic: boots/003-b", "/r"), "kernel panic: /r/boots/003-b");
        for elsewhere in ["x in /home/a/boots/001-a", "reboots/1", "nothing", ""] {
            assert_eq!(placed(elsewhere, "/r"), elsewhere);
        }
    }

    #[test]
    fn what_a_part_names_is_looked_for_in_it_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        for there in ["run/part-1/boots/001-a", "run/part-2/boots/002-b", "elsewhere"] {
            fs::create_dir_all(folder.path().join(there)).unwrap();
        }
        for outside in ["../part-2/boots/002-b", "x/../../../elsewhere", "/nowhere/boots/../../../elsewhere"]
        {
            assert_eq!(moved(outside, &run, "part-1"), outside);
        }
        let there = run.join("part-1/boots/001-a");
        assert_eq!(Path::new(&moved("/home/x/boots/001-a", &run, "part-1")), there);
    }

    #[test]
    fn boots_are_found_where_their_part_was_copied_to() {
        let run = tempfile::tempdir().unwrap();
        let there = run.path().join("part-2/20261125-guests/boots/001-a");
        fs::create_dir_all(&there).unwrap();
        let was = "/home/runner/part/20261125-guests/boots/001-a";
        assert_eq!(moved(was, run.path(), "part-2"), there.display().to_string());
        assert_eq!(moved(was, run.path(), "part-1"), was);
    }
}
