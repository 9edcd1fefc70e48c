//! One daemon per journal: an advisory lock on a file beside the database.
//!
//! The system releases the lock when the process ends, however it ends, so a
//! stale lock file means nothing. SQLite's own locks would not do: they let a
//! second writer in between two transactions.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::JournalError;

/// Held as long as the journal is open.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Path of the lock file of the journal at `journal`.
pub fn path_beside(journal: &Path, suffix: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the lock, creating the journal's directory (0700) where it is missing.
pub fn acquire(journal: &Path) -> Result<Lock, JournalError> {
    let io = |action| move |cause| JournalError::Io { path: journal.to_owned(), action, cause };
    if let Some(directory) = journal.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io("create its directory"))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path_beside(journal, ".lock"))
        .map_err(io("create its lock file"))?;
    match patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(JournalError::Locked {
                path: journal.to_owned(),
                holder: holder(&mut file),
            });
        }
        Err(TryLockError::Error(cause)) => return Err(io("lock it")(cause)),
    }
    write_pid(&mut file).map_err(io("write its lock file"))?;
    Ok(Lock { _file: file })
}

/// Somebody who only looks whether a daemon runs ([`is_held`]) has the lock for a
/// moment, and so has a program that this process started while it had the lock, until it
/// has become that program; a daemon has it for good.
fn patiently(file: &File) -> Result<(), TryLockError> {
    for _ in 0..50 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    file.try_lock()
}

fn holder(file: &mut File) -> Option<String> {
    let mut pid = String::new();
    file.read_to_string(&mut pid).ok()?;
    let pid = pid.trim();
    (!pid.is_empty()).then(|| pid.to_owned())
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Whether a daemon runs on this journal, without disturbing it.
pub fn is_held(journal: &Path) -> bool {
    let Ok(file) = File::open(path_beside(journal, ".lock")) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}
