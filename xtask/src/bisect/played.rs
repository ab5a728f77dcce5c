//! Plays kernels and their boots, for tests of a search: a history in git, and a script of what each commit shows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;

use evidence::boot::{Boot, Facts};
use evidence::certainty::Tally;
use evidence::console::Death;
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::guest::{Cause, Image};
use lab::kernel::{Origin, Recipe, Source, State};
use lab::run::Bootable;
use report::document::RatioEntry;
use testcases::{End, Seen};

use super::examine::{Boots, Found, Sight};
use super::question::Question;
use crate::metric::Metric;

pub(super) fn question() -> Question {
    let case = &testcases::DRIVER_AFTER_DEVICES;
    Question { case, topology: Topology { luns: 4, ..case.topology }, metric: None }
}

fn seen(end: End) -> Seen {
    Seen { folder: "boots/001".to_owned(), end }
}

/// A boot in which so many of four probes ran at once, each attached by a call of its own.
pub(super) fn boot(max_in_flight: usize) -> Seen {
    let facts = Facts {
        devices: 4,
        probes: 4,
        bound: 4,
        probes_of_one: (1, 1),
        max_in_flight,
        workers: Some(4),
        placeable: Some(4),
        begun_local: Some(4),
        local_probes: Some(4),
        late_probes: Some(0),
        reads_of_one: Some((3, 3)),
        cpu: Some(std::time::Duration::from_millis(4)),
        attach_calls: [("__driver_attach_async_helper".to_owned(), 4)].into(),
        ..Facts::default()
    };
    let probe = evidence::timeline::Probe {
        device: "0:0:0:0".to_owned(),
        start: evidence::units::KernelTime::from_micros(1),
        end: evidence::units::KernelTime::from_micros(2),
        returned: 0,
        thread: None,
        lines: (1, 1),
        cpus: None,
    };
    // One at a time, each ends when its reads are done: 60 ms after the one before.
    let apart = if max_in_flight > 1 { 0 } else { 70_000 };
    let ending = |number: u64| {
        let end = evidence::units::KernelTime::from_micros(2 + number * apart);
        evidence::timeline::Probe { end, ..probe.clone() }
    };
    let log = evidence::boot::Testimony { probes: (0..4).map(ending).collect(), ..Default::default() };
    seen(End::Well(vec![Boot { facts, log, ..Boot::default() }]))
}

/// A boot with a complaint of the kernel, or with lines of its log lost, or both.
pub(super) fn troubled(warns: bool, lossy: bool) -> Seen {
    let mut seen = boot(4);
    if let End::Well(phases) = &mut seen.end {
        if warns {
            phases[0].splats.push((7, "WARNING: at mm/slab.c".to_owned()));
        }
        phases[0].unsettled = lossy.then(|| "lines of its log are lost".to_owned());
    }
    seen
}

pub(super) fn died(death: Death) -> Seen {
    let line = format!("{death} at 12.3");
    seen(End::Died {
        cause: Cause::Kernel { death, line },
        doing: "load sd_mod".to_owned(),
        log: String::new(),
    })
}

/// What a boot shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Play {
    /// Probes on their nodes, all at once.
    Parallel,
    /// Probes one after the other.
    Serial,
    /// As the first, but the kernel complains.
    Warns,
    /// Lines of its log are lost.
    Lossy,
    /// Both.
    WarnsLossy,
    Dies(Death),
    /// Nothing more is heard of it.
    Silent,
    /// A guest that is lost.
    Lost,
}

impl Play {
    fn sight(self) -> Sight {
        match self {
            Self::Parallel => Sight::Told(Box::new(boot(4))),
            Self::Serial => Sight::Told(Box::new(boot(1))),
            Self::Warns => Sight::Told(Box::new(troubled(true, false))),
            Self::Lossy => Sight::Told(Box::new(troubled(false, true))),
            Self::WarnsLossy => Sight::Told(Box::new(troubled(true, true))),
            Self::Dies(death) => Sight::Told(Box::new(died(death))),
            Self::Silent => Sight::Silent("silence: not a word for 60s".to_owned()),
            Self::Lost => Sight::Unclear("the guest was lost".to_owned()),
        }
    }
}

/// A kernel of a commit, by its place in the history.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Actor {
    pub(super) place: usize,
    /// With a commit taken back.
    pub(super) reverted: bool,
}

/// What kernels do; the boots of each begin with 0.
#[derive(Clone, Copy)]
pub(super) struct Script {
    pub(super) builds: fn(Actor) -> bool,
    pub(super) plays: fn(Actor, usize) -> Play,
    /// Somebody asks us to stop before the boot of this number, over all kernels.
    pub(super) stop_at: usize,
}

