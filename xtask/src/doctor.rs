//! `doctor`: what the host has and lacks.

use std::path::Path;

use lab::debian;
use lab::failure::{Failure, Kind};
use lab::host::{self, State};
use lab::kernel::Catalogue;

use crate::cli::OF_A_BENCH;
use crate::exit;
use crate::screen::print;

pub(crate) fn run(workspace: &Path) -> Result<u8, Failure> {
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    let recipes = catalogue.names().map(|name| catalogue.recipe(name)).collect::<Result<Vec<_>, _>>()?;
    let mut findings = host::examine(&recipes);
    findings.push(host::examine_busybox());
    let of_a_bench =
        OF_A_BENCH.split(',').map(|name| catalogue.recipe(name)).collect::<Result<Vec<_>, _>>()?;
    let can_bench = host::require(&host::examine(&of_a_bench)).is_ok();
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in &findings {
        let (mark, rest) = match &finding.state {
            State::Fine => ("ok", String::new()),
            State::Mind(why) => ("note", format!("\n{:width$}          {why}", "")),
            State::Blocks(next) => ("blocks", format!("\n{:width$}          {next}", "")),
            State::Lacks { package } => {
                ("lacks", format!("\n{:width$}          {}", "", debian::install_command(&[package])))
            }
        };
        out.push_str(&format!("{:width$}  {mark:<6}  {}{rest}\n", finding.name, finding.seen));
    }
    let missing = host::missing_packages(&findings);
    if can_bench {
        out.push_str("\nEverything that a bench needs is here.\n");
    }
    if !missing.is_empty() {
        let what =
            if can_bench { "What all tests and `cargo xtask boot` need besides" } else { "To mend it all" };
        out.push_str(&format!("\n{what}: {}\n", debian::install_command(&missing)));
        out.push_str("or add --setup to the command: it installs what that one needs.\n");
    }
    print(&out);
    Ok(if can_bench { exit::SUPPORTED } else { Kind::Host.exit_code() })
}
