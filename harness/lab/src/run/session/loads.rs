//! Loads and unloads modules.

use std::time::{Duration, Instant};

use protocol::Request;

use super::Session;
use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::guest::{CallError, Trouble};

impl Session<'_> {
    /// Loads a module after those it depends on. One that is loaded already is left as it is.
    pub(super) fn load(&mut self, module: &str, params: &str) -> Result<(), Trouble> {
        let Some(request) = self.load_request(module, params)? else { return Ok(()) };
        self.tell(&format!("load {module}"), request, self.patience())
    }

    pub(super) fn try_load(&mut self, module: &str, params: &str) -> Result<(), Trouble> {
        let Some(request) = self.load_request(module, params)? else { return Ok(()) };
        match self.guest.call(&format!("load {module}"), request, self.patience()) {
            Ok(_) => {}
            Err(CallError::Refused(_)) => self.at.loaded.retain(|name| name != module),
            Err(CallError::Lost(lost)) => return Err(lost.into()),
        }
        Ok(())
    }

    pub(super) fn begin_load(&mut self, module: &str, params: &str) -> Result<(), Trouble> {
        let Some(request) = self.load_request(module, params)? else { return Ok(()) };
        let pending = self.guest.begin(&format!("load {module}"), request)?;
        self.begun.push(pending);
        Ok(())
    }

    /// Loads what the module depends on; the request for itself, or `None` where it is loaded.
    pub(super) fn load_request(&mut self, module: &str, params: &str) -> Result<Option<Request>, Trouble> {
        if self.at.loaded.iter().any(|name| name == module) {
            return Ok(None);
        }
        let known = self.boot.kernel.modules.iter().find(|known| known.name == module);
        for dependency in known.map_or(&[][..], |known| &known.depends) {
            self.load(dependency, "")?;
        }
        if known.is_none() {
            if self.boot.kernel.built_in.iter().any(|name| name == module) {
                return Ok(None);
            }
            let attempt = format!("load {module} with the kernel \"{}\"", self.boot.kernel.name);
            let seen = "it has no such module, and it is not built in";
            let next = "ask for it in a configuration fragment of that kernel";
            return Err(Failure::new(Kind::Build, attempt, seen, next).into());
        }
        self.at.loaded.push(module.to_owned());
        Ok(Some(Request::LoadModule { name: module.to_owned(), params: drawn(params, &mut self.at.rng) }))
    }

    pub(super) fn finish(&mut self) -> Result<(), Trouble> {
        for pending in std::mem::take(&mut self.begun) {
            let finished = self.guest.finish(&pending, self.patience());
            finished.map_err(|e| self.trouble(e, Kind::Refused, "finish a load"))?;
        }
        Ok(())
    }

    /// The kernel refuses while the module is in use, and a disk that is read for its partitions is a use.
    pub(super) fn unload(&mut self, module: &str) -> Result<(), Trouble> {
        let doing = format!("unload {module}");
        let deadline = Instant::now() + self.patience();
        loop {
            let request = Request::UnloadModule { name: module.to_owned() };
            match self.guest.call(&doing, request, self.patience()) {
                Ok(_) => break,
                Err(CallError::Refused(_)) if Instant::now() < deadline => {
                    cancel::check(&doing)?;
                    // Not so often that the marks of each attempt overrun the log.
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(e) => return Err(self.trouble(e, Kind::Refused, &doing)),
            }
        }
        self.at.loaded.retain(|name| name != module);
        Ok(())
    }
}

/// Parameters with each `{60}` replaced by a number from 1 to 60.
fn drawn(params: &str, rng: &mut fastrand::Rng) -> String {
    let mut parts = params.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let drawn = part.split_once('}').and_then(|(most, rest)| Some((most.parse::<u32>().ok()?, rest)));
        match drawn {
            Some((most, rest)) => text.push_str(&format!("{}{rest}", rng.u32(1..=most.max(1)))),
            None => text.push_str(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_follows_from_the_seed_and_keeps_within_its_bounds() {
        let draw = |seed| drawn("delay_ms={60} drivers=2 gap_us={9}", &mut fastrand::Rng::with_seed(seed));
        assert_eq!(draw(7), draw(7));
        let texts: std::collections::BTreeSet<String> = (0..100).map(draw).collect();
        assert!(texts.len() > 50, "{texts:?}");
        for text in texts {
            let numbers: Vec<u32> = text.split(['=', ' ']).filter_map(|part| part.parse().ok()).collect();
            let [delay, 2, gap] = numbers[..] else { panic!("{text}") };
            assert!((1..=60).contains(&delay) && (1..=9).contains(&gap), "{text}");
        }
        assert_eq!(drawn("scan=async", &mut fastrand::Rng::with_seed(1)), "scan=async");
    }
}
