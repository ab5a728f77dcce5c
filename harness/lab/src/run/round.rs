//! Boots of a round: their guests get ready side by side, and are measured one after the other.
//!
//! What is measured begins with the first phase. Up to there a guest boots and finds its LUNs, mostly on one CPU, and
//! nothing of it is compared: two guests of two vCPUs on two CPUs were seen to take hardly longer for it than one. When
//! all are ready, and at rest, the first goes on to the end of its boot; when it has ended, and what it left has been
//! looked at, the next one.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use super::{Boot, Ending, Saved, Step, carry_out_on, own_cpus};
use crate::cancel;
use crate::cores;
use crate::failure::{Failure, Kind};
use crate::guest::topology::Topology;
use crate::host;

/// Whether so many guests of this shape, with these steps, get ready side by side on this host. To be asked once for all
/// rounds that are compared.
pub fn get_ready_together(guests: usize, steps: &[Step], topology: &Topology) -> bool {
    // There has to be a place where they can be held, and what is measured begins no earlier.
    let can_be_held = Step::at_first_phase(steps).is_some() && !Step::look_from_boot(steps);
    can_be_held && have_room(guests, topology, host::host_cores(), host::available_mib())
}

/// Whether they have CPUs and memory for it.
///
/// Two vCPUs a CPU, as most of a boot goes on on one; but no guest that has to share its CPUs with itself. A quarter of
/// the memory is for them: others may count on it, too.
fn have_room(guests: usize, topology: &Topology, host_cpus: u32, available_mib: u64) -> bool {
    let cpus = topology.host_cpus().min(host_cpus) as usize;
    let vcpus = topology.vcpus as usize;
    let memory = topology.host_mib().saturating_mul(guests as u64);
    guests > 1 && vcpus <= cpus && guests * vcpus <= 2 * cpus && memory <= available_mib / 4
}

/// Carries out boots, as [`carry_out`](super::carry_out) or [`carry_out_and_save`](super::carry_out_and_save) does.
/// Guests that get ready `together` are measured in the order in which the boots stand here; else each begins when the
/// one before it has ended. `now` is told the places of those that get ready, and then that of each that is measured;
/// `each` what came of it.
///
/// # Errors
/// Of finding CPUs; those of `each`, which is given what one boot would return. The boots after that are left out.
pub fn carry_out_each(
    boots: &[Boot<'_>],
    together: bool,
    save: bool,
    now: impl Fn(&[usize]) + Sync,
    mut each: impl FnMut(usize, Result<(Ending, Option<Saved>), Failure>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !together {
        for (place, boot) in boots.iter().enumerate() {
            now(&[place]);
            each(place, carry_out_on(boot, own_cpus(boot)?, save, None))?;
        }
        return Ok(());
    }
    let Some(first) = boots.first() else { return Ok(()) };
    let cpus = own_cpus(first)?;
    now(&(0..boots.len()).collect::<Vec<_>>());
    let now = |place: usize| now(&[place]);
    let turns = Turns::of(boots.len(), cores::PATIENCE, &now);
    thread::scope(|scope| {
        // However this ends: nobody waits for a turn that does not come.
        let _closing = Closing(&turns);
        let lead = |(boot, turn)| {
            let cpus = Arc::clone(&cpus);
            // QEMU is killed with the thread that started it: this one stays until its guest has ended.
            let lead = move || carry_out_on(boot, cpus, save, Some(&turn));
            Builder::new().spawn_scoped(scope, lead).map_err(|e| no_thread(&e))
        };
        let guests = boots.iter().zip(turns.all()).map(lead).collect::<Result<Vec<_>, _>>()?;
        for (place, guest) in guests.into_iter().enumerate() {
            let ended = guest.join().unwrap_or_else(|panic| resume_unwind(panic));
            each(place, ended)?;
            turns.pass_on(place);
        }
        Ok(())
    })
}

fn no_thread(e: &io::Error) -> Failure {
    let next = "see whether a limit of processes is reached (ulimit -u, pids.max)";
    Failure::new(Kind::Host, "start a thread for a guest", e.to_string(), next)
}

/// Whose turn it is: that of the first to which it was not passed on, once nobody is busy getting ready.
struct Turns<'a> {
    who: Mutex<Vec<State>>,
    changed: Condvar,
    /// How long to wait for one.
    patience: Duration,
    /// Is told whose has come.
    now: &'a (dyn Fn(usize) + Sync),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    GetsReady,
    Ready,
    /// Its guest has ended. What it left may still be looked at.
    Over,
    /// It is the next one's turn.
    PassedOn,
    /// What it would do is not wanted any more.
    Closed,
}

/// Somebody's place among the turns. With its drop the guest has ended.
pub(super) struct Turn<'a> {
    turns: &'a Turns<'a>,
    place: usize,
    /// Until when it waits.
    deadline: Instant,
}

impl<'a> Turns<'a> {
    fn of(number: usize, patience: Duration, now: &'a (dyn Fn(usize) + Sync)) -> Self {
        Self { who: Mutex::new(vec![State::GetsReady; number]), changed: Condvar::new(), patience, now }
    }

