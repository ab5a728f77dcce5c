//! Writes the initramfs: the agent as `/init`, and the modules a run needs.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cpio::newc;
use nix::sys::signal::Signal;

use crate::child::{self, Waited};
use crate::failure::{Failure, Kind};
use crate::kernel::modules::Module;

/// The target of the agent: glibc can be linked statically there without another toolchain.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the agent with the cargo that built us and returns the path of the binary.
///
/// It has a folder of its own in cargo's: its flags differ from those of the workspace.
///
/// # Errors
/// `Build` with the compiler's last words; `Files` where cargo's folder cannot be written.
pub fn build_agent(workspace: &Path) -> Result<PathBuf, Failure> {
    let attempt = "build the agent of the guest";
    let folder = cargos_folder(workspace, std::env::var_os("CARGO_TARGET_DIR"));
    // Cargo may have been told otherwise where to build us.
    fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
    let target = folder.join("guest");
    let log = folder.join("guest-build.log");
    let output = fs::File::create(&log).map_err(|e| Failure::file("create", &log, &e))?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace)
        .args(["build", "--quiet", "--package", "agent", "--profile", "agent", "--target", TARGET])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output);
    let next =
        "the C library for static linking comes with libc6-dev; `cargo xtask doctor` says what is missing";
    let failed = |seen: String| Failure::new(Kind::Host, attempt, seen, next);
    let mut cargo =
        child::spawn(&mut command, Signal::SIGTERM, vec![]).map_err(|e| failed(format!("cargo: {e}")))?;
    match cargo.wait(Duration::from_secs(900)).map_err(|e| failed(e.to_string()))? {
        Waited::Ended(status) if status.success() => Ok(target.join(TARGET).join("agent").join("agent")),
        Waited::Ended(status) => {
            Err(failed(format!("{status}\n{}", fs::read_to_string(&log).unwrap_or_default())))
        }
        Waited::TimedOut => Err(failed("cargo was not done after 15 minutes".to_owned())),
        Waited::Cancelled => Err(Failure::interrupted(attempt)),
    }
}

/// Where cargo builds, if only its environment says otherwise (doc.rust-lang.org/cargo, "Environment Variables").
fn cargos_folder(workspace: &Path, told: Option<OsString>) -> PathBuf {
    match told.filter(|told| !told.is_empty()) {
        // The agent is built from the workspace, and we may run elsewhere.
        Some(told) => std::path::absolute(&told).unwrap_or_else(|_| workspace.join(&told)),
        None => workspace.join("target"),
    }
}

/// The bare init that is built with this agent.
pub fn bare_beside(agent: &Path) -> PathBuf {
    agent.with_file_name("bare")
}

/// Writes an initramfs with the agent and modules, of which these are to be loaded before the agent speaks, in the
/// newc format (Documentation/driver-api/early-userspace/buffer-format.rst).
///
/// # Errors
/// `Files` where something cannot be read or written.
pub fn write(path: &Path, agent: &Path, modules: &[Module], first: &[&str]) -> Result<(), Failure> {
    pack(path, vec![("init".to_owned(), Content::File(agent))], modules, &first.join("\n"))
}

/// Kernel parameters for an image with a shell. No script has to be started, for which the kernel would need
/// CONFIG_BINFMT_SCRIPT: what it does not know itself it hands to init as its environment, and an interactive shell
/// reads the file that `ENV` names (busybox, "ash").
pub const SHELL_PARAMETERS: &str = "rdinit=/bin/sh ENV=/parprobe.sh";

/// What that shell does first.
const SHELL_START: &str = r#"
if [ -z "$PARPROBE" ]; then
    export PARPROBE=1 PATH=/bin
    busybox mkdir -p /proc /sys /dev
    busybox mount -t proc proc /proc
    /bin/busybox --install -s /bin
    mount -t sysfs sysfs /sys
    mount -t devtmpfs dev /dev
    mount -t tracefs tracing /sys/kernel/tracing 2> /dev/null
    [ -f /modules/first ] && for module in $(cat /modules/first); do insmod /modules/$module.ko; done
    echo
    echo "Modules, in an order in which they can be loaded: $(cat /parprobe.modules)"
    echo "insmod /modules/NAME.ko loads one; dmesg and /sys/kernel/tracing are there."
    echo "poweroff -f, or Ctrl-A x, ends the guest."
    setsid cttyhack sh
    poweroff -f
fi
"#;

