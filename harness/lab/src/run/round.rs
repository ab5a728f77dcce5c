//! Boots of a round: their guests get ready side by side, and are measured one after the other.
//!
//! What is measured begins with the first phase. Up to there a guest boots and finds its LUNs, mostly on one CPU, and
//! nothing of it is compared: so two guests on two CPUs take hardly longer for it than one. Then one goes on, to the
//! end of its boot, while the others are idle.

use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{Beside, Boot, Ending, Saved, Step, carry_out_on};
use crate::cancel;
use crate::cores;
use crate::failure::Failure;
use crate::guest::topology::Topology;
use crate::host;

/// Carries out boots, as [`carry_out`](super::carry_out) or [`carry_out_and_save`](super::carry_out_and_save) does. Their guests get ready side by side where they
/// have a first phase to get ready for ([`Step::at_first_phase`]), and the host has the CPUs and the memory for it;
/// they are measured in the order in which the boots stand here. `now` is told the places of those that get ready, and
/// then that of each that is measured; `each` what came of it.
///
/// # Errors
/// Of finding CPUs; those of `each`, which is given what one boot would return.
pub fn carry_out_each(
    boots: &[Boot<'_>],
    save: bool,
    now: impl Fn(&[usize]) + Sync,
    mut each: impl FnMut(usize, Result<(Ending, Option<Saved>), Failure>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut begun = 0;
    while let Some(boot) = boots.get(begun) {
        let cpus = Arc::new(cores::lease(boot.topology.host_cpus())?);
        let together =
            at_once(willing(&boots[begun..]), boot.topology, cpus.cpus().0.len(), host::available_mib());
        let places: Vec<usize> = (begun..begun + together).collect();
        now(&places);
        let turns = Turns::of(together);
        let ready = |place: usize| {
            turns.wait_for(place - begun)?;
            now(&[place]);
            Ok(if together > 1 { Beside::OneOfOurs } else { Beside::Nobody })
        };
        thread::scope(|scope| {
            let lead = |place: usize| {
                // QEMU is killed with the thread that started it: this one stays until its guest has ended.
                let (turn, cpus) = (turns.keep(place - begun), Arc::clone(&cpus));
                let (boots, ready) = (&boots, &ready);
                scope.spawn(move || {
                    let _turn = turn;
                    carry_out_on(&boots[place], cpus, save, || ready(place))
                })
            };
            let guests: Vec<_> = places.iter().map(|place| lead(*place)).collect();
            let mut outcome = Ok(());
            for (place, guest) in places.iter().zip(guests) {
                let ended = guest.join().unwrap_or_else(|panic| resume_unwind(panic));
                if outcome.is_ok() {
                    outcome = each(*place, ended);
                }
                if outcome.is_err() {
                    turns.close();
                }
            }
            outcome
        })?;
        begun += together;
    }
    Ok(())
}

/// How many of these boots, from the first on, have guests that can be held where they are ready.
fn willing(boots: &[Boot<'_>]) -> usize {
    let can_be_held =
        |boot: &&Boot<'_>| Step::at_first_phase(boot.steps).is_some() && !Step::look_from_boot(boot.steps);
    boots.iter().take_while(can_be_held).count()
}

/// How many of so many guests of this shape can be on these CPUs at once, one at least.
///
/// One for each CPU, as most of a boot goes on on one; but no guest that has to share its CPUs with itself. Half of the
/// memory is for them.
fn at_once(guests: usize, topology: &Topology, cpus: usize, available_mib: u64) -> usize {
    let fit = usize::try_from(available_mib / 2 / topology.host_mib()).unwrap_or(usize::MAX);
    let crowded = topology.vcpus as usize > cpus;
    if crowded { 1 } else { guests.min(cpus).min(fit).max(1) }
}

/// Whose turn it is: that of the first who has not ended, once nobody is busy getting ready.
struct Turns {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    who: Vec<State>,
    /// What the others would do is not wanted any more.
    closed: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    GetsReady,
    Ready,
    Ended,
}

/// Somebody's place among the turns. Whoever has it ends with its drop.
struct Turn<'a> {
    turns: &'a Turns,
    number: usize,
}

impl Turns {
    fn of(number: usize) -> Self {
        let waiting = Waiting { who: vec![State::GetsReady; number], closed: false };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    fn keep(&self, number: usize) -> Turn<'_> {
        Turn { turns: self, number }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that this one is ready, and waits for its turn: all before it have ended, and all after it are at rest.
    ///
    /// # Errors
    /// `Interrupted`: a stop was asked for, or the turns were closed.
    fn wait_for(&self, number: usize) -> Result<(), Failure> {
        let mut waiting = self.waiting();
        waiting.who[number] = State::Ready;
        self.changed.notify_all();
        while !waiting.has_come(number) {
            if cancel::requested() || waiting.closed {
                return Err(Failure::interrupted("measure the next guest"));
            }
            waiting = self
                .changed
                .wait_timeout(waiting, cancel::LOOK_EVERY)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(())
    }

    fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_all();
    }
}

impl Waiting {
    fn has_come(&self, number: usize) -> bool {
        let (before, after) = self.who.split_at(number);
        before.iter().all(|state| *state == State::Ended)
            && after.iter().all(|state| *state != State::GetsReady)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.waiting().who[self.number] = State::Ended;
        self.turns.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use super::*;
    use crate::failure::Kind;

    #[test]
    fn guests_get_ready_side_by_side_where_there_is_room_for_them() {
        let two = Topology::new(2, 4, 64, Duration::ZERO);
        assert_eq!(two.vcpus, 2);
        assert_eq!(at_once(2, &two, 2, 1 << 20), 2);
        assert_eq!(at_once(4, &two, 2, 1 << 20), 2);
        assert_eq!(at_once(4, &two, 8, 1 << 20), 4);
        // One that cannot be held is alone.
        assert_eq!(at_once(0, &two, 8, 1 << 20), 1);
        // More vCPUs than CPUs; no CPUs known; memory for one, or none.
        assert_eq!(at_once(4, &Topology { vcpus: 8, ..two }, 2, 1 << 20), 1);
        assert_eq!(at_once(4, &two, 0, 1 << 20), 1);
        assert_eq!(at_once(4, &two, 8, two.host_mib() * 4 - 1), 1);
        assert_eq!(at_once(4, &two, 8, two.host_mib() * 4), 2);
        assert_eq!(at_once(4, &two, 8, 0), 1);
    }

    #[test]
    fn a_turn_comes_when_all_before_it_have_ended_however_they_did() {
        let turns = Turns::of(3);
        let (first, second) = (turns.keep(0), turns.keep(1));
        let (sender, came) = channel();
        thread::scope(|scope| {
            let turns = &turns;
            scope.spawn(move || sender.send(turns.wait_for(2).is_ok()));
            // The second dies while it gets ready.
            drop(second);
            let early = came.recv_timeout(Duration::from_millis(200));
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "the first has its turn still");
            drop(first);
            assert_eq!(came.recv_timeout(Duration::from_secs(60)), Ok(true));
        });
    }

    #[test]
    fn nobody_is_measured_while_another_gets_ready() {
        let turns = Turns::of(3);
        let (_first, second, _third) = (turns.keep(0), turns.keep(1), turns.keep(2));
        let (sender, came) = channel();
        thread::scope(|scope| {
            let turns = &turns;
            scope.spawn(move || sender.send(turns.wait_for(0).is_ok()));
            let last = scope.spawn(|| turns.wait_for(2));
            let early = came.recv_timeout(Duration::from_millis(200));
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "the second gets ready still");
            drop(second);
            assert_eq!(came.recv_timeout(Duration::from_secs(60)), Ok(true));
            turns.close();
            assert!(last.join().unwrap().is_err(), "the first has its turn still");
        });
    }

    #[test]
    fn nobody_waits_for_a_turn_that_is_not_wanted_any_more() {
        let turns = Turns::of(2);
        let _first = turns.keep(0);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.wait_for(1));
            turns.close();
            let failure = waiting.join().unwrap().unwrap_err();
            assert_eq!(failure.kind, Kind::Interrupted);
        });
    }
}
