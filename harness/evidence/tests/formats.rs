//! The formats of kernels from 4.20 on, each in a log on file, and what is read of it.
//!
//! What was changed when, with the commits, is said in `dmesg.rs` and at `since_5_14` in `boot.rs`. Real logs, of 6.1 and
//! 6.12 and of Debian's own kernels, are in `testcases/tests/real_boots`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use evidence::boot::{Device, FAILED_SOMEHOW, Phase, Texts, read};

/// What is read of a log of a kernel of this release: each probe, and what is left over.
fn told(file: &str, release: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(file);
    let kmsg = fs::read_to_string(path).unwrap();
    let device = |number: u32| Device {
        name: format!("0:0:0:{number}"),
        node: None,
        disk: None,
        driver: (number == 0).then(|| "sd".to_owned()),
        reads: None,
    };
    let devices = [device(0), device(1)];
    let phases =
        [Phase { name: Some("probes"), driver: "sd", devices: &devices, cpu_times: None, unsettled: None }];
    let boot = read(&Texts {
        release,
        kmsg: &kmsg,
        trace: None,
        kprobe_profile: None,
        cpus: &[],
        mark: "parprobe:",
        phases: &phases,
        asked: &[],
        initcalls: &[],
    })
    .remove(0);
    let mut lines = vec![format!("{file}, read as of {release}")];
    for probe in &boot.log.probes {
        let thread = probe.thread.map_or("an unknown thread".to_owned(), |thread| thread.to_string());
        let returned = match probe.returned {
            0 => "bound".to_owned(),
            FAILED_SOMEHOW => "failed".to_owned(),
            errno => format!("failed with {errno}"),
        };
        lines.push(format!(
            "  {} from {} to {} in {thread}: {returned}",
            probe.device, probe.start, probe.end
        ));
    }
    let facts = &boot.facts;
    lines.push(format!(
        "  {} probes, {} failed, {} in flight, workers {:?}, attached by {:?}, late {:?}",
        facts.probes, facts.failed, facts.max_in_flight, facts.workers, facts.attach_calls, facts.late_probes
    ));
    lines.extend(boot.doubt().map(|doubt| format!("  no claim can rest on it: {doubt}")));
    lines.extend(boot.unpaired.told().iter().map(|left| format!("  left over: {left}")));
    lines.join("\n")
}

#[test]
fn each_format_is_read_as_its_kernel_meant_it() {
    let told = [
        told("v4.20.kmsg", "4.20.17"),
        told("v5.10.kmsg", "5.10.0-28-amd64"),
        told("v5.10-silent.kmsg", "5.10.0-28-amd64"),
        told("v5.15.kmsg", "5.15.0"),
        told("v6.12.kmsg", "6.12.117+deb12-cloud-amd64"),
        told("dyndbg.kmsg", "6.1.0"),
    ];
    insta::assert_snapshot!(told.join("\n"));
}
