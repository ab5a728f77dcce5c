//! Files that may be compressed, read as what is in them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use liblzma::stream::{CONCATENATED, Stream};

/// So much that a file may become that is read at once, in bytes: no module and no mailbox is as large, and a few
/// kilobytes can say that they are more than a host has memory for.
const LARGEST: u64 = 256 << 20;

/// So much memory that unpacking xz may take, in bytes: xz -9 asks for 65 MiB (xz(1)), a damaged file for any.
const XZ_MEMORY: u64 = 512 << 20;

/// A reader of what is in a file, whichever way it is compressed: the first bytes tell.
///
/// # Errors
/// Of opening and reading it.
pub(crate) fn reader(path: &Path) -> io::Result<Box<dyn Read>> {
    decoder(BufReader::with_capacity(1 << 16, File::open(path)?))
}

/// The same for bytes from anywhere.
fn decoder(mut file: impl BufRead + 'static) -> io::Result<Box<dyn Read>> {
    let magic = file.fill_buf()?;
    Ok(match magic {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(file, stream))
        }
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(ruzstd::decoding::StreamingDecoder::new(file).map_err(io::Error::other)?)
        }
        _ => Box::new(file),
    })
}

/// What is in a file.
///
/// # Errors
/// Of opening and reading it; of what is in it where that is broken.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_all(BufReader::with_capacity(1 << 16, File::open(path)?))
}

/// The same for bytes from anywhere.
pub(crate) fn read_all(file: impl BufRead + 'static) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    decoder(file)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than {} MiB in it", LARGEST >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_read_whichever_way_it_is_compressed() {
        let text = "what is in it\n".repeat(1000);
        let folder = tempfile::tempdir().unwrap();
        let xz = {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let gz = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let bz2 = {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let zst =
            ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
        for (name, bytes) in
            [("plain", text.clone().into_bytes()), ("xz", xz), ("gz", gz), ("bz2", bz2), ("zst", zst)]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap(), text.as_bytes(), "{name}");
        }
        let cut = folder.path().join("cut");
        std::fs::write(&cut, &std::fs::read(folder.path().join("xz")).unwrap()[..60]).unwrap();
        assert!(read(&cut).is_err());
    }

    #[test]
    fn a_few_bytes_that_become_too_many_are_refused() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        io::copy(&mut io::repeat(0).take(LARGEST + 1), &mut encoder).unwrap();
        let bomb = encoder.finish().unwrap();
        let error = read_all(io::Cursor::new(bomb)).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 256 MiB in it");
    }
}
