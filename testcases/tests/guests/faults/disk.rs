//! Disks that are full or cannot be written, under a whole bench. A mount of our own does it, in a namespace that goes
//! with the processes in it.

use std::fs;
use std::process::Command;

use super::world::{Said, World, is_right};
use super::{Test, tell};
use crate::outcome::Wrong;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "disk::a_disk_that_is_full_is_named_and_the_next_run_with_space_goes_on",
        lacks: no_mounts,
        test: full,
    },
    Test {
        name: "disk::a_home_or_a_store_that_cannot_be_written_is_named_before_anything_is_done",
        lacks: no_mounts,
        test: read_only,
    },
];

/// Room for the run besides the store, in KiB: for nothing, for the agent, for one image, for logs, for a saved guest.
const ROOM: [u32; 5] = [64, 1 << 10, 3 << 10, 8 << 10, 24 << 10];

fn no_mounts() -> Option<&'static str> {
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    let can = probe.output().is_ok_and(|output| output.status.success());
    (!can).then_some("only root, outside of a container, can mount a disk to be filled")
}

/// Runs a script in a namespace of its own, in which `$0` is the folder of this world.
fn script(world: &World, text: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", text]).arg(&world.folder);
    command
}

/// A command as words of the script, and what it is to know.
fn quoted(command: &Command) -> String {
    let quote = |text: &std::ffi::OsStr| lab::shell::quoted(&text.to_string_lossy()).to_string();
    let known = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let known = known.map(|(name, value)| format!("{}={}", name.to_string_lossy(), quote(value)));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quote);
    std::iter::once("env".to_owned()).chain(known).chain(words).collect::<Vec<_>>().join(" ")
}

fn full(world: &World) -> Result<(), Wrong> {
    let disk = world.folder.join("disk");
    fs::create_dir(&disk)?;
    let bench = |name: &str| -> Result<String, Wrong> {
        let mut bench = world.bench(&disk.join(name))?;
        bench.env("PARPROBE_STORE", disk.join("store"));
        Ok(quoted(&bench))
    };
    let mut full = 0;
    let mut told = Vec::new();
    for room in ROOM {
        // The store and the run are on the disk, and sources, or it would be too small to begin with. What is left of
        // the run is looked at before the disk goes, and then the same is done again with more space.
        let text = format!(
            r#"
            used=$(du -sk "$0/store" | cut -f1)
            mount -t tmpfs -o size=$((used + used / 20 + {room}))k none "$0/disk"
            cp -r "$0/store" "$0/disk/store"
            mkdir -p "$0/disk/store/sources"
            code=0; {} >"$0/1.out" 2>"$0/1.err" || code=$?
            echo $code >"$0/1.code"
            cat "$0/disk/run/unfinished.txt" >"$0/1.unfinished" 2>/dev/null || true
            ls -A "$0/disk/store" >"$0/1.store"
            mount -o remount,size=2g "$0/disk"
            code=0; {} >"$0/2.out" 2>"$0/2.err" || code=$?
            echo $code >"$0/2.code"
            cp "$0/disk/again/verdict.json" "$0" || true
            "#,
            bench("run")?,
            bench("again")?,
        );
        let said = world.said("script", script(world, &text))?;
        said.is(0, &[])?;
        let of = |name: &str| fs::read_to_string(world.folder.join(name)).unwrap_or_default();
        let first = of("1.err");
        let error = first.lines().find(|line| line.starts_with("error: ")).unwrap_or("no error");
        told.push(format!("{room} KiB: {}, {error}", of("1.code").trim()));
        match of("1.code").trim() {
            "74" => {
                full += 1;
                let named =
                    first.contains("No space left on device") && first.contains(&*disk.to_string_lossy());
                if !named || !first.contains("free some space") || !of("1.out").is_empty() {
                    return Err(format!("with {room} KiB: it does not say what is full: {first}").into());
                }
            }
            "0" | "2" => {}
            code => return Err(format!("with {room} KiB: ended with {code}: {first}").into()),
        }
        if let Some(left) = of("1.store").lines().find(|name| name.starts_with("partial")) {
            return Err(format!("with {room} KiB: the store has {left}").into());
        }
        let again = Said {
            status: std::os::unix::process::ExitStatusExt::from_raw(
                of("2.code").trim().parse::<i32>().map_err(|e| e.to_string())? << 8,
            ),
            stdout: String::new(),
            stderr: of("2.err"),
        };
        is_right(&world.folder, &again)?;
        world.nothing_is_left()?;
    }
    tell(&told.join("\n"));
    // A test in which the disk was never full would say nothing.
    if full < 3 { Err(format!("only {full} of {} disks were full", ROOM.len()).into()) } else { Ok(()) }
}

fn read_only(world: &World) -> Result<(), Wrong> {
    let out = world.folder.join("run");
    let bench = world.bench(&out)?;
    let attempt = |name: &str, setting: &str, mount: &str| -> Result<Said, Wrong> {
        let text = format!("{mount}\nunset PARPROBE_STORE XDG_CACHE_HOME\n{setting} {}", quoted(&bench));
        let text = text.replace(
            &format!("PARPROBE_STORE={} ", lab::shell::quoted(&world.store.display().to_string())),
            "",
        );
        world.said(name, script(world, &text))
    };
    let home = world.folder.join("home");
    fs::create_dir(&home)?;
    let mount_home = r#"mount -t tmpfs -o ro none "$0/home""#;
    let named = ["use as the kernel store the folder", "Read-only file system", "set PARPROBE_STORE"];
    attempt("home", r#"HOME="$0/home""#, mount_home)?.is(74, &named)?;
    // With finished kernels in it.
    let mount_store = r#"mount --bind "$0/store" "$0/store"; mount -o remount,ro,bind "$0/store""#;
    attempt("store", r#"PARPROBE_STORE="$0/store""#, mount_store)?.is(74, &named)?;
    if out.exists() {
        return Err("nothing was run, and there is the folder of a run".into());
    }
    world.nothing_is_left()
}
