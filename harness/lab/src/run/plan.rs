//! What a run is to do, and in which order.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::write;
use crate::accelerator::Choice;
use crate::failure::Failure;
use crate::guest::topology::Topology;

/// What a run is to do: `plan.json` in its folder, there before the first boot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plan {
    /// The case, by name.
    pub case: String,
    /// The shape of the guests.
    pub topology: Topology,
    /// Cores of the host that the harness may use.
    pub host_cores: u32,
    /// TCG or KVM, and why.
    pub accelerator: Choice,
    /// The folder of each boot and its kernel, in order. Where a run ends when it is clear, the last ones may not be
    /// made.
    pub boots: Vec<(String, String)>,
    /// How often each boot is forked: the folder of a fork is that of its boot with `-fork-<number>` after it.
    #[serde(default)]
    pub forks: usize,
}

impl Plan {
    /// Writes it to the folder of the run.
    ///
    /// # Errors
    /// `Files`.
    pub fn write(&self, run: &Path) -> Result<(), Failure> {
        write(&run.join("plan.json"), self)
    }
}

/// The order of boots: every round has each kernel once, and every other round goes backwards, so that no
/// kernel always follows the same one and a drift of the machine falls on all alike.
pub fn interleaved(kernels: usize, rounds: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rounds).flat_map(move |round| {
        (0..kernels).map(move |place| (round, if round % 2 == 0 { place } else { kernels - 1 - place }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_each_kernel_once_and_turns_around() {
        let order: Vec<_> = interleaved(3, 2).collect();
        assert_eq!(order, [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)]);
    }
}
