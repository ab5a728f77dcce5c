//! Finds in the log what the kernel complains about without dying: the first line of each splat.

use crate::kmsg::Record;
use crate::needle::Needle;

/// How a complaint begins, in 6.1: `__warn()` in kernel/panic.c, lib/refcount.c, lib/list_debug.c,
/// lib/debugobjects.c, kernel/locking/lockdep.c, mm/kasan/report.c, fs/sysfs/dir.c, lib/kobject.c.
const BEGINNINGS: &[&str] = &[
    "WARNING: ",
    "BUG: ",
    "kernel BUG at ",
    "INFO: task ",
    "INFO: trying to register non-static key",
    "DEBUG_LOCKS_WARN_ON",
    "ODEBUG: ",
    "refcount_t: ",
    "list_add corruption",
    "list_del corruption",
    "sysfs: cannot create duplicate filename",
    "kobject_add_internal failed",
    // As 6.12 begins it.
    "kobject: kobject_add_internal failed",
    // ubsan_prologue() in lib/ubsan.c
    "UBSAN: ",
    "Resources present before probing",
    // print_slab bugs of mm/slub.c: "BUG kmalloc-64 (Not tainted): Poison overwritten"
    "BUG ",
];

/// What stands in a complaint somewhere behind its beginning.
const WITHIN: [&str; 3] = [
    // dev_crit() and the like put driver and device in front.
    ": Resources present before probing",
    " use-after-free in ",
    // kobject_init() in lib/kobject.c
    "tried to init an initialized object",
];

/// Tells complaints from other records.
pub(crate) struct Complaints<'a> {
    within: [Needle<'static, 'a>; WITHIN.len()],
    /// The first bytes of [`BEGINNINGS`]: most records begin with another.
    begins_with: [bool; 256],
}

impl<'a> Complaints<'a> {
    /// For the records of this log, from front to back.
    pub(crate) fn of(kmsg: &'a str) -> Self {
        let mut begins_with = [false; 256];
        for beginning in BEGINNINGS {
            begins_with[usize::from(beginning.as_bytes()[0])] = true;
        }
        Self { within: WITHIN.map(|text| Needle::new(text, kmsg)), begins_with }
    }

    /// Whether the record is one.
    #[inline]
    pub(crate) fn is(&mut self, record: &Record<'_>) -> bool {
        let begins = || {
            let text = record.text.trim_start_matches(['=', '-', ' ']);
            text.bytes().next().is_some_and(|first| self.begins_with[usize::from(first)])
                && BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
        };
        let (from, to) = (record.at, record.at + record.text.len());
        begins()
            || self.within.iter_mut().any(|needle| needle.is_in(from, to))
            // driver_bound() in drivers/base/dd.c
            || record.text.ends_with(" already bound")
    }
}

#[cfg(test)]
mod tests {
    use crate::kmsg::{self, Piece};

    #[test]
    fn complaints_are_told_from_the_chatter_of_a_healthy_kernel() {
        let kmsg = "4,0,1,-,caller=T9;WARNING: CPU: 0 PID: 9 at lib/refcount.c:28 refcount_warn_saturate+0x1/0x2\n\
            4,1,2,-,caller=T9;sd 0:0:0:0: Power-on or device reset occurred\n\
            2,2,3,-,caller=T9;sd 0:0:0:1: Resources present before probing\n\
            4,3,4,-,caller=T9;driver_bound: device 0:0:0:1 already bound\n\
            4,4,5,-,caller=T9;sd: probe of 0:0:0:5 failed with error -5\n";
        let mut complaints = super::Complaints::of(kmsg);
        let is_complaint = |piece: Piece<'_>| match piece {
            Piece::Record(record) => complaints.is(&record),
            Piece::Attached(_) | Piece::Broken(_) => false,
        };
        let found: Vec<bool> = kmsg::read(kmsg).map(is_complaint).collect();
        assert_eq!(found, [true, false, true, true, false]);
    }
}
