//! Text in, facts and verdicts out.
//!
//! A boot leaves two witnesses of its probes: the kernel log ([`kmsg`], [`dmesg`]) and a kprobe trace ([`ftrace`]).
//! Both become [`timeline::Probe`]s; [`boot`] holds one against the other and counts; [`stats`] and [`sequential`]
//! compare boots of two kernels; [`judge`] says what that means for a claim; [`limit`] how much faster a kernel could
//! be; [`certainty`] how sure some boots make; [`changes`] what changed from night to night; [`neighbours`] who else
//! was busy on the CPUs of the host, [`memory`] what a guest took; [`plain`] makes what strangers wrote harmless.
//!
//! Nothing here opens a file, starts a process or looks at a clock, and no dependency does.

pub mod boot;
pub mod certainty;
pub mod changes;
pub mod console;
pub mod counted;
pub mod cpus;
pub mod dmesg;
mod expectation;
pub mod ftrace;
mod initcalls;
pub mod judge;
pub mod kmsg;
pub mod limit;
mod lines;
pub mod memory;
mod needle;
pub mod neighbours;
pub mod plain;
pub mod sequential;
mod splats;
pub mod stats;
pub mod timeline;
pub mod under_way;
pub mod units;
mod witnesses;
