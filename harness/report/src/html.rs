//! A run to one HTML page that needs nothing else: verdicts first, then pictures, then what it was made with.
//!
//! Pictures are drawn here and stand without a script. The script shows the log lines behind a probe and zooms; what it
//! shows is in the page as JSON. All text goes through maud, which escapes it, or into that JSON, which has no `<`.

mod data;
mod samples;
mod timeline;
mod verdicts;

use evidence::plain::plain;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::findings::{Found, Made};
use crate::lanes::Timeline;

/// What a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The document.
    pub found: &'a Found,
    /// The kernels.
    pub kernels: &'a [Made],
    /// Boots to be drawn: those of a case one below the other, on one time axis.
    pub timelines: &'a [Timeline],
    /// What is remarkable about the page itself: what could not be read of the run.
    pub remarks: &'a [String],
}

/// As a page of HTML.
pub fn render(page: &Page<'_>) -> String {
    let Page { found, kernels, timelines, remarks } = page;
    let outcome = found.outcome();
    let groups: Vec<&[Timeline]> = timelines.chunk_by(|a, b| a.case == b.case).collect();
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "parprobe: " (outcome) }
                style { (PreEscaped(include_str!("html/page.css"))) }
            }
            body {
                h1 { "parprobe: " (verdicts::badge_of_outcome(outcome)) }
                @if let Found::Bench(document) = found && let Some(but) = document.leaves_open() {
                    p.warning { (outcome) ", " (but) }
                }
                @for remark in *remarks { p.warning { (remark) } }
                (verdicts::render(found))
                @if !groups.is_empty() {
                    h2 #probes { "Probes" }
                    (legend(timelines))
                    (timeline::render(&groups, found))
                }
                @if let Found::Bench(document) = found { (samples::render(document)) }
                (verdicts::findings(found))
                h2 #kernels { "Kernels" }
                @for kernel in *kernels { (made(kernel)) }
                h2 #run { "Run" }
                (run(found))
                div #details hidden { }
                script #data type="application/json" { (PreEscaped(data::render(timelines))) }
                script { (PreEscaped(include_str!("html/page.js"))) }
            }
        }
    };
    // The same in the JSON, where it is an escape, and elsewhere, where it is text.
    plain(&markup.into_string()).into_owned()
}

fn legend(timelines: &[Timeline]) -> Markup {
    let mut nodes: Vec<u32> =
        timelines.iter().flat_map(|of| &of.bars).filter_map(|bar| Some(bar.node?.0)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    html! {
        p.legend {
            "A lane is a worker, a bar a probe. "
            @for node in nodes {
                span.key { span class={ "swatch " (timeline::colour(Some(node))) } {} " device on node " (node) } " "
            }
            span.key { span.swatch.none {} " no node" } " "
            span.key { span.swatch.n0.away {} " paler: began or ended on a CPU of another node" } " "
            span.key { span.swatch.bad {} " failed" } " "
            span.key { span.ideal-key {} " shortest makespan that is possible" }
        }
        p.hint {
            "Click a probe for its log lines; wheel or + and − zoom, drag moves. "
            label { "Find a device: " input #find type="search" placeholder="0:0:0:1" size="12"; }
            " " button #closer type="button" { "+" } " " button #wider type="button" { "−" }
            " " button #shortest type="button" { "shortest makespan" }
            " " button #whole type="button" { "all" }
        }
    }
}

fn made(kernel: &Made) -> Markup {
    let Made { name, id, release, source, source_blake3, compiler, fragments, config, patches } = kernel;
    html! {
        section.kernel {
            h3 { (name) }
            dl {
                dt { "release" } dd { (release) }
                dt { "source" } dd { (source) " " span.hash { "blake3 " (source_blake3) } }
                dt { "compiler" } dd { (compiler.as_deref().unwrap_or("built by somebody else")) }
                dt { "store" } dd { (id) }
            }
            @for (name, text) in patches { details { summary { "patch " (name) } pre { (String::from_utf8_lossy(text)) } } }
            @if !config.is_empty() {
                details {
                    summary { "configuration" @if !fragments.is_empty() { " (" (fragments.join(", ")) ")" } }
                    pre { (config) }
                }
            }
        }
    }
}

fn run(found: &Found) -> Markup {
    let (qemu, cores) = found.host();
    html! {
        dl {
            @if let Found::Bench(document) = found {
                dt { "guest" } dd { (document.topology) }
                dt { "accelerator" } dd { (document.accel.to_uppercase()) " (" (document.accel_reason) ")" }
            }
            dt { "host" } dd { (qemu) ", " (cores) " cores" }
            dt { "folder" } dd { code { (found.run()) } }
            @if let Some(took) = found.took() { dt { "took" } dd { (format!("{:.1} s", took.as_secs_f64())) } }
            dt { "repeat" } dd { code { (found.command()) } }
        }
    }
}
