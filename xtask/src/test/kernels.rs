//! Names of guest tests to the kernels that they boot.

use lab::failure::Failure;
use lab::kernel::{Catalogue, Origin, Recipe};
use testcases::{CASES, Case, KERNELS_OF_THE_HARNESS};

/// The kernels that guest tests of these names boot, each with its flavour.
pub(crate) fn kernels_for(
    kernels: &[Recipe],
    catalogue: &Catalogue,
    filter: Option<&str>,
) -> Result<Vec<Recipe>, Failure> {
    let mut needed: Vec<(&str, Recipe)> = Vec::new();
    for kernel in kernels {
        for case in CASES {
            let can = |flavour: &&&str| {
                case.skipped_on(kernel.behaves, flavour).is_none()
                    && (flavour.is_empty() || matches!(kernel.origin, Origin::Build(_)))
            };
            for flavour in case.flavours.iter().filter(can) {
                let name = Case::on(&kernel.name, flavour);
                if filter.is_none_or(|filter| format!("{}::{name}", case.name).contains(filter))
                    && !needed.iter().any(|(_, known)| known.name == name)
                {
                    needed.push((flavour, catalogue.in_flavour(kernel, flavour)?));
                }
            }
        }
    }
    // Kernels of one configuration one after the other, the usual one first: the others begin with its objects.
    needed.sort_by_key(|(flavour, _)| *flavour);
    let mut needed: Vec<Recipe> = needed.into_iter().map(|(_, recipe)| recipe).collect();
    for own in own_kernels(catalogue, filter)? {
        if !needed.contains(&own) {
            needed.push(own);
        }
    }
    Ok(needed)
}

/// The kernels that tests of the harness of these names boot.
pub(super) fn own_kernels(catalogue: &Catalogue, filter: Option<&str>) -> Result<Vec<Recipe>, Failure> {
    let asked = |tests: &str| filter.is_none_or(|filter| tests.is_empty() || filter.starts_with(tests));
    let own = KERNELS_OF_THE_HARNESS.iter().filter(|(tests, _)| asked(tests));
    own.map(|(_, kernel)| catalogue.recipe(kernel)).collect()
}
