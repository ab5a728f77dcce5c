//! Faults of the host while a kernel is built, or afterwards: each has its name, and leaves a store that works.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use lab::failure::{Failure, Kind};
use lab::footprint::at_work_in;
use lab::kernel::Kernel;
use lab::watch::Nobody;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Fixture, Notes, image};

/// What other jobs of make say after one has failed.
const OTHERS: &str = "for n in $(seq 40); do echo \"drivers/base/dd.c:$n:1: warning: unused\" >&2; done";

/// Builds a kernel while this happens, and then once more; how it failed.
fn failed_once(fixture: &Fixture, script: &str) -> Failure {
    fixture.fault(script);
    let recipe = fixture.recipe("mainline", &[]);
    let failure = fixture.store().ensure(std::slice::from_ref(&recipe), &Nobody).unwrap_err();
    assert!(fixture.root().join("fault.done").exists(), "it did not happen: {failure}");
    assert!(failure.seen.contains("build-"), "it does not name the log: {failure}");
    // What another test starts has all of our files open until it becomes another program.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !at_work_in(&fixture.root()).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(at_work_in(&fixture.root()), Vec::<String>::new());
    assert!(entries(&fixture.root().join("kernels")).is_empty(), "there is no kernel, or half of one");
    // The same is built as if nothing had been.
    assert_eq!(image(&fixture.ensure(&[recipe])[0]), "pristine\n");
    assert_eq!(fixture.source_says(), "pristine\n");
    assert_eq!(entries(&fixture.root().join("kernels")).len(), 1);
    failure
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_make_that_is_killed_is_the_hosts_fault_and_what_it_had_half_written_is_discarded() {
    let failure = failed_once(&Fixture::new(), "printf prist > $1/vmlinux; kill -KILL $2; sleep 1000");
    assert_eq!(failure.kind, Kind::Host, "{failure}");
    assert!(failure.seen.contains("the host ran out of memory, or somebody killed it"), "{failure}");
}

#[test]
fn a_compiler_that_is_killed_for_want_of_memory_is_no_broken_source() {
    let said = "gcc: fatal error: Killed signal terminated program cc1";
    let failure = failed_once(&Fixture::new(), &format!("echo '{said}' >&2; {OTHERS}; exit 1"));
    assert_eq!(failure.kind, Kind::Host, "{failure}");
    assert!(failure.seen.contains(said) && failure.next.contains("dmesg"), "{failure}");
    // The linker, of which only the shell around it tells.
    let failure = failed_once(&Fixture::new(), &format!("{OTHERS}; kill -KILL $$"));
    assert_eq!(failure.kind, Kind::Host, "{failure}");
}

#[test]
fn a_full_disk_under_a_build_is_named_and_no_broken_source() {
    // The kernel itself says that there is no room.
    let write = "ln -s /dev/full $1/vmlinux; cp code.c $1/vmlinux; rm $1/vmlinux; printf prist > $1/vmlinux";
    let failure = failed_once(&Fixture::new(), &format!("{write}; {OTHERS}; exit 1"));
    assert_eq!(failure.kind, Kind::Files, "{failure}");
    assert!(failure.seen.contains("vmlinux': No space left on device"), "{failure}");
    assert!(failure.next.contains("free some space") && failure.next.contains("PARPROBE_STORE"), "{failure}");
}

#[test]
fn a_compiler_that_leaves_a_server_behind_does_not_keep_its_build_waiting() {
    let fixture = Fixture::new();
    // As a cache of compilers does. It has what make has open, the pipe to us too, and is of no group of ours.
    fixture.fault(
        "server=$1/../../../server\n\
         setsid sh -c 'echo $$ > \"$0\"; exec sleep 1000' $server &\n\
         while [ ! -s $server ]; do sleep 0.01; done",
    );
    let kernel = fixture.ensure(&[fixture.recipe("mainline", &[])]).remove(0);
    // It has the lock of the source as well, which nobody is to wait for.
    let next = fixture.ensure(&[fixture.recipe("next", &[fixture.patch("next")])]).remove(0);
    assert_eq!(image(&next), "next\n");
    let server = fs::read_to_string(fixture.root().join("server")).unwrap();
    let lived = kill(Pid::from_raw(server.trim().parse().unwrap()), Signal::SIGKILL);
    assert_eq!(lived, Ok(()), "it did not hold the pipe open");
    assert_eq!(image(&kernel), "pristine\n");
}

/// The half of it is gone; whether that changes anything.
fn cut(path: &Path) -> bool {
    let text = fs::read(path).unwrap();
    fs::write(path, &text[..text.len() / 2]).unwrap();
    !text.is_empty()
}

/// Another letter is in it: of a record one of a name, so that it can be read as before.
fn changed(path: &Path) -> bool {
    let mut text = fs::read(path).unwrap();
    let at = text.windows(4).position(|word| word == b"fake").unwrap_or(0);
    let Some(byte) = text.get_mut(at) else { return false };
    *byte ^= 1;
    fs::write(path, text).unwrap();
    true
}

fn lost(path: &Path) -> bool {
    fs::remove_file(path).is_ok()
}

fn one_more(path: &Path) -> bool {
    fs::write(path.with_extension("more"), "").is_ok()
}

/// Does something to a file; whether that is a fault.
type Inject = fn(&Path) -> bool;

#[test]
fn each_file_of_a_kernel_that_is_cut_changed_lost_or_one_too_many_has_it_built_again() {
    let fixture = Fixture::new();
    let recipe = fixture.recipe("mainline", &[]);
    let kernel = fixture.ensure(std::slice::from_ref(&recipe)).remove(0);
    let digests = |kernel: &Kernel| kernel.identity.files.clone();
    let whole = digests(&kernel);
    let mut files: Vec<PathBuf> = whole.keys().map(|name| kernel.folder.join(name)).collect();
    files.push(kernel.folder.join("kernel.json"));
    assert!(files.len() >= 6, "{files:?}");
    let faults: [(&str, Inject); 4] =
        [("cut", cut), ("changed", changed), ("lost", lost), ("one more", one_more)];
    let mut tried = 0;
    for path in &files {
        for (fault, inject) in &faults {
            if !inject(path) {
                continue;
            }
            tried += 1;
            let notes = Notes::default();
            let mended = fixture.store().ensure(std::slice::from_ref(&recipe), &notes).unwrap().remove(0);
            let notes = notes.0.into_inner().unwrap();
            let told = notes.iter().any(|note| note.contains("is damaged: it is built again"));
            assert!(told, "{fault}: {}: {notes:?}", path.display());
            assert_eq!(digests(&mended).keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
            assert_eq!(
                (image(&mended).as_str(), mended.identity.release.as_str()),
                ("pristine\n", "6.1.0-fake")
            );
            assert_eq!(entries(&fixture.root().join("kernels")).len(), 1, "{fault}: {}", path.display());
        }
    }
    assert!(tried >= 4 * files.len() - 4, "{tried}");
}

#[test]
fn a_clock_that_was_set_back_gives_no_kernel_the_objects_of_another() {
    let fixture = Fixture::new();
    fixture.ensure(&[fixture.recipe("mainline", &[])]);
    // An hour ago, for whoever looks at these, the clock was set back by an hour.
    let source = entries(&fixture.root().join("sources")).remove(0);
    let objects = entries(&source).into_iter().find(|path| path.join("vmlinux").exists()).unwrap();
    for file in entries(&objects).into_iter().filter(|path| path.is_file()) {
        let file = fs::File::options().append(true).open(file).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    }
    let notes = Notes::default();
    let recipe = fixture.recipe("without", &[fixture.patch("without")]);
    let kernel = fixture.store().ensure(&[recipe], &notes).unwrap().remove(0);
    assert_eq!(image(&kernel), "without\n", "make took the objects of the other kernel for newer");
    let notes = notes.0.into_inner().unwrap();
    assert!(notes.iter().any(|note| note.contains("the clock was set back")), "{notes:?}");
    assert_eq!(
        image(&fixture.ensure(&[fixture.recipe("another", &[fixture.patch("another")])])[0]),
        "another\n"
    );
}
