//! Runs make: configures an object tree and builds a kernel in it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cancel;
use crate::child::{self, Offspring, Waited};
use crate::failure::{Failure, Kind};
use crate::kernel::{config, source, unfinished};
use crate::scarce;
use crate::watch::Watch;

/// No build of our small configurations takes this long on any machine; a hung one would wait for ever.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);

/// How much of each, in characters.
const LONGEST_SHOWN: usize = 300;
/// How many of make's lines an error shows.
const LINES_SHOWN: usize = 15;

/// Where a build takes place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The source tree.
    pub(crate) source: &'a Path,
    /// The object tree.
    pub(crate) objects: &'a Path,
    /// The kernel's address in the store: `uname -v` shows it, so that a guest can say what it runs.
    pub(crate) id: &'a str,
    /// The log; it is written anew.
    pub(crate) log: &'a Path,
    /// The lock on all of this. make and its compilers hold it as well: if we are killed, nobody builds here
    /// before they are gone.
    pub(crate) lock: &'a File,
}

/// The compiler, as it names itself: part of what a kernel is.
pub(crate) fn compiler() -> Result<String, Failure> {
    let lacking = |seen: String| {
        let next = "apt-get install gcc, or run the same command with --setup";
        Failure::new(Kind::Host, "ask the compiler for its version", seen, next)
    };
    let output = child::output(Command::new("gcc").arg("--version"), Duration::from_secs(30), vec![])
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::Interrupted => Failure::interrupted("ask the compiler for its version"),
            _ => lacking(format!("gcc: {e}")),
        })?;
    output.stdout.lines().next().map(str::to_owned).ok_or_else(|| lacking("it said nothing".to_owned()))
}

/// What the assembler and the linker say of themselves, a line each: kconfig asks them (scripts/Kconfig.include). One
/// that is not there says nothing, and stops the build by itself.
pub(crate) fn binutils() -> Result<String, Failure> {
    let mut said = String::new();
    for program in ["as", "ld"] {
        match child::output(Command::new(program).arg("--version"), Duration::from_secs(30), vec![]) {
            Ok(output) => said.push_str(output.stdout.lines().next().unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {
                return Err(Failure::interrupted(format!("ask {program} for its version")));
            }
            Err(_) => {}
        }
        said.push('\n');
    }
    Ok(said)
}

/// Makes `.config` from the fragments: what they do not name is off, whatever its default, wherever it can be
/// (Documentation/kbuild/kconfig.rst, KCONFIG_ALLCONFIG).
pub(crate) fn configure(place: Place<'_>, fragments: &str) -> Result<(), Failure> {
    let attempt = "configure the kernel";
    fs::create_dir_all(place.objects).map_err(|e| Failure::file("create", place.objects, &e))?;
    let path = place.objects.join("parprobe-fragments");
    fs::write(&path, fragments).map_err(|e| Failure::file("write", &path, &e))?;
    make(place, &[&format!("KCONFIG_ALLCONFIG={}", path.display()), "allnoconfig"], attempt, &mut |_| {})
}

/// Checks that each symbol asked for is in `.config`. Returns those of which the source knows nothing: it is older, or
/// newer.
pub(crate) fn check_config(place: Place<'_>, fragments: &str) -> Result<Vec<String>, Failure> {
    let attempt = "configure the kernel";
    let path = place.objects.join(".config");
    let granted = fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
    let lost = config::lost(fragments, &granted);
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let known =
        config::symbols(place.source).map_err(|e| Failure::file("read the Kconfig of", place.source, &e))?;
    let (refused, unknown): (Vec<_>, Vec<_>) =
        lost.into_iter().partition(|lost| known.contains(&lost.symbol));
    if refused.is_empty() {
        return Ok(unknown.into_iter().map(|lost| lost.symbol).collect());
    }
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    Err(Failure::new(
        Kind::Build,
        attempt,
        format!("the source does not grant what the fragments ask for:\n  {}", refused.join("\n  ")),
        "ask for what these symbols depend on, too: `make menuconfig`, then / and the symbol, shows it",
    ))
}

/// Builds `vmlinux` and the modules. `expected` is about how many files that makes, if it is known.
pub(crate) fn build(
    place: Place<'_>,
    bzimage: bool,
    expected: Option<u64>,
    watch: &dyn Watch,
) -> Result<(), Failure> {
    let image = if bzimage { "bzImage" } else { "vmlinux" };
    make(place, &[image, "modules"], "build the kernel", &mut |now| {
        watch.count(now, expected.map(|expected| expected.max(now)), "objects");
    })
}

/// Builds modules of our own for the kernel that was built last: copies their sources into a folder of the object
/// tree, and returns that folder. kbuild writes beside the sources, so these cannot stay where they are.
pub(crate) fn build_modules(place: Place<'_>, sources: &[PathBuf]) -> Result<PathBuf, Failure> {
    let attempt = "build our own modules for the kernel";
    let folder = place.objects.join("parprobe-modules");
    source::remove(&folder)?;
    fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
    for source in sources {
        let to = folder.join(source.file_name().unwrap_or_default());
        fs::copy(source, &to).map_err(|e| Failure::file("write", &to, &e))?;
    }
    make(place, &[&format!("M={}", folder.display()), "modules"], attempt, &mut |_| {})?;
    Ok(folder)
}

/// Begins an object tree as a copy of another one of the same source and compiler: make then compiles only what
/// the configuration changes. It is written to `to`, and is to be moved to `settled`.
pub(crate) fn copy_objects(from: &Path, to: &Path, settled: &Path, lock: &File) -> Result<(), Failure> {
    let attempt = format!("copy {} to", from.display());
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::Interrupted => Failure::interrupted("copy an object tree"),
        _ => Failure::file(&attempt, to, &e),
    };
    // cp keeps times to the nanosecond, which make compares, and shares blocks where the file system can.
    let mut command = Command::new("cp");
    command.args(["--archive", "--reflink=auto"]).arg(from).arg(to);
    // If we are killed, nobody builds here before it is gone.
    let lock = lock.try_clone().map_err(failed)?;
    let copied = child::output(&mut command, PATIENCE, vec![lock.into()]).map_err(failed)?;
    if !copied.status.success() {
        let of_host = scarce::of(&format!("{attempt} {}", to.display()), copied.status, &copied.stderr);
        return Err(of_host.unwrap_or_else(|| failed(std::io::Error::other(copied.stderr))));
    }
    // Commands of the build's own tools have the folder in them. With another one they would be built anew, and
    // with objtool every object.
    let (old, new) = (from.as_os_str().as_bytes(), settled.as_os_str().as_bytes());
    rename_in_commands(&to.join("tools"), old, new).map_err(failed)
}

