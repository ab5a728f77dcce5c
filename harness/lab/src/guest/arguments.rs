//! A guest as a value, to the QEMU arguments that start it.

use std::ffi::OsString;
use std::path::Path;

use evidence::units::NodeId;

use crate::accelerator::Accelerator;
use crate::guest::Image;
use crate::guest::luns;
use crate::guest::topology::Topology;
use crate::shell::quoted;

/// The QEMU that is started.
pub const QEMU: &str = "qemu-system-x86_64";

/// How QEMU talks to the harness.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wires {
    /// Over sockets that it inherits, by descriptor: nothing in the file system, and gone with the process.
    Inherited {
        /// QMP.
        qmp: i32,
        /// The agent's port.
        agent: i32,
        /// Whether the guest does not boot, but waits for the state of one that was saved.
        incoming: Incoming,
    },
    /// Over sockets in the current folder: for a person who repeats the boot by hand.
    ByHand,
    /// Over the terminal: for a person who works in the guest. There is no agent.
    Terminal {
        /// The TCP port on which it waits for a debugger before it begins.
        gdb: Option<u16>,
    },
}

/// Where a guest comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Incoming {
    /// It boots.
    Nothing,
    /// It was saved; its state is read from this descriptor, and then it waits to be let run.
    From(i32),
    /// It was saved; QEMU is told over QMP where its state is.
    Later,
}

/// Everything that decides what QEMU is told.
#[derive(Clone, Debug)]
pub(crate) struct Machine<'a> {
    /// The kernel.
    pub(crate) kernel: &'a Image,
    /// The initramfs.
    pub(crate) initramfs: &'a Path,
    /// Kernel parameters besides those that every guest gets.
    pub(crate) parameters: &'a str,
    /// Its shape.
    pub(crate) topology: &'a Topology,
    /// TCG or KVM.
    pub(crate) accelerator: Accelerator,
    /// Whether this QEMU has its seccomp filter.
    pub(crate) filtered: bool,
}

/// QEMU's seccomp filter: no system call that nobody uses any more, no other user, no other program, and no CPUs but those
/// it was started on, all of which it is given before it begins (qemu(1), -sandbox).
const FILTER: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Kernel parameters of every guest.
///
/// `loglevel=6`: the console shows the banner, by which a second boot is known, but neither info nor debug output;
/// the agent lowers it further. `initcall_debug`: the first witness. `panic=0`: a dead kernel stays where it is until
/// the harness has read its last words. `trace_clock=global`: that of printk (sched_clock_cpu()); without it
/// late_trace_init() changes to it in the middle, where the TSC is not stable, and empties the trace. `acpi=noirq`, for
/// kernels of our configuration: our devices use MSI, and to route the interrupts of each PCI port the ACPI interpreter takes 0.1 s under TCG (1.6
/// s to /init become 0.7 s), with KASAN and lockdep 17 s, because both record a stack for each of its allocations.
/// `no_timer_check`: check_timer() (arch/x86/kernel/apic/io_apic.c) panics where no tick comes while it spins for a
/// few, and under TCG on a busy host none may (seen: "IO-APIC + timer doesn't work!"); a guest of KVM leaves that
/// check out by itself (kvm_guest_init()). `random.trust_cpu=on`: else the kernel has enough randomness only when many
/// requests were served, and then, amid the probes, patches the code that serves them (crng_set_ready()). Under TCG of
/// QEMU 7.2 that may end in "Oops: int3" (seen with 6.12 of Debian; `guest::stale`).
fn kernel_parameters(machine: &Machine<'_>) -> String {
    let log_kib = (1024 + machine.topology.luns * 2).next_power_of_two();
    // Without CONFIG_X86_MPPARSE nobody else routes interrupts, and those of the controllers never come (seen: 6.12 of
    // Debian's cloud images).
    let routing = if machine.kernel.own { " acpi=noirq" } else { "" };
    let base = format!(
        "console=ttyS0 loglevel=6 panic=0 initcall_debug trace_clock=global{routing} no_timer_check random.trust_cpu=on log_buf_len={log_kib}K scsi_mod.scan=sync rdinit=/init"
    );
    if machine.parameters.is_empty() { base } else { format!("{base} {}", machine.parameters) }
}

