//! `doctor`: what the host has and lacks.

use std::path::Path;

use lab::debian;
use lab::failure::{Failure, Kind};
use lab::host::{self, State};
use lab::kernel::Catalogue;

use crate::exit;
use crate::screen::print;

pub(crate) fn run(workspace: &Path) -> Result<u8, Failure> {
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    let recipes = catalogue.names().map(|name| catalogue.recipe(name)).collect::<Result<Vec<_>, _>>()?;
    let findings = host::examine(&recipes);
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
    let blocked = findings.iter().any(|finding| matches!(finding.state, State::Blocks(_)));
    if !missing.is_empty() {
        out.push_str(&format!("\nTo mend it all: {}\n", debian::install_command(&missing)));
        out.push_str(
            "or `cargo xtask test --setup`; `cargo xtask bench --setup` for what two kernels of 6.1 need.\n",
        );
    } else if !blocked {
        out.push_str("\nEverything that a bench needs is here.\n");
    }
    print(&out);
    Ok(if missing.is_empty() && !blocked { exit::SUPPORTED } else { Kind::Host.exit_code() })
}
