//! Faults of the host under a whole bench, as a person would meet them: the command line, started and disturbed.

mod disk;
mod places;
mod signals;
mod together;
mod world;

use lab::kernel::Store;
use libtest_mimic::{Completion, Trial};

use crate::outcome::{Wrong, carry_out, skipped};
use world::World;

pub(crate) fn trials() -> Vec<Trial> {
    [signals::TESTS, together::TESTS, disk::TESTS, places::TESTS]
        .concat()
        .into_iter()
        .map(Test::trial)
        .collect()
}

/// A test with a world of its own.
#[derive(Clone, Copy)]
struct Test {
    name: &'static str,
    /// What it takes besides the command line; a reason where that is not there.
    lacks: fn() -> Option<&'static str>,
    test: fn(&World) -> Result<(), Wrong>,
}

impl Test {
    fn trial(self) -> Trial {
        let Self { name, lacks, test } = self;
        let name = format!("faults::{name}");
        Trial::ignorable_test(name.clone(), move || {
            if let Some(why) = no_command_line().or_else(lacks) {
                return Ok(Completion::ignored_with(skipped(&name, why)?));
            }
            carry_out(&name, || {
                let world = World::new(&name.replace("::", "-"))?;
                test(&world)?;
                world.end()
            })?;
            Ok(Completion::Completed)
        })
    }
}

fn no_command_line() -> Option<&'static str> {
    if Store::open().is_ok_and(|store| store.kit().is_some()) {
        return Some("an archive of tests has no command line");
    }
    world::xtask()
        .is_none()
        .then_some("the command line was not built: start the tests with `cargo xtask test`")
}

/// Nothing is needed.
fn nothing() -> Option<&'static str> {
    None
}

/// For whoever wants to know what was seen, or to do it again.
#[allow(clippy::print_stderr)]
fn tell(text: &str) {
    eprintln!("{text}");
}
