//! Starts processes that cannot outlive us: a process group each, a signal when we die, a kill on drop.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use wait_timeout::ChildExt;

use crate::cancel;

/// How long what a command said last may take to be read when it has ended. What then still holds its output open is not
/// the command.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long a process group has to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Asks the kernel to end this process, with SIGTERM, when the one that started it ends.
///
/// For a program that another starts for us, as cargo does with tests: nobody else would tell it.
pub fn end_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?)
}

/// Runs a command on our own standard streams, to its end; whether it succeeded.
///
/// # Errors
/// Of starting it; `Interrupted` as an `io::Error` of that kind where a stop was asked for: then it is ended.
pub fn run_to_end(command: &mut Command, at_most: Duration) -> io::Result<bool> {
    ended(&mut spawn(command, Signal::SIGTERM, vec![])?, at_most).map(|status| status.success())
}

/// Runs a command to its end and returns what it wrote to standard output.
///
/// # Errors
/// As [`run_to_end`]; `Other` where it failed.
pub fn text_of(command: &mut Command, at_most: Duration) -> io::Result<String> {
    let Output { status, stdout, stderr } = output(command, at_most, vec![])?;
    if status.success() { Ok(stdout) } else { Err(io::Error::other(format!("{status}: {stderr}"))) }
}

/// Puts a supervisor before a command that has children of its own, as make has.
///
/// The signal that the kernel sends at our death reaches only the process that we started. This one hands it on
/// to its whole group, waits a moment for files to be cleaned up, and ends whatever is left. A shell does it:
/// every host has one, and it outlives us, which a thread would not.
pub(crate) fn supervised(program: &str) -> Command {
    const SCRIPT: &str = r#"
        trap 'trap "" TERM; kill -TERM 0; (sleep 2; kill -KILL 0) & wait "$child"; kill -KILL 0' TERM
        "$@" & child=$!
        wait "$child""#;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "sh", program]);
    command
}

/// How many reads of it are taken once the wait for the end of an output is over: one that goes on has no end.
const MOST_QUEUED: usize = 1000;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end and returns what it said, in the words that we know, whatever language people here speak.
///
/// # Errors
/// Of starting it; `TimedOut`; `Interrupted` where a stop was asked for.
pub(crate) fn output(
    command: &mut Command,
    at_most: Duration,
    inherited: Vec<OwnedFd>,
) -> io::Result<Output> {
    output_on(command, Stdio::null(), at_most, inherited)
}

/// The same, with an input.
///
/// # Errors
/// As [`output`].
pub(crate) fn output_on(
    command: &mut Command,
    input: Stdio,
    at_most: Duration,
    inherited: Vec<OwnedFd>,
) -> io::Result<Output> {
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).env("LC_ALL", "C");
    let mut child = spawn(command, Signal::SIGTERM, inherited)?;
    let stdout = child.child().stdout.take().map(read_all);
    let stderr = child.child().stderr.take().map(read_all);
    let status = ended(&mut child, at_most)?;
    // Whatever it has left behind would hold the pipes open.
    drop(child);
    let deadline = Instant::now() + LAST_WORDS;
    let text = |parts: Option<Receiver<Vec<u8>>>| {
        let mut bytes = Vec::new();
        if let Some(parts) = parts {
            while let Ok(part) = parts.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                bytes.extend(part);
                if Instant::now() >= deadline {
                    break;
                }
            }
            // What had come by then.
            let queued = parts.try_iter().take(MOST_QUEUED);
            queued.for_each(|part| bytes.extend(part));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Output { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Reads as it comes, and not only at the end: a process that has left the group may hold the other end open for ever.
fn read_all(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, parts) = channel();
    std::thread::spawn(move || {
        let mut part = vec![0; 64 << 10];
        loop {
            match stream.read(&mut part) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // What came before an error is better than nothing.
                Ok(0) | Err(_) => return,
                Ok(len) if sender.send(part[..len].to_vec()).is_err() => return,
                Ok(_) => {}
            }
        }
    });
    parts
}

fn ended(child: &mut Offspring, at_most: Duration) -> io::Result<ExitStatus> {
    match child.wait(at_most)? {
        Waited::Ended(status) => Ok(status),
        Waited::TimedOut => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("not done after {at_most:?}")))
        }
        Waited::Cancelled => Err(io::Error::from(io::ErrorKind::Interrupted)),
    }
}

/// A child and its process group; both end when this is dropped.
#[derive(Debug)]
pub(crate) struct Offspring {
    child: Child,
    group: Pid,
    ended: Option<ExitStatus>,
}

/// How the wait for a child came to its end.
#[derive(Debug)]
pub(crate) enum Waited {
    /// It ended by itself.
    Ended(ExitStatus),
    /// The deadline passed.
    TimedOut,
    /// A stop was asked for.
    Cancelled,
}

/// Starts `command` in a process group of its own. If this process dies, however it dies, the child gets
/// `on_our_death`. `inherited` stay open in the child under the numbers they have here.
///
/// The kernel sends that signal when the *thread* that called this ends: call it from one that stays.
pub(crate) fn spawn(
    command: &mut Command,
    on_our_death: Signal,
    inherited: Vec<OwnedFd>,
) -> io::Result<Offspring> {
    command.process_group(0);
    tie(command, on_our_death, &inherited);
    let child = command.spawn()?;
    drop(inherited);
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    Ok(Offspring { child, group, ended: None })
}

