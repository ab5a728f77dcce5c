//! Is the QEMU of one guest: plays it, or starts the real one and stands between it and the harness.

mod agent;
mod monitor;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use agent::{agents_calls, agents_words};
pub(crate) use monitor::{GREETING, HALF_A_GREETING, Nonsense, RUBBISH};
use monitor::{answers, commands};

/// Names the folder of a test to the QEMUs that are started for it.
pub(crate) const FOLDER: &str = "PARPROBE_TEST_FOLDER";
/// Says which guest of the bench has which fault: its number from 1 on, and the name.
pub(crate) const FAULT: &str = "PARPROBE_TEST_FAULT";

/// The `PATH` on which the real QEMU is.
pub(crate) const REAL_PATH: &str = "PARPROBE_TEST_PATH";

/// What a QEMU says that dies at once.
pub(crate) const LAST_WORDS: &str =
    "qemu-system-x86_64: cannot set up guest memory 'ram': Cannot allocate memory";

/// How long something is under way when its QEMU is killed.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// The call at which an agent fails: the driver is loaded, and its devices are probed.
const PROBES: &str = "sd_mod";

/// What is wrong with a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    /// With a message.
    Dies,
    KilledAtStart,
    /// When QMP is open, and the kernel begins.
    KilledInBoot,
    /// As that, by an assertion of its own.
    CrashesInBoot,
    /// Each QEMU from this one on.
    CrashesInEachBoot,
    /// As that; the next one is killed while this module is loaded.
    CrashesThenKilledAtCall(&'static str),
    /// While this module is loaded, or a file of such a path written.
    KilledAtCall(&'static str),
    /// Then its kernel says on the console that it died of an int3, and which byte memory has there.
    Int3AtCall(&'static str, &'static str),
    /// When it is told this over QMP.
    KilledAtCommand(&'static str),
    /// When it is told this over QMP, it does not hear it, and answers so. Then nothing more is said.
    Nonsense(&'static str, Nonsense),
    /// It runs, and never opens QMP.
    NoQmp,
    /// It says this over QMP, and then nothing.
    Qmp(&'static str),
    /// Of the state of a saved guest a part comes.
    StateCut,
    /// The state of a saved guest is not what was saved.
    StateChanged,
    /// It never says hello.
    AgentMute,
    /// It says half of its hello.
    AgentHalfHello,
    /// It says hello so late that its silence would be its end, had it spoken before.
    AgentLate,
    AgentOfOtherVersion,
    AgentRubbish,
    AgentHalf,
    AgentStalls,
    /// A reply to a call that nobody made.
    AgentOutOfTurn,
    /// Such replies, large ones, one after the other.
    AgentFlood,
    AgentTerabyte,
    AgentEndlessLine,
    /// More than is kept of a console.
    ConsoleFlood,
}

impl Fault {
    /// By which it is told from the others.
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    fn named(name: &str) -> Option<Self> {
        crate::FAULTS.iter().map(|(_, fault, _)| *fault).find(|fault| fault.name() == name)
    }
}

/// Is QEMU, for as long as that lives.
#[allow(clippy::print_stderr)]
pub(crate) fn be_qemu() -> ExitCode {
    match play() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("the middle between harness and QEMU: {e}");
            ExitCode::from(99)
        }
    }
}

#[allow(clippy::print_stderr)]
fn play() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut real = Command::new(real_qemu()?);
    let asked = std::env::var(FAULT).unwrap_or_default();
    let (guest, name) = asked.split_once(' ').ok_or_else(|| io::Error::other("no fault"))?;
    let fault = Fault::named(name).ok_or_else(|| io::Error::other(format!("no such fault: {name}")))?;
    let (Some(qmp), Some(agent)) =
        (descriptor(&arguments, "id=qmp,fd="), descriptor(&arguments, "id=agent,fd="))
    else {
        return Err(real.args(arguments).exec());
    };
    let (number, guest) = (number()?, guest.parse().map_err(io::Error::other)?);
    let has_it = match fault {
        Fault::CrashesInEachBoot => number >= guest,
        Fault::CrashesThenKilledAtCall(_) => number == guest || number == guest + 1,
        _ => number == guest,
    };
    let fault = match fault {
        Fault::CrashesThenKilledAtCall(_) if number == guest => Fault::CrashesInBoot,
        Fault::CrashesThenKilledAtCall(call) => Fault::KilledAtCall(call),
        fault => fault,
    };
    if !has_it || matches!(fault, Fault::None) {
        return Err(real.args(arguments).exec());
    }
    match fault {
        Fault::Dies => {
            eprintln!("{LAST_WORDS}");
            Ok(ExitCode::FAILURE)
        }
        Fault::KilledAtStart => die(Signal::SIGKILL),
        Fault::NoQmp => stay(),
        Fault::Qmp(text) => {
            adopt(qmp).write_all(text.as_bytes())?;
            stay()
        }
        _ => between(fault, real, arguments, qmp, agent),
    }
}

/// Says nothing, and does not end.
fn stay() -> ! {
    loop {
        thread::park();
    }
}

fn die(of: Signal) -> ! {
    let _ = kill(Pid::this(), of);
    stay()
}

fn real_qemu() -> io::Result<PathBuf> {
    let path = std::env::var_os(REAL_PATH).unwrap_or_default();
    let all = std::env::split_paths(&path).map(|folder| folder.join(lab::guest::QEMU));
    all.into_iter().find(|path| path.is_file()).ok_or_else(|| io::Error::other("no QEMU on this host"))
}

/// Which of the guests of the bench this is, from 1 on.
fn number() -> io::Result<u64> {
    let folder = std::env::var_os(FOLDER).unwrap_or_default();
    let path = Path::new(&folder).join("guests");
    OpenOptions::new().create(true).append(true).open(&path)?.write_all(b".")?;
    Ok(fs::metadata(path)?.len())
}

/// The number behind this text.
fn descriptor(arguments: &[String], before: &str) -> Option<RawFd> {
    let text = arguments.iter().find_map(|argument| argument.split_once(before))?.1;
    text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// A socket that was inherited.
fn adopt(descriptor: RawFd) -> UnixStream {
    // SAFETY: the harness has left it open for QEMU, which is us, and nothing else here owns it.
    #[allow(unsafe_code)]
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // The real QEMU must not have it: the harness would not see it closed.
    let _ = fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    owned.into()
}

/// Puts a socket of ours between a descriptor and QEMU: the end towards the harness, the one towards QEMU, and that of
/// QEMU, which is in its arguments now.
fn split(
    arguments: &mut [String],
    before: &str,
    at: RawFd,
) -> io::Result<(UnixStream, UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let (old, new) = (format!("{before}{at}"), format!("{before}{}", theirs.as_raw_fd()));
    for argument in arguments {
        *argument = argument.replace(&old, &new);
    }
    Ok((adopt(at), ours, theirs))
}

fn between(
    fault: Fault,
    mut real: Command,
    mut arguments: Vec<String>,
    qmp: RawFd,
    agent: RawFd,
) -> io::Result<ExitCode> {
    let (to_harness, to_qemu, qemus) = split(&mut arguments, "id=qmp,fd=", qmp)?;
    let (calls, port, qemus_port) = split(&mut arguments, "id=agent,fd=", agent)?;
    let state = match arguments.iter().find_map(|argument| argument.strip_prefix("fd:")?.parse().ok()) {
        Some(state) => Some(split(&mut arguments, "fd:", state)?),
        None => None,
    };
    real.args(&arguments);
    // SAFETY: a system call between fork and exec, and nothing else.
    #[allow(unsafe_code)]
    unsafe {
        real.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    let mut qemu = real.spawn()?;
    drop((qemus, qemus_port));
    let pid = Pid::from_raw(i32::try_from(qemu.id()).map_err(io::Error::other)?);

    if let Some((mut from, mut to, theirs)) = state {
        drop(theirs);
        thread::spawn(move || hand_state_on(fault, &mut from, &mut to));
    }
    let (from_harness, into_qemu) = (to_harness.try_clone()?, to_qemu.try_clone()?);
    thread::spawn(move || commands(fault, pid, &from_harness, &into_qemu));
    let answers = thread::spawn(move || answers(fault, pid, &to_qemu, &to_harness));
    let (from_agent, to_us) = (port.try_clone()?, calls.try_clone()?);
    let words = thread::spawn(move || agents_words(fault, from_agent, to_us));
    thread::spawn(move || agents_calls(fault, pid, calls, port));
    if matches!(fault, Fault::ConsoleFlood) {
        flood_console()?;
    }
    let ended = wait(&mut qemu, answers)?;
    drop(words);
    Ok(ended)
}

/// Until QEMU has ended, and what it said over QMP is handed on.
fn wait(qemu: &mut Child, answers: thread::JoinHandle<io::Result<()>>) -> io::Result<ExitCode> {
    let status = qemu.wait()?;
    let _ = answers.join();
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(98)).unwrap_or(97)))
}

