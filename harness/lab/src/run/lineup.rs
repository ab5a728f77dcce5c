//! Lines kernels up to be booted: built, packed with their modules, and an accelerator that is proven.

use std::fs;
use std::path::{Path, PathBuf};

use crate::accelerator::{self, Choice, Specimen, Wish};
use crate::failure::Failure;
use crate::guest::{Image, image};
use crate::host;
use crate::kernel::modules::{self, Module, Modules};
use crate::kernel::{Behaviour, Broken, Kernel, Others, Recipe, Store};
use crate::private;
use crate::run::{Place, kept, unfinished};
use crate::watch::Watch;

/// A kernel, ready to boot.
#[derive(Clone, Debug)]
pub struct Bootable {
    /// Its name.
    pub name: String,
    /// Its address in the store, which `uname -v` shows of a kernel that was built here.
    pub id: String,
    /// What `uname -r` shows.
    pub release: String,
    /// How it attaches asynchronous drivers.
    pub behaves: Option<Behaviour>,
    /// The image.
    pub image: Image,
    /// The ELF file with its symbols, where there is one.
    pub symbols: Option<PathBuf>,
    /// The initramfs with the agent and the modules.
    pub initramfs: PathBuf,
    /// Those of them that the agent loads before it speaks.
    pub first: Vec<String>,
    /// The modules in it, dependencies first.
    pub modules: Vec<Module>,
    /// Modules that are part of the image.
    pub built_in: Vec<String>,
}

/// The modules that an image holds, each with those it depends on.
#[derive(Clone, Copy, Debug)]
pub enum Carried<'a> {
    /// These: a kernel without one of them cannot be booted.
    These(&'a [&'a str]),
    /// Those of these that the kernel has.
    Any(&'a [&'a str]),
}