/// All are well up to this commit; those from it on are serial, unless it is taken back.
pub(super) const FIRST_BAD: usize = 7;
pub(super) const SERIAL_FROM_7: Script = Script {
    builds: |_| true,
    plays: |actor, _| {
        if actor.place >= FIRST_BAD && !actor.reverted { Play::Serial } else { Play::Parallel }
    },
    stop_at: usize::MAX,
};

/// Carries out a script, and notes what was booted.
pub(super) struct Stage {
    pub(super) script: Script,
    pub(super) commits: Vec<String>,
    pub(super) boots: Rc<RefCell<Vec<Actor>>>,
    of_each: BTreeMap<String, usize>,
}

impl Stage {
    pub(super) fn new(script: Script, commits: &[String], boots: &Rc<RefCell<Vec<Actor>>>) -> Self {
        Self { script, commits: commits.to_vec(), boots: Rc::clone(boots), of_each: BTreeMap::new() }
    }

    fn actor(name: &str) -> Actor {
        let (place, reverted) = name.strip_suffix("-reverted").map_or((name, false), |place| (place, true));
        Actor { place: place.parse().unwrap(), reverted }
    }
}

impl Boots for Stage {
    fn kernel(&mut self, recipe: &Recipe) -> Result<Result<Bootable, String>, Failure> {
        let Origin::Build(build) = &recipe.origin else { panic!("{recipe:?}") };
        let Source::Tree { state: State::Commit(commit), .. } = &build.source else { panic!("{recipe:?}") };
        let place = self.commits.iter().position(|known| known == commit).unwrap();
        let reverted = !build.series.is_empty();
        if !(self.script.builds)(Actor { place, reverted }) {
            return Ok(Err("could not build it: no".to_owned()));
        }
        Ok(Ok(Bootable {
            name: if reverted { format!("{place}-reverted") } else { place.to_string() },
            id: String::new(),
            release: String::new(),
            behaves: None,
            image: Image { path: "vmlinux".into(), own: true },
            symbols: None,
            initramfs: "initramfs".into(),
            first: Vec::new(),
            modules: Vec::new(),
            built_in: Vec::new(),
        }))
    }

    fn boot(&mut self, kernel: &Bootable) -> Result<Sight, Failure> {
        if self.boots.borrow().len() >= self.script.stop_at {
            return Err(Failure::interrupted("boot a guest"));
        }
        let actor = Self::actor(&kernel.name);
        self.boots.borrow_mut().push(actor);
        let number = self.of_each.entry(kernel.name.clone()).or_default();
        *number += 1;
        Ok((self.script.plays)(actor, *number - 1).sight())
    }

    fn compare(
        &mut self,
        _: Metric,
        (good, kernel): (&Bootable, &Bootable),
        threshold: f64,
        _: &Path,
    ) -> Result<Found, Failure> {
        assert_eq!(Self::actor(&good.name).place, 0);
        self.boots.borrow_mut().push(Self::actor(&kernel.name));
        let ratio = match (self.script.plays)(Self::actor(&kernel.name), 0) {
            Play::Serial => 4.0,
            Play::Lost => return Err(Failure::new(Kind::Guest, "compare times", "it was lost", "look")),
            _ => 1.01,
        };
        Ok(Found {
            bad: Some(ratio > threshold),
            why: format!("{ratio} times"),
            tally: Tally { shown: 0, clean: 3 },
            ratio: Some(RatioEntry { ratio, low: None, high: None }),
            sure: 0.99,
        })
    }
}

/// Commits one after the other in the git tree of a new kernel, each with a line more in its file; their names.
pub(super) fn history(tree: &Path, number: usize) -> Vec<String> {
    fs::create_dir_all(tree).unwrap();
    git(tree, &["init", "--quiet", "--initial-branch=main"], "");
    let mut stream = String::new();
    for place in 0..number {
        let subject = format!("change {place}");
        let lines: String = (0..=place).map(|line| format!("{line}\n")).collect();
        let file = if place % 2 == 0 { "even/code.c" } else { "odd/code.c" };
        let (length, size) = (subject.len(), lines.len());
        stream.push_str(&format!("commit refs/heads/main\ncommitter A <a@b> {place} +0000\n"));
        stream.push_str(&format!("data {length}\n{subject}\nM 100644 inline {file}\ndata {size}\n{lines}\n"));
        for name in ["Makefile", "Kconfig", "drivers/base/dd.c"].into_iter().filter(|_| place == 0) {
            stream.push_str(&format!("M 100644 inline {name}\ndata 0\n\n"));
        }
    }
    git(tree, &["fast-import", "--quiet"], &stream);
    let names = git(tree, &["rev-list", "--reverse", "main"], "");
    names.lines().map(str::to_owned).collect()
}

/// Runs git in a tree; what it says.
pub(super) fn git(tree: &Path, arguments: &[&str], input: &str) -> String {
    let mut git = Command::new("git")
        .args(arguments)
        .current_dir(tree)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    git.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = git.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