    /// All of them, in order.
    fn all(&'a self) -> Vec<Turn<'a>> {
        let deadline = Instant::now() + self.patience;
        (0..self.who().len()).map(|place| Turn { turns: self, place, deadline }).collect()
    }

    fn who(&self) -> MutexGuard<'_, Vec<State>> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, place: usize, state: State) {
        self.who()[place] = state;
        self.changed.notify_all();
    }

    fn pass_on(&self, place: usize) {
        self.set(place, State::PassedOn);
    }
}

impl Turn<'_> {
    /// How many others there are.
    pub(super) fn others(&self) -> usize {
        self.turns.who().len() - 1
    }

    /// Says that its guest is ready, and at rest.
    pub(super) fn is_ready(&self) {
        let mut who = self.turns.who();
        if who[self.place] == State::GetsReady {
            who[self.place] = State::Ready;
        }
        drop(who);
        self.turns.changed.notify_all();
    }

    /// Whether it has come, after a moment's wait.
    ///
    /// # Errors
    /// `Interrupted`: a stop was asked for, or nobody wants it any more. `Host`, when it is overdue.
    pub(super) fn comes_soon(&self) -> Result<bool, Failure> {
        let attempt = "measure a guest that is ready";
        let who = self.turns.who();
        let waits = |who: &mut Vec<State>| who[self.place] != State::Closed && !has_come(who, self.place);
        let waited = self.turns.changed.wait_timeout_while(who, cancel::LOOK_EVERY, waits);
        let mut who = waited.unwrap_or_else(PoisonError::into_inner).0;
        if who[self.place] == State::Closed || cancel::requested() {
            return Err(Failure::interrupted(attempt));
        }
        if !waits(&mut who) {
            drop(who);
            (self.turns.now)(self.place);
            return Ok(true);
        }
        if Instant::now() < self.deadline {
            return Ok(false);
        }
        let seen = format!("after {:?} the guests of its round are still: {who:?}", self.turns.patience);
        Err(Failure::new(Kind::Host, attempt, seen, "see whether a guest hangs; read its console.log"))
    }
}

/// Whether all before it have passed their turn on, and nobody after it gets ready.
fn has_come(who: &[State], place: usize) -> bool {
    let (before, after) = who.split_at(place);
    before.iter().all(|state| *state == State::PassedOn)
        && after.iter().all(|state| *state != State::GetsReady)
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.set(self.place, State::Over);
    }
}

/// Closes the turns with its drop.
struct Closing<'a>(&'a Turns<'a>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.who().fill(State::Closed);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn guests_get_ready_side_by_side_where_there_is_room_for_them() {
        let two = Topology::new(2, 4, 64, Duration::ZERO);
        assert_eq!(two.vcpus, 2);
        let memory = two.host_mib() * 2 * 4;
        assert!(have_room(2, &two, 2, memory));
        assert!(!have_room(2, &two, 2, memory - 1));
        assert!(!have_room(2, &two, 1, memory), "each shares its CPU with itself");
        assert!(
            !have_room(3, &two, 2, u64::MAX) && !have_room(3, &two, 64, u64::MAX),
            "all are treated alike"
        );
        assert!(!have_room(1, &two, 2, u64::MAX) && !have_room(0, &two, 2, u64::MAX));
        let eight = Topology { vcpus: 8, ..two };
        assert!(have_room(2, &eight, 8, u64::MAX) && !have_room(2, &eight, 4, u64::MAX));
        // The spare CPU of a guest with one vCPU is room as well.
        assert!(have_room(4, &Topology { vcpus: 1, ..two }, 2, u64::MAX));
    }

    /// Whether the turn comes within a few moments.
    fn comes(turn: &Turn<'_>) -> bool {
        (0..3).any(|_| turn.comes_soon().unwrap())
    }

    #[test]
    fn a_turn_comes_when_all_before_it_were_passed_on_and_nobody_gets_ready() {
        let told = Mutex::new(Vec::new());
        let now = |place: usize| told.lock().unwrap().push(place);
        let turns = Turns::of(3, LONG, &now);
        let [first, second, third] = turns.all().try_into().ok().unwrap();
        assert_eq!(first.others(), 2);
        first.is_ready();
        third.is_ready();
        assert!(!comes(&first), "the second gets ready still");
        // It dies of it.
        drop(second);
        assert!(comes(&first) && !comes(&third));
        drop(first);
        assert!(!comes(&third), "what the first left is looked at");
        turns.pass_on(0);
        assert!(!comes(&third), "what the second left is looked at");
        turns.pass_on(1);
        assert!(comes(&third));
        assert_eq!(*told.lock().unwrap(), [0, 2]);
    }

    #[test]
    fn nobody_is_measured_when_it_is_not_wanted_any_more() {
        let turns = Turns::of(2, LONG, &|_| {});
        let [first, second] = turns.all().try_into().ok().unwrap();
        second.is_ready();
        drop(first);
        drop(Closing(&turns));
        // It would have been its turn.
        turns.pass_on(0);
        second.is_ready();
        assert_eq!(second.comes_soon().unwrap_err().kind, Kind::Interrupted);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let turns = Turns::of(2, Duration::ZERO, &|_| {});
        let [_first, second] = turns.all().try_into().ok().unwrap();
        second.is_ready();
        let failure = second.comes_soon().unwrap_err();
        assert_eq!(failure.kind, Kind::Host);
        assert!(failure.seen.contains("[GetsReady, Ready]"), "{failure}");
    }
}
