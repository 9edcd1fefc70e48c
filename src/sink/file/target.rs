//! One open file. Never a half line: what could not be written whole is cut off
//! again, and so is, at the next open, what a crash has torn.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::access::Access;

/// Bytes looked at in one step when searching the end of the last whole line.
const REPAIR_STEP: u64 = 64 * 1024;

/// One open file.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub path: PathBuf,
    file: File,
    /// Its length with whole lines only.
    pub good: u64,
}

impl Target {
    /// Opens or creates it, in a folder that is there, for lines with this end.
    pub fn open(path: &Path, line_end: &[u8], access: &Access) -> io::Result<Self> {
        let mut file = access.options().read(true).append(true).create(true).open(path)?;
        access.give(&file)?;
        let good = end_of_lines(&mut file, line_end)?;
        if good < file.metadata()?.len() {
            tracing::warn!(path = %path.display(), "a line that a crash had torn was cut off; its event comes again");
            file.set_len(good)?;
        }
        Ok(Self { path: path.to_owned(), file, good })
    }

    /// Whether the name still leads to this file: somebody may have moved it away,
    /// or truncated it, to rotate it.
    pub fn is_in_place(&self) -> bool {
        let (Ok(named), Ok(open)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        named.ino() == open.ino() && named.dev() == open.dev() && open.len() == self.good
    }

    /// All of `lines`, or none of it.
    pub fn append(&mut self, lines: &[u8], fsync: bool) -> io::Result<()> {
        let mut written = self.file.write_all(lines);
        if written.is_ok() && fsync {
            written = self.file.sync_data();
        }
        if written.is_err() {
            // If even this fails, the next open cuts the torn line off.
            let _ = self.file.set_len(self.good);
            return written;
        }
        self.good += lines.len() as u64;
        Ok(())
    }
}

/// Makes the folders that a file is to be in.
pub fn create_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder),
        None => Ok(()),
    }
}

/// Offset after the last whole line.
fn end_of_lines(file: &mut File, line_end: &[u8]) -> io::Result<u64> {
    let good = end_of_last_line(file, line_end)?;
    // Lines with another end are another program's, or of another format: they stay.
    if good == 0 && line_end != b"\n" {
        return end_of_last_line(file, b"\n");
    }
    Ok(good)
}

/// Offset after the last line end of a file; 0 if there is none.
fn end_of_last_line(file: &mut File, line_end: &[u8]) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let (mut end, overlap) = (length, line_end.len() as u64 - 1);
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(REPAIR_STEP);
        file.seek(SeekFrom::Start(start))?;
        chunk.clear();
        let bytes = (end + overlap).min(length) - start;
        Read::by_ref(file).take(bytes).read_to_end(&mut chunk)?;
        if let Some(at) = chunk.windows(line_end.len()).rposition(|window| window == line_end) {
            return Ok(start + (at + line_end.len()) as u64);
        }
        end = start;
    }
    Ok(0)
}
