//! Reads how long every process ran, kernel threads too, from their CPU clocks.

use std::io;

use nix::errno::Errno;
use nix::time::ClockId;
use nix::unistd::Pid;
use protocol::CpuTime;

use crate::sysfs;

/// The CPU times of all processes. /proc/PID/stat has them in hundredths of a second; a probe takes a tenth of that.
pub(crate) fn of_all() -> io::Result<Vec<CpuTime>> {
    let processes = sysfs::entries("/proc")?.into_iter().filter_map(|name| name.parse::<i32>().ok());
    let time = |pid: i32| match ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).and_then(ClockId::now) {
        Ok(time) => {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            let nanos = seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0);
            Some(Ok(CpuTime { pid: pid.unsigned_abs(), nanos }))
        }
        // It ended since the folder was read.
        Err(Errno::ESRCH | Errno::EINVAL) => None,
        Err(e) => Some(Err(e.into())),
    };
    processes.filter_map(time).collect()
}
