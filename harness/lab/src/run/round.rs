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
    can_be_held(steps) && have_room(guests, topology, host::host_cores(), host::available_mib())
}

/// Whether there is a place where guests with these steps can be held, and what is measured begins no earlier.
fn can_be_held(steps: &[Step]) -> bool {
    Step::at_first_phase(steps).is_some() && !Step::look_from_boot(steps)
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

/// Carries out boots of one shape, as [`carry_out`](super::carry_out) or
/// [`carry_out_and_save`](super::carry_out_and_save) does. Guests that get ready `together`, if their steps have a phase
/// to get ready for, are measured in the order in which the boots stand here; else each begins when the one before it
/// has ended. `now` is told the places of those that get ready, and then that of each that is measured; `each` what came
/// of it.
///
/// # Errors
/// Of finding CPUs or starting a thread; those of `each`, which is given what one boot would return. After a failure
/// nobody is measured any more; `each` is told of it, and of those that were measured until then.
pub fn carry_out_each(
    boots: &[Boot<'_>],
    together: bool,
    save: bool,
    now: impl Fn(&[usize]) + Sync,
    mut each: impl FnMut(usize, Result<(Ending, Option<Saved>), Failure>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !together || !boots.iter().all(|boot| can_be_held(boot.steps)) {
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
    // None is measured, or gets ready, for so long, however serial its probes are.
    let patience = cores::PATIENCE + first.topology.serial_time() * 8;
    let turns = Turns::of(boots.len(), patience, &now);
    thread::scope(|scope| {
        // However this ends: nobody waits for a turn that does not come.
        let _closing = Closing(&turns);
        let lead = |(boot, turn)| {
            let cpus = Arc::clone(&cpus);
            // QEMU is killed with the thread that started it: this one stays until its guest has ended.
            let lead = move || {
                let ended = carry_out_on(boot, cpus, save, Some(&turn));
                if ended.is_err() {
                    turn.close_others();
                }
                ended
            };
            Builder::new().spawn_scoped(scope, lead).map_err(|e| no_thread(&e))
        };
        let guests = boots.iter().zip(turns.all()).map(lead).collect::<Result<Vec<_>, _>>()?;
        for (place, guest) in guests.into_iter().enumerate() {
            let ended = guest.join().unwrap_or_else(|panic| resume_unwind(panic));
            if ended.is_err() && turns.was_closed(place) {
                // What ended it is the failure of another.
                continue;
            }
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
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// How long to wait while nothing changes.
    patience: Duration,
    /// Is told whose has come.
    now: &'a (dyn Fn(usize) + Sync),
}

struct Waiting {
    who: Vec<State>,
    /// Since when they have been so.
    since: Instant,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    GetsReady,
    /// And what is still under way in its guest, if it did not come to rest.
    Ready(Option<String>),
    /// Its guest has ended. What it left may still be looked at.
    Over,
    /// It is the next one's turn.
    PassedOn,
    /// What it would do is not wanted any more.
    Closed,
    /// The same, and its guest has ended.
    ClosedAndOver,
}

/// Somebody's place among the turns. With its drop the guest has ended.
pub(super) struct Turn<'a> {
    turns: &'a Turns<'a>,
    place: usize,
}

impl<'a> Turns<'a> {
    fn of(number: usize, patience: Duration, now: &'a (dyn Fn(usize) + Sync)) -> Self {
        let waiting = Waiting { who: vec![State::GetsReady; number], since: Instant::now() };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new(), patience, now }
    }

    /// All of them, in order.
    fn all(&'a self) -> Vec<Turn<'a>> {
        (0..self.waiting().who.len()).map(|place| Turn { turns: self, place }).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut [State])) {
        let mut waiting = self.waiting();
        change(&mut waiting.who);
        waiting.since = Instant::now();
        drop(waiting);
        self.changed.notify_all();
    }

    fn pass_on(&self, place: usize) {
        self.change(|who| who[place] = State::PassedOn);
    }

    fn was_closed(&self, place: usize) -> bool {
        self.waiting().who[place] == State::ClosedAndOver
    }

    /// Closes those that wait or get ready, but for one.
    fn close_but(&self, place: Option<usize>) {
        self.change(|who| {
            for (other, state) in who.iter_mut().enumerate() {
                if place != Some(other) && matches!(state, State::GetsReady | State::Ready(_)) {
                    *state = State::Closed;
                }
            }
        });
    }
}

impl Turn<'_> {
    /// How many others there are.
    pub(super) fn others(&self) -> usize {
        self.turns.waiting().who.len() - 1
    }

    /// Says that its guest is ready, with what is still under way in it, if it did not come to rest.
    pub(super) fn is_ready(&self, under_way: Option<String>) {
        self.turns.change(|who| {
            if who[self.place] == State::GetsReady {
                who[self.place] = State::Ready(under_way);
            }
        });
    }

    /// Whether it is still wanted.
    ///
    /// # Errors
    /// `Interrupted`: a stop was asked for, or nobody wants it any more.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.wanted(&self.turns.waiting())
    }

    fn wanted(&self, waiting: &Waiting) -> Result<(), Failure> {
        if waiting.who[self.place] == State::Closed || cancel::requested() {
            return Err(Failure::interrupted("measure a guest that is ready"));
        }
        Ok(())
    }

    /// Whether it has come, after a moment's wait: then with what is under way in guests that are not at rest.
    ///
    /// # Errors
    /// As [`Turn::check`]; `Host`, when it is overdue.
    pub(super) fn comes_soon(&self) -> Result<Option<Vec<String>>, Failure> {
        let waits = |waiting: &mut Waiting| {
            waiting.who[self.place] != State::Closed && !has_come(&waiting.who, self.place)
        };
        let waited = self.turns.changed.wait_timeout_while(self.turns.waiting(), cancel::LOOK_EVERY, waits);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        self.wanted(&waiting)?;
        if !waits(&mut waiting) {
            let others = waiting.who.iter().enumerate().filter(|(place, _)| *place != self.place);
            let under_way = others.filter_map(|(_, state)| match state {
                State::Ready(under_way) => under_way.clone(),
                _ => None,
            });
            let under_way = under_way.collect();
            drop(waiting);
            (self.turns.now)(self.place);
            return Ok(Some(under_way));
        }
        if waiting.since.elapsed() < self.turns.patience {
            return Ok(None);
        }
        let seen =
            format!("the guests of its round have been {:?} for {:?}", waiting.who, self.turns.patience);
        let next = "see whether a guest hangs; read its console.log";
        Err(Failure::new(Kind::Host, "measure a guest that is ready", seen, next))
    }

    /// Sees to it that none of the others is measured any more, after a failure of this one.
    fn close_others(&self) {
        self.turns.close_but(Some(self.place));
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
        self.turns.change(|who| {
            who[self.place] = match who[self.place] {
                State::Closed => State::ClosedAndOver,
                _ => State::Over,
            };
        });
    }
}

/// Closes the turns with its drop.
struct Closing<'a>(&'a Turns<'a>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close_but(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Measured;

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
        (0..3).any(|_| turn.comes_soon().unwrap().is_some())
    }

    #[test]
    fn a_turn_comes_when_all_before_it_were_passed_on_and_nobody_gets_ready() {
        let told = Mutex::new(Vec::new());
        let now = |place: usize| told.lock().unwrap().push(place);
        let turns = Turns::of(3, LONG, &now);
        let [first, second, third] = turns.all().try_into().ok().unwrap();
        assert_eq!(first.others(), 2);
        first.is_ready(None);
        third.is_ready(None);
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
    fn nobody_is_measured_after_a_failure_wherever_it_was() {
        let turns = Turns::of(3, LONG, &|_| {});
        let [first, second, third] = turns.all().try_into().ok().unwrap();
        first.is_ready(None);
        third.is_ready(None);
        second.close_others();
        drop(second);
        // It would have been its turn.
        assert_eq!(first.comes_soon().unwrap_err().kind, Kind::Interrupted);
        drop(first);
        assert_eq!([0, 1].map(|place| turns.was_closed(place)), [true, false], "whose failure it is");
        turns.pass_on(0);
        turns.pass_on(1);
        assert_eq!(third.check().unwrap_err().kind, Kind::Interrupted);
    }

    #[test]
    fn nor_when_the_harness_gives_up() {
        let turns = Turns::of(1, LONG, &|_| {});
        let [only] = turns.all().try_into().ok().unwrap();
        drop(Closing(&turns));
        only.is_ready(None);
        assert_eq!(only.comes_soon().unwrap_err().kind, Kind::Interrupted);
    }

    #[test]
    fn whoever_is_measured_knows_of_a_guest_that_is_not_at_rest() {
        let turns = Turns::of(2, LONG, &|_| {});
        let [first, second] = turns.all().try_into().ok().unwrap();
        first.is_ready(Some("its own".to_owned()));
        second.is_ready(Some("3 probes".to_owned()));
        assert_eq!(first.comes_soon().unwrap(), Some(vec!["3 probes".to_owned()]));
    }

    #[test]
    fn nobody_waits_for_ever_though_long_while_something_changes() {
        let turns = Turns::of(2, Duration::ZERO, &|_| {});
        let [_first, second] = turns.all().try_into().ok().unwrap();
        second.is_ready(None);
        let failure = second.comes_soon().unwrap_err();
        assert_eq!(failure.kind, Kind::Host);
        assert!(failure.seen.contains("[GetsReady, Ready(None)]"), "{failure}");

        // Together the looks take longer than that, and none of them does, on a busy host either.
        let turns = Turns::of(2, cancel::LOOK_EVERY * 20, &|_| {});
        let [_first, second] = turns.all().try_into().ok().unwrap();
        for _ in 0..25 {
            turns.change(|_| {});
            assert_eq!(second.comes_soon().unwrap(), None);
        }
    }

    #[test]
    fn who_is_measured_from_boot_on_or_has_no_phase_cannot_be_held() {
        const OF: Measured = Measured { bus: "scsi", driver: "sd" };
        const PHASE: Step = Step::Phase { name: "probes", of: OF, steps: &[] };
        const BEGUN: Step = Step::BeginLoad { module: "sd_mod", params: "" };
        assert!(can_be_held(&[Step::Finish, PHASE]));
        const TWICE: Step = Step::Repeat { times: 2, steps: &[BEGUN] };
        let begun = [[BEGUN, PHASE], [TWICE, PHASE], [Step::FromBoot { of: OF }, PHASE]];
        for steps in begun.iter().map(|steps| &steps[..]).chain([&[Step::Finish][..]]) {
            assert!(!can_be_held(steps), "{steps:?}");
        }
    }
}
