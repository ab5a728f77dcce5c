//! A bench that is told to end, at moments that nobody chose.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use fastrand::Rng;
use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::world::{Running, Said, World, ended_right, is_right};
use super::{Test, nothing, tell};
use crate::outcome::Wrong;

pub(super) const TESTS: &[Test] = &[Test {
    name: "signals::whenever_a_bench_is_told_to_end_it_does_and_leaves_nothing",
    lacks: nothing,
    test: at_random_moments,
}];

/// How often, unless `PARPROBE_MOMENTS` says: each way at least once.
const MOMENTS: u32 = 5;

/// How it is told.
#[derive(Clone, Copy, Debug)]
enum Way {
    Signal(Signal),
    /// Its terminal is closed, as by a connection that breaks.
    Terminal,
}

const WAYS: [Way; 5] = [
    Way::Signal(Signal::SIGINT),
    Way::Signal(Signal::SIGTERM),
    Way::Signal(Signal::SIGKILL),
    Way::Signal(Signal::SIGHUP),
    Way::Terminal,
];

fn at_random_moments(world: &World) -> Result<(), Wrong> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let moments: u32 = number("PARPROBE_MOMENTS").unwrap_or(MOMENTS);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed: u32 = number("PARPROBE_SEED").unwrap_or(now.subsec_nanos());
    let again = format!("PARPROBE_SEED={seed} PARPROBE_MOMENTS={moments}");
    let mut draw = Rng::with_seed(u64::from(seed));

    let whole = world.folder.join("undisturbed");
    let begun = Instant::now();
    is_right(&whole, &world.said("undisturbed", world.bench(&whole)?)?)?;
    let takes = begun.elapsed();
    let mut told = Vec::new();
    for moment in 0..moments {
        let way = WAYS[moment as usize % WAYS.len()];
        let after = takes.mul_f64(draw.f64());
        let seen = disturbed(world, moment, way, after)
            .map_err(|wrong| format!("{way:?} after {after:?} of {takes:?} ({again}): {wrong:?}"))?;
        told.push(format!("{way:?} after {after:.1?}: {seen}"));
    }
    tell(&format!("{again}; undisturbed it takes {takes:.1?}\n{}", told.join("\n")));
    // What a killed run may leave in the store, the next one removes.
    for left in ["partial-killed", "patches/partial-killed"] {
        fs::create_dir_all(world.store.join(left).join("gone"))?;
    }
    let after = world.folder.join("after");
    let said = world.said("after", world.bench(&after)?)?;
    is_right(&after, &said)?;
    if said.stderr.contains("damaged") || said.stderr.contains("build without") {
        return Err(format!("the store has suffered ({again}): {}", said.stderr).into());
    }
    world.nothing_is_left()
}

/// Lets a bench begin, and tells it to end; what came of it.
fn disturbed(world: &World, number: u32, way: Way, after: Duration) -> Result<String, Wrong> {
    let name = format!("{number:02}");
    let out = world.folder.join(&name);
    let bench = world.bench(&out)?;
    let (mut running, terminal) = match way {
        Way::Signal(_) => (world.start(&name, bench)?, None),
        Way::Terminal => {
            let (running, terminal) = on_a_terminal(world, &name, &bench)?;
            (running, Some(terminal))
        }
    };
    std::thread::sleep(after);
    let finished = running.child.try_wait()?.is_some();
    match way {
        // Its number may be that of another process by now.
        Way::Signal(_) if finished => {}
        Way::Signal(signal) => kill(Pid::from_raw(i32::try_from(running.child.id())?), signal)?,
        Way::Terminal => drop(terminal),
    }
    let said = running.ended()?;
    world.nothing_is_left()?;
    let code = said.code();
    let kept = kept(world, &out, &said)?;
    let has_verdict = out.join("verdict.json").exists();
    match way {
        _ if finished => is_right(&out, &said)?,
        // It was about to end with its verdict, which is kept: killed after that, or unable to show it on a terminal that
        // is not there. A wish to stop comes too late then.
        Way::Signal(Signal::SIGKILL) if has_verdict => ended_right(&out, &said, &[0, 2, 137])?,
        Way::Terminal if has_verdict => ended_right(&out, &said, &[0, 2, 74])?,
        Way::Signal(_) if has_verdict => is_right(&out, &said)?,
        Way::Signal(Signal::SIGKILL) if code == 137 => {}
        Way::Signal(Signal::SIGKILL) => return Err(format!("killed, and ended with {code}: {said:?}").into()),
        // In its first milliseconds it has not asked yet to be told.
        Way::Signal(signal) if said.status.code().is_none() && !out.exists() && said.stderr.is_empty() => {
            if code != 128 + signal as i32 {
                return Err(format!("not by {signal}: {said:?}").into());
            }
        }
        Way::Terminal if said.status.code().is_none() && !out.exists() => {}
        Way::Signal(_) => said.is(130, &["interrupted", "next: "])?,
        // There is nobody to tell.
        Way::Terminal if code == 130 => {}
        Way::Terminal => return Err(format!("its terminal was closed, and it ended with {code}").into()),
    }
    Ok(format!("{code}, {kept}"))
}

/// That what was booted can be read, and that a report says what there is.
fn kept(world: &World, out: &Path, said: &Said) -> Result<String, Wrong> {
    if !out.exists() {
        return Ok("no folder of a run yet".to_owned());
    }
    // Written when a boot is over: of such a one all is there.
    let boots = entries(&out.join("boots"))?;
    let whole: Vec<_> = boots.iter().filter(|boot| boot.join("guest.json").exists()).collect();
    for boot in &whole {
        lab::run::Record::load(boot)?;
    }
    let known = if out.join("so-far.json").exists() { ", with a report" } else { "" };
    let kept = format!("{} boots of {} to their end{known}", whole.len(), boots.len());
    let report = world.report(out)?;
    if out.join("verdict.json").exists() {
        report.is(0, &[])?;
        return Ok(format!("verdict, {kept}"));
    }
    // When a round was over, it was written down what was known.
    let code = if out.join("so-far.json").exists() { 0 } else { 64 };
    report.is(code, &["it did not come to its verdict"])?;
    if code == 0 && (!report.stdout.contains("the bench comes to its end") || whole.len() < 4) {
        return Err(format!("a report on a bench that did not come to its end: {report:?}").into());
    }
    let told =
        said.stderr.is_empty() || said.code() == 137 || said.stderr.contains(&out.display().to_string());
    if !whole.is_empty() && !told {
        return Err(format!("it does not say where its boots are: {said:?}").into());
    }
    Ok(kept)
}

fn entries(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// Starts a bench on a terminal of its own, which is closed when what is returned is dropped.
fn on_a_terminal(world: &World, name: &str, bench: &Command) -> Result<(Running, PtyMaster), Wrong> {
    // Nobody but us has this end of it, or it would not be closed.
    let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    let slave = ptsname_r(&terminal)?;
    let stream = || {
        let mut open = fs::File::options();
        open.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&slave).map(Stdio::from)
    };
    // It makes its standard input the terminal of a session of its own (setsid(1)), and becomes the bench.
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(bench.get_program()).args(bench.get_args()).env("TERM", "xterm");
    for (name, value) in bench.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(stream()?).stdout(stream()?).stderr(stream()?);
    // Whoever looks for what it said finds nothing: it went to the terminal.
    let [stdout, stderr] = ["out", "err"].map(|stream| world.folder.join(format!("{name}.{stream}")));
    fs::write(&stdout, "")?;
    fs::write(&stderr, "")?;
    let child = command.spawn()?;
    Ok((Running { child, stdout, stderr }, terminal))
}
