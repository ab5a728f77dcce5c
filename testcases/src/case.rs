//! What a case is: what it checks and why, what the guest does, what is expected of which kernel.

use std::time::Duration;

use evidence::judge::Expectation;
use lab::guest::topology::Topology;
use lab::kernel::Behaviour;
use lab::run::Step;

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What happens in it.
    pub situation: &'static str,
    /// What is claimed, and of whom: of every kernel, or of one with the change.
    pub claim: &'static str,
    /// Where that was claimed, or what went wrong there once.
    pub source: &'static str,
    /// The shape of the guest.
    pub topology: Topology,
    /// Which configurations of a kernel it is carried out with; an empty name is the usual one.
    pub flavours: &'static [&'static str],
    /// Kernel parameters besides those of every guest.
    pub parameters: &'static str,
    /// What the guest does.
    pub steps: &'static [Step],
    /// How many boots, each with a seed of its own; 1 where nothing is drawn.
    pub seeds: u64,
    /// What is expected of which kernel. Besides, every kernel is expected to live and not to complain.
    pub promises: &'static [Promise],
    /// Kernels on which the two phases have to be alike: as many at once, as many on their node, the same devices.
    pub alike: &'static [Behaviour],
    /// A judge that is not ours and has to agree with us on every kernel.
    pub second_opinion: Option<SecondOpinion>,
    /// How the guest has to end, if not well.
    pub dies: Option<Dies>,
    /// The kernels that it makes sense on, and why not on others.
    pub only: Option<(&'static [Behaviour], &'static str)>,
    /// The kernels that the claim of a speed-up is about.
    pub candidates: &'static [Behaviour],
    /// The kernels that candidates are held against; a candidate is claimed to be faster.
    pub baselines: &'static [Behaviour],
}

/// Something expected of kernels that behave in one of these ways.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The ways to behave.
    pub of: &'static [Behaviour],
    /// The phase that it is about, from 0.
    pub phase: usize,
    /// What is expected, in these circumstances.
    pub expect: fn(&Circumstances) -> Expectation,
    /// Whether a kernel of another kind may keep it by chance. If not, it has to break it.
    pub chance: bool,
}

/// What another judge looks at, too. It does not matter here what is expected of which kernel, only that both find
/// the same. Of a kernel whose probes may leave their node that is chance, and nothing follows.
#[derive(Clone, Copy, Debug)]
pub struct SecondOpinion {
    /// We are content where all of this holds.
    pub ours: &'static [Promise],
    /// The other judge is where this holds.
    pub theirs: Promise,
}

/// A death that is expected.
#[derive(Clone, Copy, Debug)]
pub struct Dies {
    /// What the notice of it has in it.
    pub of: evidence::console::Death,
    /// A function that its stack goes through.
    pub through: &'static str,
}

/// What an expectation may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The shape of the guest.
    pub topology: Topology,
    /// Cores of the host that the guest can use.
    pub host_cores: u32,
}

/// The flavour with lockdep, KASAN and the like.
pub(crate) const DEBUG: &str = "debug";

/// Why a case is not carried out with the debug flavour of a kernel with one asynchronous call for each driver.
const NOT_DEBUGGED: &str = "the debug kernel takes ten times as long, and is for kernels with the change, whose races are in question";

/// With and without what finds a race or a wrong reference when it happens.
pub(crate) const DEBUGGED: &[&str] = &["", DEBUG];
/// How often a race is run, each time with another seed.
pub(crate) const SEEDS: u64 = 3;

/// One asynchronous call for the driver.
pub(crate) const PER_DRIVER: &[Behaviour] = &[Behaviour::PerDriver];
/// One for each device, placed or not.
pub(crate) const PER_DEVICE: &[Behaviour] = &[Behaviour::PerDevice, Behaviour::PerNode, Behaviour::NearNode];
/// One for each device, placed on its node.
pub(crate) const PER_NODE: &[Behaviour] = &[Behaviour::PerNode];
/// One for each device, begun on its node.
pub(crate) const NEAR_NODE: &[Behaviour] = &[Behaviour::NearNode];
/// One for each device, not placed.
pub(crate) const UNPLACED: &[Behaviour] = &[Behaviour::PerDriver, Behaviour::PerDevice];
/// Every kernel.
pub(crate) const EVERY: &[Behaviour] =
    &[Behaviour::PerDriver, Behaviour::PerDevice, Behaviour::PerNode, Behaviour::NearNode];

