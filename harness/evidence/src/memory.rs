//! How much memory a guest takes: of the host, and of its own.

use serde::{Deserialize, Serialize};

/// What a guest took, in KiB.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Memory {
    /// The most that QEMU had at once, the pages of the guest that it has touched included.
    pub qemu_peak_kib: u64,
    /// What the guest has, less what its kernel keeps for itself from the start.
    pub guest_kib: u64,
    /// Of that, what it could not have given to a program when it was asked, at the end of its steps.
    pub guest_used_kib: u64,
}

impl Memory {
    /// From `/proc/<pid>/status` of QEMU (`VmHWM`) and `/proc/meminfo` of the guest (`MemTotal`, `MemAvailable`;
    /// proc(5)). `None` where one of them does not say.
    pub fn of(status: &str, meminfo: &str) -> Option<Self> {
        let guest_kib = value(meminfo, "MemTotal")?;
        let available = value(meminfo, "MemAvailable")?;
        Some(Self {
            qemu_peak_kib: value(status, "VmHWM")?,
            guest_kib,
            guest_used_kib: guest_kib.checked_sub(available)?,
        })
    }
}

/// The number in the line `key:  number kB`.
fn value(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernels_say_is_read_and_nothing_is_made_of_the_rest() {
        let status = "Name:\tqemu\nVmPeak:\t 9000 kB\nVmHWM:\t  4200 kB\n";
        let meminfo = "MemTotal:         250000 kB\nMemFree:          1 kB\nMemAvailable:     200000 kB\n";
        let memory = Memory { qemu_peak_kib: 4200, guest_kib: 250_000, guest_used_kib: 50_000 };
        assert_eq!(Memory::of(status, meminfo), Some(memory));
        assert_eq!(Memory::of("VmHWM: many kB", meminfo), None);
        assert_eq!(Memory::of(status, "MemTotal: 1 kB\nMemAvailable: 2 kB"), None);
    }
}
