//! Of logs and traces whose lines begin, end, are cut or are rubbish in any order, every line is accounted for.

use fuzz::accounted::check;
use proptest::collection::vec;

const LOG: &str = "[ -~]{0,20}| [A-Z]=x|6,[0-9]{1,2},[0-9]{1,3},-;(calling  a @ 1|initcall a returned 0 after 1 usecs|\
    calling  [1-3]_f @ 2|initcall [1-3]_f returned after 2 usecs|async_waiting @ [1-3]|\
    async_continuing @ [1-3] after 4 usec|probe of 0:0:0:1 returned 0 aft|Run /init as init process|[ -~]{0,9})";
const TRACE: &str = "#[ -~]{0,9}|# entries-in-buffer/entries-written: 1/[0-9]{1,20}|[ -~]{0,20}|\
    a-[1-3] \\[00[01]\\] d\\.\\.1\\. [0-9]\\.000001: (start: \\(f\\) name=\"x\" drv=\"sd\"|end: \\(f\\) ret=0|end: \\(f\\) re)";

proptest::proptest! {
    #[test]
    fn every_line_is_accounted_for(log in vec(LOG, 0..40), trace in vec(TRACE, 0..40)) {
        check(&log.join("\n"), Some(&trace.join("\n")));
    }
}
