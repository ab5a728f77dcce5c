//! Checks to JUnit XML: a suite for each case, as CI servers show them.
//!
//! What is written is valid against the schema of Jenkins' xUnit plugin (`junit-10.xsd`), which pytest holds its own
//! against as well.

use std::io;
use std::time::Duration;

use evidence::plain::plain;
use quick_xml::Writer;
use quick_xml::events::BytesText;

use crate::document::TestResult;
use crate::findings::{Check, Found};

/// As JUnit XML. What cannot be told, and what was lost, is an error, and no failure of the kernel.
pub fn render(found: &Found) -> String {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    // Writing to memory does not fail.
    let _ = write(found, &mut writer);
    let xml = String::from_utf8(writer.into_inner()).unwrap_or_default();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{xml}\n")
}

type Xml = Writer<Vec<u8>>;

fn write(found: &Found, writer: &mut Xml) -> io::Result<()> {
    let checks = found.checks();
    let suites = checks.chunk_by(|a, b| a.group == b.group);
    let mut element = writer.create_element("testsuites").with_attribute(("name", "parprobe"));
    for (name, value) in counts(&checks) {
        element = element.with_attribute((name, value.as_str()));
    }
    if let Some(took) = found.took() {
        element = element.with_attribute(("time", seconds(took).as_str()));
    }
    element.write_inner_content(|writer| {
        for suite in suites {
            write_suite(found, suite, writer)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// How many there are of each kind, as attributes.
fn counts(checks: &[Check]) -> [(&'static str, String); 3] {
    let count = |kinds: &[TestResult]| {
        checks.iter().filter(|check| kinds.contains(&check.result)).count().to_string()
    };
    [
        ("tests", checks.len().to_string()),
        ("failures", count(&[TestResult::Failed])),
        ("errors", count(&[TestResult::Inconclusive, TestResult::Lost])),
    ]
}

fn write_suite(found: &Found, checks: &[Check], writer: &mut Xml) -> io::Result<()> {
    let group = checks.first().map(|check| text(&check.group)).unwrap_or_default();
    let skipped = checks.iter().filter(|check| check.result == TestResult::Skipped).count();
    let mut element = writer.create_element("testsuite").with_attribute(("name", group.as_str()));
    for (name, value) in counts(checks) {
        element = element.with_attribute((name, value.as_str()));
    }
    element = element.with_attribute(("skipped", skipped.to_string().as_str()));
    if let Some(took) = checks.iter().map(|check| check.took).collect::<Option<Vec<_>>>() {
        element = element.with_attribute(("time", seconds(took.iter().sum()).as_str()));
    }
    element.write_inner_content(|writer| {
        let properties = [("command", found.command()), ("run", found.run())];
        writer.create_element("properties").write_inner_content(|writer| {
            for (name, value) in properties {
                let property = writer.create_element("property").with_attribute(("name", name));
                property.with_attribute(("value", text(value).as_str())).write_empty()?;
            }
            Ok(())
        })?;
        for check in checks {
            write_case(check, &group, writer)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn write_case(check: &Check, group: &str, writer: &mut Xml) -> io::Result<()> {
    let seen = text(&check.seen);
    let (tag, of_type) = match check.result {
        TestResult::Passed => ("system-out", ""),
        TestResult::Skipped => ("skipped", "skipped"),
        TestResult::Failed => ("failure", "refuted"),
        TestResult::Inconclusive => ("error", "inconclusive"),
        TestResult::Lost => ("error", "lost"),
    };
    let mut case = writer
        .create_element("testcase")
        .with_attribute(("classname", group))
        .with_attribute(("name", text(&check.full_name()).as_str()));
    if let Some(took) = check.took {
        case = case.with_attribute(("time", seconds(took).as_str()));
    }
    let all = text(&[&[check.seen.clone()][..], &check.evidence].concat().join("\n"));
    if check.result == TestResult::Passed && all.is_empty() {
        case.write_empty()?;
        return Ok(());
    }
    case.write_inner_content(|writer| {
        let mut inner = writer.create_element(tag);
        if check.result != TestResult::Passed {
            inner = inner.with_attribute(("type", of_type)).with_attribute(("message", seen.as_str()));
        }
        inner.write_text_content(BytesText::new(&all))?;
        Ok(())
    })?;
    Ok(())
}

fn seconds(took: Duration) -> String {
    format!("{:.3}", took.as_secs_f64())
}

/// As plain text, and without what else XML 1.0 cannot have at all, escaped or not: a log may have any byte.
fn text(text: &str) -> String {
    plain(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
