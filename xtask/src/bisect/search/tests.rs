//! A search over a small history, with kernels that are played.

mod going_on;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use evidence::console::Death;
use lab::watch::Nobody;

use super::*;
use crate::bisect::examine::Boots;
use crate::bisect::kept::read;
use crate::bisect::played::{Actor, FIRST_BAD, Play, SERIAL_FROM_7, Script, Stage, history};
use crate::bisect::question::Question;
use crate::cli::{Cli, Verb};

const COMMITS: usize = 12;

/// A history, the folder of a run, and what was booted.
struct Fixture {
    folder: tempfile::TempDir,
    commits: Vec<String>,
    boots: Rc<RefCell<Vec<Actor>>>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let commits = history(&folder.path().join("linux"), COMMITS);
        fs::create_dir(folder.path().join("run")).unwrap();
        Self { folder, commits, boots: Rc::default() }
    }

    fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn settings(&self, more: &[&str]) -> Settings {
        let tree = self.folder.path().join("linux").display().to_string();
        let first =
            ["xtask", "bisect", "--tree", &tree, "--good", &self.commits[0], "--bad", "main", "--luns", "4"];
        let cli = Cli::try_parse_from([&first[..], more].concat()).unwrap();
        let Verb::Bisect(arguments) = cli.verb else { panic!("{cli:?}") };
        Settings::of(&arguments.search).unwrap()
    }

    fn open(&self, settings: Settings, document: BisectDocument, script: Script) -> Search<'_> {
        let question = Question::of(&settings.question).unwrap();
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-configs");
        let stage: Box<dyn Boots> = Box::new(Stage::new(script, &self.commits, &self.boots));
        Search {
            run: enter(self.run()),
            catalogue: Catalogue::read(&configs).unwrap(),
            bench: Bench { question, lab: stage, watch: &Nobody },
            watch: &Nobody,
            settings,
            document,
        }
    }

    /// A search from its beginning.
    fn search(&self, more: &[&str], script: Script) -> Result<BisectDocument, Failure> {
        let settings = self.settings(more);
        let document = settings.document(&self.run());
        fs::write(self.run().join("search.json"), serde_json::to_string(&settings).unwrap()).unwrap();
        fs::write(self.run().join("bisect.json"), document.to_json()).unwrap();
        let mut search = self.open(settings, document, script);
        search.carry_out().map(|()| search.document)
    }

    /// Goes on with what is on disk.
    fn resume(&self, script: Script) -> Result<BisectDocument, Failure> {
        let settings = read(&self.run().join("search.json"))?;
        let document = read(&self.run().join("bisect.json"))?;
        let mut search = self.open(settings, document, script);
        search.carry_out().map(|()| search.document)
    }

    fn subject(&self, place: usize) -> String {
        format!("change {place}")
    }

    #[track_caller]
    fn found_it(&self, document: &BisectDocument, first_bad: usize) {
        let Some(Ended::Found { commit, sure, confirmed, .. }) = &document.ended else {
            panic!("{document:?}")
        };
        assert_eq!(
            (commit.id.as_str(), &commit.subject),
            (self.commits[first_bad].as_str(), &self.subject(first_bad))
        );
        assert!(*confirmed && *sure > 0.9, "{document:?}");
        let kept: BisectDocument = read(&self.run().join("bisect.json")).unwrap();
        // The last digit of a number may be another after it was read.
        assert_eq!((roles(&kept), kept.ended.is_some()), (roles(document), true));
    }
}

