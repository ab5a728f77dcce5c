//! Splits the text of `/dev/kmsg` into records, and finds what is missing between them.
//!
//! Format (Documentation/ABI/testing/dev-kmsg): `priority,sequence,microseconds,flags[,key=value…];text`,
//! then, for some records, lines that begin with a space and belong to the record. With
//! `CONFIG_PRINTK_CALLER` a key `caller` names the thread (`T12`) or, outside of a thread, the CPU (`C0`).

use crate::lines::Lines;
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
    /// How many records before it the ring has dropped.
    pub missing: u64,
    /// Whether its number, or a later one, has come before: the text was put together wrongly.
    pub again: bool,
    /// When it was printed.
    pub time: KernelTime,
    /// Who printed it; `None` on kernels without `CONFIG_PRINTK_CALLER`.
    pub caller: Option<Caller>,
    /// The message.
    pub text: &'a str,
    /// Its line in the text, from 1.
    pub line: usize,
    /// Where in the text the message begins, in bytes.
    pub at: usize,
}

/// What a line of the log is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'a> {
    /// A record.
    Record(Record<'a>),
    /// It belongs to the record before it.
    Attached(&'a str),
    /// It is no record and belongs to none.
    Broken(&'a str),
}

/// Splits the text as it goes: a piece for every line.
pub fn read(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let (mut expected, mut any) = (0, false);
    Lines::of(text).map(move |line| {
        if let Some((head, text)) = read_head(line.text) {
            let (missing, again) = (head.sequence.saturating_sub(expected), head.sequence < expected);
            (expected, any) = (head.sequence.saturating_add(1), true);
            let Head { sequence, time, caller } = head;
            let at = line.at + line.text.len() - text.len();
            Piece::Record(Record { sequence, missing, again, time, caller, text, line: line.number, at })
        } else if any && line.text.starts_with(' ') {
            Piece::Attached(line.text)
        } else {
            Piece::Broken(line.text)
        }
    })
}

/// What stands before the semicolon.
struct Head {
    sequence: u64,
    time: KernelTime,
    caller: Option<Caller>,
}

/// The fields of a record and its message.
#[inline]
fn read_head(record: &str) -> Option<(Head, &str)> {
    let (priority, rest) = read_number(record)?;
    u32::try_from(priority).ok()?;
    let (sequence, rest) = read_number(rest.strip_prefix(',')?)?;
    let (micros, rest) = read_number(rest.strip_prefix(',')?)?;
    let rest = rest.strip_prefix(',')?;
    let (fields, text) = rest.split_at_checked(memchr::memchr(b';', rest.as_bytes())?)?;
    let caller = match fields.split_once(',') {
        Some((_flags, keys)) => keys.split(',').find_map(|key| read_caller(key.strip_prefix("caller=")?)),
        None => None,
    };
    Some((Head { sequence, time: KernelTime::from_micros(micros), caller }, &text[1..]))
}

/// The digits at the beginning, and what follows them.
#[inline]
fn read_number(text: &str) -> Option<(u64, &str)> {
    let mut number = 0u64;
    let mut digits = 0;
    for byte in text.bytes() {
        if !byte.is_ascii_digit() {
            break;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        digits += 1;
    }
    if digits == 0 { None } else { Some((number, &text[digits..])) }
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

    fn records(text: &str) -> Vec<Record<'_>> {
        let record = |piece| match piece {
            Piece::Record(record) => Some(record),
            Piece::Attached(_) | Piece::Broken(_) => None,
        };
        read(text).filter_map(record).collect()
    }

    #[test]
    fn a_record_has_number_time_and_caller() {
        let text = "7,0,1234567,-,caller=T42;probe of 0:0:0:1 returned 0 after 20 usecs\n DEVICE=+x\n";
        let expected = Record {
            sequence: 0,
            missing: 0,
            again: false,
            time: KernelTime::from_micros(1_234_567),
            caller: Some(Caller::Thread(ThreadId(42))),
            text: "probe of 0:0:0:1 returned 0 after 20 usecs",
            line: 1,
            at: 25,
        };
        assert!(read(text).eq([Piece::Record(expected), Piece::Attached(" DEVICE=+x")]));
    }

    #[test]
    fn a_caller_is_found_behind_other_keys_and_a_message_may_have_semicolons() {
        let [record] = records("6,0,1,c,key=value,caller=C3;a;b")[..] else { panic!() };
        assert_eq!((record.caller, record.text), (Some(Caller::Cpu(CpuId(3))), "a;b"));
        assert_eq!(records("6,0,1,-,color=T3;a")[0].caller, None);
    }

    #[test]
    fn missing_sequence_numbers_are_a_gap() {
        let records = records("6,3,10,-;a\n6,4,11,-;b\n6,9,12,-;c\n");
        assert!(records.iter().map(|record| record.missing).eq([3, 0, 4]));
    }

    #[test]
    fn a_number_that_has_come_before_is_noticed() {
        let records = records("6,0,10,-;a\n6,1,11,-;b\n6,1,11,-;b\n6,2,12,-;c\n");
        assert!(records.iter().map(|record| record.again).eq([false, false, true, false]));
    }

    #[test]
    fn a_line_that_is_no_record_is_kept_as_broken() {
        let pieces: Vec<Piece<'_>> = read(
            " belongs to nothing\n6,0,10,-;a\n6,x,11,-;b\nplain\n6,1,12,-\n6,99999999999999999999,1,-;c",
        )
        .collect();
        let broken = [0, 2, 3, 4, 5].map(|line| pieces[line]);
        let expected =
            [" belongs to nothing", "6,x,11,-;b", "plain", "6,1,12,-", "6,99999999999999999999,1,-;c"];
        assert_eq!(broken, expected.map(Piece::Broken));
        assert_eq!(pieces.len(), 6);
    }

    proptest::proptest! {
        #[test]
        fn every_line_is_accounted_for(lines in proptest::collection::vec("[ -~]{0,40}|6,[0-9]{1,3},[0-9]{1,3},-;[ -~]{0,9}", 0..40)) {
            let text = lines.join("\n");
            let seen: Vec<&str> = read(&text)
                .map(|piece| match piece {
                    Piece::Record(record) => {
                        assert!(text[record.at..].starts_with(record.text));
                        text.lines().nth(record.line - 1).unwrap()
                    }
                    Piece::Attached(line) | Piece::Broken(line) => line,
                })
                .collect();
            assert!(seen.into_iter().eq(text.lines()));
        }
    }
}