/// Writes an initramfs with a busybox, linked statically, instead of the agent.
///
/// # Errors
/// As [`write`].
pub fn write_shell(path: &Path, busybox: &Path, modules: &[Module], first: &[&str]) -> Result<(), Failure> {
    let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    let names = names.join(" ");
    let entries = vec![
        ("bin".to_owned(), Content::Folder),
        ("bin/busybox".to_owned(), Content::File(busybox)),
        ("bin/sh".to_owned(), Content::Link("busybox")),
        ("parprobe.sh".to_owned(), Content::Text(SHELL_START)),
        ("parprobe.modules".to_owned(), Content::Text(&names)),
    ];
    pack(path, entries, modules, &first.join("\n"))
}

fn pack<'a>(
    path: &Path,
    mut entries: Vec<(String, Content<'a>)>,
    modules: &'a [Module],
    first: &'a str,
) -> Result<(), Failure> {
    entries.push((protocol::MODULES.trim_start_matches('/').to_owned(), Content::Folder));
    for module in modules {
        let name = format!("{}/{}.ko", protocol::MODULES.trim_start_matches('/'), module.name);
        entries.push((name, Content::File(&module.path)));
    }
    if !first.is_empty() {
        entries.push((protocol::FIRST.trim_start_matches('/').to_owned(), Content::Text(first)));
    }
    let mut archive = Vec::new();
    for (number, (name, content)) in entries.iter().enumerate() {
        let body = match content {
            Content::Folder => Vec::new(),
            Content::Text(text) | Content::Link(text) => text.as_bytes().to_vec(),
            Content::File(from) => fs::read(from).map_err(|e| Failure::file("read", from, &e))?,
        };
        // A number of its own each: equal numbers with several links would be one file.
        let number = u32::try_from(number + 1).unwrap_or(u32::MAX);
        append(&mut archive, name, number, content, &body).map_err(|e| Failure::file("pack", path, &e))?;
    }
    newc::trailer(&mut archive).map_err(|e| Failure::file("pack", path, &e))?;
    fs::write(path, archive).map_err(|e| Failure::file("write", path, &e))
}

enum Content<'a> {
    File(&'a Path),
    Text(&'a str),
    Link(&'a str),
    Folder,
}

fn append(
    archive: &mut Vec<u8>,
    name: &str,
    number: u32,
    content: &Content<'_>,
    body: &[u8],
) -> io::Result<()> {
    let mode = match content {
        Content::File(_) => 0o100_755,
        Content::Text(_) => 0o100_644,
        Content::Link(_) => 0o120_777,
        Content::Folder => 0o040_755,
    };
    let size = u32::try_from(body.len()).map_err(|_| io::Error::other("larger than newc can hold"))?;
    let mut writer = newc::Builder::new(name).ino(number).mode(mode).nlink(1).write(archive, size);
    writer.write_all(body)?;
    writer.finish().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_built_where_cargo_builds() {
        let workspace = Path::new("/some/space");
        let folder = |told: &str| cargos_folder(workspace, Some(told.into()));
        assert_eq!(cargos_folder(workspace, None), Path::new("/some/space/target"));
        assert_eq!(folder(""), Path::new("/some/space/target"));
        assert_eq!(folder("/elsewhere"), Path::new("/elsewhere"));
        assert!(folder("built").is_absolute());
    }

    #[test]
    fn the_image_holds_the_agent_and_the_modules_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (agent, module) = (folder.path().join("agent"), folder.path().join("sd_mod.ko"));
        fs::write(&agent, "agent's bytes").unwrap();
        fs::write(&module, "module's bytes").unwrap();
        let image = folder.path().join("initramfs.cpio");
        write(
            &image,
            &agent,
            &[Module { name: "sd_mod".into(), path: module, depends: vec![] }],
            &["sd_mod"],
        )
        .unwrap();

        let mut rest = io::Cursor::new(fs::read(&image).unwrap());
        let mut seen = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut body = String::new();
            io::Read::read_to_string(&mut reader, &mut body).unwrap();
            seen.push(format!("{} {:o} {body}", reader.entry().name(), reader.entry().mode()));
            rest = reader.finish().unwrap();
        }
        assert_eq!(
            seen,
            [
                "init 100755 agent's bytes",
                "modules 40755 ",
                "modules/sd_mod.ko 100755 module's bytes",
                "modules/first 100644 sd_mod",
            ]
        );
    }
}
