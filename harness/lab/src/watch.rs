//! Somebody who wants to know how long work is going.

/// Is told what goes on. Every method does nothing by default.
pub trait Watch: Sync {
    /// Something that takes a while begins: "build the kernel with". It ends when the next begins.
    fn stage(&self, _what: &str) {}

    /// So much of it is done, of so much, if that is known; in units like "boots".
    fn count(&self, _done: u64, _of: Option<u64>, _units: &str) {}

    /// What of it is done now: a kernel, or several.
    fn now(&self, _what: &str) {}

    /// What is known so far: "makespan without / with = 27.7 (17.4 to 44.0)". It holds until the next, or the next stage.
    fn known(&self, _what: &str) {}

    /// A finding to be kept on the screen.
    fn note(&self, _text: &str) {}

    /// The screen is for others until the next stage: for a program that writes to it itself.
    fn hand_over(&self) {}

    /// Whether nothing but what was found is wanted.
    fn quiet(&self) -> bool {
        false
    }
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Watch for Nobody {}
