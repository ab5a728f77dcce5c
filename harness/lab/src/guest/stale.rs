//! Tells a death by code that QEMU had translated before the kernel changed it.
//!
//! To change an instruction while other CPUs run, the kernel puts `int3` before it for a moment (text_poke_bp_batch() in
//! arch/x86/kernel/alternative.c). TCG before QEMU 8.1 translates a page without a lock on it ("accel/tcg: Always lock
//! pages before translation", deba78709a): a vCPU may come to the `int3` when the kernel expects none any more. Up to
//! 8e791f7eba4c ("x86/kprobes: Drop removed INT3 handling code", 2023) kprobes took such a one back; since then it is an
//! oops. Seen with QEMU 7.2 and 6.12 of Debian, as kprobe events were enabled: one boot in some 75.
//!
//! That there is no `int3` any more shows in the notice: its code is read from memory as the kernel dies. One that is
//! there is the kernel's.

use super::qemu_version;
use crate::accelerator::Accelerator;

/// The first release of QEMU that is right.
const RIGHT_SINCE: (u32, u32) = (8, 1);
/// The instruction.
const INT3: &str = "cc";

/// Whether a guest of the QEMU of this host may run such code.
pub fn may_run_stale_code(accelerator: Accelerator) -> bool {
    accelerator == Accelerator::Tcg && qemu_version().is_some_and(|version| is_before_it_was_right(&version))
}

/// Whether a line of a death notice is of an `int3` that nobody expects: `int3: 0000 [#1] PREEMPT SMP`.
pub(super) fn is_unexpected_int3(line: &str) -> bool {
    line.contains("int3: 0000 [#")
}

/// Whether the notice that begins with this line shows another instruction in its place. Without its code it does not.
pub(super) fn is_gone(console: &str, notice: &str) -> bool {
    let mut lines = console.lines().skip_while(|line| line.trim() != notice.trim());
    // The first is of where it died; others are of what was interrupted.
    let code = lines.find_map(|line| line.split_once("Code: "));
    // The one after it is in angle brackets: the trap comes when it is over.
    let before = code.and_then(|(_, code)| code.split_once('<')).map(|(before, _)| before.trim_end());
    before.and_then(|before| before.rsplit(' ').next()).is_some_and(|byte| byte.len() == 2 && byte != INT3)
}

fn is_before_it_was_right(version: &str) -> bool {
    release(version).is_some_and(|release| release < RIGHT_SINCE)
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

    const NOTICE: &str = "[    7.147310] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI";

    /// As it was seen, with the byte in front of the next instruction.
    fn console(byte: &str) -> String {
        format!(
            "[    4.612241] Code: 90 <90> of an earlier warning\n{NOTICE}\r\n\
             [    7.147985] CPU: 1 UID: 0 PID: 189 Comm: init Not tainted 6.12.117+deb12-cloud-amd64 #1\n\
             [    7.148423] RIP: 0010:ttwu_do_activate+0x8d/0x220\n\
             [    7.148653] Code: cb b1 ff ff c7 43 18 00 00 00 00 {byte} <5a> 48 8b 83 a8 02 00 00\n\
             [    7.150244] RIP: 0010:ftrace_hash_move_and_update_ops+0x12/0xb0\n\
             [    7.150244] Code: 62 a8 01 75 cc <4c> 8b 0d af 23 c5 01\n"
        )
    }

    #[test]
    fn an_int3_that_memory_has_is_the_kernels_and_one_that_is_gone_is_not() {
        assert!(is_gone(&console("eb"), NOTICE));
        assert!(!is_gone(&console("cc"), NOTICE));
        // Of a notice that was cut, or of code that could not be read, nobody knows: it is held to be the kernel's.
        assert!(!is_gone(NOTICE, NOTICE));
        assert!(!is_gone("", NOTICE));
        assert!(!is_gone(
            &format!("{NOTICE}\n[    7.1] Code: Unable to access opcode bytes at 0xffffffff0.\n"),
            NOTICE
        ));
    }

    #[test]
    fn qemu_is_right_from_8_1_on() {
        assert!(is_before_it_was_right("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"));
        assert!(is_before_it_was_right("QEMU emulator version 8.0.5"));
        assert!(!is_before_it_was_right("QEMU emulator version 8.1.0"));
        assert!(!is_before_it_was_right("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"));
        assert!(!is_before_it_was_right("another"));
        assert!(!may_run_stale_code(Accelerator::Kvm));
    }
}