/// Runs a command on our own terminal, which it may read, until it ends or a stop is asked for; whether it succeeded. A
/// person ends it, so there is no deadline.
///
/// # Errors
/// Of starting it; `Interrupted`.
pub(crate) fn run_on_terminal(command: &mut Command) -> io::Result<bool> {
    // In our own process group: another one could not read the terminal (credentials(7)).
    tie(command, Signal::SIGTERM, &[]);
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.wait_timeout(cancel::LOOK_EVERY)? {
            return Ok(status.success());
        }
        if cancel::requested() {
            // It gives the terminal back as it was.
            let process = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
            kill(process, Signal::SIGTERM)?;
            if child.wait_timeout(GRACE)?.is_none() {
                child.kill()?;
                child.wait()?;
            }
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
    }
}

/// Sees to it that a command gets a signal when we die, and keeps these open.
fn tie(command: &mut Command, on_our_death: Signal, inherited: &[OwnedFd]) {
    let parent = nix::unistd::getpid();
    let fds: Vec<i32> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    #[allow(unsafe_code)]
    let in_child = move || {
        for fd in &fds {
            // SAFETY: the caller keeps it open until after the spawn, so the number is open here.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(*fd) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        nix::sys::prctl::set_pdeathsig(on_our_death)?;
        // The parent may have died between fork and prctl.
        if nix::unistd::getppid() != parent {
            return Err(io::Error::other("the harness ended"));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates on its way to
    // success nor takes a lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(in_child)
    };
}

impl Offspring {
    /// The child, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until it ends, the deadline passes or a stop is asked for.
    pub(crate) fn wait(&mut self, at_most: Duration) -> io::Result<Waited> {
        let deadline = Instant::now() + at_most;
        loop {
            if cancel::requested() {
                return Ok(Waited::Cancelled);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(status) = self.child.wait_timeout(left.min(cancel::LOOK_EVERY))? {
                self.ended = Some(status);
                return Ok(Waited::Ended(status));
            }
            if left.is_zero() {
                return Ok(Waited::TimedOut);
            }
        }
    }

    /// How it ended, if it has, waiting at most this long and whether or not a stop was asked for.
    pub(crate) fn ended_within(&mut self, at_most: Duration) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.wait_timeout(at_most).ok().flatten();
        }
        self.ended
    }
}

impl Drop for Offspring {
    fn drop(&mut self) {
        // The group may live on after its leader: make's compilers do. An empty group is no error here.
        let leader_lives = self.ended_within(Duration::ZERO).is_none();
        if leader_lives {
            let _ = killpg(self.group, Signal::SIGTERM);
            self.ended_within(GRACE);
        }
        let _ = killpg(self.group, Signal::SIGKILL);
        // After SIGKILL the wait is short; without it a zombie would stay.
        self.ended_within(Duration::from_secs(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives(pid: i32) -> bool {
        kill(Pid::from_raw(pid), None).is_ok()
    }

    #[test]
    fn a_dropped_child_takes_its_own_children_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; sleep 1000 & echo $!; wait"]).stdout(Stdio::piped());
        let mut shell = spawn(&mut command, Signal::SIGKILL, vec![]).unwrap();
        let mut line = String::new();
        let stdout = shell.child().stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).unwrap();
        let grandchild: i32 = line.trim().parse().unwrap();
        assert!(lives(grandchild));
        drop(shell);
        // It was killed; its new parent may take a moment to reap it.
        let deadline = Instant::now() + Duration::from_secs(10);
        while lives(grandchild) && !is_zombie(grandchild) {
            assert!(Instant::now() < deadline, "process {grandchild} outlived its harness");
            std::thread::yield_now();
        }
    }

    fn is_zombie(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    }

    #[test]
    fn what_is_read_is_in_words_that_we_know_whatever_language_people_here_speak() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $LC_ALL"]).env("LC_ALL", "de_DE.UTF-8");
        assert_eq!(output(&mut command, Duration::from_secs(60), vec![]).unwrap().stdout, "C\n");
    }

    #[test]
    fn a_supervisor_passes_on_how_its_command_ended_and_ends_it_with_its_children() {
        let run = |script: &str, at_most| {
            output(supervised("sh").args(["-c", script]), at_most, vec![]).map(|output| output.status.code())
        };
        assert_eq!(run("exit 7", Duration::from_secs(60)).unwrap(), Some(7));
        // It would sleep on, were only the outer shell told.
        let asked = Instant::now();
        let e = run("sleep 1000; true", Duration::from_millis(100)).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
        assert!(asked.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_a_command_leaves_behind_keeps_nobody_waiting() {
        let asked = Instant::now();
        let said = output(
            Command::new("sh").args(["-c", "sleep 1000 & echo done"]),
            Duration::from_secs(60),
            vec![],
        );
        assert_eq!(said.unwrap().stdout, "done\n");
        assert!(asked.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn nor_does_what_has_left_the_group_of_the_command() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // It has left the group when the file says so.
        let script = r#"setsid sh -c 'echo $$ > "$0"; exec sleep 1000' "$0" & while [ ! -s "$0" ]; do sleep 0.01; done; echo done"#;
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(file.path());
        let said = output(&mut command, Duration::from_secs(60), vec![]).unwrap();
        let daemon: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        assert!(lives(daemon) && !is_zombie(daemon), "it did not hold the pipes open");
        kill(Pid::from_raw(daemon), Signal::SIGKILL).unwrap();
        assert_eq!(said.stdout, "done\n");
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let mut child = spawn(Command::new("sleep").arg("1000"), Signal::SIGKILL, vec![]).unwrap();
        assert!(matches!(child.wait(Duration::from_millis(20)), Ok(Waited::TimedOut)));
    }
}
