//! Somebody who wants to know how long work is going.

/// Is told what goes on. Every method does nothing by default.
pub trait Watch: Sync {
    /// Something that takes a while begins: "build the kernel with". It ends when the next begins.
    fn stage(&self, _what: &str) {}

    /// So much of it is done, of so much, if that is known; in units like "boots".
    fn count(&self, _done: u64, _of: Option<u64>, _units: &str) {}

    /// A finding to be kept on the screen.
    fn note(&self, _text: &str) {}
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Watch for Nobody {}