/// Replaces a path in every `.*.cmd` below a folder, where kbuild keeps the command that made each file.
fn rename_in_commands(folder: &Path, old: &[u8], new: &[u8]) -> std::io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            rename_in_commands(&path, old, new)?;
        } else if path.extension().is_some_and(|extension| extension == "cmd") {
            let text = fs::read(&path)?;
            let parts: Vec<&[u8]> = split(&text, old);
            if parts.len() > 1 {
                fs::write(&path, parts.join(new))?;
            }
        }
    }
    Ok(())
}

/// The parts of a text between the occurrences of a word.
fn split<'a>(mut text: &'a [u8], word: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = text.windows(word.len()).position(|window| window == word) {
        parts.push(&text[..at]);
        text = &text[at + word.len()..];
    }
    parts.push(text);
    parts
}

/// Runs make with these targets, adding what it says to the log, and counts the files it makes.
fn make(place: Place<'_>, targets: &[&str], attempt: &str, made: &mut dyn FnMut(u64)) -> Result<(), Failure> {
    let failed = |seen: String, next: &str| Failure::new(Kind::Build, attempt, seen, next);
    let no_make = |e: std::io::Error| {
        Failure::new(Kind::Host, attempt, format!("make: {e}"), "apt-get install make, or use --setup")
    };
    let (reader, writer) = std::io::pipe().map_err(no_make)?;
    unfinished::begin(place.objects)?;
    let mut make = start(place, targets, writer).map_err(no_make)?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(place.log)
        .map_err(|e| Failure::file("write", place.log, &e))?;
    let count = Arc::new(AtomicU64::new(0));
    let copying = copy_and_count(reader, log, Arc::clone(&count));

    let deadline = std::time::Instant::now() + PATIENCE;
    let status = loop {
        made(count.load(Ordering::Relaxed));
        match make.wait(cancel::LOOK_EVERY * 4) {
            Ok(Waited::Ended(status)) => break status,
            Ok(Waited::TimedOut) if std::time::Instant::now() < deadline => {}
            Ok(Waited::TimedOut) => {
                return Err(failed(format!("make was not done after {PATIENCE:?}"), "look at the machine"));
            }
            Ok(Waited::Cancelled) => return Err(Failure::interrupted(attempt)),
            Err(e) => return Err(failed(e.to_string(), "try again")),
        }
    };
    drop(make);
    // The pipe is closed now, unless something that has left make's group holds it: all that make said is in the log. Had
    // it not come to its end, or been killed, files that are half-written would still be there.
    let copied = match copying.recv_timeout(child::LAST_WORDS) {
        Ok(copied) => copied,
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => Err(std::io::Error::other("the copying thread died")),
    };
    made(count.load(Ordering::Relaxed));
    copied.map_err(|e| Failure::file("write", place.log, &e))?;
    if status.success() {
        return unfinished::end(place.objects);
    }
    let said = fs::read(place.log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    // What the host ran out of may have ended make itself, or have kept it from removing what was half-written.
    if let Some(mut failure) = scarce::of(attempt, status, &said) {
        failure.seen = format!("{}\nthe whole log is {}", failure.seen, place.log.display());
        return Err(failure);
    }
    unfinished::end(place.objects)?;
    let seen = format!("make {} ended with {status}:\n{}", targets.join(" "), complaint(&said));
    Err(failed(seen, &format!("the whole log is {}", place.log.display())))
}

fn start(place: Place<'_>, targets: &[&str], writer: std::io::PipeWriter) -> std::io::Result<Offspring> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = child::supervised("make");
    command
        .arg("-C")
        .arg(place.source)
        .arg(format!("O={}", place.objects.display()))
        .arg(format!("-j{cores}"))
        .args(targets)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        // The same kernel from the same source, whoever builds it, when and where.
        .env("LC_ALL", "C")
        .env("LOCALVERSION", "")
        .env("KBUILD_BUILD_TIMESTAMP", "1970-01-01")
        .env("KBUILD_BUILD_USER", "parprobe")
        .env("KBUILD_BUILD_HOST", "parprobe")
        .env("KBUILD_BUILD_VERSION", place.id);
    for variable in
        ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARCH", "CROSS_COMPILE", "CC", "LLVM", "KCONFIG_CONFIG", "O"]
    {
        command.env_remove(variable);
    }
    // SIGTERM, not SIGKILL: make and its compilers then remove half-written files.
    child::spawn(&mut command, Signal::SIGTERM, vec![place.lock.try_clone()?.into()])
}

fn copy_and_count(
    reader: impl Read + Send + 'static,
    mut log: File,
    count: Arc<AtomicU64>,
) -> Receiver<std::io::Result<()>> {
    let copy = move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if is_about_a_file(&line) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            log.write_all(&line)?;
            line.clear();
        }
        Ok(())
    };
    let (sender, copied) = channel();
    // Nobody may be left to tell.
    std::thread::spawn(move || drop(sender.send(copy())));
    copied
}

