//! Real children for a guest and its neighbour: whatever else the host does, the neighbour's time is part of what
//! others used, and the guest's is not.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::*;
use crate::child::{self, Offspring};
use crate::cores;

/// A loop on the CPUs of a lease.
fn spinning(lease: &cores::Lease) -> Offspring {
    let mut command = Command::new("sh");
    command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
    lease.confine(&mut command).unwrap();
    child::spawn(&mut command, Signal::SIGKILL, vec![]).unwrap()
}

/// The share of one CPU that a process used in this time, by its own count.
fn used(process: &mut Offspring, during: impl FnOnce()) -> f64 {
    let path = format!("/proc/{}/schedstat", process.child().id());
    let nanos = || fs::read_to_string(&path).unwrap().split(' ').next().unwrap().parse::<f64>().unwrap();
    let (from, begun) = (nanos(), Instant::now());
    during();
    (nanos() - from) / begun.elapsed().as_nanos() as f64
}

/// CPU time of this process, of all its threads (proc_pid_stat(5): utime and stime, in hundredths of a second).
fn own() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_neighbour_is_counted_in_full_and_a_guest_is_not_its_own_neighbour() {
    let lease = cores::lease(1).unwrap();
    let (mut guest, mut neighbour) = (spinning(&lease), spinning(&lease));
    // What this process used is taken off, and other tests run in it: best is a moment when they rest.
    let mut tries = (1..=30).map(|_| {
        let lookout = Lookout::begin(lease.cpus().clone(), guest.child().id());
        let (mut of_guest, mut seen) = (0.0, None);
        let (ours, begun) = (own(), Instant::now());
        let of_neighbour = used(&mut neighbour, || {
            of_guest = used(&mut guest, || std::thread::sleep(Duration::from_secs(2)));
            seen = lookout.neighbours();
        });
        let ours = (own() - ours).as_secs_f64() / begun.elapsed().as_secs_f64();
        (of_neighbour, of_guest, ours, seen.unwrap())
    });
    let at_rest = tries.by_ref().find(|(_, _, ours, _)| *ours < 0.05);
    let (of_neighbour, of_guest, ours, seen) = at_rest.expect("this process never rested");
    assert!(of_neighbour > 0.05 && of_guest > 0.05, "they did not run: {of_neighbour} {of_guest}");
    // A tick or two at each end, and what the timer interrupt took for somebody else's.
    let error = 0.05;
    assert!(seen.share > of_neighbour - ours - error, "{seen:?}, but the neighbour used {of_neighbour}");
    assert!(seen.share < 1.0 - of_guest + error, "{seen:?}, but the guest used {of_guest}");
    assert_eq!(seen.cpus, lease.cpus().to_string());
}

#[test]
fn of_a_process_that_is_gone_nothing_is_said() {
    let mut gone = child::spawn(&mut Command::new("true"), Signal::SIGKILL, vec![]).unwrap();
    assert!(gone.ended_within(Duration::from_secs(60)).is_some());
    assert_eq!(read(gone.child().id()), None);
}
