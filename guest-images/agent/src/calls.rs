//! Carries out one call.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use nix::kmod::{ModuleInitFlags, finit_module};
use protocol::{Answer, Countable, Request};

use crate::{kmsg, sysfs};

/// How often a count is taken while waiting: a look costs one folder listing.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What came of a call: the answer and the raw bytes after it, or why there is none.
type Outcome = Result<(Answer, Vec<u8>), String>;

/// Does what is asked and says what came of it.
pub(crate) fn carry_out(request: Request) -> Outcome {
    match request {
        Request::Ping => Ok((Answer::Done, Vec::new())),
        Request::LoadModule { name, params } => load_module(&name, &params),
        Request::Await { what, count, timeout_ms } => {
            await_count(&what, count, Duration::from_millis(timeout_ms))
        }
        Request::Set { path, value } => {
            sysfs::write(&path, &value).map_err(|e| e.to_string())?;
            Ok((Answer::Done, Vec::new()))
        }
        Request::ReadKmsg => bytes(kmsg::read_all().map_err(|e| format!("reading /dev/kmsg: {e}"))?),
        Request::ReadFile { path } => {
            bytes(std::fs::read(&path).map_err(|e| format!("reading {path}: {e}"))?)
        }
        Request::DescribeLuns => {
            Ok((Answer::Luns(sysfs::luns().map_err(|e| format!("reading sysfs: {e}"))?), Vec::new()))
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
    let arguments = CString::new(params).map_err(|e| format!("parameters of {name}: {e}"))?;
    mark(&format!("insmod {name} begins"))?;
    let asked = Instant::now();
    let loaded = finit_module(file, &arguments, ModuleInitFlags::empty());
    let answer = took(asked);
    mark(&format!("insmod {name} ends"))?;
    loaded.map_err(|e| format!("loading module {name} ({params:?}): {e}"))?;
    answer
}

fn mark(text: &str) -> Result<(), String> {
    kmsg::mark(text).map_err(|e| format!("writing to /dev/kmsg: {e}"))
}

fn await_count(what: &Countable, wanted: u64, patience: Duration) -> Outcome {
    let asked = Instant::now();
    loop {
        let seen = count(what).map_err(|e| e.to_string())?;
        if seen >= wanted {
            return took(asked);
        }
        if asked.elapsed() >= patience {
            return Err(format!("{seen} of {wanted} {} after {patience:?}", describe(what)));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn count(what: &Countable) -> io::Result<u64> {
    match what {
        Countable::Luns => Ok(sysfs::lun_addresses()?.len() as u64),
        Countable::LunsBoundTo(driver) => sysfs::luns_bound_to(driver),
    }
}

fn describe(what: &Countable) -> String {
    match what {
        Countable::Luns => "LUNs are there".to_owned(),
        Countable::LunsBoundTo(driver) => format!("LUNs are bound to {driver}"),
    }
}
