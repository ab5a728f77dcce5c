//! When a kernel is configured again, and what its configuration does not depend on.

use lab::failure::Kind;
use lab::kernel::State;
use lab::watch::{Nobody, Watch};

use crate::fixture::{Fixture, Notes, config};

#[test]
fn another_commit_is_configured_anew() {
    let fixture = Fixture::new();
    let first = fixture.git_tree("linux");
    fixture.write("linux/known", "TINY");
    fixture.write("linux/Kconfig", "config TINY\nconfig NUMA\n");
    let second = fixture.commit("linux");
    let ensure = |commit: &str, notes: &dyn Watch| {
        fixture.store().ensure(&[fixture.of_tree("linux", State::Commit(commit.to_owned()))], notes)
    };
    ensure(&first, &Nobody).unwrap();
    // A symbol of which the source knows nothing is left out, and that is said.
    let notes = Notes::default();
    ensure(&second, &notes).unwrap();
    assert_eq!(notes.0.into_inner().unwrap(), ["tree: this source has no CONFIG_SMP"]);
    // One that it knows and does not grant is an error.
    fixture.write("linux/Kconfig", "config TINY\nconfig SMP\n");
    let third = fixture.commit("linux");
    let failure = ensure(&third, &Nobody).unwrap_err();
    assert_eq!(failure.kind, Kind::Build);
    assert!(failure.seen.contains("CONFIG_SMP: asked for y, got n"), "{failure}");
}

#[test]
fn the_configuration_does_not_depend_on_what_was_built_before() {
    let patch = |fixture: &Fixture, value: &str| {
        fixture.recipe(value, &[fixture.default(&format!("CONFIG_NEW={value}"))])
    };
    let (one, other) = (Fixture::new(), Fixture::new());
    let both = one.ensure(&[patch(&one, "y"), patch(&one, "m")]);
    let alone = other.ensure(&[patch(&other, "m")]);
    assert_eq!(both[1].identity.id, alone[0].identity.id);
    assert_eq!(config(&both[1]), config(&alone[0]));
    assert!(config(&alone[0]).contains("CONFIG_NEW=m"));
}

#[test]
fn a_kernel_is_configured_again_where_a_patch_can_change_the_configuration() {
    let fixture = Fixture::new();
    let (code, other) = (fixture.patch("first"), fixture.patch("second"));
    let default = fixture.default("CONFIG_NEW=y");
    let seen: Vec<_> = [vec![], vec![code.clone()], vec![code, default.clone()], vec![default], vec![other]]
        .iter()
        .map(|series| {
            let kernel = fixture.ensure(&[fixture.recipe("mine", series)]).remove(0);
            (fixture.configurations(), config(&kernel).contains("CONFIG_NEW"))
        })
        .collect();
    // Whatever else is in the series, the same patch of the configuration decides it.
    assert_eq!(seen, [(1, false), (1, false), (2, true), (2, true), (3, false)]);
}

#[test]
fn a_configuration_that_came_to_nothing_is_nobody_elses() {
    let fixture = Fixture::new();
    fixture.ensure(&[fixture.recipe("plain", &[])]);
    let failing = fixture.recipe("failing", &[fixture.default("CONFIG_NEW=fail")]);
    assert_eq!(fixture.store().ensure(&[failing], &Nobody).unwrap_err().kind, Kind::Build);
    let kernel = fixture.ensure(&[fixture.recipe("next", &[fixture.patch("first")])]).remove(0);
    assert!(!config(&kernel).contains("CONFIG_NEW"), "{}", config(&kernel));
}
