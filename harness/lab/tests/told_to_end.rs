//! What is looked at while somebody asks us to stop is not found, and not missing. The flag is one for the process: this
//! is a program of its own.

use lab::failure::Kind;
use lab::host;
use lab::watch::Nobody;

#[test]
fn a_host_that_is_looked_at_while_we_are_told_to_end_lacks_nothing() {
    assert!(!lab::cancel::request());
    let lacks = host::examine(&[]);
    assert!(!host::missing_packages(&lacks).is_empty(), "programs are waited for all the same: {lacks:?}");
    for setup in [false, true] {
        let failure = host::prepare(|| lacks.clone(), setup, &Nobody).unwrap_err();
        assert_eq!(failure.kind, Kind::Interrupted, "{failure}");
    }
}
