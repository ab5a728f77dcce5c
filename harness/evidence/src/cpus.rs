//! A set of the host's CPUs, to and from the list format of Linux: "0-3,8".

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// CPUs of the host, by number. Empty where they are not known.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cpus(pub BTreeSet<u32>);

impl FromIterator<u32> for Cpus {
    fn from_iter<T: IntoIterator<Item = u32>>(cpus: T) -> Self {
        Self(cpus.into_iter().collect())
    }
}

/// Ranges with a comma between them, as in `/sys/devices/system/node/node0/cpulist`.
impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for cpu in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(*cpu) => *last = *cpu,
                _ => ranges.push((*cpu, *cpu)),
            }
        }
        for (place, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Cpus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not a list of CPUs like 0-3,8";
        /// More than any kernel can have: of a longer range no set is made.
        const MOST: u32 = 1 << 16;
        let mut cpus = BTreeSet::new();
        // A node without CPUs has an empty line.
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<u32>().map_err(|_| WRONG);
            let (first, last) = (number(first)?, number(last)?);
            if last >= MOST {
                return Err(WRONG);
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_as_it_was_written() {
        for list in ["", "0", "0-3", "0-3,8", "1,3,5-6"] {
            assert_eq!(list.parse::<Cpus>().unwrap().to_string(), list);
        }
        assert_eq!("0-3,8\n".parse::<Cpus>().unwrap(), [0, 1, 2, 3, 8].into_iter().collect());
        for wrong in ["x", "1-", "-1", "1-2-3"] {
            assert!(wrong.parse::<Cpus>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_longer_than_any_host_has_cpus_is_refused() {
        assert!("0-4294967295".parse::<Cpus>().is_err());
    }
}
