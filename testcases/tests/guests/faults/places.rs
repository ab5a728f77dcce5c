//! Surroundings that nobody thinks of: names, languages, a clock that goes back, and what is not set at all.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::world::{World, is_right};
use super::{Test, nothing};
use crate::outcome::Wrong;

pub(super) const TESTS: &[Test] = &[
    Test { name: "places::a_path_with_spaces_and_more_is_as_good_as_any", lacks: nothing, test: odd_names },
    Test { name: "places::no_home_no_folder_for_temporary_files_and_no_english", lacks: nothing, test: bare },
    Test {
        name: "places::a_clock_that_is_set_back_in_the_middle_changes_no_verdict",
        lacks: no_compiler,
        test: clock_set_back,
    },
];

fn odd_names(world: &World) -> Result<(), Wrong> {
    let out = world.folder.join("päth with späces, 'quotes' $and \"more\"; #1/run");
    let said = world.said("odd", world.bench(&out)?)?;
    is_right(&out, &said)?;
    world.report(&out)?.is(0, &[])?;
    for boot in fs::read_dir(out.join("boots"))? {
        let sound = Command::new("sh").arg("-n").arg(boot?.path().join("qemu.sh")).status()?;
        if !sound.success() {
            return Err("a qemu.sh is no shell script".into());
        }
    }
    // kbuild cannot work there: that is said before anything is done.
    let mut bench = world.bench(&world.folder.join("none"))?;
    let store = world.folder.join("my störe");
    bench.env("PARPROBE_STORE", &store);
    world.said("store", bench)?.is(74, &["space or a colon", "set PARPROBE_STORE to another folder"])?;
    if store.exists() || world.folder.join("none").exists() {
        return Err("it was refused, and has left something".into());
    }
    world.nothing_is_left()
}

fn bare(world: &World) -> Result<(), Wrong> {
    let out = world.folder.join("run");
    let mut bench = world.bench(&out)?;
    bench.env_remove("HOME").env_remove("XDG_CACHE_HOME").env("TMPDIR", world.folder.join("nowhere"));
    for name in ["LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LC_NUMERIC"] {
        bench.env(name, "de_DE.UTF-8");
    }
    is_right(&out, &world.said("bare", bench)?)?;
    let mut bench = world.bench(&world.folder.join("none"))?;
    bench.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("PARPROBE_STORE");
    let named = ["none of PARPROBE_STORE, XDG_CACHE_HOME and HOME is set", "set PARPROBE_STORE to a folder"];
    world.said("homeless", bench)?.is(74, &named)?;
    world.nothing_is_left()
}

/// What a program that is loaded with this takes for the time: an hour less, from two seconds after it began on. The
/// other clocks go on as they do.
const SET_BACK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static int (*real)(clockid_t, struct timespec *);
static struct timespec begun;
__attribute__((constructor)) static void begin(void) {
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real(CLOCK_MONOTONIC, &begun);
}
int clock_gettime(clockid_t clock, struct timespec *time) {
    struct timespec now;
    if (!real) begin();
    real(CLOCK_MONOTONIC, &now);
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME && now.tv_sec - begun.tv_sec >= 2) time->tv_sec -= 3600;
    return result;
}
int gettimeofday(struct timeval *time, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}
"#;

/// Says how far the clock went in three seconds.
const WATCHER: &str = r#"
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    time_t begun = time(0);
    sleep(3);
    printf("%ld\n", (long)(time(0) - begun));
    return 0;
}
"#;

fn no_compiler() -> Option<&'static str> {
    let there = Command::new("gcc").arg("--version").output().is_ok_and(|output| output.status.success());
    (!there).then_some("there is no gcc for the library that sets the clock back")
}

fn clock_set_back(world: &World) -> Result<(), Wrong> {
    let made = |name: &str, text: &str, options: &[&str]| -> Result<PathBuf, Wrong> {
        let (source, made) = (world.folder.join(format!("{name}.c")), world.folder.join(name));
        fs::write(&source, text)?;
        let mut compiler = Command::new("gcc");
        compiler.args(options).arg("-o").arg(&made).arg(&source).arg("-ldl");
        world.said(&format!("gcc-{name}"), compiler)?.is(0, &[])?;
        Ok(made)
    };
    let library = made("set-back.so", SET_BACK, &["-shared", "-fPIC"])?;
    // That it does what it says.
    let mut watcher = Command::new(made("watcher", WATCHER, &[])?);
    watcher.env("LD_PRELOAD", &library);
    let said = world.said("watcher", watcher)?;
    let went: i64 = said.stdout.trim().parse().map_err(|e| format!("{e}: {said:?}"))?;
    if went > -3000 {
        return Err(format!("the clock was not set back, but went on by {went} s").into());
    }
    let out = world.folder.join("run");
    let mut bench = world.bench(&out)?;
    bench.env("LD_PRELOAD", &library);
    let said = world.said("set-back", bench)?;
    is_right(&out, &said)?;
    world.report(&out)?.is(0, &[])?;
    world.nothing_is_left()
}
