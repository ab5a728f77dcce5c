//! Chooses between KVM and TCG, and believes in KVM only after a boot.
//!
//! `/dev/kvm` may open, create a VM and even run firmware, and still never start Linux: so it is under some
//! nested hypervisors. Only a kernel that has booted proves it. The proof is kept for as long as the host runs
//! without a reboot and QEMU stays the same.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::guest::topology::Topology;
use crate::guest::{Guest, Order, Patience, image, qemu_version, try_kvm};
use crate::kernel::modules::{self, Modules};
use crate::kernel::{Kernel, Scratch, Store};
use crate::watch::Watch;

/// Who runs the guest's instructions.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// QEMU translates them.
    Tcg,
    /// The CPU does.
    Kvm,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcg => "TCG",
            Self::Kvm => "KVM",
        })
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// KVM where it can boot Linux, else TCG.
    Auto,
    /// KVM or nothing.
    Kvm,
    /// TCG.
    Tcg,
}

/// What is used, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Choice {
    /// TCG or KVM.
    pub accelerator: Accelerator,
    /// The reason, for a person.
    pub why: String,
}

/// Whether KVM can boot Linux here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Proof {
    /// It can.
    pub boots: bool,
    /// What was seen.
    pub seen: String,
}

/// What to prove KVM with.
#[derive(Clone, Copy, Debug)]
pub struct Specimen<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The agent's binary.
    pub agent: &'a Path,
}

/// How long the guest that proves KVM may take to its agent's first word. Where KVM works it takes a second.
const PROOF_PATIENCE: Duration = Duration::from_secs(15);

/// Decides on the accelerator for this wish.
///
/// # Errors
/// `Host` where KVM is asked for and cannot boot Linux; `Interrupted`.
pub fn choose(
    wish: Wish,
    specimen: Specimen<'_>,
    store: &Store,
    watch: &dyn Watch,
) -> Result<Choice, Failure> {
    if wish == Wish::Tcg {
        return Ok(Choice { accelerator: Accelerator::Tcg, why: "asked for".to_owned() });
    }
    let proof = match known_proof(store) {
        // A "no" is asked again of those who insist: they may have just mended it.
        Some(proof) if proof.boots || wish == Wish::Auto => proof,
        _ => prove(specimen, store, watch)?,
    };
    match (proof.boots, wish) {
        (true, _) => Ok(Choice { accelerator: Accelerator::Kvm, why: proof.seen }),
        (false, Wish::Kvm) => Err(unusable(proof.seen)),
        (false, _) => Ok(Choice { accelerator: Accelerator::Tcg, why: format!("no KVM: {}", proof.seen) }),
    }
}

/// An error where KVM cannot even set up a vCPU: to be found out before anything is built for it.
///
/// # Errors
/// `Host`; `Interrupted`.
pub(crate) fn require_vcpu() -> Result<(), Failure> {
    open_device().map_err(|e| unusable(format!("/dev/kvm does not open: {e}")))?;
    let tried = try_kvm();
    cancel::check("try KVM")?;
    tried.map_err(|e| unusable(format!("/dev/kvm opens, but QEMU cannot set up a vCPU: {e}")))
}

fn open_device() -> std::io::Result<()> {
    File::options().read(true).write(true).open("/dev/kvm").map(drop)
}

fn unusable(seen: String) -> Failure {
    let next = "use --accel tcg (PARPROBE_ACCEL=tcg for tests from an archive), or a host whose KVM can boot Linux (a nested one often cannot)";
    Failure::new(Kind::Host, "use KVM", seen, next)
}

/// What is known without a boot: from an earlier proof, or because `/dev/kvm` does not even open.
pub fn known_proof(store: &Store) -> Option<Proof> {
    if let Err(e) = open_device() {
        return Some(Proof { boots: false, seen: format!("/dev/kvm does not open: {e}") });
    }
    let kept: Kept = serde_json::from_slice(&fs::read(proof_path(store)).ok()?).ok()?;
    (kept.circumstances == Circumstances::now()?).then_some(kept.proof)
}

/// Boots a small guest under KVM and remembers what came of it.
///
/// # Errors
/// Whatever keeps the guest from being tried: `Host`, `Files`, `Interrupted`.
pub fn prove(specimen: Specimen<'_>, store: &Store, watch: &dyn Watch) -> Result<Proof, Failure> {
    watch.stage("prove KVM by a boot");
    let folder = Scratch::new_in(store.root(), "kvm-proof-")?;
    let topology = Topology::new(1, 1, 1, Duration::ZERO);
    let initramfs = folder.path().join("initramfs.cpio");
    let built_in = modules::built_in(&specimen.kernel.built_in())?;
    let to_speak = Modules::read(&specimen.kernel.modules())?.to_speak(&built_in)?;
    let first: Vec<&str> = to_speak.iter().map(|module| module.name.as_str()).collect();
    image::write(&initramfs, specimen.agent, &to_speak, &first)?;
    let order = Order {
        kernel: &specimen.kernel.image(),
        initramfs: &initramfs,
        parameters: "",
        topology: &topology,
        accelerator: Accelerator::Kvm,
        cpus: topology.host_cpus(),
        patience: Patience { boot: PROOF_PATIENCE, ..Patience::of(Accelerator::Kvm) },
        folder: folder.path(),
    };
    let proof = match Guest::start(&order).map_err(Failure::from) {
        Ok(guest) => {
            let seen = format!("Linux {} booted under KVM", guest.hello().release);
            guest.end();
            Proof { boots: true, seen }
        }
        // A full disk or a QEMU that is not there says nothing about KVM.
        Err(failure) if failure.kind != Kind::Guest => return Err(failure),
        Err(failure) => {
            // The last part is what QEMU or the guest itself said.
            let first = failure.seen.lines().next().unwrap_or_default();
            let first = first.rsplit("; ").next().unwrap_or(first);
            Proof {
                boots: false,
                seen: format!("/dev/kvm opens, but Linux did not boot under KVM ({first})"),
            }
        }
    };
    if let Some(circumstances) = Circumstances::now() {
        let kept = Kept { circumstances, proof: proof.clone() };
        // Without it the next run proves again.
        let _ = fs::write(proof_path(store), serde_json::to_vec_pretty(&kept).unwrap_or_default());
    }
    Ok(proof)
}

fn proof_path(store: &Store) -> PathBuf {
    store.root().join("kvm-proof.json")
}

#[derive(Deserialize, Serialize)]
struct Kept {
    circumstances: Circumstances,
    proof: Proof,
}

/// What must not have changed for a proof to hold.
#[derive(Deserialize, Eq, PartialEq, Serialize)]
struct Circumstances {
    /// Changes with each boot of the host.
    boot_id: String,
    /// When `/dev/kvm` was last made or changed, in seconds: loading kvm's modules again changes it.
    device: i64,
    qemu: String,
}

impl Circumstances {
    fn now() -> Option<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let device = fs::metadata("/dev/kvm").ok()?.ctime();
        Some(Self { boot_id, device, qemu: qemu_version()? })
    }
}
