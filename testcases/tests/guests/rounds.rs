//! The boots of a round: guests get ready side by side, and one at a time is measured.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use evidence::console::Death;
use lab::guest::Cause;
use lab::run::{self, Ending};
use libtest_mimic::Trial;
use testcases::DRIVER_AFTER_DEVICES;

use crate::forks::Ordered;
use crate::laboratory;
use crate::neighbours::qemu_of;
use crate::outcome::{Wrong, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("rounds::one_at_a_time_is_measured".to_owned(), one_at_a_time_is_measured),
        trial("rounds::who_dies_before_its_turn_keeps_nobody_waiting".to_owned(), who_dies_before_its_turn),
    ]
}

/// Whose guests lived when somebody's turn came.
#[derive(Debug, Eq, PartialEq)]
struct Turn {
    whose: Vec<usize>,
    alive: Vec<bool>,
}

fn one_at_a_time_is_measured() -> Result<(), Wrong> {
    let (turns, endings) = round_of(["round", "round"], ["", ""])?;
    for ending in endings {
        crate::forks::facts(ending)?;
    }
    let turn = |whose: &[usize], alive: [bool; 2]| Turn { whose: whose.to_vec(), alive: alive.to_vec() };
    // When the second one's turn comes, the first has ended, with its logs fetched.
    let expected = [turn(&[0, 1], [false, false]), turn(&[0], [true, true]), turn(&[1], [false, true])];
    if turns != expected {
        return Err(format!("whose turn it was, and who was alive then: {turns:?}").into());
    }
    Ok(())
}

fn who_dies_before_its_turn() -> Result<(), Wrong> {
    // Without a program to start the kernel panics (init/main.c).
    let (turns, endings) =
        round_of(["round-dies", "round-lives"], ["rdinit=/nothing root=/dev/nothing", ""])?;
    match &endings[..] {
        [Ending::Died { lost, .. }, Ending::Well(_)]
            if matches!(&lost.cause, Cause::Kernel { death: Death::Panic, .. }) => {}
        other => return Err(format!("a panic was to come, and a boot that goes well: {other:?}").into()),
    }
    let whose: Vec<_> = turns.into_iter().map(|turn| turn.whose).collect();
    if whose != [vec![0, 1], vec![1]] {
        return Err(format!("whose turn it was: {whose:?}").into());
    }
    Ok(())
}

/// Carries out a round of two boots, with these parameters besides the case's.
fn round_of(names: [&str; 2], more: [&str; 2]) -> Result<(Vec<Turn>, Vec<Ending>), Wrong> {
    let ordered = Ordered::new()?;
    let folders: Vec<PathBuf> =
        names.iter().map(|name| Ok(laboratory::folder(name)?.0)).collect::<Result<_, Wrong>>()?;
    let parameters = more.map(|more| format!("{} {more}", DRIVER_AFTER_DEVICES.parameters));
    let mut boots = Vec::new();
    for (folder, parameters) in folders.iter().zip(&parameters) {
        boots.push(run::Boot { parameters, ..ordered.boot(folder)? });
    }
    let turns = Mutex::new(Vec::new());
    let now = |whose: &[usize]| {
        let alive = folders.iter().map(|folder: &PathBuf| qemu_of(Path::new(folder)).is_some()).collect();
        turns.lock().expect("nobody panics with it").push(Turn { whose: whose.to_vec(), alive });
    };
    let mut endings = Vec::new();
    run::carry_out_each(&boots, false, now, |_, ended| {
        endings.push(ended?.0);
        Ok(())
    })?;
    let turns = turns.into_inner().expect("nobody panics with it");
    if turns.first().is_some_and(|turn| turn.whose == [0]) {
        return Err(Wrong::Inconclusive("this host has CPUs or memory for one guest only".to_owned()));
    }
    Ok((turns, endings))
}
