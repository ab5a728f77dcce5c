//! Dependencies come from crates.io, and their licences are such as `deny.toml` allows. cargo-deny looks at more, where
//! it is there; this needs neither it nor a network.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The licences that deny.toml allows.
fn allowed() -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join("deny.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let names = table["licenses"]["allow"].as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// What is wrong with a package, as `cargo metadata` describes it.
fn wrong_with(package: &Value, allowed: &[String]) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("one without a name");
    // Without a source it is ours.
    let ours = package["source"].is_null();
    if !ours && package["source"] != "registry+https://github.com/rust-lang/crates.io-index" {
        return Some(format!("{name} comes from {}", package["source"]));
    }
    let Some(license) = package["license"].as_str() else { return Some(format!("{name} has no licence")) };
    let Ok(expression) = Expression::parse_mode(license, ParseMode::LAX) else {
        return Some(format!("{name} has a licence that is none: {license}"));
    };
    let fits = expression.evaluate(|requirement| allowed.contains(&requirement.to_string()));
    (!fits).then(|| format!("{name} has the licence {license}"))
}

#[test]
fn dependencies_are_such_as_may_be_linked_and_come_from_crates_io() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "{}", packages.len());
    let allowed = allowed();
    let wrong: Vec<String> = packages.iter().filter_map(|package| wrong_with(package, &allowed)).collect();
    assert_eq!(wrong, [] as [String; 0]);
}

#[test]
fn a_licence_that_is_not_allowed_a_missing_one_and_another_source_are_refused() {
    let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned()];
    let package = |source: &str, license: Option<&str>| {
        let package = serde_json::json!({ "name": "it", "source": source, "license": license });
        wrong_with(&package, &allowed)
    };
    let crates_io = "registry+https://github.com/rust-lang/crates.io-index";
    for fine in ["MIT", "GPL-2.0-only OR MIT", "MIT/Apache-2.0", "MIT AND Apache-2.0"] {
        assert_eq!(package(crates_io, Some(fine)), None, "{fine}");
    }
    for bad in ["GPL-3.0-only", "MIT AND GPL-2.0-only", "Apache-2.0 WITH LLVM-exception", "mine"] {
        assert!(package(crates_io, Some(bad)).is_some(), "{bad}");
    }
    assert!(package(crates_io, None).is_some());
    assert!(package("git+https://example.org/it", Some("MIT")).is_some());
}
