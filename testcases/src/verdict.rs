//! Holds what a case expects of a kernel against what its boots show.

use std::time::Duration;

use evidence::boot::Boot;
use evidence::judge::{self, Expectation, Finding, Outcome};
use lab::failure::{Failure, Kind};
use lab::guest::Cause;
use lab::kernel::Behaviour;
use lab::run::Ending;

use crate::case::{Case, Circumstances, EVERY, PER_DRIVER, PER_NODE, Promise, SecondOpinion};

/// What one boot of a case showed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its folder, as the verdict is to name it.
    pub folder: String,
    /// What came of it.
    pub end: End,
}

/// What came of a boot.
#[derive(Clone, Debug)]
pub enum End {
    /// It did all it was told to: what each phase says.
    Well(Vec<Boot>),
    /// The kernel died.
    Died {
        /// How.
        cause: Cause,
        /// While it was told to do this.
        doing: String,
        /// What it said last.
        log: String,
    },
    /// The kernel refused a step: what was tried, and what it said.
    Refused(String),
}

impl End {
    /// How it ended, and in what; `None` where all went well.
    pub fn why(&self) -> Option<String> {
        match self {
            Self::Well(_) => None,
            Self::Died { cause, doing, log: _ } => Some(format!("{cause}; while it was to {doing}")),
            Self::Refused(what) => Some(what.clone()),
        }
    }
}

impl Seen {
    /// Reads what a boot of this case left.
    ///
    /// # Errors
    /// The failure of the boot, unless it says something about the kernel.
    pub fn of(
        case: &Case,
        circumstances: &Circumstances,
        folder: &str,
        ending: Result<Ending, Failure>,
    ) -> Result<Self, Failure> {
        let end = match ending {
            Ok(Ending::Well(record)) => End::Well(record.read(&case.asks(circumstances))),
            Ok(Ending::Died { lost, log }) => End::Died { cause: lost.cause, doing: lost.doing, log },
            Err(failure) if failure.kind == Kind::Refused => {
                End::Refused(format!("could not {}: {}", failure.attempt, failure.seen))
            }
            Err(failure) => return Err(failure),
        };
        Ok(Self { folder: folder.to_owned(), end })
    }

    /// What each phase says; `None` where it did not come to its end.
    pub fn phases(&self) -> Option<&[Boot]> {
        match &self.end {
            End::Well(phases) => Some(phases),
            End::Died { .. } | End::Refused(_) => None,
        }
    }

    /// The makespan of the first phase; `None` where no claim can rest on it.
    pub fn makespan(&self) -> Option<Duration> {
        self.phases()?.first().filter(|boot| boot.doubt().is_none())?.facts.makespan
    }
}

/// What a kernel showed in a case.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What is expected of it, judged.
    pub findings: Vec<Finding>,
    /// What is expected of kernels of another kind, judged: which of these promises it keeps as well.
    pub others: Vec<Finding>,
}

impl Verdict {
    /// All that is expected together.
    pub fn outcome(&self) -> Outcome {
        Outcome::of_all(self.findings.iter().map(|finding| finding.outcome))
    }

    /// Judges the boots of a kernel. Of one of which it is not known how it behaves, only that is expected which
    /// is expected of every kernel.
    pub fn of(case: &Case, kernel: Option<Behaviour>, circumstances: &Circumstances, seen: &[Seen]) -> Self {
        if let Some(dies) = case.dies {
            return Self { findings: vec![death(&dies, seen)], others: Vec::new() };
        }
        let (mut findings, mut others) = (vec![survival(seen)], Vec::new());
        let died = findings[0].outcome != Outcome::Supported;
        for promise in case.promises {
            let expectation = (promise.expect)(circumstances);
            let finding = judged(case, promise.phase, &expectation, seen);
            let expected = match kernel {
                Some(kernel) => promise.of.contains(&kernel),
                None => promise.of.len() == EVERY.len(),
            };
            let group = if expected { &mut findings } else { &mut others };
            // A kernel that died tells nothing else, and that it died is said already. But where one boot ended early,
            // what another one has refuted stays so.
            if (!died || expected && finding.outcome == Outcome::Refuted) && !group.contains(&finding) {
                group.push(finding);
            }
        }
        if !died {
            if !case.alike.is_empty() {
                let expected = kernel.is_some_and(|kernel| case.alike.contains(&kernel));
                let group = if expected { &mut findings } else { &mut others };
                group.push(alike(kernel, seen));
            }
            // Whose probes may leave their node passes either judge by chance (seen: 22 of 24 placed, and content).
            let chance = kernel.is_none_or(|kernel| kernel == Behaviour::NearNode);
            let group = if chance { &mut others } else { &mut findings };
            group.extend(case.second_opinion.map(|second| agreement(case, &second, circumstances, seen)));
        }
        let complaints = judged(case, 0, &Expectation::NoComplaint, seen);
        if !died || complaints.outcome == Outcome::Refuted {
            findings.push(complaints);
        }
        Self { findings, others }
    }