/// Both die, for the harness as one that this signal has ended.
fn murder(qemu: Pid, of: Signal) -> ! {
    let _ = kill(qemu, Signal::SIGKILL);
    die(of)
}

/// Hands the state of a saved guest on to QEMU.
fn hand_state_on(fault: Fault, from: &mut UnixStream, to: &mut UnixStream) -> io::Result<u64> {
    match fault {
        Fault::StateCut => io::copy(&mut from.take(1 << 20), to),
        // The magic at its head: of a page that is changed QEMU knows nothing, states have no checksum.
        Fault::StateChanged => {
            let mut head = [0; 16];
            from.read_exact(&mut head)?;
            to.write_all(&head.map(|byte| !byte))?;
            io::copy(from, to)
        }
        _ => io::copy(from, to),
    }
}

/// Says on the console that the kernel died of an int3 where memory has this byte, as 6.12 does.
fn die_of_int3(byte: &str) -> io::Result<()> {
    let notice = format!(
        "\n[    7.147310] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\n\
         [    7.148423] RIP: 0010:ttwu_do_activate+0x8d/0x220\n\
         [    7.148653] Code: c7 43 18 00 00 00 00 {byte} <5a> 48 8b 83 a8 02 00 00\n"
    );
    File::options().append(true).open("/proc/self/fd/1")?.write_all(notice.as_bytes())
}

/// Says on the console twice of what is kept of one.
fn flood_console() -> io::Result<()> {
    let line = format!("[    0.000001][    T1] {}\n", "a driver that says this again and again ".repeat(100));
    let mut console = File::options().append(true).open("/proc/self/fd/1")?;
    for _ in 0..(128 << 20) / line.len() {
        console.write_all(line.as_bytes())?;
    }
    Ok(())
}
