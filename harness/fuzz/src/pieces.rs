//! A stream that comes in pieces, whose sizes are drawn from what is in it.

use std::io::{self, BufRead, Read};

/// Bytes, of which each read gets a few.
pub(crate) struct Pieces<'a> {
    rest: &'a [u8],
    /// The end of the piece that has come.
    come: usize,
}

impl<'a> Pieces<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, come: 0 }
    }
}

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.come == 0 {
            let size = self.rest.first().map_or(0, |byte| 1 + usize::from(byte % 61));
            self.come = size.min(self.rest.len());
        }
        Ok(&self.rest[..self.come])
    }

    fn consume(&mut self, amount: usize) {
        self.rest = &self.rest[amount..];
        self.come -= amount;
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}
