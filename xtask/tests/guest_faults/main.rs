//! Faults of QEMU and of what speaks inside the guest, in the middle of a real `cargo xtask bench`: each has its name
//! and its exit code, what was booted before is kept, and nothing is left behind.
//!
//! The bench finds this program as its `qemu-system-x86_64`. It becomes the real one, but for the guest that is to have
//! the fault: there it plays QEMU, or stands between the harness and the real one.

mod bench;
mod left;
mod middle;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use report::document::{HarnessEntry, LostEntry, TestLine, TestResult};
use testcases::noted;

use bench::{Expected, Wrong, carry_out};
use lab::accelerator::Accelerator;
use lab::failure::Kind;
use lab::guest::may_run_stale_code;
use middle::{Fault, Nonsense};

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == lab::guest::QEMU) {
        return middle::be_qemu();
    }
    let mut arguments = Arguments::from_args();
    // Most of them wait for a deadline of the harness.
    arguments.test_threads.get_or_insert(4);
    noted::carry_out(&arguments, trials())
}

/// The second guest is well: how a bench ends without a fault.
const WELL: Expected = Expected { code: 0, says: &["supported"], ..Expected::WELL };
/// The second guest is lost, and the first is kept.
const LOST: Expected = Expected { code: 70, boots: 1, ..Expected::WELL };
/// A guest that was saved is lost as it is carried on, and its boot is kept.
const FORK: Expected = Expected { forks: 1, ..LOST };
/// A guest is lost as it is saved, and nothing was before.
const SAVED: Expected = Expected { boots: 0, guest: 1, ..FORK };
/// Whether an agent, its kernel or the host is why nothing comes cannot be told from outside.
const SILENT: Expected = Expected { code: 2, ..LOST };

/// The kernel of the second guest dies, and the first is kept.
const DIED: Expected = Expected { code: 1, says: &["refuted", "oops: ", "Oops: int3"], ..LOST };

/// A file that is written as the witnesses are called.
const WITNESSES: &str = "/events/parprobe/enable";
/// What memory has where an int3 was.
const GONE: &str = "eb";

const KILLED: &str = "QEMU ended: ";
const SIGKILL: &str = "signal: 9";
const UNANSWERED: &str = "no answer over QMP: ";
/// The first command over QMP.
const FIRST: &str = "qmp_capabilities";
const RUBBISH: &str = "agent not understood: ";

