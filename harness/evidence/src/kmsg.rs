//! Splits the text of `/dev/kmsg` into records, and finds what is missing between them.
//!
//! Format (Documentation/ABI/testing/dev-kmsg): `priority,sequence,microseconds,flags[,key=value…];text`,
//! then, for some records, lines that begin with a space and belong to the record. With
//! `CONFIG_PRINTK_CALLER` a key `caller` names the thread (`T12`) or, outside of a thread, the CPU (`C0`).

use crate::units::{CpuId, KernelTime, ThreadId};

/// Who printed a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Caller {
    /// A thread.
    Thread(ThreadId),
    /// An interrupt or early code on a CPU.
    Cpu(CpuId),
}

/// One record of the kernel log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    /// Number of the record since boot. The kernel leaves none out.
    pub sequence: u64,
    /// When it was printed.
    pub time: KernelTime,
    /// Who printed it; `None` on kernels without `CONFIG_PRINTK_CALLER`.
    pub caller: Option<Caller>,
    /// The message.
    pub text: &'a str,
    /// Its line in the text, from 1.
    pub line: usize,
}

/// A kernel log, split.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Log<'a> {
    /// The records, as they came.
    pub records: Vec<Record<'a>>,
    /// Records that the ring dropped: how many are missing, and before which sequence number.
    pub gaps: Vec<Gap>,
    /// Lines that are no record and belong to none.
    pub broken: Vec<&'a str>,
}

/// Missing records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    /// How many.
    pub missing: u64,
    /// Sequence number of the first record after them.
    pub before: u64,
}

impl<'a> Log<'a> {
    /// Splits the text. Every line becomes a record, belongs to the record before it, or is in `broken`.
    pub fn read(text: &'a str) -> Self {
        let mut log = Self::default();
        let mut expected = 0;
        for (number, line) in text.lines().enumerate() {
            if let Some(record) = read_record(line, number + 1) {
                if record.sequence > expected {
                    log.gaps.push(Gap { missing: record.sequence - expected, before: record.sequence });
                }
                expected = record.sequence.saturating_add(1);
                log.records.push(record);
            } else if !line.starts_with(' ') || log.records.is_empty() {
                log.broken.push(line);
            }
        }
        log
    }
}

fn read_record(record: &str, line: usize) -> Option<Record<'_>> {
    let (head, text) = record.split_once(';')?;
    let mut fields = head.split(',');
    let _priority: u32 = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let time = KernelTime::from_micros(fields.next()?.parse().ok()?);
    let _flags = fields.next()?;
    let caller = fields.find_map(|field| read_caller(field.strip_prefix("caller=")?));
    Some(Record { sequence, time, caller, text, line })
}

fn read_caller(text: &str) -> Option<Caller> {
    match text.split_at_checked(1)? {
        ("T", number) => number.parse().ok().map(Caller::Thread),
        ("C", number) => number.parse().ok().map(Caller::Cpu),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_number_time_and_caller() {
        let log =
            Log::read("7,0,1234567,-,caller=T42;probe of 0:0:0:1 returned 0 after 20 usecs\n DEVICE=+x\n");
        let expected = Record {
            sequence: 0,
            time: KernelTime::from_micros(1_234_567),
            caller: Some(Caller::Thread(ThreadId(42))),
            text: "probe of 0:0:0:1 returned 0 after 20 usecs",
            line: 1,
        };
        assert_eq!(log, Log { records: vec![expected], ..Log::default() });
    }

    #[test]
    fn missing_sequence_numbers_are_a_gap() {
        let log = Log::read("6,3,10,-;a\n6,4,11,-;b\n6,9,12,-;c\n");
        assert_eq!(log.gaps, [Gap { missing: 3, before: 3 }, Gap { missing: 4, before: 9 }]);
    }

    #[test]
    fn a_line_that_is_no_record_is_kept_as_broken() {
        let log = Log::read(" belongs to nothing\n6,0,10,-;a\n6,x,11,-;b\nplain\n");
        assert_eq!(log.broken, [" belongs to nothing", "6,x,11,-;b", "plain"]);
        assert_eq!(log.records.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn every_line_is_accounted_for(lines in proptest::collection::vec("[ -~]{0,40}", 0..40)) {
            let text = lines.join("\n");
            let log = Log::read(&text);
            let attached = text.lines().filter(|line| read_record(line, 1).is_none() && line.starts_with(' ')).count();
            let seen = log.records.len() + log.broken.len();
            assert!(seen <= text.lines().count() && text.lines().count() <= seen + attached);
        }
    }
}
