//! Asks how long the threads of a guest ran.

use std::collections::HashMap;
use std::time::Duration;

use evidence::units::ThreadId;
use protocol::{Answer, CpuTime, Request};

use super::Session;
use crate::guest::{CallError, Trouble};

/// Threads with how long they ran.
pub(super) type CpuTimes = Vec<(ThreadId, Duration)>;

impl Session<'_> {
    /// How long each thread ran since it is there; `None` on a kernel that does not say.
    pub(super) fn cpu_times(&mut self) -> Result<Option<CpuTimes>, Trouble> {
        let patience = self.patience();
        match self.guest.call("read CPU times", Request::ReadCpuTimes, patience) {
            Ok((Answer::CpuTimes(times), _)) => {
                let time = |CpuTime { pid, nanos }| (ThreadId(pid), Duration::from_nanos(nanos));
                Ok(Some(times.into_iter().map(time).collect()))
            }
            Ok((other, _)) => Err(self.cannot("read CPU times", format!("the agent answered {other:?}"))),
            Err(CallError::Refused(why)) => {
                self.blind_to(format!("CPU times: {why}"));
                Ok(None)
            }
            Err(CallError::Lost(lost)) => Err(lost.into()),
        }
    }

    /// How long each thread ran since then, those that did not left out.
    pub(super) fn cpu_times_since(&mut self, before: Option<CpuTimes>) -> Result<Option<CpuTimes>, Trouble> {
        let now = self.cpu_times()?;
        Ok(before.zip(now).map(|(before, now)| since(before, now)))
    }
}

/// The difference. A thread that was not there before has run all its time since.
fn since(before: CpuTimes, now: CpuTimes) -> CpuTimes {
    let before: HashMap<ThreadId, Duration> = before.into_iter().collect();
    let ran = |(thread, time): (ThreadId, Duration)| {
        let ran = time.saturating_sub(before.get(&thread).copied().unwrap_or_default());
        (!ran.is_zero()).then_some((thread, ran))
    };
    now.into_iter().filter_map(ran).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_ran_before_does_not_count() {
        let time = |thread: u32, millis: u64| (ThreadId(thread), Duration::from_millis(millis));
        let before = vec![time(1, 5), time(2, 7), time(3, 9)];
        let now = vec![time(1, 5), time(2, 8), time(4, 2)];
        assert_eq!(since(before, now), [time(2, 1), time(4, 2)]);
    }
}