/// A process that another test has just begun may have our files for a moment, until it is another program.
fn enter(run: PathBuf) -> Folder {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Folder::enter(run.clone()) {
            Ok(folder) => return folder,
            Err(failure) => assert!(Instant::now() < deadline, "{failure}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn roles(document: &BisectDocument) -> Vec<(Role, Answer)> {
    document.steps.iter().map(|step| (step.role, step.answer)).collect()
}

#[test]
fn the_first_bad_commit_is_found_shown_once_more_and_taken_back() {
    let fixture = Fixture::new();
    let document = fixture.search(&[], SERIAL_FROM_7).unwrap();
    fixture.found_it(&document, FIRST_BAD);
    assert_eq!(document.behaves.as_deref(), Some("per-node"));
    assert_eq!(document.symptoms.len(), 2);
    // With ends that are hard to tell apart, nobody is sure.
    let mut of_ends = document.clone();
    of_ends.steps.truncate(2);
    assert!(sure(&of_ends) > 0.9);
    of_ends.steps[1].tally = Tally { shown: 1, clean: 4 };
    assert!(sure(&of_ends) < 0.7, "{}", sure(&of_ends));
    let roles = roles(&document);
    assert_eq!(roles[..2], [(Role::GoodEnd, Answer::Good), (Role::BadEnd, Answer::Bad)]);
    let last = [(Role::Found, Answer::Bad), (Role::Before, Answer::Good), (Role::Reverted, Answer::Good)];
    assert_eq!(roles[roles.len() - 3..], last);
    let Some(Ended::Found { reverted, .. }) = &document.ended else { panic!("{document:?}") };
    assert_eq!(reverted, "good: without it the fault is gone");
    assert_eq!(fixture.boots.borrow().iter().filter(|actor| actor.place == 0).count(), 5);
    let patch = format!("revert-{}.patch", &fixture.commits[FIRST_BAD][..12]);
    for file in ["bisect.txt", "bisect.log", &patch] {
        assert!(!fs::read_to_string(fixture.run().join(file)).unwrap().is_empty(), "{file}");
    }
}

#[test]
fn commits_that_cannot_be_told_are_skipped_and_named_where_they_hide_it() {
    let fixture = Fixture::new();
    // One cannot be built, one dies otherwise, the guests of one are lost.
    let script = Script {
        builds: |actor| actor.place != 6,
        plays: |actor, _| match actor.place {
            7 => Play::Dies(Death::Oops),
            8 => Play::Lost,
            9.. => Play::Serial,
            _ => Play::Parallel,
        },
        ..SERIAL_FROM_7
    };
    let document = fixture.search(&[], script).unwrap();
    let Some(Ended::OneOf { commits }) = &document.ended else { panic!("{document:?}") };
    let mut subjects: Vec<&str> = commits.iter().map(|commit| commit.subject.as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, [6, 7, 8, 9].map(|place| fixture.subject(place)));
    let why = |place: usize| {
        let step = document.steps.iter().find(|step| step.subject == fixture.subject(place)).unwrap();
        assert_eq!(step.answer, Answer::Skip);
        step.why.clone()
    };
    assert!(why(6).contains("could not build"), "{}", why(6));
    assert!(why(7).contains("fails otherwise"), "{}", why(7));
    assert!(why(8).contains("lost"), "{}", why(8));
}

#[test]
fn ends_that_are_alike_have_no_fault_between_them() {
    let fixture = Fixture::new();
    let script = Script { plays: |_, _| Play::Parallel, ..SERIAL_FROM_7 };
    let document = fixture.search(&[], script).unwrap();
    let Some(Ended::NoFault { why }) = &document.ended else { panic!("{document:?}") };
    assert!(why.contains("none of 5 boots of the bad end shows a fault"), "{why}");
    assert_eq!(fixture.boots.borrow().len(), 10);
}

#[test]
fn an_end_that_cannot_be_built_is_an_error() {
    let fixture = Fixture::new();
    let script = Script { builds: |actor| actor.place != 0, ..SERIAL_FROM_7 };
    let failure = fixture.search(&[], script).unwrap_err();
    assert_eq!(failure.kind, Kind::Build);
    assert!(failure.next.contains("name an end that can be built; what is known is kept"), "{failure}");
    assert!(failure.next.ends_with(&format!("--resume {}", fixture.run().display())), "{failure}");
}

#[test]
fn what_does_not_show_once_more_is_not_confirmed() {
    let fixture = Fixture::new();
    // It shows the fault to the search, and none later.
    let script = Script {
        plays: |actor, boot| {
            if actor.place > FIRST_BAD || actor.place == FIRST_BAD && boot < 3 {
                Play::Serial
            } else {
                Play::Parallel
            }
        },
        ..SERIAL_FROM_7
    };
    let document = fixture.search(&[], script).unwrap();
    let Some(Ended::Found { confirmed, reverted, .. }) = &document.ended else { panic!("{document:?}") };
    assert!(!confirmed);
    assert!(reverted.starts_with("still bad"), "{reverted}");
}

#[test]
fn a_fault_that_shows_in_half_of_the_boots_is_found() {
    let fixture = Fixture::new();
    let script = Script {
        plays: |actor, boot| {
            let bad = actor.place >= FIRST_BAD && !actor.reverted;
            if bad && boot % 2 == 0 { Play::Serial } else { Play::Parallel }
        },
        ..SERIAL_FROM_7
    };
    let document = fixture.search(&["--boots", "10"], script).unwrap();
    fixture.found_it(&document, FIRST_BAD);
}

#[test]
fn a_time_is_compared_with_that_of_the_good_end() {
    let fixture = Fixture::new();
    let document = fixture.search(&["--metric", "probe"], SERIAL_FROM_7).unwrap();
    fixture.found_it(&document, FIRST_BAD);
    assert_eq!(document.metric.as_ref().unwrap().threshold, 2.0);
}

#[test]
fn a_guest_that_is_lost_as_times_are_compared_says_nothing_of_its_kernel() {
    let fixture = Fixture::new();
    let lost_at = |place| match place {
        0 => Script { plays: |_, _| Play::Lost, ..SERIAL_FROM_7 },
        _ => Script {
            plays: |actor, boot| {
                if actor.place == 5 { Play::Lost } else { (SERIAL_FROM_7.plays)(actor, boot) }
            },
            ..SERIAL_FROM_7
        },
    };
    // Of the ends it ends the search, which goes on from there.
    assert_eq!(fixture.search(&["--metric", "probe"], lost_at(0)).unwrap_err().kind, Kind::Guest);
    let document = fixture.resume(lost_at(5)).unwrap();
    fixture.found_it(&document, FIRST_BAD);
    assert!(
        document.steps.iter().all(|step| step.commit != fixture.commits[5] || step.answer == Answer::Skip)
    );
}

#[test]
fn an_end_of_which_no_boot_can_tell_is_not_taken_for_good() {
    let fixture = Fixture::new();
    let script = Script {
        plays: |actor, _| if actor.place == 0 { Play::Lossy } else { Play::Serial },
        ..SERIAL_FROM_7
    };
    let failure = fixture.search(&[], script).unwrap_err();
    assert_eq!(failure.kind, Kind::Guest);
    assert!(failure.attempt.contains("judge the good end"), "{failure}");
    assert!(failure.seen.contains("lines of its log are lost"), "{failure}");
    assert_eq!(fixture.boots.borrow().len(), 3);
}

#[test]
fn a_boot_of_an_end_that_cannot_tell_is_repeated() {
    let fixture = Fixture::new();
    let script = Script {
        plays: |actor, boot| match (actor.place, boot) {
            (0 | 11, 1 | 3) => Play::Lossy,
            _ => (SERIAL_FROM_7.plays)(actor, boot),
        },
        ..SERIAL_FROM_7
    };
    let document = fixture.search(&[], script).unwrap();
    fixture.found_it(&document, FIRST_BAD);
    let tallies: Vec<Tally> = document.steps[..2].iter().map(|step| step.tally).collect();
    assert_eq!(tallies, [Tally { shown: 0, clean: 5 }, Tally { shown: 5, clean: 0 }]);
}

#[test]
fn where_every_kernel_warns_a_bad_commit_of_which_no_boot_can_tell_is_not_good() {
    let fixture = Fixture::new();
    let script = Script {
        plays: |actor, boot| match actor.place {
            0 => Play::Warns,
            5 => Play::WarnsLossy,
            _ => (SERIAL_FROM_7.plays)(actor, boot),
        },
        ..SERIAL_FROM_7
    };
    let document = fixture.search(&[], script).unwrap();
    fixture.found_it(&document, FIRST_BAD);
    let step = document.steps.iter().find(|step| step.subject == fixture.subject(5)).unwrap();
    assert_eq!((step.role, step.answer), (Role::Step, Answer::Skip));
}

/// Kernels that hang from a commit on, without a word.
const SILENT_FROM_7: Script = Script {
    plays: |actor, boot| match (SERIAL_FROM_7.plays)(actor, boot) {
        Play::Serial => Play::Silent,
        other => other,
    },
    ..SERIAL_FROM_7
};

#[test]
fn a_kernel_that_falls_silent_is_searched_for_where_it_always_does() {
    for symptom in ["same", "died", "any"] {
        let fixture = Fixture::new();
        let document = fixture.search(&["--symptom", symptom], SILENT_FROM_7).unwrap();
        fixture.found_it(&document, FIRST_BAD);
        assert_eq!(document.symptoms, [Fault::SILENT]);
    }
    let fixture = Fixture::new();
    let failure = fixture.search(&["--symptom", "failed"], SILENT_FROM_7).unwrap_err();
    assert!(failure.attempt.contains("judge the bad end"), "{failure}");
}

#[test]
fn a_host_that_stalls_once_makes_no_kernel_bad() {
    let fixture = Fixture::new();
    // Each commit once; the good end not at all.
    let script = Script {
        plays: |actor, boot| match (actor.place, boot) {
            (1..FIRST_BAD, 1) => Play::Silent,
            _ => (SILENT_FROM_7.plays)(actor, boot),
        },
        ..SILENT_FROM_7
    };
    fixture.found_it(&fixture.search(&[], script).unwrap(), FIRST_BAD);
}

#[test]
fn silence_is_no_fault_where_the_good_end_fell_silent_as_well_or_the_bad_one_not_always() {
    for script in [
        Script {
            plays: |actor, boot| match (actor.place, boot) {
                (0, 2) => Play::Silent,
                _ => (SILENT_FROM_7.plays)(actor, boot),
            },
            ..SILENT_FROM_7
        },
        Script {
            plays: |actor, boot| match boot {
                0 => Play::Parallel,
                _ => (SILENT_FROM_7.plays)(actor, boot),
            },
            ..SILENT_FROM_7
        },
    ] {
        let fixture = Fixture::new();
        let failure = fixture.search(&[], script).unwrap_err();
        assert!(failure.attempt.contains("judge the bad end"), "{failure}");
        assert!(failure.seen.contains("silence"), "{failure}");
    }
}