    /// Whether a kernel lives, and probes and binds what it is to, whatever its kind: without that its times are of
    /// something else.
    pub fn of_devices(case: &Case, circumstances: &Circumstances, seen: &[Seen]) -> Vec<Finding> {
        let of_every = case.promises.iter().filter(|promise| promise.of.len() == EVERY.len());
        let bound = of_every.filter_map(|promise| match (promise.expect)(circumstances) {
            expectation @ (Expectation::AllBound { .. }
            | Expectation::AllBoundInTheEnd { .. }
            | Expectation::Bound { .. }) => Some(judged(case, promise.phase, &expectation, seen)),
            _ => None,
        });
        std::iter::once(survival(seen)).chain(bound).collect()
    }

    /// What only kernels of other kinds have to show, judged on one that is not to show it: an expectation that holds
    /// everywhere proves nothing. Nothing for a kernel that died.
    pub fn contraries(
        case: &Case,
        kernel: Behaviour,
        circumstances: &Circumstances,
        seen: &[Seen],
    ) -> Vec<Finding> {
        if case.dies.is_some() || survival(seen).outcome != Outcome::Supported {
            return Vec::new();
        }
        let only_of_others = |of: &[Behaviour]| {
            let any = |kinds: &[Behaviour]| kinds.iter().any(|kind| of.contains(kind));
            !of.contains(&kernel) && any(opposites(kernel)) && !any(perhaps(kernel))
        };
        let mut found: Vec<Finding> = Vec::new();
        for promise in case.promises.iter().filter(|promise| !promise.chance && only_of_others(promise.of)) {
            found.push(judged(case, promise.phase, &(promise.expect)(circumstances), seen));
        }
        if only_of_others(case.alike) {
            found.push(alike(Some(kernel), seen));
        }
        found
    }
}

/// The kinds of kernels that are told apart from this one.
fn opposites(kernel: Behaviour) -> &'static [Behaviour] {
    match kernel {
        Behaviour::PerDriver => PER_NODE,
        // Between the two: serial it is not, and placed neither.
        Behaviour::PerDevice => &[Behaviour::PerDriver, Behaviour::PerNode],
        Behaviour::PerNode | Behaviour::NearNode => PER_DRIVER,
    }
}

/// The kinds that a kernel may happen to be like: its probes may leave their nodes or stay there.
fn perhaps(kernel: Behaviour) -> &'static [Behaviour] {
    match kernel {
        Behaviour::NearNode => &[Behaviour::PerDevice],
        Behaviour::PerDriver | Behaviour::PerDevice | Behaviour::PerNode => &[],
    }
}

/// Whether the two phases are alike, on their nodes as well where the kernel is to place its probes: elsewhere it is
/// chance how many are there.
fn alike(kernel: Option<Behaviour>, seen: &[Seen]) -> Finding {
    let placed = kernel.is_none_or(|kernel| PER_NODE.contains(&kernel));
    judge::judge_alike(&phases(seen, 0), &phases(seen, 1), placed)
}

/// Whether another judge finds what we find.
fn agreement(case: &Case, second: &SecondOpinion, circumstances: &Circumstances, seen: &[Seen]) -> Finding {
    let find = |promise: &Promise| judged(case, promise.phase, &(promise.expect)(circumstances), seen);
    let ours: Vec<Finding> = second.ours.iter().map(find).collect();
    let theirs = find(&second.theirs);
    let our_outcome = Outcome::of_all(ours.iter().map(|finding| finding.outcome));
    let outcome = match (our_outcome, theirs.outcome) {
        (Outcome::Supported, Outcome::Supported) | (Outcome::Refuted, Outcome::Refuted) => Outcome::Supported,
        (Outcome::Supported, Outcome::Refuted) | (Outcome::Refuted, Outcome::Supported) => Outcome::Refuted,
        _ => Outcome::Inconclusive,
    };
    let told = |finding: &Finding| format!("{}: {}; {}", finding.expected, finding.seen, finding.outcome);
    let all = ours.iter().chain([&theirs]);
    Finding {
        expected: "the other judge finds what we find".to_owned(),
        seen: format!("ours {our_outcome}, theirs {}", theirs.outcome),
        outcome,
        evidence: all.flat_map(|finding| [vec![told(finding)], finding.evidence.clone()].concat()).collect(),
    }
}

