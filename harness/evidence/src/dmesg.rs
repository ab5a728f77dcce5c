//! Recognises, in the text of a log record, what the driver core and the async code say.
//!
//! Formats, with the kernel code that prints them:
//! - `probe of <device> returned <ret> after <n> usecs`: `really_probe_debug()`, with `initcall_debug`. It is
//!   printed at the end, without the driver. Since eb7fbc9fb118 (v5.8) and before e2f06aa88508 (v6.4, stable
//!   6.1.27) it is a pr_debug: no such line is not "no probe".
//! - `calling  <symbol> [module] @ <pid>` and `initcall <symbol> [module] returned <ret> after <n> usecs`:
//!   `init/main.c`, with `initcall_debug`.
//! - `calling  <cookie>_<symbol> @ <pid>`, `initcall <cookie>_<symbol> returned [0 ]after <n> usecs`,
//!   `async_waiting @ <pid>`, `async_continuing @ <pid> after <n> usec`: `kernel/async.c`, pr_debug.

use std::time::Duration;

use crate::units::ThreadId;

/// What a line says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Line<'a> {
    /// A probe ended.
    Probed {
        /// Name of the device.
        device: &'a str,
        /// What `really_probe()` returned. Since v5.14: 0 for bound, a positive errno for failed.
        returned: i64,
        /// How long it took.
        took: Duration,
    },
    /// An initcall, of the kernel or of a module, begins.
    InitcallBegins {
        /// The function, with offset and module as printed: `init_sd+0x0/0x1000 [sd_mod]`.
        symbol: &'a str,
        /// Its thread.
        thread: ThreadId,
    },
    /// An initcall returned.
    InitcallEnds {
        /// As in the line of its begin.
        symbol: &'a str,
        /// What it returned.
        returned: i64,
        /// How long it took.
        took: Duration,
    },
    /// A function scheduled by `async_schedule()` begins.
    AsyncBegins {
        /// Its cookie: the order in which calls were scheduled.
        cookie: u64,
        /// The function, without the offset: `__driver_attach_async_helper`.
        function: &'a str,
        /// Its thread.
        thread: ThreadId,
    },
    /// It returned.
    AsyncEnds {
        /// Its cookie.
        cookie: u64,
        /// The function, without the offset.
        function: &'a str,
    },
    /// Somebody begins to wait for async calls.
    AsyncWaiting {
        /// Who.
        thread: ThreadId,
    },
    /// The wait is over.
    AsyncContinuing {
        /// Who.
        thread: ThreadId,
    },
    /// Anything else.
    Other,
    /// A line that begins like one of the above and cannot be read as one: cut or corrupt.
    NotUnderstood,
}

/// Recognises a line.
pub fn recognise(text: &str) -> Line<'_> {
    let known = if let Some(rest) = text.strip_prefix("probe of ") {
        probed(rest)
    } else if let Some(rest) = text.strip_prefix("calling  ") {
        begins(rest)
    } else if let Some(rest) = text.strip_prefix("initcall ") {
        // do_one_initcall() warns so about what an initcall left behind; do_initcall_level() about blacklists.
        if rest.ends_with(" blacklisted") || rest.contains(" returned with ") {
            Some(Line::Other)
        } else {
            ends(rest)
        }
    } else if let Some(rest) = text.strip_prefix("async_waiting @ ") {
        rest.parse().ok().map(|thread| Line::AsyncWaiting { thread })
    } else if let Some(rest) = text.strip_prefix("async_continuing @ ") {
        rest.split_once(" after ")
            .filter(|(_, took)| read_took(took, " usec").is_some())
            .and_then(|(thread, _)| Some(Line::AsyncContinuing { thread: thread.parse().ok()? }))
    } else {
        Some(Line::Other)
    };
    known.unwrap_or(Line::NotUnderstood)
}

fn probed(rest: &str) -> Option<Line<'_>> {
    // From the right: a device may have any name.
    let (rest, took) = rest.rsplit_once(" after ")?;
    let (device, returned) = rest.rsplit_once(" returned ")?;
    let took = read_took(took, " usecs")?;
    Some(Line::Probed { device, returned: returned.parse().ok()?, took })
}

fn begins(rest: &str) -> Option<Line<'_>> {
    let (symbol, thread) = rest.rsplit_once(" @ ")?;
    let thread = thread.parse().ok()?;
    Some(match read_cookie(symbol) {
        Some((cookie, function)) => Line::AsyncBegins { cookie, function, thread },
        None => Line::InitcallBegins { symbol, thread },
    })
}

fn ends(rest: &str) -> Option<Line<'_>> {
    let (symbol, rest) = rest.rsplit_once(" returned ")?;
    if let Some((cookie, function)) = read_cookie(symbol) {
        let rest = rest.strip_prefix("0 ").unwrap_or(rest);
        read_took(rest.strip_prefix("after ")?, " usecs")?;
        return Some(Line::AsyncEnds { cookie, function });
    }
    let (returned, took) = rest.split_once(" after ")?;
    Some(Line::InitcallEnds { symbol, returned: returned.parse().ok()?, took: read_took(took, " usecs")? })
}

/// `17_sd_probe_async+0x0/0x80`: no C symbol begins with a digit.
fn read_cookie(symbol: &str) -> Option<(u64, &str)> {
    let (cookie, function) = symbol.split_once('_')?;
    let function = function.split_once('+').map_or(function, |(name, _)| name);
    Some((cookie.parse().ok()?, function))
}

fn read_took(text: &str, unit: &str) -> Option<Duration> {
    let number = text.strip_suffix(unit)?;
    // The kernel prints a signed number: a clock that stepped back makes it negative.
    number.parse::<i64>().ok().map(|n| Duration::from_micros(u64::try_from(n).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_driver_core_initcalls_and_async_code_are_told_apart() {
        let lines = [
            "probe of 0:0:0:5 returned 0 after 20113 usecs",
            "probe of pcieport 0000:00:01.0 returned 517 after 12 usecs",
            "probe of 0:0:0:5 returned 0 after 201",
            "sd: probe of 0:0:0:5 failed with error -5",
            "calling  init_sd+0x0/0x1000 [sd_mod] @ 57",
            "initcall init_sd+0x0/0x1000 [sd_mod] returned 0 after 1931 usecs",
            "initcall broken_init+0x0/0x10 returned with disabled interrupts ",
            "calling  8___driver_attach_async_helper+0x0/0xb0 @ 23",
            "initcall 8___driver_attach_async_helper+0x0/0xb0 returned after 20480 usecs",
            "initcall 8_sd_probe_async+0x0/0xb0 returned 0 after 20480 usecs",
            "initcall 8_sd_probe_async+0x0/0xb0 returned nothing",
            "async_waiting @ 57",
            "async_continuing @ 57 after 181023 usec",
            "async_continuing @ 57",
            "scsi host0: Virtio SCSI HBA",
        ];
        let seen: Vec<String> =
            lines.iter().map(|line| format!("{line}\n    {:?}", recognise(line))).collect();
        insta::assert_snapshot!(seen.join("\n"));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "(probe of |calling  |initcall |async_waiting @ |async_continuing @ )?[ -~]{0,60}") {
            recognise(&line);
        }
    }
}
