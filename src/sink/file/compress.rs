//! Reads a finished file from end to end: counts its events, makes its checksums, and
//! writes it compressed where that is wanted.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::access::Access;

/// Bytes read at once; between two, a stop is noticed.
const CHUNK: usize = 256 * 1024;

/// What becomes of finished files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// They stay as they are.
    None,
    /// `.gz`, for whatever reads files.
    Gzip,
    /// `.zst`: usually smaller, and faster.
    Zstd,
}

/// What compressed files can have at the end of their names.
pub const ENDINGS: [&str; 2] = [".gz", ".zst"];

impl Compress {
    /// The words of the configuration.
    pub const WORDS: &[(&str, Self)] =
        &[("none", Self::None), ("gzip", Self::Gzip), ("zstd", Self::Zstd)];

    /// What it adds to a file's name.
    pub fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ENDINGS[0],
            Self::Zstd => ENDINGS[1],
        }
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// Line ends in it.
    pub lines: u64,
    /// Its length.
    pub length: u64,
    /// SHA-256 of it, in hex.
    pub sha256: String,
    /// Size and SHA-256 of the compressed file, if there is one.
    pub packed: Option<(u64, String)>,
}

/// Reads `source`, whose lines have this end, and writes it to `packed` by the way.
/// `None` if it was told to stop.
pub fn read(
    source: &Path,
    line_end: &[u8],
    compress: Compress,
    packed: &Path,
    access: &Access,
    stop: &dyn Fn() -> bool,
) -> io::Result<Option<Reading>> {
    let mut file = File::open(source)?;
    file.sync_all()?;
    let mut packer = match compress {
        Compress::None => None,
        _ => Some(Packer::create(compress, packed, access)?),
    };
    let (mut hash, mut lines, mut length) = (Sha256::new(), Lines::new(line_end), 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        if stop() {
            return Ok(None);
        }
        let read = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => &chunk[..read],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(read);
        lines.count(read);
        length += read.len() as u64;
        if let Some(packer) = &mut packer {
            packer.write(read)?;
        }
    }
    let modified = file.metadata()?.modified()?;
    let packed = packer.map(|packer| packer.finish(modified)).transpose()?;
    Ok(Some(Reading { lines: lines.seen, length, sha256: hex(hash), packed }))
}

/// Counts line ends, over the borders of chunks.
struct Lines<'a> {
    end: &'a [u8],
    before: u8,
    seen: u64,
}

impl<'a> Lines<'a> {
    fn new(end: &'a [u8]) -> Self {
        Self { end, before: 0, seen: 0 }
    }

    fn count(&mut self, chunk: &[u8]) {
        for &byte in chunk {
            let is_end = byte == b'\n' && (self.end.len() == 1 || self.before == b'\r');
            self.seen += u64::from(is_end);
            self.before = byte;
        }
    }
}

/// Writes a compressed file.
enum Packer {
    Gzip(GzEncoder<Hashed>),
    Zstd(zstd::stream::write::Encoder<'static, Hashed>),
}

impl Packer {
    fn create(compress: Compress, path: &Path, access: &Access) -> io::Result<Self> {
        let file = access.options().write(true).create(true).truncate(true).open(path)?;
        access.give(&file)?;
        let out = Hashed { file, hash: Sha256::new(), length: 0 };
        if compress == Compress::Gzip {
            return Ok(Self::Gzip(GzEncoder::new(out, flate2::Compression::default())));
        }
        let mut encoder = zstd::stream::write::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self::Zstd(encoder))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// On disk, with the time at which the last event was written.
    fn finish(self, modified: std::time::SystemTime) -> io::Result<(u64, String)> {
        let out = match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        out.file.set_modified(modified)?;
        out.file.sync_all()?;
        Ok((out.length, hex(out.hash)))
    }
}

/// A file whose checksum is made while it is written.
struct Hashed {
    file: File,
    hash: Sha256,
    length: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
