//! Room: retention, `max_size`, a full disk.
//!
//! While reading pauses, or the disk is full, what the PBXs say may be lost: that is a
//! gap, noted here.

use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tracing::{error, info, warn};

use super::super::{JournalError, gaps, lock, retention};
use super::Writer;
use crate::clock::Clock;
use crate::config::WhenFull;
use crate::metrics::JournalState;

/// How often delivered events are looked through for old ones.
const RETENTION_EVERY: Duration = Duration::from_secs(30);
/// How long to wait before a commit is tried again on a full disk.
const FULL_DISK_RETRY: Duration = Duration::from_secs(1);
/// On a full disk no younger event is given up, even if every sink has it: the comparison
/// that fills the gap looks back behind its beginning, though less far than this, and would
/// fetch it again.
const KEPT_ON_FULL_DISK_MS: i64 = 10 * 60 * 1000;
/// Bytes of new events between two looks at the size of the database.
const SIZE_CHECK_BYTES: u64 = 1 << 20;
/// Size of the ballast file. On a full disk even deleting needs room in the WAL.
const BALLAST_BYTES: usize = 4 << 20;

impl Writer {
    /// Retention, and the size of the database.
    pub(super) async fn maintain(&mut self) -> Result<(), JournalError> {
        if tokio::time::Instant::now() >= self.retention_due {
            let keep_ms = i64::try_from(self.settings.retention.as_millis()).unwrap_or(i64::MAX);
            let before = Clock::system().now_ms().saturating_sub(keep_ms);
            if self.delete(self.cursors.all_have(), before).await? < retention::CHUNK {
                self.retention_due = tokio::time::Instant::now() + RETENTION_EVERY;
            }
        }
        if self.paused || self.unchecked_bytes >= SIZE_CHECK_BYTES.min(self.settings.max_size / 8) {
            self.unchecked_bytes = 0;
            self.keep_to_size().await?;
        }
        Ok(())
    }

    /// Over `max_size`: first what everybody has goes, however young; then as configured.
    async fn keep_to_size(&mut self) -> Result<(), JournalError> {
        while self.used()? > self.settings.max_size {
            if self.delete(self.cursors.all_have(), i64::MAX).await? > 0 {
                continue;
            }
            match self.settings.when_full {
                // Not the sinks' fault: to pause would change nothing, ever.
                WhenFull::Pause if self.cursors.all_have() >= self.next_seq - 1 => {
                    if std::mem::take(&mut self.paused) {
                        self.resume().await?;
                    }
                    if let Some(times) = self.overfull.note("kept things") {
                        error!(path = %self.path.display(), max_size = self.settings.max_size, times,
                            "quarantine and dead letters alone are over max_size: look at them, and drop what is not needed");
                    }
                    return Ok(());
                }
                WhenFull::Pause if self.paused || self.finishing => return Ok(()),
                WhenFull::Pause => {
                    self.paused = true;
                    self.paused_from(Clock::system().now_ms(), "the journal was full (when_full)")
                        .await?;
                    warn!(path = %self.path.display(), max_size = self.settings.max_size,
                        "journal is full of undelivered events: reading from the PBXs pauses until sinks have caught up");
                    return Ok(());
                }
                WhenFull::DropOldest => {
                    let dropped = self.delete(u64::MAX, i64::MAX).await?;
                    warn!(path = %self.path.display(), max_size = self.settings.max_size, dropped,
                        "journal is full: the oldest undelivered events were dropped, as when_full = \"drop_oldest\" says");
                    if dropped == 0 {
                        return Ok(());
                    }
                }
            }
        }
        if std::mem::take(&mut self.paused) {
            self.resume().await?;
            info!(path = %self.path.display(), "journal has room again, reading from the PBXs goes on");
        }
        Ok(())
    }

    /// Reading from the PBXs pauses: what they say from `since_ms` on may be lost.
    pub(super) async fn paused_from(
        &mut self,
        since_ms: i64,
        why: &str,
    ) -> Result<(), JournalError> {
        self.until_there_is_room(|db| gaps::pause(db, why, since_ms)).await
    }

    /// Reading goes on.
    pub(super) async fn resume(&mut self) -> Result<(), JournalError> {
        let now_ms = Clock::system().now_ms();
        let ended = self.until_there_is_room(|db| gaps::end(db, now_ms)).await?;
        self.count_gaps(ended);
        self.asked.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn delete(&mut self, up_to: u64, before_ms: i64) -> Result<usize, JournalError> {
        self.until_there_is_room(|db| retention::delete_oldest(db, up_to, before_ms)).await
    }

    async fn until_there_is_room<T>(
        &mut self,
        write: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        loop {
            self.alive();
            match write(&self.connection) {
                Ok(done) => return Ok(done),
                Err(e) if is_full_disk(&e) => self.wait_for_room().await,
                Err(e) => return Err(self.sqlite(e)),
            }
        }
    }

    fn used(&self) -> Result<u64, JournalError> {
        retention::used_bytes(&self.connection).map_err(|e| self.sqlite(e))
    }

    /// The disk is full: releases the ballast, deletes what everybody has for long, waits.
    pub(super) async fn wait_for_room(&mut self) {
        self.full_since.get_or_insert_with(|| Clock::system().now_ms());
        if let Some(times) = self.full_disk.note("disk full") {
            error!(path = %self.path.display(), times,
                "disk full: the journal waits for room, nothing is lost; free space on this file system");
        }
        self.alive();
        self.metrics.journal().set_state(JournalState::DiskFull);
        // Both may fail on a disk this full; the next round tries again.
        let _ = std::fs::remove_file(lock::path_beside(&self.path, ".ballast"));
        let before = Clock::system().now_ms().saturating_sub(KEPT_ON_FULL_DISK_MS);
        let _ = retention::delete_oldest(&self.connection, self.cursors.all_have(), before);
        tokio::time::sleep(FULL_DISK_RETRY).await;
    }

    /// Sets room aside for a full disk. Best effort: without it the daemon works,
    /// it only has less to give up.
    pub(super) fn fill_ballast(&self) {
        use std::os::unix::fs::OpenOptionsExt;
        let path = lock::path_beside(&self.path, ".ballast");
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let Ok(mut file) = file else { return };
        let filled = std::io::Write::write_all(&mut file, &vec![0xa5; BALLAST_BYTES]);
        if filled.is_err() {
            let _ = std::fs::remove_file(&path);
        }
    }
}

pub(super) fn is_full_disk(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
