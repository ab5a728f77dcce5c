//! `boot`: a guest to work in, with the same hardware as those of a bench.

use std::path::Path;

use lab::failure::Failure;
use lab::guest::{self, Order, Patience, image};
use lab::host;
use lab::kernel::{Catalogue, Store};
use lab::run::{Carried, Lineup, Place, Request};
use lab::watch::Watch;

use crate::cli::{BootArguments, usual};
use crate::exit;
use crate::screen::{Screen, complain};

/// Where QEMU waits for a debugger, as it does by itself (qemu(1), -s).
const GDB_PORT: u16 = 1234;

pub(crate) fn run(arguments: &BootArguments, workspace: &Path, screen: &Screen) -> Result<u8, Failure> {
    let topology = arguments.shape.on(usual(arguments.shape.nodes.unwrap_or(2)))?;
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    let recipes = arguments.wanted().recipes(&catalogue, Store::open()?.root(), screen)?.subjects();
    let needs = || [host::examine(&recipes), vec![host::examine_busybox()]].concat();
    host::prepare(needs, arguments.setup, screen)?;
    let lineup = Lineup::of(
        &Request {
            workspace,
            recipes: &recipes,
            modules: Carried::Any(&testcases::modules()),
            wish: arguments.accel.into(),
            setup: arguments.setup,
            place: Place::Dated { runs: workspace.join("runs"), kind: "boot" },
        },
        screen,
    )?;
    for (_, kernel) in &lineup.kernels {
        let initramfs = lineup.run.join("shell.cpio");
        let first: Vec<&str> = kernel.first.iter().map(String::as_str).collect();
        image::write_shell(&initramfs, Path::new("/bin/busybox"), &kernel.modules, &first)?;
        let debugged = if arguments.gdb { " nokaslr" } else { "" };
        let parameters = format!("{}{debugged} {}", image::SHELL_PARAMETERS, arguments.append);
        let accelerator = lineup.choice.accelerator;
        screen.hand_over();
        complain(&format!("{}: {topology}, {accelerator} ({})", kernel.name, lineup.choice.why));
        if arguments.gdb {
            complain(&match &kernel.symbols {
                Some(symbols) => format!(
                    "it waits for: gdb {} -ex 'target remote 127.0.0.1:{GDB_PORT}' -ex 'hbreak start_kernel' -ex continue",
                    lab::shell::quoted(&symbols.display().to_string())
                ),
                None => format!(
                    "it waits on port {GDB_PORT} for a debugger; whoever built it has its symbols (Debian: {}-dbg)",
                    kernel.name
                ),
            });
        }
        guest::boot_on_terminal(
            &Order {
                kernel: &kernel.image,
                initramfs: &initramfs,
                parameters: parameters.trim(),
                topology: &topology,
                accelerator,
                cpus: topology.host_cpus(),
                patience: Patience::of(accelerator),
                folder: &lineup.run,
            },
            arguments.gdb.then_some(GDB_PORT),
        )?;
    }
    Ok(exit::SUPPORTED)
}
