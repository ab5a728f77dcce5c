//! How far the tests of a process are. The test harness draws dots, and knows of no time.

use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lab::watch::to_go;

/// How often it is told, at most.
const EVERY: Duration = Duration::from_secs(60);

static SO_FAR: OnceLock<Mutex<SoFar>> = OnceLock::new();

struct SoFar {
    begun: Instant,
    told: Instant,
    done: usize,
    all: usize,
}

/// So many tests begin now.
pub(crate) fn begin(all: usize) {
    let now = Instant::now();
    SO_FAR.get_or_init(|| Mutex::new(SoFar { begun: now, told: now, done: 0, all }));
}

/// One of them has ended.
pub(crate) fn one_more() {
    let Some(so_far) = SO_FAR.get() else { return };
    let mut so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
    so_far.done += 1;
    if so_far.done < so_far.all && so_far.told.elapsed() >= EVERY {
        so_far.told = Instant::now();
        let text = text(so_far.done, so_far.all, so_far.begun.elapsed());
        // Nobody may be listening.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// What comes behind the dots.
fn text(done: usize, all: usize, elapsed: Duration) -> String {
    let minutes = |time: Duration| (time.as_secs() + 30) / 60;
    let rest = to_go(elapsed, done as u64, all as u64);
    let rest = rest.map_or_else(String::new, |rest| format!(", about {} min to go", minutes(rest)));
    format!(" {done}/{all} tests, {} min so far{rest}", minutes(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_many_are_done_and_how_long_the_others_may_take() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(text(1, 200, minutes(1)), " 1/200 tests, 1 min so far");
        assert_eq!(text(50, 200, minutes(8)), " 50/200 tests, 8 min so far, about 24 min to go");
    }
}