/// What to line up.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The workspace, with `kernel-configs/` in it.
    pub workspace: &'a Path,
    /// The kernels.
    pub recipes: &'a [Recipe],
    /// The modules that the images hold.
    pub modules: Carried<'a>,
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
    /// Those that were left out, as they cannot be built.
    pub broken: Vec<Broken>,
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
        let all = |store: &Store| {
            Ok(Others { kernels: store.ensure(request.recipes, watch)?, ..Others::default() })
        };
        Self::made(request, all, watch)
    }

    /// Lines up those that can be built.
    ///
    /// # Errors
    /// As [`Lineup::of`]; what keeps the first kernel from being built, where that is so of all.
    pub fn of_others(request: &Request<'_>, watch: &dyn Watch) -> Result<Self, Failure> {
        Self::made(request, |store| store.ensure_others(request.recipes, watch), watch)
    }

    fn made(
        request: &Request<'_>,
        build: impl Fn(&Store) -> Result<Others, Failure>,
        watch: &dyn Watch,
    ) -> Result<Self, Failure> {
        // Before anything is installed or built: a store that cannot be written is found out now.
        let store = Store::open()?;
        request.place.check()?;
        store.sweep()?;
        let kit = store.kit();
        let examine = || match kit {
            Some(_) => host::examine_to_boot(),
            None => host::examine(request.recipes),
        };
        host::prepare(examine, request.setup, watch)?;
        if request.wish == Wish::Kvm {
            accelerator::require_vcpu()?;
        }
        let agent = match kit {
            Some(kit) => kit.agent(),
            None => {
                watch.stage("build the agent");
                image::build_agent(request.workspace)?
            }
        };
        let Others { kernels, broken } = build(&store)?;
        let choice = match kernels.first() {
            Some(first) => {
                let specimen = Specimen { kernel: first, agent: &agent };
                accelerator::choose(request.wish, specimen, &store, watch)?
            }
            None => Choice { accelerator: accelerator::Accelerator::Tcg, why: "no kernel".to_owned() },
        };
        // Last, so that nothing that fails before leaves a folder behind.
        let run = request.place.make()?;
        let of_run = run.clone();
        let lineup = Self::packed(run, &agent, choice, store, kernels, request.modules, watch);
        lineup.map(|lineup| Self { broken, ..lineup }).map_err(|failure| unfinished(&of_run, failure))
    }

    /// Lines up what is there in the folder of a run.
    fn packed(
        run: PathBuf,
        agent: &Path,
        choice: Choice,
        store: Store,
        built: Vec<Kernel>,
        modules: Carried<'_>,
        watch: &dyn Watch,
    ) -> Result<Self, Failure> {
        // Of its own, as the kernels are: another harness may build another agent meanwhile.
        let kept = run.join("agent");
        fs::copy(agent, &kept).map_err(|e| Failure::file("write", &kept, &e))?;
        let mut lineup =
            Self { kernels: Vec::new(), broken: Vec::new(), agent: kept, choice, run, store, boots: 0 };
        for kernel in built {
            lineup.pack(kernel, modules, watch)?;
        }
        Ok(lineup)
    }

    /// The same with these kernels alone, by name and in this order, and another folder, which is made.
    ///
    /// # Errors
    /// `Files`.
    pub fn among(&self, names: &[&str], run: PathBuf) -> Result<Self, Failure> {
        private::folder(&run).map_err(|e| Failure::file("create", &run, &e))?;
        let find = |name: &&str| self.kernels.iter().find(|(kernel, _)| kernel.name == *name).cloned();
        Ok(Self { kernels: names.iter().filter_map(find).collect(), run, boots: 0, ..self.clone() })
    }

    /// A number for the next boot, from 1.
    pub fn next_boot(&mut self) -> usize {
        self.boots += 1;
        self.boots
    }

    /// Adds a kernel, with those of these modules that it has, unless it is there already.
    ///
    /// # Errors
    /// Whatever keeps it from being booted.
    pub fn add(
        &mut self,
        recipe: &Recipe,
        modules: &[&str],
        watch: &dyn Watch,
    ) -> Result<&Bootable, Failure> {
        let known = |(kernel, _): &(Kernel, Bootable)| kernel.name == recipe.name;
        let place = match self.kernels.iter().position(known) {
            Some(place) => place,
            None => {
                for kernel in self.store.ensure(std::slice::from_ref(recipe), watch)? {
                    self.pack(kernel, Carried::Any(modules), watch)?;
                }
                self.kernels.len() - 1
            }
        };
        Ok(&self.kernels[place].1)
    }

    /// Packs the initramfs for a kernel into the folder of the run.
    fn pack(&mut self, kernel: Kernel, wanted: Carried<'_>, watch: &dyn Watch) -> Result<(), Failure> {
        watch.stage(&format!("pack the image for {}", kernel.name));
        let folder = kept::keep(&self.run, &kernel)?;
        let all = Modules::read(&kernel.modules())?;
        let built_in = modules::built_in(&kernel.built_in())?;
        let is_module = |name: &&str| !built_in.iter().any(|built_in| built_in == name);
        let there = |name: &&str| all.has(name);
        let to_speak = all.to_speak(&built_in)?;
        let wanted: Vec<&str> = match wanted {
            Carried::These(wanted) => wanted.iter().copied().filter(is_module).collect(),
            Carried::Any(wanted) => wanted.iter().copied().filter(is_module).filter(there).collect(),
        };
        let first: Vec<String> = to_speak.into_iter().map(|module| module.name).collect();
        let names: Vec<&str> = first.iter().map(String::as_str).collect();
        let modules = all.closure(&[&names[..], &wanted].concat())?;
        let initramfs = folder.join("initramfs.cpio");
        image::write(&initramfs, &self.agent, &modules, &names)?;
        let bootable = Bootable {
            name: kernel.name.clone(),
            id: kernel.identity.id.clone(),
            release: kernel.identity.release.clone(),
            behaves: kernel.behaves,
            image: kernel.image(),
            symbols: kernel.symbols(),
            initramfs,
            first,
            modules,
            built_in,
        };
        self.kernels.push((kernel, bootable));
        Ok(())
    }
}
