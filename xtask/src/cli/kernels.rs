//! How kernels are named on the command line, and what can be done with the store.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use lab::kernel::{Behaviour, Wanted};
use lab::shell::quoted;

/// What can be said of kernels, after all options.
pub(crate) const KERNELS: &str = "\
Kernels:
  NAME                     of kernel-configs/kernels.toml: without, with, with-numa, mainline, …
  linux-source-6.12        Debian's source package; =VERSION for one that is not installed
  ~/linux-6.9.tar.xz       a source archive
  ~/linux                  a source tree as it stands, with what is not committed
  ~/linux@v6.9             a commit of a git tree; the tree itself is left alone
  linux-image-6.1.0-9-…    Debian's kernel, from its package or a .deb; nothing is built
  IMAGE:MODULES            a bzImage and the folder of its modules, as /lib/modules/RELEASE
What is built here can be had in another configuration: NAME+debug.";

/// Patches, and what is known of kernels.
#[derive(Args, Debug)]
pub(crate) struct PatchArguments {
    /// A patch on top of each kernel: a diff, a mail, a mailbox with a thread, a quilt series. It can be given again
    #[arg(long = "patch", value_name = "FILE")]
    patches: Vec<PathBuf>,
    /// What is expected of kernels of which nothing is known and of patched ones: per-driver, per-device (in parallel),
    /// per-node (and on the device's node) or near-node (begun there, as since v6.6). Two, without the patch and with it, where
    /// that is to change it: per-driver,per-device; without a patch, one for each kernel [default of a patched kernel: what
    /// was expected without the patch, unless that is per-driver]
    #[arg(long, value_name = "HOW", value_delimiter = ',', value_parser = behaviour)]
    behaves: Vec<Behaviour>,
}

impl PatchArguments {
    /// These kernels, or those that are usual, with the patches.
    pub(crate) fn wanted(&self, kernels: &[String], usual: &str) -> Wanted {
        let usual = if self.patches.is_empty() { usual } else { "mainline" };
        let kernels = match kernels {
            [] => usual.split(',').map(str::to_owned).collect(),
            some => some.to_vec(),
        };
        // Tests run in another folder.
        let folder = std::env::current_dir().unwrap_or_default();
        let (patches, behaves) = (self.patches.clone(), self.behaves.clone());
        Wanted { folder, kernels, patches, behaves, ..Wanted::default() }
    }
}

/// What was asked for, as it is written on the command line.
pub(crate) fn as_options(wanted: &Wanted) -> String {
    let Wanted { folder: _, kernels, patches, behaves, noted: _, noted_patches: _ } = wanted;
    let mut options = format!("--kernels {}", quoted(&kernels.join(",")));
    for patch in patches {
        options.push_str(&format!(" --patch {}", quoted(&patch.display().to_string())));
    }
    let behaves: Vec<String> = behaves.iter().map(ToString::to_string).collect();
    if !behaves.is_empty() {
        options.push_str(&format!(" --behaves {}", behaves.join(",")));
    }
    options
}

pub(crate) fn behaviour(text: &str) -> Result<Behaviour, String> {
    let all = [Behaviour::PerDriver, Behaviour::PerDevice, Behaviour::PerNode, Behaviour::NearNode];
    let found = all.into_iter().find(|behaviour| behaviour.to_string() == text.trim());
    found.ok_or_else(|| "there are per-driver, per-device, per-node and near-node".to_owned())
}

#[derive(Args, Debug)]
pub(crate) struct KernelArguments {
    #[command(subcommand)]
    pub(crate) verb: KernelVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KernelVerb {
    /// List what the store holds, with sizes
    List,
    /// Build kernels and print where they are
    Build(BuildArguments),
    /// Remove what was not used for a while; what is removed is built again when it is asked for
    Gc(GcArguments),
}

#[derive(Args, Debug)]
#[command(after_help = KERNELS)]
pub(crate) struct BuildArguments {
    /// The kernels, each a name from kernel-configs/kernels.toml or a place (below); with --patch with the patches on top
    #[arg(required = true)]
    kernels: Vec<String>,
    #[command(flatten)]
    patches: PatchArguments,
    /// Install what this host lacks, then go on
    #[arg(long)]
    pub(crate) setup: bool,
}

impl BuildArguments {
    /// The kernels.
    pub(crate) fn wanted(&self) -> Wanted {
        self.patches.wanted(&self.kernels, "")
    }
}

#[derive(Args, Debug)]
pub(crate) struct GcArguments {
    /// What was not used for so long: 30d, 12h, 0s for all
    #[arg(long, value_name = "DUR", default_value = "30d", value_parser = age)]
    pub(crate) older_than: Duration,
    /// Only show what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "a number with a unit is needed: 30d, 12h, 0s".to_owned())
}
