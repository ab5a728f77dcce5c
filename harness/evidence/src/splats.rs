//! Finds in the log what the kernel complains about without dying: the first line of each splat.

use crate::kmsg::Record;

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
    "Resources present before probing",
    // print_slab bugs of mm/slub.c: "BUG kmalloc-64 (Not tainted): Poison overwritten"
    "BUG ",
];

/// The complaints, each with the number of its line in the log.
pub(crate) fn find(records: &[Record<'_>]) -> Vec<(usize, String)> {
    let is_splat = |text: &str| {
        let text = text.trim_start_matches(['=', '-', ' ']);
        // dev_crit() and the like put driver and device in front.
        BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
            || text.contains(": Resources present before probing")
            || text.contains(" use-after-free in ")
            // kobject_init() in lib/kobject.c
            || text.contains("tried to init an initialized object")
            // driver_bound() in drivers/base/dd.c
            || text.ends_with(" already bound")
    };
    let found = records.iter().filter(|record| is_splat(record.text));
    found.map(|record| (record.line, record.text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use crate::kmsg::Log;

    #[test]
    fn complaints_are_told_from_the_chatter_of_a_healthy_kernel() {
        let kmsg = "4,0,1,-,caller=T9;WARNING: CPU: 0 PID: 9 at lib/refcount.c:28 refcount_warn_saturate+0x1/0x2\n\
            4,1,2,-,caller=T9;sd 0:0:0:0: Power-on or device reset occurred\n\
            2,2,3,-,caller=T9;sd 0:0:0:1: Resources present before probing\n\
            4,3,4,-,caller=T9;driver_bound: device 0:0:0:1 already bound\n\
            4,4,5,-,caller=T9;sd: probe of 0:0:0:5 failed with error -5\n";
        let found = super::find(&Log::read(kmsg).records);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4]);
    }
}
