//! Debian's packages: installed, downloaded, unpacked. Only this module runs apt and dpkg.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Output};
use crate::failure::{Failure, Kind};
use crate::kernel::Scratch;
use crate::scarce;
use crate::watch::Watch;

/// A slow mirror takes minutes; this is for one that does not answer.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The command that installs these packages here, to be copied as it stands.
pub fn install_command(packages: &[&str]) -> String {
    let (who, sudo) = match (is_root(), find_program("sudo")) {
        (true, _) => ("", ""),
        (false, Some(_)) => ("", "sudo "),
        (false, None) => ("as root: ", ""),
    };
    let one = packages.first().copied().unwrap_or_default();
    let update = if knows_none(one) { format!("{sudo}apt-get update && ") } else { String::new() };
    format!("{who}{update}{sudo}apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Whether there is an apt, and it knows no package that begins so.
fn knows_none(beginning: &str) -> bool {
    packages(beginning).is_ok_and(|known| known.is_empty())
}

/// How the names of packages of kernel source begin.
pub(crate) const SOURCES: &str = "linux-source-";

/// The packages of kernel source that apt knows; `None` where it knows none at all: where there is no apt, or it was
/// not updated yet, as in a new container.
pub(crate) fn sources() -> Option<Vec<String>> {
    packages(SOURCES).ok().filter(|known| !known.is_empty())
}

/// Updates apt's lists where it knows no package of kernel source: which kernels can be made here depends on that.
/// Where it cannot be done, whoever installs says so, with all that is missing.
///
/// # Errors
/// `Interrupted`.
pub fn first_update(watch: &dyn Watch) -> Result<(), Failure> {
    if find_program("apt-get").is_none() || !can_install() || sources().is_some() {
        return Ok(());
    }
    let attempt = "ask for the names of packages";
    watch.stage(attempt);
    match apt(attempt, &["update"], &[]) {
        Err(failure) if failure.kind == Kind::Interrupted => Err(failure),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn can_install() -> bool {
    is_root() || find_program("sudo").is_some()
}

/// Installs what is missing, with apt, as root or through sudo. It never asks a question.
///
/// # Errors
/// `Host` where there is no apt or it fails, with the packages; `Interrupted`.
pub fn install(packages: &[&str], watch: &dyn Watch) -> Result<(), Failure> {
    if packages.is_empty() {
        return Ok(());
    }
    let attempt = format!("install {}", packages.join(" "));
    if find_program("apt-get").is_none() {
        let seen = "there is no apt-get on this system";
        let next = "install these packages, or what they are called here, and run the same command again";
        return Err(Failure::new(Kind::Host, attempt, seen, next));
    }
    if !can_install() {
        let next = install_command(packages);
        return Err(Failure::new(Kind::Host, attempt, "it takes root, and there is no sudo", next));
    }
    watch.stage(&attempt);
    apt(&attempt, &["update"], packages)?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&attempt, &arguments, packages)
}

fn apt(attempt: &str, arguments: &[&str], packages: &[&str]) -> Result<(), Failure> {
    let next = format!("run it yourself, and then the same command again: {}", install_command(packages));
    let failed = |seen: String| Failure::new(Kind::Host, attempt, seen, &next);
    let mut command = if is_root() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        // -n: without a terminal, or in CI, a password prompt would wait for ever.
        sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        sudo
    };
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    let output = child::output(&mut command, PATIENCE, vec![]).map_err(|e| match e.kind() {
        ErrorKind::Interrupted => Failure::interrupted(attempt),
        _ => failed(e.to_string()),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = output.stderr.lines().collect();
    Err(failed(format!("{}\n{}", output.status, lines[lines.len().saturating_sub(8)..].join("\n"))))
}

/// The versions of a package that apt could get, the newest first; none for a package that it does not know.
///
/// # Errors
/// `Host` without apt; `Interrupted`.
pub fn versions(package: &str) -> Result<Vec<String>, Failure> {
    let attempt = format!("find the versions of the package {package}");
    // One line each: `package | version | where from` (apt-cache(8)).
    let output = run(&attempt, "apt-cache", &["madison", package], Path::new("/"))?;
    let mut versions: Vec<String> = Vec::new();
    for line in output.stdout.lines() {
        let version = line.split('|').nth(1).map(str::trim).unwrap_or_default();
        if !version.is_empty() && !versions.iter().any(|known| known == version) {
            versions.push(version.to_owned());
        }
    }
    Ok(versions)
}

/// The version of a package that apt would install: pins and releases decide (apt_preferences(5)), it need not be the
/// newest. `None` for a package that it does not know, or would not install.
///
/// # Errors
/// As [`versions`].
pub(crate) fn candidate(package: &str) -> Result<Option<String>, Failure> {
    let attempt = format!("ask which version of {package} apt would install");
    let output = run(&attempt, "apt-cache", &["policy", package], Path::new("/"))?;
    Ok(candidate_in(&output.stdout).map(str::to_owned))
}

/// The candidate in what `apt-cache policy` says of a package.
pub(crate) fn candidate_in(policy: &str) -> Option<&str> {
    let version = policy.lines().find_map(|line| line.trim_start().strip_prefix("Candidate:"))?.trim();
    (version != "(none)").then_some(version)
}

/// The packages whose names begin so.
///
/// # Errors
/// As [`versions`].
pub fn packages(beginning: &str) -> Result<Vec<String>, Failure> {
    let output = run("list packages", "apt-cache", &["pkgnames", beginning], Path::new("/"))?;
    Ok(output.stdout.lines().map(str::to_owned).collect())
}

/// Sorts things by Debian versions, the oldest first.
///
/// # Errors
/// `Host` without dpkg; `Interrupted`.
pub fn sort_by_version<T>(things: &mut Vec<(String, T)>) -> Result<(), Failure> {
    let older = |a: &str, b: &str| -> Result<bool, Failure> {
        let output = run("compare versions", "dpkg", &["--compare-versions", a, "lt", b], Path::new("/"))?;
        Ok(output.status.success())
    };
    // By insertion: a comparison may fail, which no sort of the library allows for.
    let mut sorted: Vec<(String, T)> = Vec::new();
    for thing in std::mem::take(things) {
        let mut place = sorted.len();
        while place > 0 && older(&thing.0, &sorted[place - 1].0)? {
            place -= 1;
        }
        sorted.insert(place, thing);
    }
    *things = sorted;
    Ok(())
}

/// Downloads a package of a version into a folder, which needs no root, and returns the file.
///
/// # Errors
/// `Host` with what apt says; `Interrupted`.
pub(crate) fn download(
    package: &str,
    version: &str,
    into: &Path,
    watch: &dyn Watch,
) -> Result<PathBuf, Failure> {
    let attempt = format!("download {package} {version}");
    watch.stage(&attempt);
    // Of its own, so that what appears in it is the package, and whole.
    fs::create_dir_all(into).map_err(|e| Failure::file("create", into, &e))?;
    let folder = Scratch::partial(into)?;
    let wanted = format!("{package}={version}");
    let output = run(&attempt, "apt-get", &["download", &wanted], folder.path())?;
    let mut files = fs::read_dir(folder.path()).map_err(|e| Failure::file("list", folder.path(), &e))?;
    match files.next() {
        Some(Ok(file)) if output.status.success() => {
            let to = into.join(file.file_name());
            fs::rename(file.path(), &to).map_err(|e| Failure::file("write", &to, &e))?;
            Ok(to)
        }
        _ => {
            let next = "run `apt-get update`; if the version is gone from the archive, get the file by hand and name it";
            Err(Failure::new(Kind::Host, attempt, output.stderr.trim(), next))
        }
    }
}

/// Unpacks the files of a package into a folder.
///
/// # Errors
/// `Asked` for a broken file, `Files` for a full disk, `Host` without dpkg-deb or memory, `Interrupted`.
pub(crate) fn unpack(deb: &Path, into: &Path) -> Result<(), Failure> {
    let attempt = format!("unpack {}", deb.display());
    let (deb, to) = (deb.display().to_string(), into.display().to_string());
    let output = run(&attempt, "dpkg-deb", &["--extract", &deb, &to], Path::new("/"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = output.stderr.trim();
    Err(scarce::of(&attempt, output.status, said).unwrap_or_else(|| {
        let seen = format!("it is no whole package: {said}");
        Failure::new(Kind::Asked, attempt, seen, "get it again, or name another")
    }))
}

/// The same for one that was downloaded here: if it is not whole, nobody has named it, and it goes.
///
/// # Errors
/// `Files`; otherwise as [`unpack`].
pub(crate) fn unpack_downloaded(deb: &Path, into: &Path) -> Result<(), Failure> {
    unpack(deb, into).map_err(|failure| match failure.kind {
        Kind::Asked => {
            // What cannot be removed is found again, and told again.
            let _ = fs::remove_file(deb);
            Failure { kind: Kind::Files, next: "run it again: it is downloaded anew".to_owned(), ..failure }
        }
        _ => failure,
    })
}

/// What a package depends on, as it says itself.
///
/// # Errors
/// As [`unpack`].
pub(crate) fn depends(deb: &Path) -> Result<String, Failure> {
    let path = deb.display().to_string();
    let output = run("read a package", "dpkg-deb", &["--field", &path, "Depends"], Path::new("/"))?;
    Ok(output.stdout.trim().to_owned())
}

fn run(attempt: &str, program: &str, arguments: &[&str], folder: &Path) -> Result<Output, Failure> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    child::output(&mut command, PATIENCE, vec![]).map_err(|e| match e.kind() {
        ErrorKind::Interrupted => Failure::interrupted(attempt),
        _ => {
            let next = "on a system without apt and dpkg, name a source tree, a tarball, or an image with its modules";
            Failure::new(Kind::Host, attempt, format!("{program}: {e}"), next)
        }
    })
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_of_apt_is_not_the_newest_version() {
        // As apt 2.6 says it on a system with backports.
        let policy = "linux-image-amd64:\n  Installed: (none)\n  Candidate: 6.1.187-1\n  Version table:\n     \
                      6.12.43-1~bpo12+1 100\n        100 http://mirror.example/debian bookworm-backports/main\n     \
                      6.1.187-1 500\n        500 http://mirror.example/debian bookworm/main\n";
        assert_eq!(candidate_in(policy), Some("6.1.187-1"));
        assert_eq!(candidate_in(&policy.replace("Candidate: 6.1.187-1", "Candidate: (none)")), None);
        assert_eq!(candidate_in(""), None);
    }
}
