//! Tells on standard error what goes on: a line that moves on a terminal, plain lines elsewhere.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use evidence::plain::{line, plain};
use indicatif::{ProgressBar, ProgressStyle};
use lab::failure::{Failure, Kind};
use lab::watch::{Watch, to_go};

/// Elsewhere than on a terminal, a count is shown at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// How often the line moves.
const TICK: Duration = Duration::from_millis(100);

/// Where progress is shown. Nothing of it is coloured, so that `NO_COLOR` has nothing to switch off.
pub(crate) struct Screen {
    mode: Mode,
    state: Mutex<State>,
}

enum Mode {
    /// A line that moves.
    Bar(ProgressBar),
    /// A line for each stage, and now and then one of how far it is.
    Plain,
    /// Nothing but what was found.
    Quiet,
}

/// What goes on.
struct State {
    stage: String,
    begun: Instant,
    now: String,
    known: String,
    shown: Option<Instant>,
}

/// The line that moves: whoever writes to the same terminal has to take it off the screen meanwhile.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// The first write to standard output that failed otherwise than for want of a reader.
static LOST: OnceLock<String> = OnceLock::new();

/// Prints on standard output, nothing that does something to a terminal. Where the reader has gone there is nobody to tell; a full disk is told at the end, by
/// [`lost_output`].
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout();
    if let Err(e) = beside_the_bar(|| out.write_all(plain(text).as_bytes()).and_then(|()| out.flush()))
        && e.kind() != ErrorKind::BrokenPipe
    {
        LOST.get_or_init(|| e.to_string());
    }
}

/// Writes while the line that moves is off the screen, where there is one.
fn beside_the_bar<T>(write: impl FnOnce() -> T) -> T {
    match BAR.get() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// What kept results from standard output, if something did.
pub(crate) fn lost_output() -> Option<Failure> {
    let next = "free some space there, or name another file";
    LOST.get().map(|seen| Failure::new(Kind::Files, "write the results to standard output", seen, next))
}

/// Prints on standard error, nothing that does something to a terminal.
pub(crate) fn complain(text: &str) {
    let _ = beside_the_bar(|| writeln!(std::io::stderr(), "{}", plain(text)));
}

impl Screen {
    pub(crate) fn new(quiet: bool) -> Self {
        // A terminal that cannot move its cursor is a log.
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let mode = if quiet {
            Mode::Quiet
        } else if std::io::stderr().is_terminal() && !dumb {
            Mode::Bar(BAR.get_or_init(ProgressBar::new_spinner).clone())
        } else {
            Mode::Plain
        };
        Self { mode, state: Mutex::new(State::of("")) }
    }

    /// Changes what is known of what goes on, and shows it where there is a line for it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Mode::Bar(bar) = &self.mode {
            bar.set_message(line(&state.short()).into_owned());
        }
    }
}

impl State {
    fn of(stage: &str) -> Self {
        let (now, known) = (String::new(), String::new());
        Self { stage: stage.to_owned(), begun: Instant::now(), now, known, shown: Some(Instant::now()) }
    }

    /// The stage, and what of it is done now.
    fn message(&self) -> String {
        let Self { stage, now, known, .. } = self;
        let with = |before: &str, text: &str| {
            if text.is_empty() { String::new() } else { format!("{before}{text}") }
        };
        format!("{stage}{}{}", with(": ", now), with("; ", known))
    }

    /// What fits behind a bar: the stage only until there is more to say.
    fn short(&self) -> String {
        let more: Vec<&str> =
            [self.now.as_str(), &self.known].into_iter().filter(|text| !text.is_empty()).collect();
        if more.is_empty() { self.stage.clone() } else { more.join(": ") }
    }

    /// How far it is, how long that took, and about how long the rest will.
    fn how_far(&self, done: u64, of: Option<u64>, units: &str) -> String {
        let elapsed = self.begun.elapsed();
        let of_all = of.map_or_else(String::new, |of| format!(" of {of}"));
        let rest = of.and_then(|of| to_go(elapsed, done, of));
        let rest = rest.map_or_else(String::new, |rest| format!(", about {} s to go", rest.as_secs()));
        format!("{}: {done}{of_all} {units}, {} s so far{rest}", self.message(), elapsed.as_secs())
    }
}

impl Watch for Screen {
    fn stage(&self, what: &str) {
        self.change(|state| *state = State::of(what));
        match &self.mode {
            Mode::Bar(bar) => {
                bar.set_style(ProgressStyle::default_spinner());
                bar.unset_length();
                bar.reset();
                // Its end was that of the tick as well.
                bar.enable_steady_tick(TICK);
            }
            Mode::Plain => complain(what),
            Mode::Quiet => {}
        }
    }

    fn count(&self, done: u64, of: Option<u64>, units: &str) {
        match &self.mode {
            Mode::Bar(bar) => {
                // The templates are ours, and units have no braces: they parse.
                let tells = of.and_then(|of| to_go(Duration::ZERO, done, of)).is_some();
                let bar_and_rest = match (of, tells) {
                    (None, _) => ["", "{pos}", ""],
                    (Some(_), false) => ["{bar:12} ", "{pos}/{len}", ""],
                    (Some(_), true) => ["{bar:12} ", "{pos}/{len}", ", about {eta} to go"],
                };
                let [before, count, rest] = bar_and_rest;
                let template =
                    format!("{{spinner}} {before}{count} {units}, {{elapsed}}{rest}: {{wide_msg}}");
                if let Ok(style) = ProgressStyle::with_template(&template) {
                    bar.set_style(style);
                }
                match of {
                    Some(of) => bar.set_length(of),
                    None => bar.unset_length(),
                }
                bar.set_position(done);
            }
            Mode::Plain => self.change(|state| {
                if state.shown.is_none_or(|shown| shown.elapsed() >= PLAIN_EVERY) {
                    state.shown = Some(Instant::now());
                    complain(&state.how_far(done, of, units));
                }
            }),
            Mode::Quiet => {}
        }
    }

    fn now(&self, what: &str) {
        self.change(|state| what.clone_into(&mut state.now));
    }

    fn known(&self, what: &str) {
        self.change(|state| what.clone_into(&mut state.known));
    }

    fn note(&self, text: &str) {
        complain(text);
    }

    fn hand_over(&self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }

    fn quiet(&self) -> bool {
        matches!(self.mode, Mode::Quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_what_which_kernel_how_far_and_how_sure() {
        let mut state = State::of("boot at most 60 guests, TCG");
        state.now = "with".to_owned();
        state.known = "1 of 2 clear".to_owned();
        assert_eq!(
            state.how_far(3, Some(6), "guests"),
            "boot at most 60 guests, TCG: with; 1 of 2 clear: 3 of 6 guests, 0 s so far, about 0 s to go"
        );
        assert_eq!(state.short(), "with: 1 of 2 clear");
        assert_eq!(State::of("unpack").short(), "unpack");
        assert_eq!(State::of("unpack").how_far(0, None, "files"), "unpack: 0 files, 0 s so far");
    }
}
