//! What the sink must know after a crash: which files are being written, which are
//! to be finished, and how far numbers have come.
//!
//! A small hidden file beside the others, `.NAME.cdrd`, written anew before anything
//! that it tells of is done. So every step can be done again, whenever the process
//! ended. Should it be lost, files that were being written are found by their names.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::access::Access;

/// Periods whose highest number is remembered, for when files have been moved away.
const PERIODS: usize = 64;

/// Everything that is unfinished.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Highest number given in each period, the latest period last.
    pub parts: Vec<(String, u32)>,
    /// Files that are being written.
    pub open: Vec<Entry>,
    /// Files that are to be finished, the oldest first.
    pub jobs: Vec<Job>,
}

/// A file that is being written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its period.
    pub base: String,
    /// Its number within the period.
    pub part: u32,
    /// Its name while it is written.
    pub path: PathBuf,
    /// Its final name, if it is not compressed.
    pub target: PathBuf,
    /// The latest time of receipt in it, in Unix milliseconds.
    pub at_ms: i64,
    /// What is in it.
    pub content: Content,
}

/// What is known of a file's events.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Id of the first event.
    pub first: Option<String>,
    /// Id of the last event.
    pub last: Option<String>,
    /// The file's length when that was the last.
    pub length: u64,
}

/// A file that is to be finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What it was written as, until it is renamed to `source`.
    pub from: Option<PathBuf>,
    /// Where it is, until it has its final name.
    pub source: PathBuf,
    /// Its final name, if it is not compressed.
    pub target: PathBuf,
    /// What is in it.
    pub content: Content,
    /// Known once it has been read from end to end.
    pub summary: Option<Summary>,
}

/// What is known of a file that has been read from end to end, and its line in the
/// manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its final name, relative to the manifest.
    pub file: String,
    /// Events in it.
    pub events: u64,
    /// Id of the first.
    pub first_id: Option<String>,
    /// Id of the last.
    pub last_id: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the file as it stands there.
    pub sha256: String,
    /// SHA-256 of what is in it, if it is compressed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uncompressed_sha256: Option<String>,
    /// When it was finished.
    pub finished_at: String,
}

impl State {
    /// Reads it; without a file, or with one that makes no sense, there is nothing.
    pub fn load(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e),
        };
        Ok(serde_json::from_slice(&text).unwrap_or_else(|e| {
            // Nothing is lost: files with events in them are found by their names.
            tracing::warn!(path = %path.display(), error = %e, "the list of unfinished files cannot be read; looking for them by name");
            Self::default()
        }))
    }

    /// Writes it anew: whole, or not at all.
    pub fn save(&self, path: &Path, fsync: bool) -> io::Result<()> {
        let new = path.with_extension("cdrd.new");
        let mut file =
            Access::default().options().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        if fsync {
            file.sync_all()?;
        }
        std::fs::rename(&new, path)
    }

    /// Notes that a number of a period was given.
    pub fn gave(&mut self, base: &str, part: u32) {
        let before = self.given(base);
        self.parts.retain(|(other, _)| other != base);
        self.parts.push((base.to_owned(), part.max(before)));
        let over = self.parts.len().saturating_sub(PERIODS);
        self.parts.drain(..over);
    }

    /// The highest number given in a period.
    pub fn given(&self, base: &str) -> u32 {
        self.parts.iter().find(|(other, _)| other == base).map_or(0, |(_, part)| *part)
    }

    /// Whether a file is being written or finished.
    pub fn has(&self, path: &Path) -> bool {
        let open = self.open.iter().any(|entry| entry.path == path || entry.target == path);
        open || self.jobs.iter().any(|job| job.source == path || job.target == path)
    }
}

/// Makes the names in the folder of `path` durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