impl Case {
    /// What most cases have: two nodes with a vCPU each, the usual configuration, one boot, and nothing promised.
    pub(crate) const PLAIN: Self = Self {
        name: "",
        situation: "",
        claim: "",
        source: "",
        topology: Topology::new(2, 4, 24, Duration::from_millis(20)),
        flavours: &[""],
        parameters: "",
        steps: &[],
        seeds: 1,
        promises: &[],
        alike: &[],
        second_opinion: None,
        dies: None,
        only: None,
        candidates: &[],
        baselines: &[],
    };

    /// How many boots it has in a flavour. The debug one takes ten times as long.
    pub fn seeds_in(&self, flavour: &str) -> u64 {
        if flavour == DEBUG { 1 } else { self.seeds }
    }

    /// The name of a kernel in one of the flavours.
    pub fn on(kernel: &str, flavour: &str) -> String {
        if flavour.is_empty() { kernel.to_owned() } else { format!("{kernel}+{flavour}") }
    }

    /// The modules that the guest loads.
    pub fn modules(&self) -> Vec<&'static str> {
        Step::modules(self.steps)
    }

    /// A module of a phase of which a kernel has all modules built in: what they drive is probed before anybody looks.
    pub fn comes_too_early(&self, built_in: &[String]) -> Option<&'static str> {
        let is_built_in = |module: &&str| built_in.iter().any(|name| name == module);
        let phases = Step::loaded_in_phases(self.steps);
        phases.into_iter().find(|modules| modules.iter().all(is_built_in))?.pop()
    }

    /// What its boots have to listen for in the log: what its expectations and those of the other judge are about.
    pub fn asks(&self, circumstances: &Circumstances) -> Vec<&'static str> {
        let second = self.second_opinion.iter().flat_map(|second| second.ours.iter().chain([&second.theirs]));
        let promises = self.promises.iter().chain(second);
        let mut asked: Vec<_> =
            promises.filter_map(|promise| (promise.expect)(circumstances).asks()).collect();
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    /// Whether what is expected depends on how a kernel behaves: of one of which nobody knows that, less is expected.
    pub fn depends_on_behaviour(&self) -> bool {
        let of_some = |promise: &Promise| promise.of.len() < EVERY.len();
        self.dies.is_none() && (self.promises.iter().any(of_some) || !self.alike.is_empty())
    }

    /// Why it is not carried out on a kernel of this kind and flavour, if it is not. A kernel of which nobody knows
    /// how it behaves may be of the wrong kind.
    pub fn skipped_on(&self, kernel: Option<Behaviour>, flavour: &str) -> Option<String> {
        if flavour == DEBUG && kernel == Some(Behaviour::PerDriver) {
            return Some(NOT_DEBUGGED.to_owned());
        }
        let (only, why) = self.only?;
        match kernel {
            Some(kernel) => (!only.contains(&kernel)).then(|| why.to_owned()),
            None => {
                Some(format!("nothing says how this kernel behaves, and not every kind can do this: {why}"))
            }
        }
    }
}

impl Promise {
    /// About the first phase.
    pub(crate) const fn of(of: &'static [Behaviour], expect: fn(&Circumstances) -> Expectation) -> Self {
        Self { of, phase: 0, expect, chance: false }
    }

    /// Which a kernel of another kind may keep by chance.
    pub(crate) const fn or_by_chance(self) -> Self {
        Self { chance: true, ..self }
    }

    /// About another phase.
    pub(crate) const fn in_phase(self, phase: usize) -> Self {
        Self { phase, ..self }
    }
}

/// How many LUNs there are from the start.
pub(crate) fn luns(circumstances: &Circumstances) -> usize {
    usize::try_from(circumstances.topology.luns).unwrap_or(usize::MAX)
}

/// How many probes have to overlap at least, for a kernel that schedules them one by one: a quarter of the
/// LUNs. A kernel that does not has 1, whatever the host; one that does has half of them or more, but fewer
/// where a neighbour takes the host's CPU away, because a probe begins only when a CPU is free for it.
///
/// Three things lower it, each in proportion. No more than 512 work items of a node's pool run at once
/// (`max_active` of `system_unbound_wq`, kernel/workqueue.c in 6.1). vCPUs beyond the host's cores start
/// probes late. And a probe that is over in less than [`LONG_ENOUGH`] makes room before many others began: on
/// a slow host (TCG) beginning one takes a millisecond of CPU time. Two at once are never too much to ask.
pub(crate) fn a_quarter_of_the_luns(circumstances: &Circumstances) -> usize {
    let Circumstances { topology, host_cores } = circumstances;
    let quarter = topology.luns.div_ceil(4).min(128);
    let overcommitted = topology.vcpus.div_ceil((*host_cores).max(1));
    let share = topology.latency.as_secs_f64() / LONG_ENOUGH.as_secs_f64();
    let least = f64::from(quarter) / f64::from(overcommitted) * share.min(1.0);
    (least as usize).max(2)
}

