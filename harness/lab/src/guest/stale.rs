//! Tells a death by code that QEMU had translated before the kernel changed it.
//!
//! To change an instruction while other CPUs run, the kernel puts `int3` before it for a moment (smp_text_poke_batch() in
//! arch/x86/kernel/alternative.c, text_poke_bp_batch() up to 6.14). TCG before QEMU 8.1 translates a page without a lock
//! on it ("accel/tcg: Always lock pages before translation", deba78709a): a vCPU may go on with the `int3` when the kernel
//! does not expect one any more, and the kernel calls that an oops. Seen with QEMU 7.2 and 6.12 of Debian, as kprobe
//! events were enabled: one boot in some 75. That says nothing about the kernel.

use super::qemu_version;
use crate::accelerator::Accelerator;

/// The first release of QEMU that is right.
const RIGHT_SINCE: (u32, u32) = (8, 1);

/// Whether a line of a death notice is of an `int3` that nobody expects: `int3: 0000 [#1] PREEMPT SMP`.
pub(super) fn is_unexpected_int3(line: &str) -> bool {
    line.contains("int3: 0000 [#")
}

/// Whether a guest of the QEMU of this host may run such code.
pub fn may_run_stale_code(accelerator: Accelerator) -> bool {
    may_be_run(accelerator, qemu_version().as_deref())
}

/// The same of a version. Of a QEMU that does not say which it is nothing is held against the kernel.
fn may_be_run(accelerator: Accelerator, version: Option<&str>) -> bool {
    accelerator == Accelerator::Tcg && release(version.unwrap_or_default()).is_none_or(|at| at < RIGHT_SINCE)
}

/// The numbers in `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split("version ").nth(1)?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_int3_that_nobody_expects_is_told_from_other_deaths() {
        for line in [
            "[    7.147310] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI",
            "[    3.093098][    T1] int3: 0000 [#1] PREEMPT SMP NOPTI",
        ] {
            assert!(is_unexpected_int3(line), "{line}");
        }
        for line in ["[    2.1] Oops: 0000 [#1] PREEMPT SMP", "[    2.1] kernel BUG at kernel/int3.c:12!"] {
            assert!(!is_unexpected_int3(line), "{line}");
        }
    }

    #[test]
    fn it_is_qemus_doing_only_under_tcg_and_before_8_1() {
        let may = |version| may_be_run(Accelerator::Tcg, Some(version));
        assert!(may("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"));
        assert!(may("QEMU emulator version 8.0.5"));
        assert!(!may("QEMU emulator version 8.1.0"));
        assert!(!may("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"));
        assert!(may_be_run(Accelerator::Tcg, None));
        assert!(!may_be_run(Accelerator::Kvm, Some("QEMU emulator version 7.2.22")));
    }
}
