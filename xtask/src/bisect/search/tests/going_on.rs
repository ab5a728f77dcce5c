//! A search that was stopped, or is gone on with.

use super::*;
use crate::bisect::played::git;

#[test]
fn a_search_that_was_stopped_anywhere_goes_on_and_examines_nothing_twice() {
    let whole = Fixture::new();
    let expected = whole.search(&[], SERIAL_FROM_7).unwrap();
    let boots = whole.boots.borrow().len();
    for stop_at in [0, 7, 11, boots - 4] {
        let fixture = Fixture::new();
        let failure = fixture.search(&[], Script { stop_at, ..SERIAL_FROM_7 }).unwrap_err();
        assert_eq!(failure.kind, Kind::Interrupted);
        assert!(failure.next.starts_with("go on with: cargo xtask bisect --resume"), "{failure}");
        let document = fixture.resume(SERIAL_FROM_7).unwrap();
        fixture.found_it(&document, FIRST_BAD);
        assert_eq!(roles(&document), roles(&expected), "stopped at {stop_at}");
        // At its end there is nothing to go on with.
        let all = fixture.boots.borrow().len();
        fixture.found_it(&fixture.resume(SERIAL_FROM_7).unwrap(), FIRST_BAD);
        assert_eq!(fixture.boots.borrow().len(), all);
    }
}

#[test]
fn an_answer_that_was_written_down_before_git_was_told_is_not_asked_for_again() {
    let fixture = Fixture::new();
    let stop_at = 10 + 3;
    fixture.search(&[], Script { stop_at, ..SERIAL_FROM_7 }).unwrap_err();
    let document: BisectDocument = read(&fixture.run().join("bisect.json")).unwrap();
    let first = document.steps.iter().find(|step| step.role == Role::Step).unwrap().commit.clone();
    // As after a kill between the two: git knows the ends only.
    fs::remove_dir_all(fixture.run().join("repository")).unwrap();
    fixture.boots.borrow_mut().clear();
    let document = fixture.resume(SERIAL_FROM_7).unwrap();
    fixture.found_it(&document, FIRST_BAD);
    let place = fixture.commits.iter().position(|commit| *commit == first).unwrap();
    let again = fixture.boots.borrow().iter().filter(|actor| actor.place == place).count();
    assert!(again == 0 || [FIRST_BAD, FIRST_BAD - 1].contains(&place), "{again} boots of {place}");
}

#[test]
fn ends_are_those_of_then_when_a_search_goes_on() {
    let fixture = Fixture::new();
    fixture.search(&[], Script { stop_at: 7, ..SERIAL_FROM_7 }).unwrap_err();
    // The branch that is the bad end has another commit since.
    let tree = fixture.folder.path().join("linux");
    git(&tree, &["update-ref", "refs/heads/main", &fixture.commits[3]], "");
    let document = fixture.resume(SERIAL_FROM_7).unwrap();
    fixture.found_it(&document, FIRST_BAD);
    assert_eq!(document.bad, "main");
    assert_eq!(document.steps[1].commit, fixture.commits[COMMITS - 1]);
}

#[test]
fn versions_of_a_package_are_those_of_then_when_a_search_goes_on() {
    let fixture = Fixture::new();
    let mut settings = fixture.settings(&[]);
    // As apt knew them; it may have forgotten some since.
    let kernels = r#"{"packages": {"kernels": [
        {"name": "6.1.1-1", "spec": "linux-source-6.1=6.1.1-1"},
        {"name": "6.1.2-1", "spec": "linux-source-6.1=6.1.2-1"},
        {"name": "6.1.3-1", "spec": "linux-source-6.1=6.1.3-1"}]}}"#;
    settings.line = serde_json::from_str(kernels).unwrap();
    let text = serde_json::to_string(&settings).unwrap();
    let mut again: Settings = serde_json::from_str(&text).unwrap();
    let (bisection, Ends { good, bad }) = again.line.open(&fixture.run()).unwrap();
    assert_eq!([&good, &bad].map(|end| again.line.name(end)), ["6.1.1-1", "6.1.3-1"]);
    let Next::Examine { commit, .. } = bisection.begin(&good, &bad, &[]).unwrap() else { panic!() };
    assert_eq!(again.line.spec(&commit), "linux-source-6.1=6.1.2-1");
}

#[test]
fn two_at_once_do_not_go_on_with_one_search() {
    let fixture = Fixture::new();
    let first = Folder::enter(fixture.run()).unwrap();
    let refused = Folder::enter(fixture.run()).unwrap_err();
    assert_eq!((refused.kind, refused.seen.as_str()), (Kind::Asked, "another process is at it"));
    drop(first);
    enter(fixture.run());
}