/// kbuild's short form: two spaces, what it does, the file: `  CC      drivers/base/dd.o`.
fn is_about_a_file(line: &[u8]) -> bool {
    [b"  CC ".as_slice(), b"  AS ", b"  AR ", b"  LD "].iter().any(|prefix| line.starts_with(prefix))
}

/// The lines with the first complaint, without those that other jobs say meanwhile; the last ones where nobody
/// complains.
fn complaint(text: &str) -> String {
    // gcc, its assembler, ld, modpost (scripts/mod/modpost.c), and make of a recipe that failed.
    const WORDS: [&str; 5] = ["error: ", "Error: ", "undefined reference", "ERROR: ", ": *** "];
    // A line of source that gcc shows, under a warning as well: `  123 | `.
    let is_quoted = |line: &str| {
        line.trim_start()
            .split_once(" | ")
            .is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_progress = |line: &&str| {
        let short = line.strip_prefix("  ").and_then(|rest| rest.split_once(' '));
        short.is_some_and(|(tool, _)| !tool.is_empty() && tool.bytes().all(|byte| byte.is_ascii_uppercase()))
            || line.contains(": Entering directory")
            || line.contains(": Leaving directory")
    };
    let lines: Vec<&str> = text.lines().filter(|line| !is_progress(line)).collect();
    let complains = |line: &str| !is_quoted(line) && WORDS.iter().any(|words| line.contains(words));
    let first = lines.iter().position(|line| complains(line));
    // gcc names the function in the line before.
    let from = first.map_or(lines.len().saturating_sub(LINES_SHOWN), |first| first.saturating_sub(1));
    let shown = lines[from..].iter().take(LINES_SHOWN);
    shown.map(|line| line.chars().take(LONGEST_SHOWN).collect::<String>()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_what_the_compiler_complained_of_though_other_jobs_went_on_for_long() {
        let others = "  CC      kernel/fork.o\n  AR      kernel/built-in.a\n";
        let before = format!("make[1]: Entering directory '/objects'\n{}", others.repeat(30));
        let said = [
            "init/main.c: In function 'start_kernel':",
            "init/main.c:1626:36: error: expected expression before ';' token",
            " 1626 | int broken = \"text\" + ;",
            "make[3]: *** [scripts/Makefile.build:255: init/main.o] Error 1",
            "make[3]: *** Waiting for unfinished jobs....",
        ];
        let text = format!("{before}{}\n{}", said.join("\n"), others.repeat(30));
        assert_eq!(complaint(&text), said.join("\n"));
        // What gcc quotes under a warning complains of nothing.
        let warned = [
            "drivers/x.c:123:5: warning: unused variable 'dev' [-Wunused-variable]",
            "  123 |         dev_err(dev, \"I2C error: %d\\n\", status);",
            "      |         ^~~~~~~",
        ];
        let text = format!("{}\n{}{}", warned.join("\n"), others.repeat(30), said.join("\n"));
        assert_eq!(complaint(&text), said.join("\n"));
        let assembler =
            "{standard input}: Assembler messages:\n{standard input}:12: Error: no such instruction: `x'";
        assert_eq!(complaint(&format!("{others}{assembler}\n{others}")), assembler);
        // Nobody complains in these words: what came last.
        let lines: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
        assert_eq!(complaint(&lines.join("\n")), lines[100 - LINES_SHOWN..].join("\n"));
        assert_eq!(complaint(others), "");
    }
}
