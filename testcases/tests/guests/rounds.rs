//! The boots of a round: guests get ready side by side, and one at a time is measured.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use evidence::console::Death;
use lab::failure::{Failure, Kind};
use lab::guest::Cause;
use lab::run::{self, Asked, Bootable, Ending, Saved};
use libtest_mimic::Trial;
use testcases::DRIVER_AFTER_DEVICES;

use crate::forks::{Ordered, facts};
use crate::laboratory;
use crate::neighbours::qemu_of;
use crate::outcome::{Wrong, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("rounds::one_at_a_time_is_measured".to_owned(), one_at_a_time_is_measured),
        trial("rounds::who_dies_before_its_turn_keeps_nobody_waiting".to_owned(), who_dies_before_its_turn),
        trial("rounds::nobody_is_measured_after_a_failure".to_owned(), nobody_is_measured_after_a_failure),
        trial("rounds::are_saved_side_by_side".to_owned(), are_saved_side_by_side),
    ]
}

/// How long everybody is held at least when somebody's turn comes, by whichever clock: a guest's may go otherwise than the
/// host's.
const HELD: Duration = Duration::from_secs(1);

/// Whose guests lived when somebody's turn came.
#[derive(Debug, Eq, PartialEq)]
struct Turn {
    whose: Vec<usize>,
    alive: Vec<bool>,
}

/// Two boots to be carried out in a round.
struct Pair {
    ordered: Ordered,
    folders: [PathBuf; 2],
    /// Kernel parameters.
    parameters: [String; 2],
}

/// What came of them.
#[derive(Debug, Default)]
struct Carried {
    turns: Vec<Turn>,
    endings: Vec<Ending>,
    saved: Vec<Saved>,
}

impl Pair {
    /// In folders of these names, with these parameters besides the case's.
    fn new(names: [&str; 2], more: [&str; 2]) -> Result<Self, Wrong> {
        let ordered = Ordered::new()?;
        let folders = [laboratory::folder(names[0])?.0, laboratory::folder(names[1])?.0];
        let parameters = more.map(|more| format!("{} {more}", DRIVER_AFTER_DEVICES.parameters));
        Ok(Self { ordered, folders, parameters })
    }

    fn boot(&self, place: usize) -> Result<run::Boot<'_>, Wrong> {
        Ok(run::Boot { parameters: &self.parameters[place], ..self.ordered.boot(&self.folders[place])? })
    }

    /// Which of their guests live.
    fn alive(&self) -> Vec<bool> {
        self.folders.iter().map(|folder| qemu_of(folder).is_some()).collect()
    }

    /// Carries them out, and adds to what came of them until a failure ends it.
    fn carry_out(
        &self,
        boots: &[run::Boot<'_>],
        save: bool,
        carried: &mut Carried,
    ) -> Result<Result<(), Failure>, Wrong> {
        let turns = Mutex::new(Vec::new());
        let now = |whose: &[usize]| {
            let turn = Turn { whose: whose.to_vec(), alive: self.alive() };
            // Who goes on meanwhile is found out.
            thread::sleep(HELD * 2);
            turns.lock().unwrap_or_else(PoisonError::into_inner).push(turn);
        };
        let Carried { endings, saved, .. } = carried;
        let ended = run::carry_out_each(boots, true, save, now, |_, ended| {
            let (ending, more) = ended?;
            endings.push(ending);
            saved.extend(more);
            Ok(())
        });
        carried.turns = turns.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(ended)
    }

    /// The same, of both, and no failure.
    fn carried_out(&self, save: bool) -> Result<Carried, Wrong> {
        let mut carried = Carried::default();
        self.carry_out(&[self.boot(0)?, self.boot(1)?], save, &mut carried)??;
        Ok(carried)
    }
}

/// How long nothing was said before the mark at which the phase begins; records are as in `/dev/kmsg`.
fn time_before_the_phase(kmsg: &str) -> Option<Duration> {
    let records: Vec<(u64, &str)> = kmsg
        .lines()
        .filter_map(|line| line.split_once(';'))
        .filter_map(|(head, text)| Some((head.split(',').nth(2)?.parse().ok()?, text)))
        .collect();
    let mark = records.iter().position(|(_, text)| text.contains("phase probes begins"))?;
    let before = records[..mark].last()?.0;
    Some(Duration::from_micros(records[mark].0.saturating_sub(before)))
}