/// The arguments for a QEMU that sets up a vCPU, stopped and with nothing to boot.
pub(crate) fn idle(accelerator: Accelerator, filtered: bool, qmp: i32) -> Vec<OsString> {
    let mut args = Arguments::default();
    args.closed(filtered);
    args.add("-S", None);
    args.add("-display", Some("none"));
    args.add("-machine", Some("q35"));
    args.processor(accelerator);
    args.add("-chardev", Some(&format!("socket,id=qmp,fd={qmp}")));
    args.add("-mon", Some("chardev=qmp,mode=control"));
    args.0
}

/// The arguments, without the program.
pub(crate) fn qemu_arguments(machine: &Machine<'_>, wires: Wires) -> Vec<OsString> {
    let mut args = Arguments::default();
    let topology = machine.topology;

    args.closed(machine.filtered);
    args.add("-no-reboot", None);
    args.add("-display", Some("none"));
    args.add("-machine", Some("q35,hpet=off"));
    args.processor(machine.accelerator);
    args.add("-smp", Some(&format!("{0},sockets={0},cores=1,threads=1", topology.vcpus)));
    args.add("-m", Some(&format!("{}M", topology.node_mib() * topology.all_nodes())));
    args.path("-kernel", &machine.kernel.path);
    args.path("-initrd", machine.initramfs);
    args.add("-append", Some(&kernel_parameters(machine)));

    // By hand Ctrl-C ends QEMU; in a run it is the harness that does; on a terminal it is for the guest, and QEMU listens
    // to what follows a Ctrl-A (qemu(1), "Keys in the character backend multiplexer").
    let console = match wires {
        Wires::ByHand => "stdio,id=console",
        Wires::Inherited { .. } => "stdio,id=console,signal=off",
        Wires::Terminal { .. } => "stdio,id=console,mux=on,signal=off",
    };
    args.add("-chardev", Some(console));
    args.add("-serial", Some("chardev:console"));
    let socket = |id: &str, fd: i32| format!("socket,id={id},fd={fd}");
    let (qmp, agent) = match wires {
        Wires::Inherited { qmp, agent, incoming } => {
            match incoming {
                Incoming::Nothing => {}
                Incoming::From(state) => {
                    args.add("-S", None);
                    args.add("-incoming", Some(&format!("fd:{state}")));
                }
                Incoming::Later => args.add("-incoming", Some("defer")),
            }
            (socket("qmp", qmp), socket("agent", agent))
        }
        Wires::ByHand => {
            let listening = |id: &str| format!("socket,id={id},path={id}.sock,server=on,wait=off");
            (listening("qmp"), listening("agent"))
        }
        Wires::Terminal { gdb } => {
            if let Some(port) = gdb {
                args.add("-S", None);
                args.add("-gdb", Some(&format!("tcp:127.0.0.1:{port}")));
            }
            args.add("-mon", Some("chardev=console,mode=readline"));
            ("null,id=qmp".to_owned(), "null,id=agent".to_owned())
        }
    };
    args.add("-chardev", Some(&qmp));
    if !matches!(wires, Wires::Terminal { .. }) {
        args.add("-mon", Some("chardev=qmp,mode=control"));
    }
    args.add("-chardev", Some(&agent));
    args.add("-device", Some("virtio-serial-pci,id=serial,bus=pcie.0"));
    args.add("-device", Some(&format!("virtserialport,bus=serial.0,chardev=agent,name={}", protocol::PORT)));

    nodes(&mut args, topology);
    hbas(&mut args, topology);
    if luns::fit_on_a_command_line(topology) {
        for (option, value) in luns::arguments(topology) {
            args.add(option, Some(&value));
        }
    } else {
        args.add("-S", None);
    }
    args.0
}

/// Each node: its memory, its CPUs, and a PCI host bridge whose devices belong to it.
fn nodes(args: &mut Arguments, topology: &Topology) {
    for node in 0..topology.all_nodes() {
        args.add("-object", Some(&format!("memory-backend-ram,id=mem{node},size={}M", topology.node_mib())));
        let cpus = if node < topology.nodes {
            let (first, last) = topology.vcpus_of(NodeId(node));
            format!("cpus={first}-{last},")
        } else {
            String::new()
        };
        args.add("-numa", Some(&format!("node,nodeid={node},{cpus}memdev=mem{node}")));
        // Bus numbers below 32 are for the root complex itself.
        let bus = 32 + node * (224 / topology.all_nodes());
        args.add("-device", Some(&format!("pxb-pcie,id=pxb{node},bus=pcie.0,bus_nr={bus},numa_node={node}")));
    }
}

