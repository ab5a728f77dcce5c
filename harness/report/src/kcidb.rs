//! Checks to the JSON that KernelCI's common database takes (kcidb-io, schema 5.3): a checkout and a build for each
//! kernel, and a test for each check.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::document::TestResult;
use crate::findings::{Check, Found, HARNESS, Made};

/// The name of the CI system that these objects come from.
const ORIGIN: &str = "parprobe";
/// The longest excerpt of a log that the schema takes, in characters.
const LONGEST_EXCERPT: usize = 16_384;

/// As JSON of KCIDB. A comparison of kernels belongs to the build of the candidate, and what is of no kernel to the
/// first build; a test of the harness tests no kernel and is left out.
pub fn render(found: &Found, kernels: &[Made]) -> String {
    // The same document gives the same names: sent twice, it is there once.
    let run = hex(&Sha256::digest(format!("{found:?}")))[..16].to_owned();
    let checks: Vec<Check> = found.checks().into_iter().filter(|check| check.group != HARNESS).collect();
    // One that was not built is not in the folder of the run.
    let mut all: Vec<(Made, &str)> = kernels.iter().map(|kernel| (kernel.clone(), "PASS")).collect();
    for name in checks.iter().filter_map(of_kernel) {
        if !all.iter().any(|(kernel, _)| kernel.name == *name) {
            let id = format!("{run}-{}", &hex(&Sha256::digest(name.as_bytes()))[..8]);
            all.push((Made { name: name.clone(), id, ..Made::default() }, "MISS"));
        }
    }
    let build_of = |check: &Check| {
        let named = |name: &String| all.iter().find(|(kernel, _)| kernel.name == *name);
        of_kernel(check).map_or(all.first(), named).map(|(kernel, _)| kernel)
    };
    let numbered = checks.iter().enumerate();
    let tests: Vec<Value> = numbered
        .filter_map(|(number, check)| Some(test(&run, number + 1, check, build_of(check)?)))
        .collect();
    let mut known: Vec<&str> = Vec::new();
    let (mut checkouts, mut builds) = (Vec::new(), Vec::new());
    for (kernel, status) in &all {
        if !known.contains(&kernel.id.as_str()) {
            known.push(&kernel.id);
            checkouts.push(checkout(kernel));
            builds.push(build(kernel, status));
        }
    }
    let document = json!({
        "version": { "major": 5, "minor": 3 }, "checkouts": checkouts, "builds": builds, "tests": tests
    });
    crate::document::json(&document) + "\n"
}

/// A group in the words of the schema: parts of letters, digits, `_` and `-`, with a dot between them.
fn path(group: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let parts = group.split("::").filter(|part| !part.is_empty());
    let parts = parts.map(|part| part.chars().map(plain).collect::<String>());
    std::iter::once(ORIGIN.to_owned()).chain(parts).collect::<Vec<_>>().join(".")
}

/// The kernel that a check is of.
fn of_kernel(check: &Check) -> Option<&String> {
    check.kernel.as_ref().or(check.candidate.as_ref())
}

fn checkout(kernel: &Made) -> Value {
    let Made { name, id, release, source, source_blake3, patches, .. } = kernel;
    let patches: Vec<&[u8]> = patches.iter().map(|(_, content)| content.as_slice()).collect();
    json!({
        "id": format!("{ORIGIN}:{id}"),
        "origin": ORIGIN,
        "comment": format!("{name}: {source}, Linux {release}"),
        "patchset_hash": patchset_hash(&patches),
        "valid": true,
        "misc": { "source": source, "source_blake3": source_blake3 },
    })
}

fn build(kernel: &Made, status: &str) -> Value {
    let Made { name, id, compiler, fragments, .. } = kernel;
    let mut build = json!({
        "id": format!("{ORIGIN}:{id}"),
        "origin": ORIGIN,
        "checkout_id": format!("{ORIGIN}:{id}"),
        "comment": name,
        "architecture": "x86_64",
        "status": status,
    });
    if let Some(compiler) = compiler {
        build["compiler"] = json!(compiler);
        build["config_name"] = json!(fragments.join(" "));
    }
    build
}

fn test(run: &str, number: usize, check: &Check, kernel: &Made) -> Value {
    let lines = [&[check.seen.clone()][..], &check.evidence].concat().join("\n").replace('\0', "");
    let mut test = json!({
        "id": format!("{ORIGIN}:{run}-{number}"),
        "origin": ORIGIN,
        "build_id": format!("{ORIGIN}:{}", kernel.id),
        "path": path(&check.group),
        "comment": check.name,
        "status": status(check.result),
    });
    if !lines.trim().is_empty() {
        test["log_excerpt"] = json!(lines.chars().take(LONGEST_EXCERPT).collect::<String>());
    }
    if let Some(took) = check.took {
        test["duration"] = json!(took.as_secs_f64());
    }
    test
}

/// The highest of a kernel's tests is its summary there: what cannot be told must not end below "passed".
fn status(result: TestResult) -> &'static str {
    match result {
        TestResult::Passed => "PASS",
        TestResult::Failed => "FAIL",
        TestResult::Inconclusive => "ERROR",
        TestResult::Lost => "MISS",
        TestResult::Skipped => "SKIP",
    }
}

/// What `sha256sum *.patch | cut -c-64 | sha256sum | cut -c-64` prints, as the schema has it; empty without patches.
fn patchset_hash(patches: &[&[u8]]) -> String {
    if patches.is_empty() {
        return String::new();
    }
    let each: String = patches.iter().map(|patch| hex(&Sha256::digest(patch)) + "\n").collect();
    hex(&Sha256::digest(each.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_patchset_is_what_the_shell_command_of_the_schema_prints() {
        assert_eq!(patchset_hash(&[]), "");
        // printf 'one\n' >1.patch; printf 'two\n' >2.patch; sha256sum *.patch | cut -c-64 | sha256sum | cut -c-64
        assert_eq!(
            patchset_hash(&[b"one\n", b"two\n"]),
            "a50bf38ac5895077796ec5aaebcc94163ceb75563de42cf017e749178f4ad333"
        );
    }
}
