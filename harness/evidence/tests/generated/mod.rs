//! Logs and traces of any size, made so that the right answer is known.

use std::fmt::Write;

use evidence::boot::{Boot, Device, Phase, Texts, read};
use evidence::units::{CpuId, NodeId};

/// Devices, each probed once: so many at once in every group, and as many workers.
pub(crate) const DEVICES: usize = 4096;
/// Probes in flight.
pub(crate) const IN_FLIGHT: usize = 32;
/// Between two groups of probes, in microseconds.
const GROUP: u64 = 1_000_000;
/// How long a probe takes, in microseconds.
const PROBE: u64 = 20_000;

/// What is between the lines about probes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// Lines that are no record, or cut, in a thousand.
    pub(crate) garbage: u64,
    /// Pairs of lines of initcalls, and as many of asynchronous calls, in a thousand.
    pub(crate) calls: u64,
}

/// As a boot with `initcall_debug` has it, with some rubbish.
pub(crate) const REALISTIC: Mix = Mix { garbage: 5, calls: 100 };
/// Hardly anything in it is sound.
pub(crate) const GARBAGE: Mix = Mix { garbage: 800, calls: 20 };
/// Nothing is wrong with it, and nothing in it is of interest.
pub(crate) const SOUND: Mix = Mix { garbage: 0, calls: 0 };

/// A log or a trace, with what is to be found in it.
pub(crate) struct Generated {
    /// The text.
    pub(crate) text: String,
    /// Lines that do not pair or cannot be read.
    pub(crate) unpaired: usize,
    /// Lines that are listened for.
    pub(crate) said: usize,
}

/// The text that is listened for.
pub(crate) const ASKED: &str = "reset occurred";

/// Numbers that look drawn and are the same in every run (Marsaglia's xorshift64, 2003).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Whether something comes about that does so often, of a thousand times.
    fn of_a_thousand(&mut self, often: u64) -> bool {
        self.next() % 1000 < often
    }
}

/// Writes records with their numbers.
struct Log {
    text: String,
    sequence: u64,
    time: u64,
}

impl Log {
    fn record(&mut self, thread: u64, text: std::fmt::Arguments<'_>) {
        let (sequence, time) = (self.sequence, self.time);
        writeln!(self.text, "6,{sequence},{time},-,caller=T{thread};{text}").unwrap();
        self.sequence += 1;
    }
}

/// The name of a device.
fn name(device: usize) -> String {
    format!("{}:0:0:{}", device % 4, device / 4)
}

/// A log of about this size, in bytes.
pub(crate) fn log(size: usize, mix: Mix) -> Generated {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let mut log = Log { text: String::with_capacity(size + size / 8 + (1 << 20)), sequence: 0, time: 1 };
    let (mut unpaired, mut said, mut cookie) = (0, 0, 0u64);
    log.record(1, format_args!("parprobe: phase main begins"));
    let groups = DEVICES / IN_FLIGHT;
    for group in 0..groups {
        let begin = 10 + group as u64 * GROUP;
        let until = size * (group + 1) / groups;
        // What is said while the probes of the group run, and then their ends.
        log.time = begin + PROBE;
        while log.text.len() < until {
            let number = draw.next() % 10_000;
            let thread = 50 + number % IN_FLIGHT as u64;
            if draw.of_a_thousand(mix.garbage) {
                unpaired += 1;
                match number % 4 {
                    0 => writeln!(log.text, "\u{fffd}\u{1}{number:x} ;;, overwritten {number}").unwrap(),
                    1 => writeln!(log.text, "6,{number},12").unwrap(),
                    2 => log.record(thread, format_args!("probe of 0:0:0:{number} returned 0 aft")),
                    _ => log.record(thread, format_args!("initcall cut_{number}+0x0/0x10 retur")),
                }
            } else if draw.of_a_thousand(mix.calls) {
                let (caller, init) = (thread, format!("init_{number}+0x0/0x1000 [mod_{number}]"));
                log.record(caller, format_args!("calling  {init} @ {caller}"));
                cookie += 1;
                let call = format!("{cookie}_async_run_entry_fn+0x0/0x80");
                log.record(caller + 1, format_args!("calling  {call} @ {}", caller + 1));
                // Of a device that nobody looks at.
                log.record(caller, format_args!("probe of serial8250.{number} returned 0 after 12 usecs"));
                log.record(caller, format_args!("initcall {init} returned 0 after 1931 usecs"));
                log.record(caller + 1, format_args!("initcall {call} returned 0 after {number} usecs"));
            } else {
                match number % 16 {
                    0 => {
                        said += 1;
                        log.record(thread, format_args!("sd 0:0:0:{number}: Power-on or device {ASKED}"));
                    }
                    1 => {
                        log.record(thread, format_args!("sd 0:0:0:{number}: [sda] Attached SCSI disk"));
                        log.text.push_str(" SUBSYSTEM=scsi\n DEVICE=+scsi:0:0:0:1\n");
                    }
                    2..6 => log.record(
                        thread,
                        format_args!(
                            "pci 0000:00:{:02x}.0: BAR 0: assigned [mem 0xfe{number:06x}]",
                            number % 32
                        ),
                    ),
                    _ => log.record(
                        thread,
                        format_args!(
                            "BIOS-e820: [mem 0x{number:016x}-0x000000000009fbff] usable, type {number}"
                        ),
                    ),
                }
            }
        }
        for place in 0..IN_FLIGHT {
            let device = name(group * IN_FLIGHT + place);
            log.record(50 + place as u64, format_args!("probe of {device} returned 0 after {PROBE} usecs"));
        }
    }
    log.record(1, format_args!("parprobe: phase main ends"));
    Generated { text: log.text, unpaired, said }
}

