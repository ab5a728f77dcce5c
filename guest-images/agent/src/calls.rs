//! Carries out one call.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};
use protocol::{Answer, Countable, Request};

use crate::{cputime, kmsg, sysfs};

/// How often a count is taken while waiting: a look costs one folder listing.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What came of a call: the answer and the raw bytes after it, or why there is none.
type Outcome = Result<(Answer, Vec<u8>), String>;

/// Does what is asked and says what came of it.
pub(crate) fn carry_out(request: Request) -> Outcome {
    match request {
        Request::Ping => Ok((Answer::Done, Vec::new())),
        Request::LoadModule { name, params } => load_module(&name, &params),
        Request::UnloadModule { name } => unload_module(&name),
        Request::Await { what, least, most, still_ms, timeout_ms } => {
            let (still, patience) = (Duration::from_millis(still_ms), Duration::from_millis(timeout_ms));
            await_count(&what, least..=most, still, patience)
        }
        Request::Mark { text } => {
            mark(&text)?;
            Ok((Answer::Done, Vec::new()))
        }
        Request::Set { path, value } => {
            sysfs::write(&path, &value).map_err(|e| e.to_string())?;
            Ok((Answer::Done, Vec::new()))
        }
        Request::ReadKmsg => bytes(kmsg::read_all().map_err(|e| format!("reading /dev/kmsg: {e}"))?),
        Request::ReadKmsgOn => bytes(kmsg::read_on().map_err(|e| format!("reading on in /dev/kmsg: {e}"))?),
        Request::ReadFile { path } => {
            bytes(std::fs::read(&path).map_err(|e| format!("reading {path}: {e}"))?)
        }
        Request::DescribeDevices { bus } => {
            let devices = sysfs::describe(&bus).map_err(|e| format!("reading sysfs: {e}"))?;
            Ok((Answer::Devices(devices), Vec::new()))
        }
        Request::ReadCpuTimes => {
            let times = cputime::of_all().map_err(|e| format!("reading CPU times: {e}"))?;
            Ok((Answer::CpuTimes(times), Vec::new()))
        }
    }
}

fn bytes(body: Vec<u8>) -> Outcome {
    Ok((Answer::Bytes { len: body.len() as u64 }, body))
}

fn took(since: Instant) -> Outcome {
    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok((Answer::Took { micros }, Vec::new()))
}

fn load_module(name: &str, params: &str) -> Outcome {
    let path = format!("{}/{name}.ko", protocol::MODULES);
    let file = File::open(&path).map_err(|e| format!("opening {path}: {e}"))?;
    let params = format!("{} {params}", of_command_line(name)?);
    let params = params.trim();
    let arguments = CString::new(params).map_err(|e| format!("parameters of {name}: {e}"))?;
    mark(&format!("insmod {name} begins"))?;
    let asked = Instant::now();
    let loaded = finit_module(file, &arguments, ModuleInitFlags::empty());
    let answer = took(asked);
    mark(&format!("insmod {name} ends"))?;
    loaded.map_err(|e| format!("loading module {name} ({params:?}): {e}"))?;
    answer
}

/// What the kernel command line says to a module, as `<module>.<parameter>`. The kernel itself hands it to what is built
/// in only; for the others modprobe does (kernel-command-line(7), modprobe(8)), which is not here.
fn of_command_line(module: &str) -> Result<String, String> {
    let line = sysfs::read("/proc/cmdline").map_err(|e| format!("reading /proc/cmdline: {e}"))?;
    let own = |word: &str| {
        let (name, parameter) = word.split_once('.')?;
        (name.replace('-', "_") == module).then(|| parameter.to_owned())
    };
    Ok(line.split_whitespace().filter_map(own).collect::<Vec<_>>().join(" "))
}

/// Loads what the agent needs to speak, in the order of the list. Without a list there is nothing to load.
pub(crate) fn load_first() -> io::Result<()> {
    let list = match sysfs::read(protocol::FIRST) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        list => list?,
    };
    for name in list.lines() {
        let file = File::open(format!("{}/{name}.ko", protocol::MODULES))?;
        finit_module(file, c"", ModuleInitFlags::empty())
            .map_err(|e| io::Error::other(format!("loading module {name}: {e}")))?;
    }
    Ok(())
}

fn unload_module(name: &str) -> Outcome {
    let module = CString::new(name).map_err(|e| format!("name of a module: {e}"))?;
    mark(&format!("rmmod {name} begins"))?;
    let asked = Instant::now();
    // Without O_NONBLOCK the kernel would be free to wait for a use that does not end.
    let unloaded = delete_module(&module, DeleteModuleFlags::O_NONBLOCK);
    let answer = took(asked);
    mark(&format!("rmmod {name} ends"))?;
    unloaded.map_err(|e| format!("unloading module {name}: {e}"))?;
    answer
}

fn mark(text: &str) -> Result<(), String> {
    kmsg::mark(text).map_err(|e| format!("writing to /dev/kmsg: {e}"))
}

fn await_count(
    what: &Countable,
    wanted: RangeInclusive<u64>,
    still: Duration,
    patience: Duration,
) -> Outcome {
    let asked = Instant::now();
    let (mut last, mut changed) = (None, asked);
    loop {
        let seen = count(what).map_err(|e| e.to_string())?;
        if wanted.contains(&seen) {
            return took(asked);
        }
        if last.replace(seen) != Some(seen) {
            changed = Instant::now();
        }
        if changed.elapsed() >= still || asked.elapsed() >= patience {
            let unchanged = changed.elapsed().as_millis();
            return Err(format!("{seen} of {} {}, for {unchanged} ms", wanted.start(), describe(what)));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn count(what: &Countable) -> io::Result<u64> {
    match what {
        Countable::Devices { bus } => Ok(sysfs::devices(bus)?.len() as u64),
        Countable::Bound { bus, driver } => sysfs::bound_to(bus, driver),
    }
}

fn describe(what: &Countable) -> String {
    match what {
        Countable::Devices { bus } => format!("devices of the bus {bus} are there"),
        Countable::Bound { bus, driver } => format!("devices of the bus {bus} are bound to {driver}"),
    }
}
