//! How a program ended, and what it said, to what the host ran out of: disk or memory.
//!
//! Whoever compiles a patch or applies it must not be told that the patch is at fault when the host was.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::failure::{Failure, Kind};

/// What a shell says of a command that SIGKILL ended (POSIX: 128 and the signal), and make of a shell that says so.
const KILLED: i32 = 128 + nix::libc::SIGKILL;

/// The failure that it is, if the host ran out of something; `None` where the program failed for a reason of its own.
/// All that it said is looked at: of several jobs others go on for a while after the first that fails.
pub(crate) fn of(attempt: &str, status: ExitStatus, said: &str) -> Option<Failure> {
    if let Some(line) = said.lines().find(|line| is_of_disk(line)) {
        let next = "free some space there, or move the store with PARPROBE_STORE and the run with --out";
        return Some(Failure::new(Kind::Files, attempt, line.trim(), next));
    }
    let killed = status.signal() == Some(nix::libc::SIGKILL) || status.code() == Some(KILLED);
    let seen = match said.lines().find(|line| is_of_memory(line)) {
        Some(line) => line.trim().to_owned(),
        None if killed => format!("it ended with {status}"),
        None => return None,
    };
    let seen = format!("{seen}: the host ran out of memory, or somebody killed it");
    let next =
        "see what `dmesg` says of it, free some memory, and run the same command again: it goes on from here";
    Some(Failure::new(Kind::Host, attempt, seen, next))
}

/// Words of the C library (strerror(3)) at the end of a line, in C locale: in the middle it may be a line of source that
/// a compiler quotes.
fn is_of_disk(line: &str) -> bool {
    let line = line.trim_end_matches(|end: char| !end.is_alphanumeric());
    ["No space left on device", "Disk quota exceeded"].iter().any(|words| line.ends_with(words))
}

fn is_of_memory(line: &str) -> bool {
    // gcc (gcc.cc, "signal terminated program"; toplev: xmalloc_failed) and its linker (collect2.cc); git (wrapper.c).
    const SAID: [&str; 5] = [
        "fatal error: Killed signal terminated program",
        "terminated with signal 9",
        "virtual memory exhausted",
        "out of memory allocating",
        "fatal: Out of memory",
    ];
    // make of a recipe that was killed, and of one whose shell saw that (job.c, child_error).
    let of_make = line.starts_with("make") && line.contains(": *** [");
    let killed = ["] Killed".to_owned(), format!("] Error {KILLED}")];
    SAID.iter().any(|words| line.contains(words))
        || line.trim_end().ends_with(": Cannot allocate memory")
        || (of_make && killed.iter().any(|end| line.trim_end().ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: i32, said: &str) -> Option<Kind> {
        of("build", ExitStatus::from_raw(code << 8), said).map(|failure| failure.kind)
    }

    #[test]
    fn what_the_host_ran_out_of_is_told_apart_from_what_is_wrong_with_the_source() {
        let rest = "\ndrivers/base/dd.c:1:1: warning: unused\n".repeat(40);
        for said in [
            "gcc: fatal error: Killed signal terminated program cc1",
            "collect2: fatal error: ld terminated with signal 9 [Killed]",
            "make[2]: *** [scripts/Makefile.build:250: drivers/base/dd.o] Killed",
            "make[1]: *** [Makefile:1250: vmlinux] Error 137",
            "cc1: out of memory allocating 65536 bytes after a total of 4096 bytes",
            "cc1: error: x.s: Cannot allocate memory",
            "fatal: Out of memory, malloc failed (tried to allocate 1 bytes)",
        ] {
            assert_eq!(kind(2, &format!("{said}{rest}")), Some(Kind::Host), "{said}");
        }
        for said in [
            "drivers/base/dd.c:1: fatal error: error writing to /tmp/cc1.s: No space left on device",
            "{standard input}: Fatal error: can't close drivers/base/dd.o: No space left on device",
            "/tmp/cc2.s: Fatal error: can't write 39 bytes to section .text of dd.o: 'No space left on device'",
            "error: unable to write file drivers/base/dd.c: No space left on device.",
            "cp: error writing 'vmlinux': Disk quota exceeded",
        ] {
            assert_eq!(kind(2, &format!("{said}{rest}")), Some(Kind::Files), "{said}");
        }
    }

    #[test]
    fn a_source_that_does_not_compile_is_no_fault_of_the_host() {
        let said = "dd.c:7:2: error: too few arguments to function 'pr_err'\n    7 |  pr_err(\"No space left on device\", x);\n\
                    make[1]: *** [scripts/Makefile.build:250: dd.o] Error 1\nmake: *** [Makefile:1] Error 2\n";
        assert_eq!(kind(2, said), None);
        assert_eq!(kind(2, "    8 |  panic(\"] Killed\");\nx.c: make: Killed"), None);
        assert_eq!(kind(KILLED, said), Some(Kind::Host));
        assert_eq!(
            of("build", ExitStatus::from_raw(nix::libc::SIGKILL), "").map(|it| it.kind),
            Some(Kind::Host)
        );
        // Told to end is not killed.
        assert_eq!(of("build", ExitStatus::from_raw(nix::libc::SIGTERM), ""), None);
    }
}