/// Each HBA: a root port on its node, and an I/O thread, so that one does not wait for another in QEMU.
fn hbas(args: &mut Arguments, topology: &Topology) {
    for hba in 0..topology.hbas {
        let bus = topology.node_of_hba(hba).map_or("pcie.0".to_owned(), |node| format!("pxb{node}"));
        args.add("-object", Some(&format!("iothread,id=io{hba}")));
        let port = format!("pcie-root-port,id=port{hba},bus={bus},chassis={hba},slot={hba}");
        args.add("-device", Some(&port));
        args.add("-device", Some(&format!("virtio-scsi-pci,id=hba{hba},bus=port{hba},iothread=io{hba}")));
    }
}

/// The command as lines for a shell, to be run in the folder it is written to.
pub(crate) fn shell_command(machine: &Machine<'_>) -> String {
    let waits = if luns::fit_on_a_command_line(machine.topology) {
        ""
    } else {
        "\n# It waits for its LUNs, which are too many for a command line: give it luns.qmp over qmp.sock."
    };
    let mut text = format!(
        "#!/bin/sh
# Boots the same guest by hand: its console is here, Ctrl-C ends it. The agent waits for calls on agent.sock
# (JSON lines), QEMU on qmp.sock, both in this folder.{waits}
cd \"$(dirname \"$0\")\" || exit 1
exec {QEMU}"
    );
    for arg in qemu_arguments(machine, Wires::ByHand) {
        let arg = arg.to_string_lossy();
        // An option starts a new line; its value follows it.
        text.push_str(if arg.starts_with('-') { " \\\n  " } else { " " });
        text.push_str(&quoted(&arg));
    }
    text.push('\n');
    text
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, option: &str, value: Option<&str>) {
        self.0.push(option.into());
        self.0.extend(value.map(OsString::from));
    }

    /// No device, file or network that was not asked for.
    fn closed(&mut self, filtered: bool) {
        self.add("-nodefaults", None);
        self.add("-no-user-config", None);
        self.add("-nic", Some("none"));
        if filtered {
            self.add("-sandbox", Some(FILTER));
        }
    }

    fn processor(&mut self, accelerator: Accelerator) {
        match accelerator {
            Accelerator::Tcg => {
                self.add("-accel", Some("tcg,thread=multi"));
                // QEMU's default, and a source of randomness: see `random.trust_cpu` above.
                self.add("-cpu", Some("qemu64,+rdrand"));
            }
            Accelerator::Kvm => {
                self.add("-accel", Some("kvm"));
                self.add("-cpu", Some("host"));
            }
        }
    }

    fn path(&mut self, option: &str, path: &Path) {
        self.0.push(option.into());
        self.0.push(path.into());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn image() -> &'static Image {
        static IMAGE: std::sync::OnceLock<Image> = std::sync::OnceLock::new();
        IMAGE.get_or_init(|| Image { path: "/store/my kernels/vmlinux".into(), own: true })
    }

    fn machine(topology: &Topology) -> Machine<'_> {
        Machine {
            kernel: image(),
            initramfs: Path::new("initramfs.cpio"),
            parameters: "",
            topology,
            accelerator: Accelerator::Tcg,
            filtered: true,
        }
    }

    #[test]
    fn a_small_guest_as_a_shell_command() {
        let topology = Topology { vcpus: 3, ..Topology::new(2, 2, 3, Duration::from_millis(20)) };
        insta::assert_snapshot!(shell_command(&machine(&topology)));
    }

    #[test]
    fn the_largest_guest_fits_on_a_command_line() {
        let topology = Topology { vcpus: 64, ..Topology::new(8, 64, 4096, Duration::from_secs(60)) };
        assert_eq!(topology.check(), Ok(()));
        let args = qemu_arguments(&machine(&topology), Wires::ByHand);
        let bytes: usize = args.iter().map(|arg| arg.len() + 1 + size_of::<*const u8>()).sum();
        // Linux gives a quarter of the stack limit, 2 MiB by default, to arguments and environment.
        assert!(bytes < 1 << 20, "{bytes}");
    }
}
