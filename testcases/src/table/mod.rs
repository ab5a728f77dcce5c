//! The table of cases.

mod initcalls;
mod module_order;
mod own;
mod races;
mod scsi;

pub use scsi::{DEVICES_AFTER_DRIVER, DRIVER_AFTER_DEVICES};

use crate::case::Case;

/// Every case.
pub const CASES: &[&Case] = &[
    &DRIVER_AFTER_DEVICES,
    &DEVICES_AFTER_DRIVER,
    &scsi::EITHER_ORDER,
    &scsi::CONTROLLERS_BY_MODULE_PARAMETER,
    &scsi::CONTROLLERS_BY_KERNEL_PARAMETER,
    &scsi::PLACEMENT_NODE_WITHOUT_CPUS,
    &scsi::PLACEMENT_NO_NODE,
    &scsi::SLOW_ONE,
    &scsi::UNREADABLE_LUNS,
    &module_order::SCAN_ASYNC_DEVICES_LAST,
    &module_order::SCAN_ASYNC_DRIVER_LAST,
    &module_order::SD_BEFORE_SCAN,
    &module_order::ASYNC_INSMOD,
    &initcalls::BUILT_IN,
    &initcalls::BUILT_IN_SCAN_ASYNC,
    &own::PLACEMENT,
    &own::FAILING_PROBES,
    &own::MATCH_ERROR,
    &own::FAILED_REGISTRATION,
    &own::TWO_DRIVERS,
    &own::ASYNC_IN_OWN_DOMAIN,
    &own::ASYNC_WAITS_FOR_EVERYTHING,
    &own::SLOW_IS_NOT_HUNG,
    &own::KERNELS_OWN_TEST,
    &races::HOT_PLUG,
    &races::HOT_UNPLUG,
    &races::VANISH_WHILE_PENDING,
    &races::BOUND_WHILE_PENDING,
    &races::RMMOD,
    &races::REBIND,
    &races::RELOAD_SD,
    &races::RELOAD_OWN,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_case_says_what_it_checks_and_where_that_comes_from() {
        let mut names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            for text in [case.name, case.situation, case.claim, case.source] {
                assert!(!text.is_empty(), "{}", case.name);
            }
            assert_eq!(case.topology.check(), Ok(()), "{}", case.name);
            let phases = case.promises.iter().map(|promise| promise.phase).max().unwrap_or(0);
            assert!(phases < 4, "{}", case.name);
            assert!(!case.promises.is_empty() || case.dies.is_some(), "{} promises nothing", case.name);
        }
    }

    #[test]
    fn every_case_must_fail_somewhere() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-configs/mutants");
        let mutants = lab::kernel::Mutants::read(&folder).unwrap().chosen(&[]).unwrap();
        for case in CASES {
            let by_a_mutant = mutants.iter().any(|mutant| mutant.cases.iter().any(|name| name == case.name));
            // A kernel that a promise is not for has to break it, where the case is carried out there.
            let by_a_contrary = case.only.is_none()
                && case
                    .promises
                    .iter()
                    .any(|promise| !promise.chance && promise.of.len() < crate::case::EVERY.len());
            assert!(by_a_mutant || by_a_contrary, "nothing says that {} can fail", case.name);
        }
    }
}
