//! What all guest tests share: kernels that are built, an accelerator, a folder for the run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use evidence::plain::plain;
use lab::accelerator::{Accelerator, Wish};
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::guest::{Guest, Order, Patience};
use lab::kernel::{Broken, Catalogue, Recipe, Store};
use lab::run::{self, Bootable, Carried, Lineup, Place, Request};
use lab::watch::Watch;
use testcases::chosen::Chosen;
use testcases::{CASES, Case, KERNELS_OF_THE_HARNESS, noted};

use crate::outcome::Wrong;

/// Modules that only tests of the harness load.
const OWN_MODULES: [&str; 1] = ["test_lockup"];

/// The kernels that cases are carried out on.
pub(crate) fn kernels() -> Result<&'static [Recipe], Failure> {
    static RECIPES: OnceLock<Result<Vec<Recipe>, Failure>> = OnceLock::new();
    let find = || {
        if let Some(kit) = Store::open()?.kit() {
            return Ok(kit.subjects().clone().subjects());
        }
        Ok(noted::wanted()?.recipes(catalogue()?, Store::open()?.root(), &Log)?.subjects())
    };
    RECIPES.get_or_init(find).as_ref().map(Vec::as_slice).map_err(Clone::clone)
}

fn modules() -> Vec<&'static str> {
    [testcases::modules(), OWN_MODULES.to_vec()].concat()
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

pub(crate) fn catalogue() -> Result<&'static Catalogue, Failure> {
    static CATALOGUE: OnceLock<Result<Catalogue, Failure>> = OnceLock::new();
    let read = || match Store::open()?.kit() {
        Some(kit) => Catalogue::read(&kit.configs()),
        None => Catalogue::read(&workspace().join("kernel-configs")),
    };
    CATALOGUE.get_or_init(read).as_ref().map_err(Clone::clone)
}

/// Everything but the kernels, made when the first test asks for it.
fn lineup() -> Result<&'static Mutex<Lineup>, Failure> {
    static LINEUP: OnceLock<Result<Mutex<Lineup>, Failure>> = OnceLock::new();
    LINEUP.get_or_init(|| make().map(Mutex::new)).as_ref().map_err(Clone::clone)
}

fn make() -> Result<Lineup, Failure> {
    Lineup::of(
        &Request {
            workspace: workspace(),
            recipes: &[first(kernels()?, broken()?, catalogue()?)?],
            modules: Carried::Any(&modules()),
            wish: match std::env::var("PARPROBE_ACCEL").as_deref() {
                Ok("kvm") => Wish::Kvm,
                Ok("tcg") => Wish::Tcg,
                Ok("auto") | Err(_) => Wish::Auto,
                Ok(other) => {
                    let seen = format!("PARPROBE_ACCEL is {other}");
                    let next = "set it to auto, kvm or tcg";
                    return Err(Failure::new(Kind::Asked, "choose an accelerator", seen, next));
                }
            },
            setup: false,
            place: match std::env::var_os("PARPROBE_RUN") {
                // One for each of the filters that `cargo xtask test` was given.
                Some(folder) => Place::Dated { runs: folder.into(), kind: "guests" },
                None => Place::Dated { runs: workspace().join("runs"), kind: "test" },
            },
        },
        &Log,
    )
}

/// The kernel with which KVM is proven: the first that a chosen case boots, else the one that tests of the harness boot.
fn first(kernels: &[Recipe], broken: &[Broken], catalogue: &Catalogue) -> Result<Recipe, Failure> {
    let chosen = Chosen::of_variable()?;
    for kernel in kernels {
        for (case, flavour) in CASES.iter().flat_map(|case| case.flavours.iter().map(move |of| (case, of))) {
            if !chosen.has(&format!("{}::{}", case.name, Case::on(&kernel.name, flavour)))
                || case.skipped_on(kernel.behaves, flavour).is_some()
            {
                continue;
            }
            if let Ok(recipe) = catalogue.in_flavour(kernel, flavour)
                && !broken.iter().any(|broken| broken.recipe == recipe)
            {
                return Ok(recipe);
            }
        }
    }
    catalogue.recipe(KERNELS_OF_THE_HARNESS[0].1)
}

fn broken() -> Result<&'static [Broken], Failure> {
    static BROKEN: OnceLock<Result<Vec<Broken>, Failure>> = OnceLock::new();
    BROKEN.get_or_init(noted::broken).as_ref().map(Vec::as_slice).map_err(Clone::clone)
}

/// A kernel by name, for tests of the harness. It is built when it is first asked for.
pub(crate) fn kernel(name: &str) -> Result<Bootable, Failure> {
    if !KERNELS_OF_THE_HARNESS.iter().any(|(_, known)| *known == name) {
        let seen = "it is not among KERNELS_OF_THE_HARNESS, and in no archive";
        return Err(Failure::new(Kind::Asked, format!("boot {name}"), seen, "add it there"));
    }
    made_of(&catalogue()?.recipe(name)?)
}

/// The kernel of a recipe.
pub(crate) fn made_of(recipe: &Recipe) -> Result<Bootable, Failure> {
    if let Some(broken) = broken()?.iter().find(|broken| broken.recipe == *recipe) {
        return Err(broken.failure.clone());
    }
    let mut lineup = lineup()?.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(lineup.add(recipe, &modules(), &Log)?.clone())
}

/// The accelerator.
pub(crate) fn accelerator() -> Result<Accelerator, Failure> {
    Ok(lineup()?.lock().unwrap_or_else(PoisonError::into_inner).choice.accelerator)
}

/// The agent's binary.
pub(crate) fn agent() -> Result<PathBuf, Failure> {
    Ok(lineup()?.lock().unwrap_or_else(PoisonError::into_inner).agent.clone())
}

/// A new folder for a boot, and its name in that of the run.
pub(crate) fn folder(name: &str) -> Result<(PathBuf, String), Failure> {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let run = lineup()?.lock().unwrap_or_else(PoisonError::into_inner).run.clone();
    let name = run::boot_name(number, name);
    Ok((run::make_boot_folder(&run, &name)?, name))
}

/// A guest of one vCPU with one LUN, on a CPU of its own, and its folder.
pub(crate) fn small_guest(name: &str) -> Result<(Guest, PathBuf), Wrong> {
    let (kernel, accelerator) = (kernel("mainline")?, accelerator()?);
    let (folder, _) = folder(name)?;
    let guest = Guest::start(&Order {
        kernel: &kernel.image,
        initramfs: &kernel.initramfs,
        parameters: "",
        topology: &Topology::new(1, 1, 1, Duration::ZERO),
        accelerator,
        cpus: 1,
        patience: Patience::of(accelerator),
        folder: &folder,
    })?;
    Ok((guest, folder))
}

/// Tells what goes on where kernels take minutes to build.
struct Log;

impl Watch for Log {
    #[allow(clippy::print_stderr)]
    fn stage(&self, what: &str) {
        if !noted::quiet() {
            eprintln!("{}", plain(what));
        }
    }

    #[allow(clippy::print_stderr)]
    fn note(&self, text: &str) {
        eprintln!("{}", plain(text));
    }
}
