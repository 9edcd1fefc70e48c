//! Carries the write-ahead log over into the database once it is long.
//!
//! SQLite does so by itself, and says nothing if the disk fails: it keeps the log, so
//! nothing is lost, but the log grows and nobody hears of the disk. Here a failure is one
//! of the journal like any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode, MAIN_DB};

use super::super::JournalError;
use super::Writer;

/// Pages (4 KiB) in the log at which it is carried over.
const PAGES: i32 = 4_000;

/// Takes the place of SQLite's own doing; tells how many pages the log has.
pub(super) fn pages_of_log(connection: &mut Connection) -> rusqlite::Result<Arc<AtomicI32>> {
    let pages = Arc::new(AtomicI32::new(0));
    let told = Arc::clone(&pages);
    connection.wal_hook(Some(move |_: &mut _, pages| {
        told.store(pages, Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(pages)
}

impl Writer {
    /// To be called after a commit. What waits for a reader or for room is done after a
    /// later one: until then the log has it.
    pub(super) fn carry_over(&mut self) -> Result<(), JournalError> {
        if self.log_pages.swap(0, Ordering::Relaxed) < PAGES {
            return Ok(());
        }
        match self.connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE) {
            Ok(_) => Ok(()),
            Err(e) if is_for_later(&e) => Ok(()),
            Err(e) => Err(self.sqlite(e)),
        }
    }
}

fn is_for_later(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | DiskFull))
}
