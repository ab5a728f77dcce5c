//! Lines kernels up to be booted: built, packed with their modules, and an accelerator that is proven.

use std::fs;
use std::path::{Path, PathBuf};

use crate::accelerator::{self, Choice, Specimen, Wish};
use crate::failure::Failure;
use crate::guest::image;
use crate::host;
use crate::kernel::modules::{self, Module, Modules};
use crate::kernel::{Behaviour, Catalogue, Kernel, Recipe, Store};
use crate::run::Place;
use crate::watch::Watch;

/// A kernel, ready to boot.
#[derive(Clone, Debug)]
pub struct Bootable {
    /// Its name.
    pub name: String,
    /// Its address in the store, which `uname -v` shows.
    pub id: String,
    /// How it attaches asynchronous drivers.
    pub behaves: Option<Behaviour>,
    /// The image.
    pub image: PathBuf,
    /// The ELF file with its symbols.
    pub symbols: PathBuf,
    /// The initramfs with the agent and the modules.
    pub initramfs: PathBuf,
    /// The modules in it, dependencies first.
    pub modules: Vec<Module>,
    /// Modules that are part of the image.
    pub built_in: Vec<String>,
}

/// What to line up.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The workspace, with `kernel-configs/` in it.
    pub workspace: &'a Path,
    /// The kernels.
    pub recipes: &'a [Recipe],
    /// The modules that the image has to hold, what they depend on is added; `None` for all there are.
    pub modules: Option<&'a [&'a str]>,
    /// The accelerator.
    pub wish: Wish,
    /// Install what the host lacks.
    pub setup: bool,
    /// Where the run is to be written. The folder is made when everything else is there.
    pub place: Place,
}

/// Kernels that can be booted.
#[derive(Clone, Debug)]
pub struct Lineup {
    /// The kernels, as asked for.
    pub kernels: Vec<(Kernel, Bootable)>,
    /// The agent's binary, in the folder of the run.
    pub agent: PathBuf,
    /// The accelerator.
    pub choice: Choice,
    /// The folder of the run.
    pub run: PathBuf,
    store: Store,
    boots: usize,
}

impl Lineup {
    /// Lines up.
    ///
    /// # Errors
    /// Whatever keeps one of the kernels from being booted.
    pub fn of(request: &Request<'_>, watch: &dyn Watch) -> Result<Self, Failure> {
        let catalogue = Catalogue::read(&request.workspace.join("kernel-configs"))?;
        // Before anything is installed or built: a store that cannot be written is found out now.
        let store = Store::open()?;
        request.place.check()?;
        let findings = host::examine(&catalogue);
        host::prepare(&findings, request.setup, watch)?;
        if request.wish == Wish::Kvm {
            accelerator::require_vcpu()?;
        }
        watch.stage("build the agent");
        let agent = image::build_agent(request.workspace)?;
        let built = store.ensure(request.recipes, watch)?;
        let choice = match built.first() {
            Some(first) => {
                let specimen = Specimen { kernel: &first.image(), agent: &agent };
                accelerator::choose(request.wish, specimen, &store, watch)?
            }
            None => Choice { accelerator: accelerator::Accelerator::Tcg, why: "no kernel".to_owned() },
        };
        // Last, so that nothing that fails before leaves a folder behind.
        let run = request.place.make()?;
        // Of its own, as the kernels are: another harness may build another agent meanwhile.
        let kept = run.join("agent");
        fs::copy(&agent, &kept).map_err(|e| Failure::file("write", &kept, &e))?;
        let agent = kept;
        let mut lineup = Self { kernels: Vec::new(), agent, choice, run, store, boots: 0 };
        for kernel in built {
            lineup.pack(kernel, request.modules, watch)?;
        }
        Ok(lineup)
    }

    /// A number for the next boot, from 1.
    pub fn next_boot(&mut self) -> usize {
        self.boots += 1;
        self.boots
    }

    /// Adds a kernel, with all its modules, unless it is there already.
    ///
    /// # Errors
    /// Whatever keeps it from being booted.
    pub fn add(&mut self, recipe: &Recipe, watch: &dyn Watch) -> Result<&Bootable, Failure> {
        let known = |(kernel, _): &(Kernel, Bootable)| kernel.name == recipe.name;
        let place = match self.kernels.iter().position(known) {
            Some(place) => place,
            None => {
                for kernel in self.store.ensure(std::slice::from_ref(recipe), watch)? {
                    self.pack(kernel, None, watch)?;
                }
                self.kernels.len() - 1
            }
        };
        Ok(&self.kernels[place].1)
    }

    /// Packs the initramfs for a kernel into the folder of the run.
    fn pack(&mut self, kernel: Kernel, wanted: Option<&[&str]>, watch: &dyn Watch) -> Result<(), Failure> {
        watch.stage(&format!("pack the image for {}", kernel.name));
        let folder = self.run.join("kernels").join(&kernel.name);
        fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
        for name in ["kernel.json", "config"] {
            let to = folder.join(name);
            fs::copy(kernel.folder.join(name), &to).map_err(|e| Failure::file("write", &to, &e))?;
        }
        let all = Modules::read(&kernel.modules())?;
        let built_in = modules::built_in(&kernel.built_in())?;
        let is_module = |name: &&str| !built_in.iter().any(|built_in| built_in == name);
        let modules = match wanted {
            Some(wanted) => all.closure(&wanted.iter().copied().filter(is_module).collect::<Vec<_>>())?,
            None => all.closure(&all.names())?,
        };
        let initramfs = folder.join("initramfs.cpio");
        image::write(&initramfs, &self.agent, &modules)?;
        let bootable = Bootable {
            name: kernel.name.clone(),
            id: kernel.identity.id.clone(),
            behaves: kernel.behaves,
            image: kernel.image(),
            symbols: kernel.symbols(),
            initramfs,
            modules,
            built_in,
        };
        self.kernels.push((kernel, bootable));
        Ok(())
    }
}
