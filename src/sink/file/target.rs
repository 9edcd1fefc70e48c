//! One open file. Never a half line: what could not be written whole is cut off
//! again, and so is, at the next open, what a crash has torn.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::access::Access;

/// Bytes looked at in one step when searching the end of the last whole line.
const REPAIR_STEP: u64 = 64 * 1024;
/// What goes past the page cache begins and ends at a multiple of this, in the file and
/// in memory: the most that a disk or a file system asks for.
const BLOCK: usize = 4096;
/// Bytes that go past the page cache at once.
const STAGE: usize = 512 << 10;

/// One open file. What was appended since it was settled is cut off again when it is
/// dropped: the events are delivered anew.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub path: PathBuf,
    file: File,
    /// Its length.
    written: u64,
    /// The part of it that is settled, with whole lines only.
    good: u64,
    /// What follows, on its way past the page cache.
    stage: Stage,
    /// Whether the file system lets anything past the page cache, as far as is known.
    is_direct: bool,
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
        let (path, stage) = (path.to_owned(), Stage::default());
        Self { path, file, written: length, good: length, stage, is_direct: true }
    }

    /// Its length with all that was appended.
    pub fn length(&self) -> u64 {
        self.written + self.stage.filled().len() as u64
    }

    /// Whether everything in it is settled.
    pub fn is_settled(&self) -> bool {
        self.good == self.length()
    }

    /// Whether the name still leads to this file: somebody may have moved it away,
    /// or truncated it, to rotate it.
    pub fn is_in_place(&self) -> bool {
        let (Ok(named), Ok(open)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        named.ino() == open.ino() && named.dev() == open.dev() && open.len() == self.written
    }

    /// Adds lines; nobody may count on them before they are settled. If `much` more
    /// follows before that, and is to be synced, they go to the disk past the page cache:
    /// the system needs more time to find pages for them, and to copy them, than all the
    /// rest of their way takes.
    pub fn append(&mut self, mut lines: &[u8], much: bool) -> io::Result<()> {
        if self.stage.filled().is_empty() {
            if !(much && self.is_direct) {
                return self.write(lines);
            }
            let to_boundary = (self.written.next_multiple_of(BLOCK as u64) - self.written) as usize;
            let (head, rest) = lines.split_at(to_boundary.min(lines.len()));
            self.write(head)?;
            // Else a machine that goes down could leave a hole in front of what the disk has.
            self.sync_unless_settled()?;
            lines = rest;
        }
        while !lines.is_empty() {
            lines = self.stage.fill(lines);
            if self.stage.is_full() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// What was appended is there to stay; with `fsync`, whatever happens to the machine.
    pub fn settle(&mut self, fsync: bool) -> io::Result<()> {
        self.flush()?;
        if fsync {
            self.sync_unless_settled()?;
        }
        self.good = self.written;
        Ok(())
    }

    fn sync_unless_settled(&self) -> io::Result<()> {
        if self.is_settled() { Ok(()) } else { self.file.sync_data() }
    }

    /// Writes what is on its way: whole blocks past the page cache, the rest through it.
    fn flush(&mut self) -> io::Result<()> {
        let stage = std::mem::take(&mut self.stage);
        let (blocks, rest) = stage.filled().split_at(stage.filled().len() / BLOCK * BLOCK);
        let written = self.write_direct(blocks).and_then(|()| self.write(rest));
        self.stage = stage.emptied();
        written
    }

    fn write_direct(&mut self, blocks: &[u8]) -> io::Result<()> {
        if !self.is_direct || blocks.is_empty() {
            return self.write(blocks);
        }
        let before = self.written;
        let flags = fcntl_getfl(&self.file)?;
        let direct = match fcntl_setfl(&self.file, flags | OFlags::DIRECT) {
            Ok(()) => self.write(blocks),
            Err(refused) => Err(refused.into()),
        };
        fcntl_setfl(&self.file, flags)?;
        match direct {
            // The file system has no such thing, or other limits.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                self.is_direct = false;
                self.write(&blocks[(self.written - before) as usize..])
            }
            result => result,
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&self.file).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count as u64;
                    bytes = &bytes[count..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Who has truncated it meanwhile does not get it back with a hole. If this fails,
        // the next open cuts a torn line off.
        let is_longer = || self.file.metadata().is_ok_and(|found| found.len() > self.good);
        if self.written > self.good && is_longer() {
            let _ = self.file.set_len(self.good);
        }
    }
}

/// Bytes that begin where a disk can take them from.
#[derive(Debug, Default)]
struct Stage {
    /// Empty, or [`STAGE`] bytes and what lies before them.
    memory: Vec<u8>,
    start: usize,
    filled: usize,
}

impl Stage {
    fn filled(&self) -> &[u8] {
        &self.memory[self.start..][..self.filled]
    }

    fn is_full(&self) -> bool {
        self.filled == STAGE
    }

    /// Takes what there is room for, and gives the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.memory.is_empty() {
            self.memory = vec![0; STAGE + BLOCK];
            self.start = self.memory.as_ptr().align_offset(BLOCK);
        }
        let (taken, rest) = bytes.split_at(bytes.len().min(STAGE - self.filled));
        self.memory[self.start + self.filled..][..taken.len()].copy_from_slice(taken);
        self.filled += taken.len();
        rest
    }

    fn emptied(self) -> Self {
        Self { filled: 0, ..self }
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
        target.append(b"a\n", false).unwrap();
        target.settle(false).unwrap();
        target.append(b"b\n", false).unwrap();
        target
    }

    /// The usual temporary folder may be in memory, where nothing need be direct.
    fn on_disk() -> tempfile::TempDir {
        let program = std::env::current_exe().unwrap();
        tempfile::tempdir_in(program.parent().unwrap()).unwrap()
    }

    /// Lines of this many bytes altogether, no two alike.
    fn lines(bytes: usize) -> Vec<u8> {
        let numbers = (0_u32..).flat_map(|number| format!("{number}\n").into_bytes());
        let mut lines: Vec<u8> = numbers.take(bytes).collect();
        lines[bytes - 1] = b'\n';
        lines
    }

    /// Appends pieces of much, and then one more; tells what the file has.
    fn appended_much(directory: &Path, before: usize, pieces: &[usize], is_direct: bool) {
        let path = directory.join(format!("{before} {pieces:?} {is_direct}"));
        let mut target = target(&path);
        target.is_direct &= is_direct;
        let all = lines(before + pieces.iter().sum::<usize>());
        let (mut first, mut rest) = all.split_at(before);
        target.append(first, false).unwrap();
        target.settle(true).unwrap();
        for (index, piece) in pieces.iter().enumerate() {
            (first, rest) = rest.split_at(*piece);
            target.append(first, index + 1 < pieces.len()).unwrap();
            assert!(!target.is_settled());
            assert!(target.is_in_place());
        }
        assert_eq!(target.length(), all.len() as u64);
        target.settle(true).unwrap();
        assert!(target.is_settled() && target.is_in_place());
        assert!(std::fs::read(&path).unwrap() == all, "{}", path.display());
        // From here it goes on as if nothing had been.
        target.append(b"end\n", false).unwrap();
        target.settle(true).unwrap();
        assert!(std::fs::read(&path).unwrap() == [&all[..], b"end\n"].concat());
    }

    #[test]
    fn much_is_all_there_and_in_order_wherever_it_begins_and_ends() {
        let directory = on_disk();
        for before in [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1] {
            for pieces in [
                &[1, 1][..],
                &[BLOCK, BLOCK],
                &[STAGE, 1],
                &[STAGE - 1, STAGE + 2, 3],
                &[2 * STAGE + 100, 50],
                &[100, 3 * STAGE, 100],
            ] {
                for is_direct in [true, false] {
                    appended_much(directory.path(), before, pieces, is_direct);
                }
            }
        }
    }

    #[test]
    fn of_much_that_is_not_settled_nothing_stays() {
        let directory = on_disk();
        let path = directory.path().join("a");
        let mut target = half_settled(&path);
        target.settle(true).unwrap();
        target.append(&lines(2 * STAGE), true).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > STAGE as u64);
        drop(target);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
    }

    /// Somebody else's bytes put the end where nothing direct can be written.
    #[test]
    fn what_the_file_system_refuses_goes_through_the_page_cache() {
        let directory = on_disk();
        let path = directory.path().join("a");
        let mut target = target(&path);
        target.append(&lines(100), true).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"x\n").unwrap();
        target.append(&lines(STAGE), true).unwrap();
        assert!(!target.is_direct, "it was refused");
        target.settle(true).unwrap();
        let expected = [b"x\n", &lines(100)[..], &lines(STAGE)].concat();
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn what_is_not_settled_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        drop(half_settled(&path));
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
        let full = target(Path::new("/dev/full")).append(b"a\n", false).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        // It takes everything, and cannot be synced.
        for much in [false, true] {
            let mut null = target(Path::new("/dev/null"));
            null.append(b"a\n", much).unwrap();
            null.settle(true).unwrap_err();
            assert!(!null.is_settled());
        }
    }
}
