//! Recognises on the serial console how a kernel dies.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Ways to die that the kernel itself announces.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// `panic()`: nothing runs any more.
    Panic,
    /// Memory is full: a process was killed for it, or there was none to kill, which is a panic.
    OutOfMemory,
    /// A fault or a `BUG()` in kernel mode: the thread is gone, with whatever locks it held.
    Oops,
    /// A thread that slept uninterruptibly for longer than `hung_task_timeout_secs`.
    HungTask,
    /// A CPU that did not schedule for twice `watchdog_thresh` seconds.
    SoftLockup,
    /// An RCU grace period that did not end.
    RcuStall,
    /// The banner of a second boot: the guest started again by itself.
    SecondBoot,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panic => "kernel panic",
            Self::OutOfMemory => "out of memory",
            Self::Oops => "oops",
            Self::HungTask => "hung task",
            Self::SoftLockup => "soft lockup",
            Self::RcuStall => "RCU stall",
            Self::SecondBoot => "second boot",
        })
    }
}

/// Watches the lines of one guest's console.
#[derive(Clone, Debug, Default)]
pub struct Watcher {
    booted: bool,
}

impl Watcher {
    /// Looks at the next line: a sign of death, if it is one.
    ///
    /// Words as in 6.1: `panic()` in kernel/panic.c; `die()` and page faults in arch/x86; `check_hung_task()`
    /// in kernel/hung_task.c; `watchdog_timer_fn()` in kernel/watchdog.c; kernel/rcu/tree_stall.h; mm/oom_kill.c.
    pub fn see(&mut self, line: &str) -> Option<Death> {
        let text = message(line);
        let death = if let Some(why) = text.strip_prefix("Kernel panic - not syncing") {
            match why.contains("System is deadlocked on memory") || why.contains("Out of memory") {
                true => Death::OutOfMemory,
                false => Death::Panic,
            }
        } else if text.starts_with("Out of memory: Killed process ") {
            Death::OutOfMemory
        } else if text.contains("BUG: soft lockup") {
            Death::SoftLockup
        } else if text.starts_with("INFO: task ") && text.contains(" blocked for more than ") {
            Death::HungTask
        } else if text.contains("INFO: rcu") && text.contains("stall") {
            Death::RcuStall
        } else if text.starts_with("kernel BUG at ") || text.starts_with("BUG: ") || is_die(text) {
            Death::Oops
        } else if text.starts_with("Linux version ") {
            if !self.booted {
                self.booted = true;
                return None;
            }
            Death::SecondBoot
        } else {
            return None;
        };
        Some(death)
    }
}

/// `die()` prints what happened, an error code and a running number: `invalid opcode: 0000 [#1] SMP`.
fn is_die(text: &str) -> bool {
    let Some((before, after)) = text.split_once(" [#") else {
        return false;
    };
    let code = before.rsplit_once(' ').map_or("", |(_, code)| code);
    code.len() == 4
        && code.bytes().all(|b| b.is_ascii_hexdigit())
        && after.split_once(']').is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

/// The message behind time stamp and caller: `[    1.234567][   T12] text`.
fn message(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some(after) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        rest = after.1.trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str) -> Option<Death> {
        Watcher::default().see(line)
    }

    #[test]
    fn each_way_to_die_has_its_name() {
        let cases = [
            (
                "[    2.1][    T1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0",
                Death::Panic,
            ),
            (
                "[    2.1][   T40] BUG: kernel NULL pointer dereference, address: 0000000000000008",
                Death::Oops,
            ),
            (
                "[    2.1] general protection fault, probably for non-canonical address 0x6b6b: 0000 [#1]",
                Death::Oops,
            ),
            (
                "[    9.1][    T1] Kernel panic - not syncing: System is deadlocked on memory",
                Death::OutOfMemory,
            ),
            (
                "[    9.1][   T57] Out of memory: Killed process 99 (udevd) total-vm:12kB, anon-rss:4kB",
                Death::OutOfMemory,
            ),
            ("[    2.1][   T40] kernel BUG at drivers/base/dd.c:12!", Death::Oops),
            ("[   11.0][   T18] INFO: task agent:57 blocked for more than 10 seconds.", Death::HungTask),
            (
                "[   22.0][   C1] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [agent:57]",
                Death::SoftLockup,
            ),
            ("[   22.0][   C1] rcu: INFO: rcu_preempt self-detected stall on CPU", Death::RcuStall),
            ("[   22.0][   C1] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", Death::RcuStall),
        ];
        for (line, death) in cases {
            assert_eq!(seen(line), Some(death), "{line}");
        }
    }

    #[test]
    fn the_first_banner_is_a_boot_and_the_second_a_death() {
        let mut watcher = Watcher::default();
        let banner = "[    0.000000][    T0] Linux version 6.1.192 (gcc) #1 SMP";
        assert_eq!(watcher.see(banner), None);
        assert_eq!(watcher.see(banner), Some(Death::SecondBoot));
    }

    #[test]
    fn lines_of_a_healthy_boot_are_no_deaths() {
        for line in [
            "[    0.1][    T0] Kernel command line: console=ttyS0 panic=0",
            "[    0.2][    T1] ACPI: bus type PCI registered",
            "[    0.3][    T1] rcu: Hierarchical SRCU implementation.",
            "[    1.0][   T57] sd 0:0:0:0: [sda] Assuming drive cache: write through",
            "",
        ] {
            assert_eq!(seen(line), None, "{line}");
        }
    }
}