/// A trace of about this size, in bytes: what [`log`] has of probes, `others` lines of events that nobody asked for
/// to every probe, and as many rounds of the same as it takes.
pub(crate) fn trace(size: usize, others: usize) -> Generated {
    let mut text = String::with_capacity(size + (1 << 20));
    text.push_str("# tracer: nop\n#\n");
    let mut unpaired = 0;
    let mut group = 0;
    while text.len() < size {
        let begin = 10 + group as u64 * GROUP;
        for event in ["start", "end"] {
            for place in 0..IN_FLIGHT {
                let (thread, cpu) = (50 + place, place % 4);
                let time = begin + if event == "start" { 0 } else { PROBE };
                let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
                let head = format!(
                    "    kworker/u8:{place}-{thread}      [{cpu:03}] d.Z.. {seconds:5}.{micros:06}: "
                );
                let device = name((group * IN_FLIGHT + place) % DEVICES);
                match event {
                    "start" => {
                        writeln!(text, "{head}start: (really_probe+0x0/0x3d0) name=\"{device}\" drv=\"sd\"")
                    }
                    _ => writeln!(text, "{head}end: (__driver_probe_device+0x78/0xd0 <- really_probe) ret=0"),
                }
                .unwrap();
                for other in 0..others {
                    unpaired += 1;
                    writeln!(
                        text,
                        "{head}sched_waking: comm=kworker/u8:{other} pid={thread} prio=120 target_cpu=00{cpu}"
                    )
                    .unwrap();
                }
            }
        }
        group += 1;
    }
    Generated { text, unpaired, said: group * IN_FLIGHT }
}

/// What is there after the boot.
pub(crate) fn devices() -> Vec<Device> {
    let device = |number| Device {
        name: name(number),
        node: Some(NodeId(0)),
        disk: None,
        driver: Some("sd".to_owned()),
        reads: None,
    };
    (0..DEVICES).map(device).collect()
}

/// Reads it.
pub(crate) fn boot(kmsg: &str, trace: Option<&str>, devices: &[Device], asked: &[&str]) -> Boot {
    let phases = [Phase { name: Some("main"), driver: "sd", devices, cpu_times: None, unsettled: None }];
    let cpus = [0, 1, 2, 3].map(|cpu| (CpuId(cpu), Some(NodeId(0))));
    let texts = Texts {
        release: "6.1.0",
        kmsg,
        trace,
        kprobe_profile: None,
        cpus: &cpus,
        mark: "parprobe:",
        phases: &phases,
        asked,
        initcalls: &[],
    };
    read(&texts).remove(0)
}

/// Holds what was read of a log against how it was made.
pub(crate) fn check(log: &Generated, boot: &Boot) {
    assert_eq!(boot.log.probes.len(), DEVICES);
    assert_eq!(boot.facts.probes, DEVICES);
    assert_eq!(boot.facts.probes_of_one, (1, 1));
    assert_eq!(boot.facts.max_in_flight, IN_FLIGHT);
    assert_eq!(boot.facts.workers, Some(IN_FLIGHT));
    assert_eq!(boot.facts.unpaired, log.unpaired);
    assert_eq!(boot.unpaired.len(), log.unpaired);
    assert_eq!(boot.said[ASKED].len(), log.said);
    assert!(boot.splats.is_empty());
}