fn judged(case: &Case, phase: usize, expectation: &Expectation, seen: &[Seen]) -> Finding {
    let mut finding = judge::judge(expectation, &phases(seen, phase));
    // The name of the phase, where there are several.
    let names: Vec<&str> = lab::run::Step::phases(case.steps);
    if names.len() > 1
        && *expectation != Expectation::NoComplaint
        && let Some(name) = names.get(phase)
    {
        finding.expected = format!("{name}: {}", finding.expected);
    }
    finding
}

/// The boots that came to their end, each with one of its phases.
fn phases(seen: &[Seen], phase: usize) -> Vec<(String, Boot)> {
    let of = |seen: &Seen| match &seen.end {
        End::Well(phases) => Some((seen.folder.clone(), phases.get(phase)?.clone())),
        End::Died { .. } | End::Refused(_) => None,
    };
    seen.iter().filter_map(of).collect()
}

/// Every kernel is expected to live, and to do what it is told.
fn survival(seen: &[Seen]) -> Finding {
    let mut evidence = Vec::new();
    let mut deaths = Vec::new();
    for boot in seen {
        if let Some(why) = boot.end.why() {
            evidence.push(format!("{why}: {}", boot.folder));
        }
        if let End::Died { cause, log, .. } = &boot.end {
            deaths.push(cause.to_string());
            evidence.extend(stacks(log, cause).into_iter().next().unwrap_or_default());
        }
        if let End::Refused(what) = &boot.end {
            deaths.push(what.clone());
        }
    }
    let lost = seen.iter().filter(|boot| !matches!(boot.end, End::Well(_)));
    let outcome = match (seen.is_empty(), deaths.is_empty()) {
        (true, _) => Outcome::NotRun,
        (_, true) => Outcome::Supported,
        _ if lost.clone().all(by_the_host) => Outcome::Inconclusive,
        _ => Outcome::Refuted,
    };
    let seen = deaths.first().cloned().unwrap_or_else(|| "it does".to_owned());
    Finding { expected: "the kernel lives and does what it is told".to_owned(), seen, outcome, evidence }
}

fn by_the_host(boot: &Seen) -> bool {
    matches!(&boot.end, End::Died { cause, .. } if cause.may_be_the_hosts())
}

/// A kernel is expected to die, in a certain way.
fn death(dies: &crate::case::Dies, seen: &[Seen]) -> Finding {
    let expected = format!("a {} in {}", dies.of, dies.through);
    let mut evidence = Vec::new();
    let mut outcomes = Vec::new();
    let mut said = String::new();
    for boot in seen {
        let (outcome, text) = match &boot.end {
            End::Well(_) | End::Refused(_) => (Outcome::Refuted, "it lives".to_owned()),
            End::Died { cause, log, .. } => {
                let as_expected = matches!(
                    cause,
                    Cause::Kernel { death, .. } | Cause::Starved { death, .. } if *death == dies.of
                );
                let mut stacks = stacks(log, cause).into_iter();
                let through = stacks.find(|stack| stack.iter().any(|line| line.contains(dies.through)));
                let outcome = match (as_expected, &through) {
                    (true, Some(_)) => Outcome::Supported,
                    _ if by_the_host(boot) => Outcome::Inconclusive,
                    _ => Outcome::Refuted,
                };
                evidence.extend(through.unwrap_or_default());
                (outcome, cause.to_string())
            }
        };
        outcomes.push(outcome);
        evidence.insert(0, format!("{text}: {}", boot.folder));
        said = text;
    }
    Finding { expected, seen: said, outcome: Outcome::of_all(outcomes), evidence }
}

/// The call traces of a log from the notice of the death on: each `Call Trace:` with the lines behind it that begin
/// with a space, as /dev/kmsg and the console show them.
fn stacks(log: &str, cause: &Cause) -> Vec<Vec<String>> {
    /// Deeper ones say no more.
    const DEEPEST: usize = 24;
    let text = |line: &str| -> String {
        // A record of /dev/kmsg has its fields before a semicolon, a console line its stamps in brackets.
        let line = line.split_once(';').map_or(line, |(_, text)| text);
        line.rsplit_once("] ").map_or(line, |(_, text)| text).to_owned()
    };
    let notice = match cause {
        Cause::Kernel { line, .. } | Cause::Starved { line, .. } => text(line),
        _ => String::new(),
    };
    let lines: Vec<String> = log.lines().map(text).collect();
    let from = lines.iter().position(|line| line.contains(&notice)).unwrap_or(0);
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut within = false;
    for line in &lines[from..] {
        if line.contains("Call Trace:") {
            found.push(vec!["  Call Trace:".to_owned()]);
            within = true;
        } else if within && line.starts_with(' ') {
            if let Some(stack) = found.last_mut()
                && line.contains('+')
                && stack.len() <= DEEPEST
            {
                stack.push(format!("  {}", line.trim()));
            }
        } else {
            within = false;
        }
    }
    found
}

#[cfg(test)]
mod tests;
