//! One open file. Never a half line: what could not be written whole is cut off
//! again, and so is, at the next open, what a crash has torn.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::access::Access;

/// Bytes that are worth a sync of their own.
const PIECE: usize = 1 << 20;
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
        let written = match fsync {
            true => write_synced(&self.file, lines),
            false => self.file.write_all(lines),
        };
        if written.is_err() {
            // If even this fails, the next open cuts the torn line off.
            let _ = self.file.set_len(self.good);
            return written;
        }
        self.good += lines.len() as u64;
        Ok(())
    }
}

/// Writes and syncs. Of much, the disk gets one piece while the next is written.
fn write_synced(mut file: &File, lines: &[u8]) -> io::Result<()> {
    if lines.len() <= PIECE {
        file.write_all(lines)?;
        return file.sync_data();
    }
    std::thread::scope(|scope| {
        let (written, pieces) = mpsc::channel();
        let syncing = scope.spawn(move || {
            while pieces.recv().is_ok() {
                // One sync is good for all that is written by now.
                while pieces.try_recv().is_ok() {}
                file.sync_data()?;
            }
            Ok(())
        });
        let all = lines.chunks(PIECE).try_for_each(|piece| {
            file.write_all(piece)?;
            // If nobody listens, the sync has failed, and says why.
            _ = written.send(());
            Ok(())
        });
        drop(written);
        let synced = syncing.join().expect("a sync does not panic");
        all.and(synced)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of several pieces, the last not a whole one.
    fn much() -> Vec<u8> {
        (0..3 * PIECE + 17).map(|n| u8::try_from(n % 251).expect("it is small")).collect()
    }

    #[test]
    fn pieces_make_the_whole() {
        let mut file = tempfile::tempfile().unwrap();
        write_synced(&file, &much()).unwrap();
        let mut found = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found == much());
    }

    #[test]
    fn what_cannot_be_written_or_synced_is_told() {
        let device = |path| File::options().write(true).open(path).unwrap();
        let full = write_synced(&device("/dev/full"), &much()).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        // It takes everything, and cannot be synced.
        write_synced(&device("/dev/null"), &much()).unwrap_err();
    }
}
