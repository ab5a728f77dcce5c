//! Leases: disjoint, given back, in turn, apart from other harnesses, and seen by the child.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::channel;
use std::thread;

use super::layout::Place;
use super::*;
use crate::child;

/// So many cores of one CPU each.
fn pool(cores: u32, sign: &'static str) -> Arc<Pool> {
    let places: BTreeMap<u32, Place> =
        (0..cores).map(|cpu| (cpu, Place { package: 0, node: 0, core: cpu })).collect();
    Arc::new(Pool::new(Layout::with(places, false), sign))
}

fn soon(pool: &Arc<Pool>, wanted: usize) -> Result<Lease, Failure> {
    pool.lease(wanted, Duration::from_millis(20))
}

#[test]
fn guests_side_by_side_have_no_cpu_in_common_and_give_theirs_back() {
    let pool = pool(4, "parprobe-test-disjoint");
    let (one, other) = (soon(&pool, 2).unwrap(), soon(&pool, 2).unwrap());
    assert_eq!((one.cpus().to_string(), other.cpus().to_string()), ("0-1".to_owned(), "2-3".to_owned()));
    let refused = soon(&pool, 1).unwrap_err();
    assert_eq!(refused.kind, Kind::Host);
    assert_eq!(refused.seen, "other guests have had CPUs 0-3 for 20ms");
    drop(one);
    assert_eq!(soon(&pool, 2).unwrap().cpus().to_string(), "0-1");
}

#[test]
fn who_wants_more_than_there_are_gets_all() {
    assert_eq!(soon(&pool(2, "parprobe-test-all"), 64).unwrap().cpus().to_string(), "0-1");
    // Nothing is known of this host: its guests run where they did without a lease.
    assert_eq!(soon(&pool(0, "parprobe-test-none"), 2).unwrap().cpus().to_string(), "");
}

#[test]
fn a_guest_that_wants_many_is_not_overtaken_by_small_ones() {
    let pool = pool(4, "parprobe-test-turns");
    let patience = Duration::from_secs(60);
    let (first, second) = (soon(&pool, 2).unwrap(), soon(&pool, 2).unwrap());
    let (sender, served) = channel();
    let wait_for = |wanted: usize| {
        let (its_pool, sender) = (Arc::clone(&pool), sender.clone());
        let waiting = pool.taken().queue.len();
        let thread = thread::spawn(move || {
            let lease = its_pool.lease(wanted, patience).unwrap();
            sender.send(wanted).unwrap();
            drop(lease);
        });
        while pool.taken().queue.len() == waiting {
            thread::yield_now();
        }
        thread
    };
    let threads = [wait_for(4), wait_for(1)];
    drop(first);
    // Two CPUs are free, and one would do for the small one.
    assert!(served.recv_timeout(Duration::from_millis(200)).is_err());
    drop(second);
    assert_eq!([served.recv_timeout(patience), served.recv_timeout(patience)], [Ok(4), Ok(1)]);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn another_harness_is_avoided_while_there_is_room_and_then_shared_with() {
    let (here, there) = (pool(4, "parprobe-test-others"), pool(4, "parprobe-test-others"));
    let theirs = soon(&there, 2).unwrap();
    assert_eq!(theirs.cpus().to_string(), "0-1");
    let ours = soon(&here, 2).unwrap();
    assert_eq!(ours.cpus().to_string(), "2-3");
    drop(ours);
    // The two that nobody has, and one that is shared.
    assert_eq!(soon(&here, 3).unwrap().cpus().to_string(), "0,2-3");
    drop(theirs);
    assert_eq!(soon(&here, 2).unwrap().cpus().to_string(), "0-1");
}

#[test]
fn whoever_takes_a_cpu_next_can_put_a_sign_on_it() {
    let pool = pool(1, "parprobe-test-signs");
    let in_turn = || (0..500).all(|_| pool.lease(1, Duration::from_secs(60)).unwrap().signs.len() == 1);
    let all_signed = thread::scope(|scope| {
        let other = scope.spawn(in_turn);
        in_turn() && other.join().unwrap()
    });
    assert!(all_signed);
}

/// What a child says that was started on this lease.
fn said_by_child(lease: &Lease, file: &str) -> String {
    let mut command = Command::new("cat");
    command.arg(file);
    lease.confine(&mut command).unwrap();
    child::output(&mut command, Duration::from_secs(60), vec![]).unwrap().stdout
}

fn allowed(status: &str) -> &str {
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim()
}

#[test]
fn a_child_runs_on_its_lease_and_on_nothing_else() {
    let pool = Arc::new(Pool::new(Layout::of_host(), "parprobe-test-child"));
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    let (all, lease) = (pool.layout.cpus(), soon(&pool, 1).unwrap());
    let narrowed = said_by_child(&lease, "/proc/self/status");
    assert_eq!(allowed(&narrowed), lease.cpus().to_string());
    assert_eq!(all.0.len() == 1, allowed(&narrowed) == allowed(&ours));
    assert_eq!(allowed(&ours), all.to_string());
}

#[test]
fn a_child_prefers_memory_of_its_node() {
    let node = fs::read_to_string("/sys/devices/system/node/has_memory").ok();
    let node = node.and_then(|nodes| nodes.parse::<Cpus>().ok()?.0.first().copied());
    let possible = |node| thread::spawn(move || prefer_memory_of(node)).join().unwrap().is_ok();
    let mut lease = soon(&pool(0, "parprobe-test-memory"), 1).unwrap();
    let Some(node) = node.filter(|node| possible(*node)) else {
        // A kernel without NUMA, or a container that forbids it: it is a wish, and the child runs without.
        lease.memory = Some(0);
        assert_eq!(
            allowed(&said_by_child(&lease, "/proc/self/status")),
            Layout::of_host().cpus().to_string()
        );
        return;
    };
    assert!(!said_by_child(&lease, "/proc/self/numa_maps").contains("prefer"));
    lease.memory = Some(node);
    let maps = said_by_child(&lease, "/proc/self/numa_maps");
    assert!(maps.contains(&format!("prefer:{node}")), "{maps}");
}
