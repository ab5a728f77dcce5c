//! Quantities of the guest as types of their own, so that a CPU is not taken for a node.

use std::fmt;
use std::num::ParseIntError;
use std::ops::Sub;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the guest's `local_clock()`, in microseconds since boot: what printk and the trace both stamp.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct KernelTime(u64);

impl KernelTime {
    /// From microseconds since boot.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since boot.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this; zero where `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Sub<Duration> for KernelTime {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(micros(rhs)))
    }
}

/// Seconds with six digits, as printk and ftrace write them.
impl fmt::Display for KernelTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl FromStr for KernelTime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not seconds with six digits after the point";
        let (seconds, fraction) = text.split_once('.').ok_or(WRONG)?;
        if fraction.len() != 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(WRONG);
        }
        let seconds: u64 = seconds.parse().map_err(|_| WRONG)?;
        let micros: u64 = fraction.parse().map_err(|_| WRONG)?;
        seconds.checked_mul(1_000_000).and_then(|s| s.checked_add(micros)).map(Self).ok_or(WRONG)
    }
}

/// Whole microseconds of a duration.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map(Self)
            }
        }
    };
}

number! {
    /// A NUMA node of the guest.
    NodeId
}
number! {
    /// A CPU of the guest.
    CpuId
}
number! {
    /// A thread of the guest, by its PID in the initial namespace.
    ThreadId
}

/// Host, channel, target and LUN of a SCSI device: the name of a LUN that does not depend on probe order.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LunAddress {
    /// Number of the SCSI host (the HBA), in the order in which they were added.
    pub host: u32,
    /// Channel of the host.
    pub channel: u32,
    /// Target on the channel.
    pub target: u32,
    /// Logical unit of the target.
    pub lun: u64,
}

impl fmt::Display for LunAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.host, self.channel, self.target, self.lun)
    }
}

impl FromStr for LunAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not host:channel:target:lun";
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or(WRONG);
        let address = Self {
            host: next()?.parse().map_err(|_| WRONG)?,
            channel: next()?.parse().map_err(|_| WRONG)?,
            target: next()?.parse().map_err(|_| WRONG)?,
            lun: next()?.parse().map_err(|_| WRONG)?,
        };
        if parts.next().is_some() { Err(WRONG) } else { Ok(address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_times_are_read_and_written_as_printk_does() {
        let time: KernelTime = "12.000345".parse().unwrap();
        assert_eq!(time.as_micros(), 12_000_345);
        assert_eq!(time.to_string(), "12.000345");
        for wrong in ["12", "12.5", "-1.000000", "1.00000x", "99999999999999999999.000000"] {
            assert!(wrong.parse::<KernelTime>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lun_addresses_sort_by_number_and_not_by_text() {
        let mut addresses: Vec<LunAddress> =
            ["0:0:0:10", "0:0:0:9", "1:0:0:0"].iter().map(|a| a.parse().unwrap()).collect();
        addresses.sort();
        assert_eq!(addresses.map_to_text(), ["0:0:0:9", "0:0:0:10", "1:0:0:0"]);
        assert!("0:0:0".parse::<LunAddress>().is_err());
        assert!("0:0:0:0:0".parse::<LunAddress>().is_err());
    }

    trait MapToText {
        fn map_to_text(&self) -> Vec<String>;
    }

    impl MapToText for Vec<LunAddress> {
        fn map_to_text(&self) -> Vec<String> {
            self.iter().map(ToString::to_string).collect()
        }
    }
}
