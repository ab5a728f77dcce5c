//! What a boot says: its log, its trace, its console, and the host's `/proc`.

use evidence::cpus::Cpus;
use evidence::memory::Memory;
use evidence::neighbours::{Neighbours, Reading, Texts};
use evidence::under_way::{self, Calls};
use evidence::{dmesg, kmsg};
use lab::outside;
use lab::run::{Left, Record};

use crate::accounted;
use crate::pieces::Pieces;
use crate::{parts, text};

/// `/dev/kmsg`.
pub(crate) fn log(input: &[u8]) {
    let log = text(input);
    accounted::check(&log, None);
    let (mut whole, mut by_line) = (Calls::default(), Calls::default());
    whole.see(&log);
    log.split_inclusive('\n').for_each(|line| by_line.see(line));
    assert_eq!(whole, by_line, "read in pieces it says something else");
    for line in log.lines() {
        dmesg::recognise(line);
    }
    for piece in kmsg::read(&log) {
        if let kmsg::Piece::Record(record) = piece {
            assert!(log[record.at..].starts_with(record.text));
        }
    }
}

/// tracefs' `trace`.
pub(crate) fn trace(input: &[u8]) {
    let trace = text(input);
    accounted::check("", Some(&trace));
    under_way::probes(&trace);
}

/// All that a boot left: log, trace, `kprobe_profile` and `guest.json`.
pub(crate) fn boot(input: &[u8]) {
    let parts = parts(input);
    let part = |number: usize| parts.get(number).map(|bytes| text(bytes).into_owned());
    let left: Option<Left> = part(3).and_then(|json| serde_json::from_str(&json).ok());
    let Some(left) = left else { return };
    let kmsg = part(0).unwrap_or_default();
    let record = Record { left, kmsg, trace: part(1), kprobe_profile: part(2) };
    let boots = record.read(&["reset occurred", ""]);
    assert_eq!(boots.len(), record.left.phases.len());
    let least = accounted::unpaired_of_log(&record.kmsg)
        + record.trace.as_deref().map_or(0, accounted::unpaired_of_trace);
    for boot in &boots {
        assert!(boot.facts.unpaired >= least, "not all that is unpaired is said");
        boot.doubt();
    }
    let drawn = xtask::outside::timelines(&record);
    report::perfetto::render(&drawn);
}

/// A serial console.
pub(crate) fn console(input: &[u8]) {
    let (deaths, kept, last) = outside::console(input);
    assert_eq!(kept, input, "it is not kept as it came");
    assert_eq!((deaths, kept, last), outside::console(Pieces::of(input)), "in pieces it says something else");
}

/// Files of `/proc` and `/sys`: what others did on the CPUs of the host, and what memory was taken.
pub(crate) fn proc(input: &[u8]) {
    let parts: Vec<_> = parts(input).into_iter().map(text).collect();
    let part = |number: usize| parts.get(number).map(AsRef::as_ref);
    if let Some(cpus) = part(0).and_then(|list| list.parse::<Cpus>().ok()) {
        assert_eq!(
            cpus.to_string().parse(),
            Ok(cpus.clone()),
            "a list of CPUs is not read as it was written"
        );
        let reading = |first: usize| {
            let (stat, harness) = (part(first)?, part(first + 1)?);
            Reading::of(&Texts { stat, guest: part(first + 2), harness, pressure: part(first + 3) })
        };
        if let (Some(before), Some(after)) = (reading(1), reading(5)) {
            let found = Neighbours::between(&before, &after, &cpus);
            found.and_then(|neighbours| neighbours.remark());
        }
    }
    if let (Some(status), Some(meminfo)) = (part(0), part(1)) {
        Memory::of(status, meminfo);
    }
}
