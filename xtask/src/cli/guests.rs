//! Which guests can be asked for: their shape, how many boots, how many forks of each.

use std::fmt;
use std::time::Duration;

use clap::Args;
use lab::failure::{Failure, Kind};
use lab::guest::topology::{MOST_HBAS_PER_NODE, MOST_LUNS, MOST_NODES, MOST_VCPUS, Topology};
use serde::{Deserialize, Serialize};
use testcases::Rounds;

/// The shape of a guest, where it is not that of the case.
#[derive(Args, Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ShapeArguments {
    /// NUMA nodes, 1 to 8 [default, also below: as the case has them; of `boot` and `nightly`: as a bench has them]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to(MOST_NODES))]
    pub(crate) nodes: Option<u32>,
    /// vCPUs
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to(MOST_VCPUS))]
    vcpus: Option<u32>,
    /// virtio-scsi controllers
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to(MOST_NODES * MOST_HBAS_PER_NODE))]
    hbas: Option<u32>,
    /// LUNs
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to(MOST_LUNS))]
    luns: Option<u32>,
    /// How long a LUN takes for a read
    #[arg(long, value_name = "DUR", allow_negative_numbers = true, value_parser = latency)]
    latency: Option<Duration>,
}

impl ShapeArguments {
    /// A shape with what was asked for.
    ///
    /// # Errors
    /// `Asked` for a guest that cannot be.
    pub(crate) fn on(&self, usual: Topology) -> Result<Topology, Failure> {
        let Self { nodes, vcpus, hbas, luns, latency } = *self;
        let topology = Topology {
            nodes: nodes.unwrap_or(usual.nodes),
            vcpus: vcpus.unwrap_or(usual.vcpus),
            hbas: hbas.unwrap_or(usual.hbas),
            luns: luns.unwrap_or(usual.luns),
            latency: latency.unwrap_or(usual.latency),
            ..usual
        };
        topology.check().map_err(|unsound| {
            let next = "see --help for the numbers and their defaults";
            Failure::new(Kind::Asked, "make such a guest", unsound.to_string(), next)
        })?;
        Ok(topology)
    }

    /// As it is written on the command line.
    pub(crate) fn as_options(&self) -> String {
        let Self { nodes, vcpus, hbas, luns, latency } = *self;
        let mut options = String::new();
        for (name, value) in [("nodes", nodes), ("vcpus", vcpus), ("hbas", hbas), ("luns", luns)] {
            if let Some(value) = value {
                options.push_str(&format!(" --{name} {value}"));
            }
        }
        if let Some(latency) = latency {
            let latency = humantime::format_duration(latency).to_string().replace(' ', "");
            options.push_str(&format!(" --latency {latency}"));
        }
        options
    }
}

/// At least one, at most so many.
pub(super) fn up_to(most: u32) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync {
    move |text| {
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("there can be 1 to {most}"))
    }
}

/// humantime's own words ("expected number at 0") do not say what a duration looks like.
pub(super) fn latency(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "a number with a unit is needed: 20ms, 500us, 1s".to_owned())
}

/// As many as host cores, at most two for each node, and at least one.
pub(super) fn usual_vcpus(nodes: u32) -> u32 {
    let most = nodes.saturating_mul(2);
    lab::host::host_cores().min(most).max(nodes)
}

/// The guest of a bench that nobody asked otherwise, with so many nodes.
pub(crate) fn usual(nodes: u32) -> Topology {
    Topology { vcpus: usual_vcpus(nodes), ..Topology::new(nodes, 4, 64, Duration::from_millis(10)) }
}

/// How often each boot is forked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Forks {
    /// As the kernels ask for.
    Auto,
    /// So often.
    Just(usize),
}

impl fmt::Display for Forks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Just(number) => number.fmt(f),
        }
    }
}

/// `auto`, or a number up to 100.
pub(super) fn forks(text: &str) -> Result<Forks, String> {
    if text == "auto" {
        return Ok(Forks::Auto);
    }
    let number = text.parse().ok().filter(|number| *number <= 100);
    number.map(Forks::Just).ok_or_else(|| "`auto`, or a number from 0 to 100, is needed".to_owned())
}

/// `auto`, or a number from 1 to 1000.
pub(super) fn rounds(text: &str) -> Result<Rounds, String> {
    if text == "auto" {
        return Ok(Rounds::UntilClear { least: 3, most: 30 });
    }
    let number = text.parse().ok().filter(|number| (1..=1000).contains(number));
    number.map(Rounds::Just).ok_or_else(|| "`auto` or a number from 1 to 1000 is needed".to_owned())
}

/// The same, from 2 on: of one pair of boots nobody knows what it is worth.
pub(super) fn several_rounds(text: &str) -> Result<Rounds, String> {
    let several = rounds(text).ok().filter(|rounds| *rounds != Rounds::Just(1));
    several.ok_or_else(|| "`auto` or a number from 2 to 1000 is needed".to_owned())
}
