//! A guest that is started once more, where a fault of QEMU ended it that comes with chance.

use std::path::Path;

use crate::failure::Failure;
use crate::guest::lost::Trouble;

/// How often a guest is started, where a fault of QEMU ends it that comes with chance.
///
/// Seen with QEMU 7.2 under TCG: SIGSEGV in memory_region_dispatch_write(), which was given no region, as the kernel set
/// up PCI with two vCPUs; and what [`QemuStale`](crate::guest::Cause::QemuStale) is for.
const STARTS: usize = 3;

/// Starts a guest in this folder, and once more where QEMU is why it ended: what it came to, and how QEMU failed before,
/// each time. It is for the way to where what is measured begins; a boot that is measured from its start on begins again
/// as a whole.
pub(crate) fn start_again<T>(
    folder: &Path,
    mut start: impl FnMut() -> Result<T, Trouble>,
) -> Result<(T, Vec<String>), Trouble> {
    let mut crashes = Vec::new();
    loop {
        match start() {
            Err(Trouble::Lost(lost)) if lost.cause.is_chance() && crashes.len() + 1 < STARTS => {
                crashes.push(lost.cause.to_string());
                keep_crash(folder, crashes.len())?;
            }
            started => return started.map_err(in_start(&crashes)).map(|guest| (guest, crashes)),
        }
    }
}

/// Says which start it was that is lost, where QEMU failed before.
pub(crate) fn in_start(crashes: &[String]) -> impl Fn(Trouble) -> Trouble {
    move |trouble| match trouble {
        Trouble::Lost(mut lost) if !crashes.is_empty() => {
            lost.doing = format!("{} in start {}, see crash-1-console.log", lost.doing, crashes.len() + 1);
            lost.into()
        }
        trouble => trouble,
    }
}

/// Keeps what a start left that a fault of QEMU ended, while the next one goes to the same folder.
fn keep_crash(folder: &Path, number: usize) -> Result<(), Failure> {
    for name in ["console.log", "qemu.log"] {
        let path = folder.join(name);
        std::fs::rename(&path, folder.join(format!("crash-{number}-{name}")))
            .map_err(|e| Failure::file("rename", &path, &e))?;
    }
    Ok(())
}
