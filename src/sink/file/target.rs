//! One open file. Never a half line: what could not be written whole is cut off
//! again, and so is, at the next open, what a crash has torn.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use super::access::Access;

/// Bytes looked at in one step when searching the end of the last whole line.
const REPAIR_STEP: u64 = 64 * 1024;

/// One open file. What was appended since it was settled is cut off again when it is
/// dropped: the events are delivered anew.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub path: PathBuf,
    file: Arc<File>,
    /// Its length, with whole lines only.
    length: u64,
    /// The part of it that is settled.
    good: u64,
    syncing: Option<Syncing>,
}

impl Target {
    /// Opens or creates it, in a folder that is there, for lines with this end.
    pub fn open(path: &Path, line_end: &[u8], access: &Access) -> io::Result<Self> {
        let mut file = access.options().read(true).append(true).create(true).open(path)?;
        access.give(&file)?;
        let length = end_of_lines(&mut file, line_end)?;
        if length < file.metadata()?.len() {
            tracing::warn!(path = %path.display(), "a line that a crash had torn was cut off; its event comes again");
            file.set_len(length)?;
        }
        Ok(Self::on(path, file, length))
    }

    fn on(path: &Path, file: File, length: u64) -> Self {
        let (path, file) = (path.to_owned(), Arc::new(file));
        Self { path, file, length, good: length, syncing: None }
    }

    /// Its length, with whole lines only.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether everything in it is settled.
    pub fn is_settled(&self) -> bool {
        self.good == self.length
    }

    /// Whether the name still leads to this file: somebody may have moved it away,
    /// or truncated it, to rotate it.
    pub fn is_in_place(&self) -> bool {
        let (Ok(named), Ok(open)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        named.ino() == open.ino() && named.dev() == open.dev() && open.len() == self.length
    }

    /// All of `lines`, or none of it; nobody may count on them before they are settled.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = (&*self.file).write_all(lines);
        match &written {
            Ok(()) => self.length += lines.len() as u64,
            // If even this fails, the next open cuts the torn line off.
            Err(_) => drop(self.file.set_len(self.length)),
        }
        written
    }

    /// Lets the disk have what is there, while more is appended.
    pub fn sync_behind(&mut self) -> io::Result<()> {
        if self.syncing.is_none() {
            self.syncing = Some(Syncing::begin(&self.file)?);
        }
        self.syncing.iter().for_each(Syncing::go_on);
        Ok(())
    }

    /// What was appended is there to stay; with `fsync`, whatever happens to the machine.
    pub fn settle(&mut self, fsync: bool) -> io::Result<()> {
        match self.syncing.take() {
            Some(syncing) => {
                syncing.go_on();
                syncing.end()?;
            }
            None if fsync && !self.is_settled() => self.file.sync_data()?,
            None => {}
        }
        self.good = self.length;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Who has truncated it meanwhile does not get it back with a hole.
        if !self.is_settled() && self.file.metadata().is_ok_and(|found| found.len() > self.good) {
            let _ = self.file.set_len(self.good);
        }
    }
}

/// A thread that syncs a file whenever it is told to.
#[derive(Debug)]
struct Syncing {
    written: mpsc::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Syncing {
    fn begin(file: &Arc<File>) -> io::Result<Self> {
        let (written, told) = mpsc::channel();
        let file = Arc::clone(file);
        let thread = thread::Builder::new().name("file sync".to_owned()).spawn(move || {
            while told.recv().is_ok() {
                // One sync is good for all that is written by now.
                while told.try_recv().is_ok() {}
                file.sync_data()?;
            }
            Ok(())
        })?;
        Ok(Self { written, thread })
    }

    /// If nobody listens any more, a sync has failed, and [`Self::end`] says why.
    fn go_on(&self) {
        _ = self.written.send(());
    }

    fn end(self) -> io::Result<()> {
        drop(self.written);
        self.thread.join().expect("a sync does not panic")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &Path) -> Target {
        let file = File::options().read(true).append(true).create(true).open(path).unwrap();
        Target::on(path, file, 0)
    }

    /// With a line that is settled and one that is not.
    fn half_settled(path: &Path) -> Target {
        let mut target = target(path);
        target.append(b"a\n").unwrap();
        target.settle(false).unwrap();
        target.append(b"b\n").unwrap();
        target
    }

    #[test]
    fn what_is_synced_behind_is_all_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut target = target(&path);
        for piece in ["a\n", "b\n", "c\n"] {
            target.append(piece.as_bytes()).unwrap();
            target.sync_behind().unwrap();
        }
        assert!(!target.is_settled());
        target.append(b"d\n").unwrap();
        target.settle(true).unwrap();
        assert!(target.is_settled() && target.is_in_place());
        drop(target);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\nc\nd\n");
    }

    #[test]
    fn what_is_not_settled_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut target = half_settled(&path);
        target.sync_behind().unwrap();
        drop(target);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\n");
    }

    #[test]
    fn a_file_that_was_truncated_gets_no_hole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let target = half_settled(&path);
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        drop(target);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn what_cannot_be_written_or_synced_is_told() {
        let full = target(Path::new("/dev/full")).append(b"a\n").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        // It takes everything, and cannot be synced.
        for behind in [false, true] {
            let mut null = target(Path::new("/dev/null"));
            null.append(b"a\n").unwrap();
            if behind {
                null.sync_behind().unwrap();
            }
            null.settle(true).unwrap_err();
            assert!(!null.is_settled());
        }
    }
}
