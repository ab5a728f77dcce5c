//! A guest that dies ends at once, with the right name for its death. Each death here is a real one, but for
//! the second boot: its banner is written to the log.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use evidence::console::Death;
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::guest::{CallError, Cause, Guest, Image, Lost, Order, Patience, Trouble, image};
use lab::kernel::modules::Module;
use libtest_mimic::Trial;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};
use protocol::{Countable, Request};

use crate::laboratory;
use crate::outcome::{Wrong, trial};

/// The kernel that dies. Any would do.
const KERNEL: &str = "mainline";

/// How long a guest may take to die.
const PATIENCE: Duration = Duration::from_secs(120);

/// `ud2`.
const UNDEFINED: [u8; 2] = [0x0f, 0x0b];

/// `jmp` to itself.
const ENDLESS: [u8; 2] = [0xeb, 0xfe];

/// What a guest does next, in which it is expected to die.
const DOING: &str = "die";

pub(crate) fn trials() -> Vec<Trial> {
    let death = |name: &str, test: fn() -> Result<(), Wrong>| trial(format!("deaths::{name}"), test);
    vec![
        death("panic", panic),
        death("out_of_memory", out_of_memory),
        death("oops", oops),
        death("hung_task", hung_task),
        death("soft_lockup", soft_lockup),
        death("rcu_stall", rcu_stall),
        death("second_boot", second_boot),
        death("reset", reset),
        death("reset_in_boot", reset_in_boot),
        death("silence", silence),
        death("mute", mute),
        death("overdue", overdue),
        death("agent", agent),
    ]
}

fn panic() -> Result<(), Wrong> {
    let lost = Patient::boot("panic")?.dies_of(set("/proc/sysrq-trigger", "c"))?;
    expect_kernel(&lost, Death::Panic)
}

/// The kernel is told to keep more memory free than there is: the next that asks for some gets none, and there is no
/// process but the first. An answer to a ping needs none (seen: 6.12 lived on it for two minutes), but the log does.
fn out_of_memory() -> Result<(), Wrong> {
    let most = set("/proc/sys/vm/min_free_kbytes", "16777216");
    let lost = Patient::boot("out-of-memory")?.dies_within(most, &Request::ReadKmsg, PATIENCE)?;
    expect_kernel(&lost, Death::OutOfMemory)
}

/// A module whose first instruction is undefined.
fn oops() -> Result<(), Wrong> {
    let lost = Patient { spoil: Some("test_lockup"), ..Patient::new("oops") }
        .start()?
        .dies_of(Request::LoadModule { name: "test_lockup".into(), params: String::new() })?;
    expect_kernel(&lost, Death::Oops)?;
    // The kernel still answered: its log tells more than its console.
    let log = fs::read_to_string(lost.folder.join("kmsg.txt"))?;
    if log.contains("invalid opcode") { Ok(()) } else { Err("kmsg.txt does not show the oops".into()) }
}

/// insmod sleeps uninterruptibly until the reads of the probes are done: a minute, here.
fn hung_task() -> Result<(), Wrong> {
    let mut guest = Patient { latency: Duration::from_secs(60), ..Patient::new("hung-task") }.start()?;
    guest.does(set("/proc/sys/kernel/hung_task_timeout_secs", "3"))?;
    for module in ["scsi_common", "bsg", "scsi_mod", "virtio_scsi"] {
        guest.does(Request::LoadModule { name: module.into(), params: String::new() })?;
    }
    let lost = guest.dies_of(Request::LoadModule { name: "sd_mod".into(), params: String::new() })?;
    expect_kernel(&lost, Death::HungTask)
}

fn soft_lockup() -> Result<(), Wrong> {
    let mut guest = Patient::boot("soft-lockup")?;
    guest.does(set("/proc/sys/kernel/watchdog_thresh", "1"))?;
    let lost = guest.dies_of(lockup("time_secs=60 state=R"))?;
    expect_kernel(&lost, Death::SoftLockup)
}

