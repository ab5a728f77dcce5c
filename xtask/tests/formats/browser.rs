//! Opens a page in a browser without a screen, clicks a probe, and looks at what it shows.

use std::fs;
use std::path::Path;
use std::process::Command;

use lab::validators;
use libtest_mimic::{Completion, Failed};

use crate::lacks;
use crate::run::Run;

/// Clicks in the middle of the first lane of the first kernel, finds a device by its name, zooms, and writes down what
/// came of each.
const VISITOR: &str = r#"<script>
addEventListener("load", () => {
  const svg = document.querySelector("svg.lanes"), box = svg.getBoundingClientRect();
  svg.setPointerCapture = () => {};
  const event = (name) => new PointerEvent(name,
    { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, pointerId: 1, bubbles: true });
  svg.dispatchEvent(event("pointerdown"));
  svg.dispatchEvent(event("pointerup"));
  const shown = () => document.getElementById("details").textContent;
  const clicked = shown();
  const find = document.getElementById("find");
  find.value = "1:0:0:0";
  find.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  const found = shown(), whole = svg.getAttribute("viewBox");
  document.getElementById("closer").click();
  const marks = document.querySelectorAll("path.chosen").length;
  const seen = { clicked, found, whole, closer: svg.getAttribute("viewBox"), marks };
  const out = document.createElement("pre");
  out.id = "visitor";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
</script></body>"#;

pub(crate) fn page() -> Result<Completion, Failed> {
    let Some(browser) = validators::browser() else {
        return lacks("no chromium, chromium-browser or google-chrome");
    };
    let run = Run::of_a_bench()?;
    let text = fs::read_to_string(run.report("html")?)?;
    // A patch of the run tries to end the page's script and begin its own.
    if text.contains("<script>alert") {
        return Err("text of a patch is in the page as a script".into());
    }
    let visited = run.path().join("visited.html");
    fs::write(&visited, text.replace("</body>", VISITOR))?;
    let profile = run.path().join("profile");
    let mut command = Command::new(browser);
    command.args(["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking"]);
    command.args(["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--dump-dom"]);
    // As root there is no other way.
    if fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0) {
        command.arg("--no-sandbox");
    }
    command
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", visited.display()));
    let page = command.output()?;
    let (dom, log) = (String::from_utf8_lossy(&page.stdout), String::from_utf8_lossy(&page.stderr));
    if let Some(line) = log.lines().find(|line| line.contains("CONSOLE")) {
        return Err(format!("the page complains: {line}").into());
    }
    let seen = dom.split_once("<pre id=\"visitor\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (seen, _) = seen.ok_or_else(|| format!("the visitor said nothing; the browser said:\n{log}"))?;
    holds(seen, &dom, run.path())?;
    Ok(Completion::Completed)
}

fn holds(seen: &str, dom: &str, run: &Path) -> Result<(), Failed> {
    let seen: serde_json::Value = serde_json::from_str(&seen.replace("&lt;", "<").replace("&gt;", ">"))?;
    let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
    // In the middle of `without`, one probe after another, with its lines in both witnesses.
    let clicked = text("clicked");
    for part in [
        "without: ",
        "returned 0",
        "boots/001-without/trace.txt:",
        "boots/001-without/kmsg.txt:",
        "probe of ",
    ] {
        if !clicked.contains(part) {
            return Err(format!("no \"{part}\" behind the probe that was clicked: {clicked}").into());
        }
    }
    // The lines are those of the log.
    let quoted = clicked
        .lines()
        .find_map(|line| line.split_once("kmsg.txt:"))
        .and_then(|(_, line)| line.split_once(": "));
    let (number, line) = quoted.ok_or_else(|| format!("no line of the log in: {clicked}"))?;
    let log = fs::read_to_string(run.join("boots/001-without/kmsg.txt"))?;
    if log.lines().nth(number.parse::<usize>()? - 1) != Some(line) {
        return Err(format!("line {number} of the log is not: {line}").into());
    }
    if !text("found").contains(" 1:0:0:0, node ") {
        return Err(format!("the device that was asked for is not shown: {}", text("found")).into());
    }
    if seen["marks"] != 1 || text("whole") == text("closer") {
        return Err(format!("one probe is to be marked, and the picture to be closer: {seen}").into());
    }
    // The numbers of the document.
    for part in
        ["without (6.1.192", "7 of 7 expectations hold", "6 of 6 expectations hold", "at most 8 in flight"]
    {
        if !dom.contains(part) {
            return Err(format!("no \"{part}\" in the page").into());
        }
    }
    Ok(())
}
