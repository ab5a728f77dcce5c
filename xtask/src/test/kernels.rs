//! Names of guest tests to the kernels that they boot.

use lab::failure::Failure;
use lab::kernel::{Broken, Catalogue, Origin, Recipe};
use testcases::{CASES, Case, KERNELS_OF_THE_HARNESS};

/// The kernels that guest tests of these names boot, or all of them, each with its flavour.
pub(crate) fn kernels_for(
    kernels: &[Recipe],
    catalogue: &Catalogue,
    names: Option<&[String]>,
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
                let test = format!("{}::{name}", case.name);
                if names.is_none_or(|names| names.contains(&test))
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
    for own in own_kernels(catalogue, names)? {
        if !needed.contains(&own) {
            needed.push(own);
        }
    }
    Ok(needed)
}

/// The kernels that tests of the harness of these names boot, or all of them.
pub(super) fn own_kernels(catalogue: &Catalogue, names: Option<&[String]>) -> Result<Vec<Recipe>, Failure> {
    let of_a_case = |test: &str| {
        test.split_once("::").is_some_and(|(name, _)| CASES.iter().any(|case| case.name == name))
    };
    let asked = |tests: &str| {
        names.is_none_or(|names| names.iter().any(|name| !of_a_case(name) && name.starts_with(tests)))
    };
    let own = KERNELS_OF_THE_HARNESS.iter().filter(|(tests, _)| asked(tests));
    own.map(|(_, kernel)| catalogue.recipe(kernel)).collect()
}

/// Why nothing of what was asked for can be tested, where that is so: kernels that only tests of the harness boot are no
/// reason to go on.
pub(super) fn nothing_left(subjects: &[Recipe], broken: &[Broken]) -> Option<Failure> {
    let why = |kernel: &Recipe| Some(broken.iter().find(|of| of.recipe == *kernel)?.failure.clone());
    let all: Option<Vec<Failure>> = subjects.iter().map(why).collect();
    all?.into_iter().next()
}

/// Whether it is known that this kernel cannot be built.
pub(super) fn is_broken(broken: &[Broken], kernel: &Recipe) -> bool {
    broken.iter().any(|broken| broken.recipe == *kernel)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lab::failure::Kind;

    use super::*;

    #[test]
    fn tests_go_on_as_long_as_one_kernel_that_was_asked_for_is_there() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-configs");
        let catalogue = Catalogue::read(&configs).unwrap();
        let [with, without] = ["with", "without"].map(|name| catalogue.recipe(name).unwrap());
        let broken = |recipe: &Recipe| Broken {
            recipe: recipe.clone(),
            failure: Failure::new(Kind::Build, format!("build {}", recipe.name), "", ""),
        };
        let both = [with.clone(), without.clone()];
        assert_eq!(nothing_left(&both, &[broken(&with)]), None);
        let why = nothing_left(&both, &[broken(&without), broken(&with)]).unwrap();
        assert_eq!(why.attempt, "build with");
        // A filter that asks for tests of the harness alone.
        assert_eq!(nothing_left(&[], &[broken(&with)]), None);
        // Of another recipe with the same name nothing is known.
        let other = Recipe { name: "with".to_owned(), ..without.clone() };
        assert_eq!(nothing_left(&[other], &[broken(&with)]), None);
    }
}
