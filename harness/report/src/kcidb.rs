//! Checks to the JSON that KernelCI's common database takes (kcidb-io, schema 5.3): a checkout and a build for each
//! kernel, and a test for each check.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::document::TestResult;
use crate::findings::{Check, Found, Made};

/// The name of the CI system that these objects come from.
const ORIGIN: &str = "parprobe";
/// The longest excerpt of a log that the schema takes, in characters.
const LONGEST_EXCERPT: usize = 16_384;

/// As JSON of KCIDB. A comparison of kernels belongs to the build of the candidate; a test of the harness is of no
/// kernel and is left out.
pub fn render(found: &Found, kernels: &[Made]) -> String {
    // The same document gives the same names: sent twice, it is there once.
    let run = hex(&Sha256::digest(format!("{found:?}")))[..16].to_owned();
    let checks = found.checks();
    let of_a_kernel = checks.iter().filter_map(|check| Some((check, kernel_of(check, kernels)?)));
    let tests =
        of_a_kernel.enumerate().map(|(number, (check, kernel))| test(&run, number + 1, check, kernel));
    let tests: Vec<Value> = tests.collect();
    let mut known: Vec<&str> = Vec::new();
    let (mut checkouts, mut builds) = (Vec::new(), Vec::new());
    for kernel in kernels {
        if !known.contains(&kernel.id.as_str()) {
            known.push(&kernel.id);
            checkouts.push(checkout(kernel));
            builds.push(build(kernel));
        }
    }
    let document = json!({
        "version": { "major": 5, "minor": 3 }, "checkouts": checkouts, "builds": builds, "tests": tests
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

fn kernel_of<'a>(check: &Check, kernels: &'a [Made]) -> Option<&'a Made> {
    let name = check.kernel.as_ref().or(check.candidate.as_ref())?;
    kernels.iter().find(|kernel| kernel.name == *name)
}

fn checkout(kernel: &Made) -> Value {
    let Made { name, id, release, source, source_blake3, patches, .. } = kernel;
    let patches: Vec<&str> = patches.iter().map(|(_, text)| text.as_str()).collect();
    json!({
        "id": format!("{ORIGIN}:{id}"),
        "origin": ORIGIN,
        "comment": format!("{name}: {source}, Linux {release}"),
        "patchset_hash": patchset_hash(&patches),
        "valid": true,
        "misc": { "source": source, "source_blake3": source_blake3 },
    })
}

fn build(kernel: &Made) -> Value {
    let Made { name, id, compiler, fragments, .. } = kernel;
    let mut build = json!({
        "id": format!("{ORIGIN}:{id}"),
        "origin": ORIGIN,
        "checkout_id": format!("{ORIGIN}:{id}"),
        "comment": name,
        "architecture": "x86_64",
        "status": "PASS",
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
        "path": format!("{ORIGIN}.{}", check.group),
        "comment": check.name,
        "status": status(check.result),
    });
    if !lines.trim().is_empty() {
        test["log_excerpt"] = json!(lines.chars().take(LONGEST_EXCERPT).collect::<String>());
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
fn patchset_hash(patches: &[&str]) -> String {
    if patches.is_empty() {
        return String::new();
    }
    let each: String = patches.iter().map(|patch| hex(&Sha256::digest(patch.as_bytes())) + "\n").collect();
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
            patchset_hash(&["one\n", "two\n"]),
            "a50bf38ac5895077796ec5aaebcc94163ceb75563de42cf017e749178f4ad333"
        );
    }
}