/// See [`a_quarter_of_the_luns`].
const LONG_ENOUGH: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn least(luns: u32, vcpus: u32, latency: Duration) -> usize {
        let topology = Topology { vcpus, ..Topology::new(2, 4, luns, latency) };
        a_quarter_of_the_luns(&Circumstances { topology, host_cores: 2 })
    }

    #[test]
    fn a_case_listens_for_what_is_promised_and_for_what_the_other_judge_looks_at() {
        const SAYS: Promise = Promise::of(EVERY, |_| Expectation::Says { text: "ours", times: 1 });
        const THEIRS: Promise = Promise::of(EVERY, |_| Expectation::Says { text: "theirs", times: 1 });
        let second_opinion = Some(SecondOpinion { ours: &[SAYS], theirs: THEIRS });
        let case = Case { promises: &[SAYS, SAYS], second_opinion, ..Case::PLAIN };
        let circumstances = Circumstances { topology: case.topology, host_cores: 2 };
        assert_eq!(case.asks(&circumstances), ["ours", "theirs"]);
    }

    #[test]
    fn what_is_expected_depends_on_the_kernel_where_not_all_promise_the_same() {
        const LIVES: Promise = Promise::of(EVERY, |_| Expectation::Says { text: "here", times: 1 });
        const SERIAL: Promise = Promise::of(PER_DRIVER, |_| Expectation::Says { text: "one", times: 1 });
        const DIES: Dies = Dies { of: evidence::console::Death::Oops, through: "probe" };
        let depends = |case: Case| case.depends_on_behaviour();
        assert!(!depends(Case { promises: &[LIVES], ..Case::PLAIN }));
        assert!(depends(Case { promises: &[LIVES, SERIAL], ..Case::PLAIN }));
        assert!(depends(Case { alike: PER_NODE, ..Case::PLAIN }));
        assert!(!depends(Case { promises: &[SERIAL], dies: Some(DIES), ..Case::PLAIN }));
    }

    #[test]
    fn a_debug_kernel_is_booted_once_and_only_with_the_change() {
        let case = Case { flavours: DEBUGGED, seeds: SEEDS, ..Case::PLAIN };
        assert_eq!(
            case.flavours.iter().map(|flavour| case.seeds_in(flavour)).collect::<Vec<_>>(),
            [SEEDS, 1]
        );
        let skipped =
            |kernel| case.flavours.iter().map(move |flavour| case.skipped_on(kernel, flavour).is_some());
        assert!(skipped(Some(Behaviour::PerDriver)).eq([false, true]));
        assert!(skipped(Some(Behaviour::PerNode)).eq([false, false]));
        assert!(skipped(None).eq([false, false]));
    }

    #[test]
    fn a_case_is_too_late_where_all_that_its_phase_loads_is_built_in() {
        let too_early = |name: &str, built_in: &[&str]| {
            let case = crate::CASES.iter().find(|case| case.name == name).unwrap();
            let built_in: Vec<String> = built_in.iter().map(|name| (*name).to_owned()).collect();
            case.comes_too_early(&built_in)
        };
        assert_eq!(too_early("driver_after_devices", &["scsi_mod", "sd_mod"]), Some("sd_mod"));
        assert_eq!(too_early("driver_after_devices", &["scsi_mod", "virtio_scsi"]), None);
        // Whichever of the two comes in the phase, nothing is probed before.
        assert_eq!(too_early("sd_before_scan", &["scsi_mod", "sd_mod"]), None);
        assert!(too_early("sd_before_scan", &["scsi_mod", "sd_mod", "virtio_scsi"]).is_some());
        assert_eq!(too_early("built_in", &["scsi_mod", "sd_mod", "virtio_scsi"]), None);
    }

    #[test]
    fn a_quarter_of_the_luns_has_to_overlap_where_nothing_keeps_them_from_it() {
        assert_eq!(least(64, 2, LONG_ENOUGH), 16);
        assert_eq!(least(4096, 2, LONG_ENOUGH), 128);
        assert_eq!(least(64, 4, LONG_ENOUGH), 8);
        assert_eq!(least(64, 2, LONG_ENOUGH / 4), 4);
        assert_eq!(least(2, 2, Duration::ZERO), 2);
    }
}
