//! What is under way in a guest, as far as its log and its trace show it: asked while the guest still runs.

use crate::dmesg::{self, Line};
use crate::{ftrace, kmsg};

/// Asynchronous calls that have begun and not ended, of a log that is read piece by piece.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Calls {
    begun: usize,
    ended: usize,
}

impl Calls {
    /// Counts in what came into the log: whole records of `/dev/kmsg`.
    pub fn see(&mut self, more: &str) {
        for piece in kmsg::read(more) {
            let kmsg::Piece::Record(record) = piece else { continue };
            match dmesg::recognise(record.text) {
                Line::AsyncBegins { .. } => self.begun += 1,
                Line::AsyncEnds { .. } => self.ended += 1,
                _ => {}
            }
        }
    }

    /// How many are left. A call whose begin is not in the log counts as well: then it is not known what is under way.
    pub fn left(&self) -> usize {
        self.begun.abs_diff(self.ended)
    }
}

/// How many probes have begun and not ended, as far as the trace shows it.
pub fn probes(trace: &str) -> usize {
    let (mut started, mut returned) = (0usize, 0usize);
    for piece in ftrace::read(trace) {
        let ftrace::Piece::Entry(entry) = piece else { continue };
        match entry.event {
            ftrace::Event::Start { .. } => started += 1,
            ftrace::Event::End { .. } => returned += 1,
            ftrace::Event::Call { .. } | ftrace::Event::Mark { .. } => {}
        }
    }
    started.abs_diff(returned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_under_way_until_its_end_is_read_in_whichever_piece() {
        let mut calls = Calls::default();
        calls.see("7,0,1,-,caller=T9;calling  1_helper+0x0/0x1 @ 9\n7,1,2,-,caller=T8;calling  2_helper+0x0/0x1 @ 8\n");
        assert_eq!(calls.left(), 2);
        calls.see(
            "7,2,3,-,caller=T8;initcall 2_helper+0x0/0x1 returned after 7 usecs\n6,3,4,-,caller=T1;else\n",
        );
        assert_eq!(calls.left(), 1);
        calls.see("7,4,5,-,caller=T9;initcall 1_helper+0x0/0x1 returned after 9 usecs\n");
        assert_eq!(calls.left(), 0);
    }

    #[test]
    fn a_probe_is_under_way_until_its_event_at_the_end() {
        let start =
            "kworker-9 [000] ..... 1.000001: start: (really_probe+0x0/0x1) name=\"0:0:0:0\" drv=\"sd\"\n";
        let end = "kworker-9 [000] ..... 1.000009: end: (helper+0x0/0x1 <- really_probe) ret=0\n";
        assert_eq!((probes(start), probes(&format!("{start}{end}"))), (1, 0));
    }
}
