//! Times that kernels are compared in.

use std::time::Duration;

use clap::ValueEnum;
use evidence::boot::Boot;
use evidence::stats;
use serde::{Deserialize, Serialize};
use testcases::{BootResult, KernelResult, Sample};

/// A time that is compared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub(crate) enum Metric {
    /// From the first probe's start to the last one's end
    Makespan,
    /// How long loading the module took: with what comes before the first probe and after the last
    Insmod,
    /// How long the probe in the middle took
    Probe,
}

impl Metric {
    /// Those of a bench.
    pub(crate) const OF_A_BENCH: [Self; 2] = [Self::Makespan, Self::Insmod];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Makespan => "makespan",
            Self::Insmod => "insmod",
            Self::Probe => "probe",
        }
    }

    fn of(self, boot: &Boot) -> Option<Duration> {
        match self {
            Self::Makespan => boot.facts.makespan,
            Self::Insmod => boot.facts.insmod,
            Self::Probe => stats::median(boot.best().probes.iter().map(|probe| probe.end.since(probe.start))),
        }
    }

    /// The times of two kernels, boot by boot. A pair with a boot on which no claim can rest is left out.
    pub(crate) fn pairs(self, first: &KernelResult, other: &KernelResult) -> Vec<(Duration, Duration)> {
        // Samples of one boot are related: together they say what that boot says, only better.
        let sound = |boot: &BootResult| {
            let time = |sample: &Sample| self.of(sample.boot().filter(|boot| boot.doubt().is_none())?);
            let times: Option<Vec<Duration>> = boot.samples.iter().map(time).collect();
            stats::geometric_mean(&times?)
        };
        let all = first.boots.iter().zip(&other.boots);
        all.filter_map(|(a, b)| Some((sound(a)?, sound(b)?))).collect()
    }

    /// Whether any boot has this time.
    pub(crate) fn is_in(self, results: &[&KernelResult]) -> bool {
        let samples = results.iter().flat_map(|result| &result.boots).flat_map(|boot| &boot.samples);
        samples.filter_map(Sample::boot).any(|boot| self.of(boot).is_some())
    }
}
