//! Guests that say too little, too late or too much: each has its name, and an end.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::child;
use crate::guest::lost::Trouble;
use crate::guest::qmp::GREETING;
use crate::guest::wire;
use evidence::cpus::Cpus;

/// Longer than any of these guests takes to say what it says.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

/// The other side of a guest: what its agent says and hears, and what its console and QEMU tell.
struct Played {
    agent: UnixStream,
    events: SyncSender<Event>,
    folder: tempfile::TempDir,
}

/// A guest without a QEMU: a process that does nothing stands for it.
fn guest(silence: Duration) -> (Qemu, Played) {
    let folder = tempfile::tempdir().unwrap();
    let (calls, agent) = UnixStream::pair().unwrap();
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(Stdio::null());
    let mut process = child::spawn(&mut command, Signal::SIGKILL, vec![]).unwrap();
    let (sender, events) = sync_channel(wire::WORDS_AT_ONCE);
    let (talk, last_line) = (Talk::with(false), LastLine::default());
    wire::listen_to_agent(calls.try_clone().unwrap(), talk.clone(), sender.clone());
    let console = &b"[    0.000000] Linux version 6.1.0\n"[..];
    wire::watch_console(console, Vec::new(), &sender, &last_line);
    let qemu = Qemu {
        lookout: Lookout::begin(Cpus::default(), process.child().id()),
        process,
        qmp: None,
        calls: Calls::over(calls, silence, || false).unwrap(),
        talk,
        events,
        last_line,
        early: HashMap::new(),
        next_id: 1,
        patience: Patience { boot: LONG, silence, call: LONG },
        accelerator: Accelerator::Tcg,
        folder: folder.path().to_owned(),
        cpus: None,
    };
    (qemu, Played { agent, events: sender, folder })
}

fn hello() -> Word {
    let hello = Hello {
        version: protocol::VERSION,
        release: "6.1.0".to_owned(),
        build: "#1".to_owned(),
        cmdline: String::new(),
        cpus: vec![],
    };
    Word::Hello(hello)
}

#[test]
fn a_hello_that_comes_too_late_is_none_and_it_is_told_how_far_the_kernel_came() {
    let (mut qemu, mut played) = guest(LONG);
    let lost = qemu.await_hello("boot", SHORT).unwrap_err();
    assert_eq!(lost.cause, Cause::Silence(SHORT));
    assert_eq!((&*lost.doing, &*lost.last_line), ("boot", "[    0.000000] Linux version 6.1.0"));
    protocol::write_line(&mut played.agent, &hello(), &[]).unwrap();
    // Whoever had gone on waiting would have heard it.
    assert!(qemu.await_hello("boot", LONG).is_ok());
}

#[test]
fn half_a_hello_is_not_silence() {
    let (mut qemu, mut played) = guest(LONG);
    played.agent.write_all(b"{\"hello\":").unwrap();
    while !qemu.talk.is_half_said() {
        std::thread::yield_now();
    }
    let lost = qemu.await_hello("boot", SHORT).unwrap_err();
    assert_eq!(lost.cause, Cause::AgentRubbish("half a message, and nothing more for 100ms".to_owned()));
}

#[test]
fn a_hello_in_place_of_an_answer_is_a_second_boot() {
    let (mut qemu, mut played) = guest(LONG);
    protocol::write_line(&mut played.agent, &hello(), &[]).unwrap();
    match qemu.call("ask", Request::Ping, LONG) {
        Err(CallError::Lost(lost)) => {
            assert!(matches!(lost.cause, Cause::Kernel { death: Death::SecondBoot, .. }), "{lost:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_that_takes_no_calls_is_silent_and_its_qemu_has_not_ended() {
    let (mut qemu, _played) = guest(SHORT);
    let lost = (0..1 << 20).find_map(|_| qemu.send("ask", Request::Ping).err()).unwrap();
    assert_eq!(lost.cause, Cause::Silence(SHORT));
}

#[test]
fn a_kernel_that_hangs_and_answers_no_more_is_not_waited_for_for_its_log() {
    let (mut qemu, played) = guest(LONG);
    played.events.send(Event::Death(Death::SoftLockup, "watchdog: BUG: soft lockup".to_owned())).unwrap();
    match qemu.call("ask", Request::Ping, LONG) {
        Err(CallError::Lost(lost)) => {
            assert!(matches!(lost.cause, Cause::Kernel { death: Death::SoftLockup, .. }), "{lost:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!played.folder.path().join("kmsg.txt").exists());
}

#[test]
fn a_guest_that_resets_as_a_lun_is_pulled_out_has_reset_and_qemu_has_not_failed() {
    let pull_out = |last_word: &str| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        write!(theirs, "{GREETING}\n{{\"return\": {{}}, \"id\": 1}}\n{last_word}\n").unwrap();
        let (mut qemu, played) = guest(LONG);
        qemu.qmp = Some(Monitor::greet(ours).unwrap());
        drop(theirs);
        kill(Pid::from_raw(i32::try_from(qemu.process.child().id()).unwrap()), Signal::SIGKILL).unwrap();
        let trouble = qemu.tell("pull out a LUN", |monitor| monitor.unplug("lun0")).unwrap_err();
        drop(played);
        match trouble {
            Trouble::Lost(lost) => lost.cause,
            Trouble::Failure(failure) => panic!("{failure}"),
        }
    };
    let event = |reason| {
        format!(
            r#"{{"event": "SHUTDOWN", "timestamp": {{}}, "data": {{"guest": true, "reason": "{reason}"}}}}"#
        )
    };
    assert_eq!(pull_out(&event("guest-reset")), Cause::Reset);
    let Cause::QemuEnded(how) = pull_out(&event("host-signal")) else { panic!("it was killed") };
    assert!(how.contains("host-signal; signal: 9"), "{how}");
    let Cause::QemuEnded(how) = pull_out("") else { panic!("it was killed") };
    assert!(how.contains("device_del") && how.contains("signal: 9"), "{how}");
}

#[test]
fn a_guest_of_which_nothing_is_asked_is_listened_to() {
    let (mut qemu, played) = guest(LONG);
    assert!(qemu.listen("wait").is_ok());
    let line = "Kernel panic - not syncing".to_owned();
    played.events.send(Event::Death(Death::Panic, line.clone())).unwrap();
    let lost = qemu.listen("wait").unwrap_err();
    assert_eq!((&*lost.doing, lost.cause), ("wait", Cause::Kernel { death: Death::Panic, line }));

    let (mut qemu, played) = guest(LONG);
    played.events.send(Event::Word(hello(), Vec::new())).unwrap();
    let lost = qemu.listen("wait").unwrap_err();
    assert!(matches!(lost.cause, Cause::Kernel { death: Death::SecondBoot, .. }), "{lost:?}");
}
