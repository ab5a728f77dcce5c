//! Has libFuzzer feed one target: its name is in `PARPROBE_FUZZ`, all else is libFuzzer's own.

#![no_main]

use std::sync::OnceLock;

use fuzz::{TARGETS, Target};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("PARPROBE_FUZZ").unwrap_or_default();
        let named = TARGETS.iter().find(|target| target.name == name);
        *named.unwrap_or_else(|| panic!("there is no target \"{name}\": name one in PARPROBE_FUZZ"))
    });
    (target.feed)(input);
});