/// Each fault, by the name of its test.
const FAULTS: &[(&str, Fault, Expected)] = &[
    ("none", Fault::None, WELL),
    ("qemu_dies_at_once", Fault::Dies, LOST.saying(&["start QEMU", KILLED, middle::LAST_WORDS])),
    ("qemu_killed_at_its_start", Fault::KilledAtStart, LOST.saying(&["start QEMU", KILLED, SIGKILL])),
    ("qemu_killed_in_boot", Fault::KilledInBoot, LOST.saying(&["could not boot", KILLED, SIGKILL])),
    (
        "qemu_crashes_in_boot",
        Fault::CrashesInBoot,
        WELL.again(1).saying(&["supported", "start of this boot: QEMU crashed"]),
    ),
    (
        "qemu_crashes_in_each_boot",
        Fault::CrashesInEachBoot,
        LOST.again(2).saying(&[
            "could not boot",
            "in start 3, see crash-1-console.log",
            "QEMU crashed: ",
            "signal: 6",
        ]),
    ),
    (
        "qemu_crashes_in_boot_and_is_killed_in_the_probes",
        Fault::CrashesThenKilledAtCall("sd_mod"),
        LOST.again(1).saying(&["load sd_mod", "in start 2, see crash-1-console.log", KILLED, SIGKILL]),
    ),
    (
        "qemu_runs_stale_code_as_witnesses_are_called",
        Fault::Int3AtCall(WITNESSES, GONE),
        WELL.again(1).saying(&["supported", "start of this boot: QEMU ran an int3 that is not in memory"]),
    ),
    (
        "qemu_runs_stale_code_in_the_probes",
        Fault::Int3AtCall("sd_mod", GONE),
        LOST.saying(&["sd_mod", "QEMU ran an int3 that is not in memory", "QEMU 8.1 or later, or KVM"]),
    ),
    ("kernel_runs_into_an_int3", Fault::Int3AtCall(WITNESSES, "cc"), DIED),
    (
        "qemu_killed_in_the_scan",
        Fault::KilledAtCall("/scsi_host/"),
        LOST.saying(&["scan target 0 of SCSI host", KILLED, SIGKILL]),
    ),
    ("qemu_killed_in_the_probes", Fault::KilledAtCall("sd_mod"), LOST.saying(&["sd_mod", KILLED, SIGKILL])),
    ("qemu_killed_as_it_is_told_to_quit", Fault::KilledAtCommand("quit"), WELL),
    (
        "qemu_killed_as_it_saves",
        Fault::KilledAtCommand("query-migrate"),
        SAVED.saying(&["save a guest", KILLED, SIGKILL]),
    ),
    (
        "qemu_killed_as_it_restores",
        Fault::KilledAtCommand("query-status"),
        FORK.saying(&["restore a guest", KILLED, SIGKILL]),
    ),
    ("qemu_never_opens_qmp", Fault::NoQmp, LOST.saying(&["start QEMU", "no greeting within 60s"])),
    ("qemu_greets_with_rubbish", Fault::Qmp(middle::RUBBISH), LOST.saying(&["start QEMU", "over QMP"])),
    (
        "qemu_greets_with_half_a_message",
        Fault::Qmp(middle::HALF_A_GREETING),
        LOST.saying(&["start QEMU", "over QMP"]),
    ),
    (
        "qemu_greets_and_answers_nothing",
        Fault::Qmp(middle::GREETING),
        LOST.saying(&["start QEMU", "over QMP"]),
    ),
    (
        "qemu_answers_with_rubbish",
        Fault::Nonsense(FIRST, Nonsense::Text),
        LOST.saying(&["start QEMU", UNANSWERED, "not QMP", "HTTP/1.1 400 Bad Request"]),
    ),
    (
        "qemu_answers_with_other_json",
        Fault::Nonsense(FIRST, Nonsense::Json),
        LOST.saying(&["start QEMU", UNANSWERED, "neither answer nor event", "world"]),
    ),
    (
        "qemu_answers_another_command",
        Fault::Nonsense(FIRST, Nonsense::OtherNumber),
        LOST.saying(&["start QEMU", UNANSWERED, "not the answer to qmp_capabilities"]),
    ),
    (
        "qemu_answers_no_command",
        Fault::Nonsense(FIRST, Nonsense::NoNumber),
        LOST.saying(&["start QEMU", UNANSWERED, "not the answer to qmp_capabilities"]),
    ),
    (
        "qemu_answers_with_a_line_without_end",
        Fault::Nonsense(FIRST, Nonsense::EndlessLine),
        LOST.saying(&["start QEMU", UNANSWERED, "a line too long"]),
    ),
    (
        "qemu_answers_with_events_without_end",
        Fault::Nonsense(FIRST, Nonsense::EndlessEvents),
        LOST.saying(&["start QEMU", UNANSWERED, "none to qmp_capabilities within 60s, but "]),
    ),
    (
        "qemu_saves_with_other_json",
        Fault::Nonsense("query-migrate", Nonsense::Json),
        SAVED.saying(&["save a guest", UNANSWERED, "neither answer nor event"]),
    ),
    (
        "qemu_saves_with_events_without_end",
        Fault::Nonsense("query-migrate", Nonsense::EndlessEvents),
        SAVED.saying(&["save a guest", UNANSWERED, "none to query-migrate within 60s, but "]),
    ),
    (
        "qemu_restores_and_answers_another_command",
        Fault::Nonsense("query-status", Nonsense::OtherNumber),
        FORK.saying(&["restore a guest", UNANSWERED, "not the answer to query-status", "--forks 0"]),
    ),
    ("qemu_quits_with_events_without_end", Fault::Nonsense("quit", Nonsense::EndlessEvents), WELL),
    ("snapshot_cut_short", Fault::StateCut, FORK.saying(&["restore a guest", "--forks 0"])),
    ("snapshot_changed", Fault::StateChanged, FORK.saying(&["restore a guest", "--forks 0"])),
    (
        "agent_never_says_hello",
        Fault::AgentMute,
        SILENT.saying(&["inconclusive", "silence: not a word for 180s", "boot "]),
    ),
    (
        "agent_says_half_of_its_hello",
        Fault::AgentHalfHello,
        LOST.saying(&["could not boot", RUBBISH, "half a message"]),
    ),
    ("agent_says_hello_late", Fault::AgentLate, WELL),
    (
        "agent_of_another_version",
        Fault::AgentOfOtherVersion,
        LOST.saying(&["could not boot", "the agent speaks version", "build the guest image again"]),
    ),
    ("agent_says_rubbish", Fault::AgentRubbish, LOST.saying(&[RUBBISH, "a line of another world"])),
    ("agent_says_half_a_message", Fault::AgentHalf, LOST.saying(&[RUBBISH, "half a message"])),
    ("agent_stalls", Fault::AgentStalls, SILENT.saying(&["inconclusive", "silence: not a word for 60s"])),
    ("agent_answers_out_of_turn", Fault::AgentOutOfTurn, LOST.saying(&[RUBBISH, "which nobody asked"])),
    (
        "agent_answers_out_of_turn_without_end",
        Fault::AgentFlood,
        LOST.saying(&[RUBBISH, "which nobody asked"]),
    ),
    (
        "agent_announces_a_terabyte",
        Fault::AgentTerabyte,
        LOST.saying(&[RUBBISH, "1099511627776 bytes announced"]),
    ),
    ("agent_says_a_line_without_end", Fault::AgentEndlessLine, LOST.saying(&[RUBBISH, "a line too long"])),
    ("console_is_flooded", Fault::ConsoleFlood, WELL),
];

fn trials() -> Vec<Trial> {
    let trial = |(name, fault, expected): &'static (&str, Fault, Expected)| {
        let name = format!("faults::guest::{name}");
        // QEMU 8.1 and later run no such code: there it is the kernel that died.
        let expected = match fault {
            Fault::Int3AtCall(..) if !may_run_stale_code(Accelerator::Tcg) => DIED,
            _ => expected.clone(),
        };
        Trial::test(name.clone(), move || note(name, || carry_out(*fault, &expected)))
    };
    FAULTS.iter().map(trial).collect()
}

/// Carries out a test and notes what became of it.
fn note(test: String, carry_out: impl FnOnce() -> Result<(), Wrong>) -> Result<(), Failed> {
    let begun = Instant::now();
    let (result, why, lost) = match carry_out() {
        Ok(()) => (TestResult::Passed, None, None),
        Err(Wrong::Failed(why)) => (TestResult::Failed, Some(why), None),
        Err(Wrong::World(e)) => {
            let lost = LostEntry { exit_code: Kind::Files.exit_code(), why: e.to_string() };
            (TestResult::Lost, Some(e.to_string()), Some(lost))
        }
    };
    let took_ms = u64::try_from(begun.elapsed().as_millis()).ok();
    let noted =
        noted::note(&TestLine::Harness(HarnessEntry { test, result, why: why.clone(), lost, took_ms }));
    why.map_or(Ok(()), Err)?;
    Ok(noted?)
}