/// A CPU with interrupts off: its own watchdog does not run, and no grace period ends.
fn rcu_stall() -> Result<(), Wrong> {
    let mut guest = Patient::boot("rcu-stall")?;
    guest.does(set("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "3"))?;
    let lost = guest.dies_of(lockup("time_secs=60 state=R disable_irq=1"))?;
    expect_kernel(&lost, Death::RcuStall)
}

/// The banner again, on the console, as a kernel started with kexec prints it.
fn second_boot() -> Result<(), Wrong> {
    let lost = Patient::boot("second-boot")?.dies_of(set("/dev/kmsg", "<0>Linux version 6.1.0 (again)\n"))?;
    expect_kernel(&lost, Death::SecondBoot)
}

fn reset() -> Result<(), Wrong> {
    let lost = Patient::boot("reset")?.dies_of(set("/proc/sysrq-trigger", "b"))?;
    expect(&lost, lost.cause == Cause::Reset)
}

/// A kernel whose first instruction is undefined, as there is nobody yet to handle that: it would begin again and again.
fn reset_in_boot() -> Result<(), Wrong> {
    let kernel = laboratory::kernel(KERNEL)?;
    let (folder, _) = laboratory::folder("reset-in-boot")?;
    let mut data = fs::read(&kernel.image.path)?;
    let at = offset_of(&data, "pvh_start_xen").ok_or("the kernel has no PVH entry")?;
    data[at..at + 2].copy_from_slice(&UNDEFINED);
    let image = Image { path: folder.join("vmlinux"), own: true };
    fs::write(&image.path, data)?;
    let accelerator = laboratory::accelerator()?;
    let topology = Topology { vcpus: 2, ..Topology::new(1, 1, 1, Duration::ZERO) };
    let started = Guest::start(&Order {
        kernel: &image,
        initramfs: &kernel.initramfs,
        parameters: "",
        topology: &topology,
        accelerator,
        cpus: topology.host_cpus(),
        patience: Patience::of(accelerator),
        folder: &folder,
    });
    // Of the size of a hundred logs, and of no use to whoever reads them.
    fs::remove_file(&image.path)?;
    match started {
        Err(Trouble::Lost(lost)) if lost.cause == Cause::Reset && lost.doing.starts_with("boot ") => Ok(()),
        Err(other) => Err(other.into()),
        Ok(_) => Err("the guest came up without its first instruction".into()),
    }
}

/// Every CPU spins with interrupts off: nobody is left to say anything.
fn silence() -> Result<(), Wrong> {
    let silence = Duration::from_secs(8);
    let mut guest = Patient { silence, ..Patient::new("silence") }.start()?;
    let lost = guest.dies_of(lockup("time_secs=600 state=R disable_irq=1 all_cpus=1"))?;
    expect(&lost, lost.cause == Cause::Silence(silence))
}

/// The kernel boots, and its first process runs and never says a word: that of the kernel is the last that is known.
fn mute() -> Result<(), Wrong> {
    let kernel = laboratory::kernel(KERNEL)?;
    let (folder, _) = laboratory::folder("mute")?;
    let mut agent = fs::read(laboratory::agent()?)?;
    let at = entry_of(&agent).ok_or("the agent has no first instruction")?;
    agent[at..at + 2].copy_from_slice(&ENDLESS);
    let (init, initramfs) = (folder.join("init"), folder.join("initramfs.cpio"));
    fs::write(&init, agent)?;
    image::write(&initramfs, &init, &[], &[])?;
    let accelerator = laboratory::accelerator()?;
    let topology = Topology { vcpus: 2, ..Topology::new(1, 1, 1, Duration::ZERO) };
    let boot = Duration::from_secs(45);
    let started = Guest::start(&Order {
        kernel: &kernel.image,
        initramfs: &initramfs,
        // So that the console shows how far it came.
        parameters: "loglevel=7",
        topology: &topology,
        accelerator,
        cpus: topology.host_cpus(),
        patience: Patience { boot, ..Patience::of(accelerator) },
        folder: &folder,
    });
    let lost = match started {
        Err(Trouble::Lost(lost)) if lost.cause == Cause::Silence(boot) => lost,
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("it said hello without its first instruction".into()),
    };
    if !fs::read_to_string(folder.join("console.log"))?.contains("Run /init as init process") {
        return Err(Wrong::Inconclusive(format!("it is not at /init after {boot:?}")));
    }
    let Failure { kind, attempt, seen, .. } = (*lost).into();
    let told = seen.contains("silence: not a word for 45s\nlast line of its console: [");
    if kind == Kind::Guest && attempt.starts_with("boot ") && told { Ok(()) } else { Err(seen.into()) }
}

/// Alive, answering pings, and not done in time: that is not silence.
fn overdue() -> Result<(), Wrong> {
    let what = Countable::Devices { bus: "scsi".to_owned() };
    let request = Request::Await { what, least: 1, most: 1, still_ms: 60_000, timeout_ms: 60_000 };
    let lost = Patient::boot("overdue")?.dies_within(request, &Request::Ping, Duration::from_secs(7))?;
    expect(&lost, matches!(lost.cause, Cause::Overdue(_)))
}

/// Without the driver of its port the agent cannot work, and says so before it ends.
fn agent() -> Result<(), Wrong> {
    let patient = Patient { parameters: "initcall_blacklist=virtio_console_init", ..Patient::new("agent") };
    let Err(wrong) = patient.start() else { return Err("the guest came up without its port".into()) };
    let said = match wrong {
        Wrong::World(failure) if failure.kind == Kind::Guest => failure.seen,
        other => return Err(other),
    };
    let expected = "agent died: agent: no virtio-serial port parprobe.agent";
    if said.contains(expected) { Ok(()) } else { Err(said.into()) }
}

fn set(path: &str, value: &str) -> Request {
    Request::Set { path: path.into(), value: value.into() }
}

fn lockup(params: &str) -> Request {
    Request::LoadModule { name: "test_lockup".into(), params: params.into() }
}

fn expect_kernel(lost: &Lost, expected: Death) -> Result<(), Wrong> {
    expect(lost, matches!(&lost.cause, Cause::Kernel { death, .. } if *death == expected))
}

fn expect(lost: &Lost, as_expected: bool) -> Result<(), Wrong> {
    let Lost { cause, doing, last_line, folder } = lost;
    if !as_expected {
        let text = format!("it died of: {cause}\nlast line: {last_line}\n{}", folder.display());
        return Err(match Wrong::from(Box::new(lost.clone())) {
            Wrong::Failed(_) => text.into(),
            // The host did not let it die as it should.
            other => other,
        });
    }
    if doing != DOING {
        return Err(format!("it died while it was to {doing}").into());
    }
    Ok(())
}

/// A guest to be started.
struct Patient {
    name: &'static str,
    latency: Duration,
    silence: Duration,
    parameters: &'static str,
    /// A module to be made faulty in the image.
    spoil: Option<&'static str>,
}

impl Patient {
    fn new(name: &'static str) -> Self {
        let silence = Duration::from_secs(60);
        Self { name, latency: Duration::ZERO, silence, parameters: "", spoil: None }
    }

    fn boot(name: &'static str) -> Result<Dying, Wrong> {
        Self::new(name).start()
    }

    fn start(self) -> Result<Dying, Wrong> {
        let kernel = laboratory::kernel(KERNEL)?;
        let (folder, _) = laboratory::folder(self.name)?;
        let accelerator = laboratory::accelerator()?;
        let topology = Topology { vcpus: 2, ..Topology::new(1, 1, 1, self.latency) };
        let spoilt = self.spoil.map(|module| spoil(&kernel.modules, module, &folder)).transpose()?;
        let order = Order {
            kernel: &kernel.image,
            initramfs: spoilt.as_deref().unwrap_or(&kernel.initramfs),
            parameters: self.parameters,
            topology: &topology,
            accelerator,
            cpus: topology.host_cpus(),
            patience: Patience { silence: self.silence, ..Patience::of(accelerator) },
            folder: &folder,
        };
        let guest = Guest::start(&order)?;
        Ok(Dying { guest })
    }
}

/// A guest that will not live long.
struct Dying {
    guest: Guest,
}

impl Dying {
    fn does(&mut self, request: Request) -> Result<(), Wrong> {
        match self.guest.quick_call("prepare", request) {
            Ok(_) => Ok(()),
            Err(CallError::Refused(why)) => Err(why.into()),
            Err(CallError::Lost(lost)) => Err(lost.into()),
        }
    }

    fn dies_of(&mut self, request: Request) -> Result<Lost, Wrong> {
        self.dies_within(request, &Request::Ping, PATIENCE)
    }

    fn dies_within(&mut self, request: Request, then: &Request, patience: Duration) -> Result<Lost, Wrong> {
        // A panic may come with the answer or before it: the call after it finds out.
        let until = Instant::now() + patience;
        let mut answer = self.guest.call(DOING, request, patience);
        while answer.is_ok() && Instant::now() < until {
            answer = self.guest.call(DOING, then.clone(), patience);
        }
        match answer {
            Ok(_) => Err("it lives".into()),
            Err(CallError::Refused(why)) => Err(format!("it refused to die: {why}").into()),
            Err(CallError::Lost(lost)) => Ok(*lost),
        }
    }
}

/// An image like the kernel's own, in which the init function of this module begins with `ud2`.
fn spoil(modules: &[Module], name: &str, folder: &Path) -> Result<std::path::PathBuf, Wrong> {
    let mut modules = modules.to_vec();
    let module = modules.iter_mut().find(|module| module.name == name).ok_or("no such module")?;
    let mut data = fs::read(&module.path)?;
    // The function that `finit_module` calls.
    let at = offset_of(&data, "init_module").ok_or("it has no init_module")?;
    // Two bytes only: what relocations change has to be zero before.
    data[at..at + 2].copy_from_slice(&UNDEFINED);
    module.path = folder.join(format!("{name}.ko"));
    fs::write(&module.path, data)?;
    let initramfs = folder.join("initramfs.cpio");
    image::write(&initramfs, &laboratory::agent()?, &modules, &[])?;
    Ok(initramfs)
}

/// Where in the file this function begins.
fn offset_of(data: &[u8], function: &str) -> Option<usize> {
    let file = object::File::parse(data).ok()?;
    let function = file.symbol_by_name(function)?;
    let section = file.section_by_index(function.section_index()?).ok()?;
    // Sections of a module have no address yet.
    let (begins, _) = section.file_range()?;
    usize::try_from(begins + function.address() - section.address()).ok()
}

/// Where in the file the first instruction of a program is.
fn entry_of(data: &[u8]) -> Option<usize> {
    let file = object::File::parse(data).ok()?;
    let entry = file.entry();
    let holds = |from: u64, size: u64| (from..from + size).contains(&entry);
    let segment = file.segments().find(|segment| holds(segment.address(), segment.size()))?;
    let (begins, _) = segment.file_range();
    usize::try_from(begins + entry - segment.address()).ok()
}