fn turn(whose: &[usize], alive: [bool; 2]) -> Turn {
    Turn { whose: whose.to_vec(), alive: alive.to_vec() }
}

fn one_at_a_time_is_measured() -> Result<(), Wrong> {
    let pair = Pair::new(["round-first", "round-second"], ["", ""])?;
    let Carried { turns, endings, .. } = pair.carried_out(false)?;
    for ending in endings {
        facts(ending)?;
    }
    // When the second one's turn comes, the first has ended, with its logs fetched.
    let expected = [turn(&[0, 1], [false, false]), turn(&[0], [true, true]), turn(&[1], [false, true])];
    if turns != expected {
        return Err(format!("whose turn it was, and who was alive then: {turns:?}").into());
    }
    for folder in &pair.folders {
        let held = time_before_the_phase(&fs::read_to_string(folder.join("kmsg.txt"))?);
        if held.is_none_or(|held| held < HELD) {
            return Err(format!("it was not held before its phase: {held:?}").into());
        }
        let asked = fs::read(folder.join("boot.json"))?;
        let asked: Asked = serde_json::from_slice(&asked).map_err(io::Error::from)?;
        if asked.beside != 1 {
            return Err(format!("boot.json knows of {} guests beside it", asked.beside).into());
        }
    }
    Ok(())
}

fn who_dies_before_its_turn() -> Result<(), Wrong> {
    // Without a program to start the kernel panics (init/main.c).
    let pair = Pair::new(["round-dies", "round-lives"], ["rdinit=/nothing root=/dev/nothing", ""])?;
    let Carried { turns, endings, .. } = pair.carried_out(false)?;
    match &endings[..] {
        [Ending::Died { lost, .. }, Ending::Well(_)]
            if matches!(&lost.cause, Cause::Kernel { death: Death::Panic, .. }) => {}
        other => return Err(format!("a panic was to come, and a boot that goes well: {other:?}").into()),
    }
    let expected = [turn(&[0, 1], [false, false]), turn(&[1], [false, true])];
    if turns != expected {
        return Err(format!("whose turn it was, and who was alive then: {turns:?}").into());
    }
    Ok(())
}

fn nobody_is_measured_after_a_failure() -> Result<(), Wrong> {
    let pair = Pair::new(["round-wrong", "round-not-wanted"], ["", ""])?;
    // It is not the kernel that its image has.
    let other = Bootable { id: "another".to_owned(), ..pair.ordered.kernel.clone() };
    let boots = [run::Boot { kernel: &other, ..pair.boot(0)? }, pair.boot(1)?];
    let mut carried = Carried::default();
    let ended = pair.carry_out(&boots, false, &mut carried)?;
    let whose: Vec<_> = carried.turns.iter().map(|turn| &turn.whose[..]).collect();
    match ended {
        Err(failure) if failure.kind == Kind::Guest && failure.seen.contains("another") => {}
        other => return Err(format!("the first runs another kernel, and this came of it: {other:?}").into()),
    }
    if whose != [[0, 1]] || !carried.endings.is_empty() || pair.alive() != [false, false] {
        return Err(format!("whose turn it was: {whose:?}; who is alive: {:?}", pair.alive()).into());
    }
    Ok(())
}

fn are_saved_side_by_side() -> Result<(), Wrong> {
    let pair = Pair::new(["round-saved", "round-saved-too"], ["", ""])?;
    let Carried { endings, saved, .. } = pair.carried_out(true)?;
    let folders = [laboratory::folder("round-fork")?.0, laboratory::folder("round-fork")?.0];
    let mut forks = Vec::new();
    for (place, (saved, folder)) in saved.iter().zip(&folders).enumerate() {
        forks.push((saved, run::Boot { folder, ..pair.boot(place)? }));
    }
    let mut all = endings;
    run::carry_on_each(&forks, |_, ending| {
        all.push(ending?);
        Ok(ControlFlow::Continue(()))
    })?;
    let probes = all.into_iter().map(|ending| Ok(facts(ending)?.facts.probes_of_one));
    let probes = probes.collect::<Result<Vec<_>, Wrong>>()?;
    if probes != [(1, 1); 4] {
        return Err(format!("of two boots and their forks, probes of a LUN: {probes:?}").into());
    }
    Ok(())
}
