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
#[inline]
pub fn recognise(text: &str) -> Line<'_> {
    // Most lines are none of these, and their first byte says so.
    let known = match text.as_bytes().first() {
        Some(b'p') => text.strip_prefix("probe of ").map(probed),
        Some(b'c') => text.strip_prefix("calling  ").map(begins),
        Some(b'i') => text.strip_prefix("initcall ").map(ends),
        Some(b'a') => text.strip_prefix("async_").and_then(waits),
        _ => None,
    };
    known.map_or(Line::Other, |line| line.unwrap_or(Line::NotUnderstood))
}

// All are read from the right: a device or a symbol may have any name.

fn probed(rest: &str) -> Option<Line<'_>> {
    let (rest, took) = split_took(rest, " usecs")?;
    let (rest, returned) = split_number(rest)?;
    Some(Line::Probed { device: rest.strip_suffix(" returned ")?, returned, took })
}

fn begins(rest: &str) -> Option<Line<'_>> {
    let (rest, thread) = split_thread(rest)?;
    let symbol = rest.strip_suffix(" @ ")?;
    Some(match read_cookie(symbol) {
        Some((cookie, function)) => Line::AsyncBegins { cookie, function, thread },
        None => Line::InitcallBegins { symbol, thread },
    })
}

fn ends(rest: &str) -> Option<Line<'_>> {
    // do_one_initcall() warns so about what an initcall left behind; do_initcall_level() about blacklists.
    if rest.ends_with(" blacklisted") || (!rest.ends_with(" usecs") && rest.contains(" returned with ")) {
        return Some(Line::Other);
    }
    let (rest, took) = split_took(rest, " usecs")?;
    let (symbol, returned) = match rest.strip_suffix(" returned") {
        Some(symbol) => (symbol, None),
        None => {
            let (rest, returned) = split_number(rest)?;
            (rest.strip_suffix(" returned ")?, Some(returned))
        }
    };
    match (read_cookie(symbol), returned) {
        (Some((cookie, function)), None | Some(0)) => Some(Line::AsyncEnds { cookie, function }),
        (None, Some(returned)) => Some(Line::InitcallEnds { symbol, returned, took }),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn waits(rest: &str) -> Option<Option<Line<'_>>> {
    let whole = |(rest, thread): (&str, ThreadId)| rest.is_empty().then_some(thread);
    if let Some(rest) = rest.strip_prefix("waiting @ ") {
        Some(split_thread(rest).and_then(whole).map(|thread| Line::AsyncWaiting { thread }))
    } else {
        let rest = rest.strip_prefix("continuing @ ")?;
        let thread = split_took(rest, " usec").and_then(|(rest, _)| split_thread(rest)).and_then(whole);
        Some(thread.map(|thread| Line::AsyncContinuing { thread }))
    }
}

/// `17_sd_probe_async+0x0/0x80`: no C symbol begins with a digit.
fn read_cookie(symbol: &str) -> Option<(u64, &str)> {
    if !symbol.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let (cookie, function) = symbol.split_once('_')?;
    let function = function.split_once('+').map_or(function, |(name, _)| name);
    Some((cookie.parse().ok()?, function))
}

/// ` after 20113 usecs` at the end, and what stands before it.
fn split_took<'a>(text: &'a str, unit: &str) -> Option<(&'a str, Duration)> {
    let (rest, number) = split_number(text.strip_suffix(unit)?)?;
    // The kernel prints a signed number: a clock that stepped back makes it negative.
    Some((rest.strip_suffix(" after ")?, Duration::from_micros(u64::try_from(number).unwrap_or(0))))
}

fn split_thread(text: &str) -> Option<(&str, ThreadId)> {
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (rest, digits) = text.split_at_checked(text.len() - digits)?;
    Some((rest, digits.parse().ok()?))
}

/// The number at the end, and what stands before it.
fn split_number(text: &str) -> Option<(&str, i64)> {
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (rest, digits) = text.split_at_checked(text.len() - digits)?;
    let (rest, negative) = rest.strip_suffix('-').map_or((rest, false), |rest| (rest, true));
    let number = digits.parse::<i64>().ok()?;
    Some((rest, if negative { -number } else { number }))
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

        #[test]
        fn a_line_is_read_as_it_was_written(
            name in "[ -~]{0,20}( after | returned | @ )?[ -~]{0,9}",
            returned in -600i64..600,
            took in 0u64..1_000_000,
            pid in 0u32..99_999,
            cookie in 0u64..9999,
        ) {
            let (took_is, thread) = (Duration::from_micros(took), ThreadId(pid));
            let line = format!("probe of {name} returned {returned} after {took} usecs");
            assert_eq!(recognise(&line), Line::Probed { device: &name, returned, took: took_is });
            let symbol = format!("f_{name}");
            let line = format!("calling  {symbol} @ {pid}");
            assert_eq!(recognise(&line), Line::InitcallBegins { symbol: &symbol, thread });
            let line = format!("initcall {symbol} returned {returned} after {took} usecs");
            let ends = Line::InitcallEnds { symbol: &symbol, returned, took: took_is };
            assert_eq!(recognise(&line), ends);
            let line = format!("calling  {cookie}_some_function+0x0/0x{pid:x} @ {pid}");
            assert_eq!(recognise(&line), Line::AsyncBegins { cookie, function: "some_function", thread });
            for zero in ["", "0 "] {
                let line = format!("initcall {cookie}_some_function+0x0/0x1 returned {zero}after {took} usecs");
                assert_eq!(recognise(&line), Line::AsyncEnds { cookie, function: "some_function" });
            }
        }
    }
}
