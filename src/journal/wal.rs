//! A look at SQLite's write-ahead log before SQLite has one.
//!
//! SQLite takes the log up to its first damaged frame and forgets the rest, which is
//! right where a power failure tore the last commit, and loses commits that had been
//! acknowledged where a frame in the middle went bad. The two can be told apart, since
//! each commit is synced before the next begins: behind a torn commit there is no other.
//! Format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::path::Path;

use super::lock::path_beside;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// One page in the log.
struct Frame {
    page: u32,
    /// Pages of the database after the commit that ends here; 0 inside of one.
    commit: u32,
    /// Of this round of the log, not of one that was carried over before.
    ours: bool,
    /// Its checksum fits what stands before it.
    whole: bool,
    /// Where its page begins in the log.
    at: usize,
}

/// The log as it lies there.
pub(crate) struct Wal {
    bytes: Vec<u8>,
    page_size: usize,
    header_whole: bool,
    frames: Vec<Frame>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// SQLite's running checksum over pairs of words.
fn checksum(big_endian: bool, mut sum: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let read = |b: &[u8]| {
        let b = [b[0], b[1], b[2], b[3]];
        if big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
    };
    for pair in bytes.chunks_exact(8) {
        sum.0 = sum.0.wrapping_add(read(&pair[..4])).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(read(&pair[4..])).wrapping_add(sum.0);
    }
    sum
}

/// What names this round of the log, if its header cannot tell.
fn commonest_salts(bytes: &[u8], page_size: usize) -> (u32, u32) {
    let mut counts = std::collections::BTreeMap::new();
    for frame in bytes[HEADER..].chunks_exact(FRAME_HEADER + page_size) {
        *counts.entry((word(frame, 8), word(frame, 12))).or_insert(0_u32) += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or((0, 0), |(salts, _)| salts)
}

impl Wal {
    /// The log beside the database at `journal`; `None` if it is not there or empty.
    pub(crate) fn of(journal: &Path) -> std::io::Result<Option<Self>> {
        let bytes = match std::fs::read(path_beside(journal, "-wal")) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok((bytes.len() > HEADER).then(|| Self::read(bytes)))
    }

    fn read(bytes: Vec<u8>) -> Self {
        let magic = word(&bytes, 0);
        let big_endian = magic & 1 == 1;
        let sums = |at| (word(&bytes, at), word(&bytes, at + 4));
        let header_whole =
            magic & !1 == 0x377f_0682 && checksum(big_endian, (0, 0), &bytes[..24]) == sums(24);
        // A damaged header may say anything; cdrd's journals have SQLite's usual page size.
        let page_size = if header_whole { word(&bytes, 8) as usize } else { 4096 };
        let salts = if header_whole { sums(16) } else { commonest_salts(&bytes, page_size) };
        let (mut frames, mut before, mut at) = (Vec::new(), sums(24), HEADER);
        while at + FRAME_HEADER + page_size <= bytes.len() {
            let found = sums(at + 8);
            let sum = checksum(big_endian, before, &bytes[at..at + 8]);
            let body = at + FRAME_HEADER;
            let sum = checksum(big_endian, sum, &bytes[body..body + page_size]);
            frames.push(Frame {
                page: word(&bytes, at),
                commit: word(&bytes, at + 4),
                // One of the two is enough: the other may be what is damaged.
                ours: found.0 == salts.0 || found.1 == salts.1,
                whole: sum == sums(at + 16) && found == salts && word(&bytes, at) > 0,
                at: body,
            });
            before = sums(at + 16);
            at = body + page_size;
        }
        Self { bytes, page_size, header_whole, frames }
    }

    /// Whether SQLite would forget commits that had been synced.
    pub(crate) fn lost_commits(&self) -> bool {
        let good = self.frames.iter().take_while(|f| self.header_whole && f.whole).count();
        let behind = self.frames[good..].iter().filter(|f| f.ours && f.commit > 0);
        if self.header_whole { behind.count() > 1 } else { behind.count() > 0 }
    }

    /// Carries every whole page over into `database`, a copy, up to the last commit.
    pub(crate) fn carry_over(&self, database: &std::fs::File) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        let last = self.frames.iter().rposition(|f| f.whole && f.commit > 0);
        let Some(last) = last else { return Ok(()) };
        let page_size = self.page_size as u64;
        for frame in self.frames[..=last].iter().filter(|frame| frame.whole) {
            let page = &self.bytes[frame.at..frame.at + self.page_size];
            database.write_all_at(page, u64::from(frame.page - 1) * page_size)?;
        }
        database.set_len(u64::from(self.frames[last].commit) * page_size)
    }
}

/// Refuses a log whose reading would lose commits, before SQLite reads it.
pub(crate) fn must_be_whole(journal: &Path) -> Result<(), super::JournalError> {
    let wal = Wal::of(journal).map_err(|cause| super::JournalError::Io {
        path: path_beside(journal, "-wal"),
        action: "read it",
        cause,
    })?;
    match wal.is_some_and(|wal| wal.lost_commits()) {
        true => Err(super::JournalError::Damaged {
            path: journal.to_owned(),
            what: "its write-ahead log is damaged in the middle, with commits behind".to_owned(),
        }),
        false => Ok(()),
    }
}
