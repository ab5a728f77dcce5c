//! Tells on standard error what goes on: a line that moves on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use lab::watch::Watch;

/// Elsewhere than on a terminal, a count is shown at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// Where progress is shown.
pub(crate) struct Screen {
    bar: Option<ProgressBar>,
    plain: Mutex<Plain>,
}

#[derive(Default)]
struct Plain {
    stage: String,
    shown: Option<Instant>,
}

/// Prints on standard output. The write fails when the reader has gone: then there is nobody to tell.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a line on standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Screen {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, plain: Mutex::default() }
    }

    /// Takes the moving line off the screen.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => complain(text),
        }
    }
}

impl Watch for Screen {
    fn stage(&self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_style(ProgressStyle::default_spinner());
                bar.unset_length();
                bar.reset();
                bar.set_message(what.to_owned());
            }
            None => {
                let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
                *plain = Plain { stage: what.to_owned(), shown: Some(Instant::now()) };
                complain(what);
            }
        }
    }

    fn count(&self, done: u64, of: Option<u64>, units: &str) {
        if let Some(bar) = &self.bar {
            if let Some(of) = of {
                // The template is ours, and units have no braces: it parses.
                let template = format!(
                    "{{spinner}} {{msg}} {{bar:30}} {{pos}}/{{len}} {units} {{elapsed}}, {{eta}} to go"
                );
                if let Ok(style) = ProgressStyle::with_template(&template) {
                    bar.set_style(style);
                }
                bar.set_length(of);
            } else if let Ok(style) =
                ProgressStyle::with_template(&format!("{{spinner}} {{msg}} {{pos}} {units} {{elapsed}}"))
            {
                bar.set_style(style);
            }
            bar.set_position(done);
            return;
        }
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if plain.shown.is_none_or(|shown| shown.elapsed() >= PLAIN_EVERY) {
            plain.shown = Some(Instant::now());
            let of = of.map_or_else(String::new, |of| format!(" of {of}"));
            complain(&format!("{}: {done}{of} {units}", plain.stage));
        }
    }

    fn note(&self, text: &str) {
        self.say(text);
    }
}
