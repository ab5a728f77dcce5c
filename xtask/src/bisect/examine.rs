//! Boots of one kernel to what they show of a fault.

use std::path::Path;

use evidence::certainty::Tally;
use lab::failure::{Failure, Kind};
use lab::kernel::Recipe;
use lab::run::Bootable;
use lab::watch::Watch;
use report::document::RatioEntry;
use testcases::Seen;

use super::question::{Expected, Fault, Question};
use crate::metric::Metric;

/// How sure an answer has to be.
pub(super) const SURE: f64 = 0.99;
/// Boots after which a kernel is given up: of which nobody can tell by then, nobody will tell soon.
pub(crate) const MOST_BOOTS: u32 = 40;
/// Boots that show nothing, one way or the other, after which it is given up.
const MOST_UNCLEAR: usize = 3;

/// What a boot showed.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    /// It came to its end, or its kernel died.
    Told(Box<Seen>),
    /// No more, and only the host's clock says so: the kernel hangs, or the host was busy with something else.
    Silent(String),
    /// Nothing: it has to be repeated.
    Unclear(String),
    /// Nothing, and it never will: the kernel lacks something.
    Never(String),
}

/// Boots of an end of a search.
#[derive(Clone, Debug)]
pub(super) struct EndBoots {
    /// Those that told something.
    pub(super) seen: Vec<Seen>,
    /// How others fell silent.
    pub(super) silent: Vec<String>,
}

/// What is known of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// Whether it has the fault; `None` where nobody can tell.
    pub(super) bad: Option<bool>,
    /// What it showed, or why nobody can tell.
    pub(super) why: String,
    pub(super) tally: Tally,
    pub(super) ratio: Option<RatioEntry>,
    /// The chance that this is right.
    pub(super) sure: f64,
}

impl Found {
    /// Of which nobody can tell, and why.
    pub(super) fn untold(why: String) -> Self {
        Self { bad: None, why, tally: Tally::default(), ratio: None, sure: 0.5 }
    }
}

/// What makes kernels and boots them.
pub(super) trait Boots {
    /// The kernel of a recipe; in words why there is none, where that is the fault of its source.
    ///
    /// # Errors
    /// What is no fault of the source.
    fn kernel(&mut self, recipe: &Recipe) -> Result<Result<Bootable, String>, Failure>;

    /// Boots a kernel once.
    ///
    /// # Errors
    /// What is no fault of the kernel nor of its guest.
    fn boot(&mut self, kernel: &Bootable) -> Result<Sight, Failure>;

    /// Compares a kernel with another one until it is clear whether it takes more than so many times as long.
    ///
    /// # Errors
    /// As [`testcases::carry_out`]; `Guest` also where one falls silent.
    fn compare(
        &mut self,
        metric: Metric,
        good_and_other: (&Bootable, &Bootable),
        threshold: f64,
        folder: &Path,
    ) -> Result<Found, Failure>;
}

/// Kernels and their boots.
pub(super) struct Bench<'a> {
    pub(super) question: Question,
    pub(super) lab: Box<dyn Boots + 'a>,
    pub(super) watch: &'a dyn Watch,
}

impl Bench<'_> {
    /// Boots an end of the search until so many boots have told something; `told` says of one why it has not. Where it
    /// may hang, as many that all fall silent do as well.
    ///
    /// # Errors
    /// As [`Boots::boot`]; `Guest` where too many tell nothing.
    pub(super) fn boots(
        &mut self,
        end: &str,
        kernel: &Bootable,
        number: u32,
        may_hang: bool,
        told: &dyn Fn(&Seen) -> Result<(), String>,
    ) -> Result<EndBoots, Failure> {
        let mut boots = EndBoots { seen: Vec::new(), silent: Vec::new() };
        let (number, mut unclear, mut last) = (number as usize, 0, String::new());
        self.watch.stage(&format!("boot {}", kernel.name));
        while boots.seen.len() < number {
            let hangs = may_hang && boots.seen.is_empty() && unclear == 0;
            if hangs && boots.silent.len() == number {
                break;
            }
            if !hangs && unclear + boots.silent.len() >= MOST_UNCLEAR {
                let attempt = format!("judge the {end} of the search by boots of \"{}\"", kernel.name);
                let next = "see that it boots and can be judged: `cargo xtask boot` shows its console, `cargo xtask \
                    bench` what its boots tell; or take another end";
                return Err(Failure::new(Kind::Guest, attempt, last, next));
            }
            self.watch.count(boots.seen.len() as u64, Some(number as u64), "boots");
            let told = match self.lab.boot(kernel)? {
                Sight::Told(boot) => told(&boot).map(|()| boots.seen.push(*boot)),
                Sight::Silent(why) => {
                    boots.silent.push(why.clone());
                    last = why;
                    continue;
                }
                Sight::Unclear(why) | Sight::Never(why) => Err(why),
            };
            if let Err(why) = told {
                unclear += 1;
                last = why;
            }
        }
        Ok(boots)
    }

    /// Boots a kernel until it is sure whether it has the fault.
    ///
    /// # Errors
    /// As [`Boots::boot`].
    pub(super) fn tell(
        &mut self,
        kernel: &Bootable,
        expected: &Expected<'_>,
        chance: &dyn Fn(Tally) -> f64,
    ) -> Result<Found, Failure> {
        self.watch.stage(&format!("boot {}", kernel.name));
        let mut found = Found::untold("shows no fault".to_owned());
        let (mut unclear, mut silent) = (0, 0);
        while found.tally.boots() < MOST_BOOTS {
            let shown = match self.lab.boot(kernel)? {
                Sight::Told(seen) => self.question.shows(expected, &seen),
                Sight::Silent(why) => {
                    silent += 1;
                    let fault = Fault::silent(&why);
                    match silent {
                        _ if !expected.seeks(&fault) => Err(why),
                        // Once may be the host's doing: it counts when it comes again.
                        1 => Err(why),
                        2 => {
                            unclear -= 1;
                            found.tally = found.tally.with(true);
                            Ok(Some(fault.to_string()))
                        }
                        _ => Ok(Some(fault.to_string())),
                    }
                }
                Sight::Unclear(why) => Err(why),
                Sight::Never(why) => {
                    found.why = why;
                    return Ok(found);
                }
            };
            match shown {
                Ok(shown) => {
                    found.tally = found.tally.with(shown.is_some());
                    found.why = shown.unwrap_or(found.why);
                }
                Err(why) => {
                    unclear += 1;
                    if unclear >= MOST_UNCLEAR {
                        found.why = why;
                        return Ok(found);
                    }
                    continue;
                }
            }
            let chance = chance(found.tally);
            found.sure = chance.max(1.0 - chance);
            self.watch.count(u64::from(found.tally.boots()), None, "boots");
            if found.sure >= SURE {
                found.bad = Some(chance > 0.5);
                return Ok(found);
            }
        }
        found.why = format!("{} of {MOST_BOOTS} boots show it: neither good nor bad", found.tally.shown);
        Ok(found)
    }
}
