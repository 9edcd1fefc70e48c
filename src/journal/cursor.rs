//! How far each sink has come.
//!
//! A sink moves its [`Cursor`] in memory once it has confirmed; the writer saves
//! all that moved with its next commit, or after a short while when idle. Sinks
//! never write to the database themselves: that made deliveries wait 800 ms
//! instead of 5.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::{Connection, OptionalExtension, params};

use super::sum;
use crate::config::Start;

/// The last `seq` that one sink has confirmed.
#[derive(Clone, Debug)]
pub struct Cursor {
    seq: Arc<AtomicU64>,
}

impl Cursor {
    /// The last confirmed `seq`; 0 before the first.
    pub fn get(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Notes that everything up to `seq` is confirmed. Never moves back.
    pub fn confirm(&self, seq: u64) {
        self.seq.fetch_max(seq, Ordering::AcqRel);
    }
}

/// The cursors of all configured sinks, and what of them is on disk.
#[derive(Debug)]
pub struct Cursors {
    by_sink: RwLock<Entries>,
}

type Entries = BTreeMap<Arc<str>, Entry>;

#[derive(Debug)]
struct Entry {
    cursor: Cursor,
    saved: AtomicU64,
}

impl Cursors {
    /// Loads the cursors; a sink seen for the first time gets its start recorded,
    /// so that a crash does not move it.
    pub(crate) fn load(
        connection: &Connection,
        sinks: &[(Arc<str>, Start)],
    ) -> rusqlite::Result<Self> {
        let last = super::append::next_seq(connection)? - 1;
        let cursors = Self { by_sink: RwLock::default() };
        cursors.add(load_all(connection, sinks, last)?);
        Ok(cursors)
    }

    /// Takes up cursors of sinks that come while the daemon runs. One that is there
    /// already stays as it is.
    pub(crate) fn add(&self, loaded: Vec<(Arc<str>, u64)>) {
        let mut by_sink = self.write();
        for (sink, seq) in loaded {
            by_sink.entry(sink).or_insert_with(|| Entry {
                cursor: Cursor { seq: Arc::new(AtomicU64::new(seq)) },
                saved: AtomicU64::new(seq),
            });
        }
    }

    /// A sink is gone: nothing waits for it any more. Its row stays.
    pub(crate) fn remove(&self, sink: &str) {
        self.write().remove(sink);
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.by_sink.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.by_sink.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cursor of one sink.
    pub fn get(&self, sink: &str) -> Option<Cursor> {
        self.read().get(sink).map(|entry| entry.cursor.clone())
    }

    /// The last `seq` that every sink has durably confirmed; without sinks, every
    /// event counts as delivered.
    pub(crate) fn all_have(&self) -> u64 {
        let by_sink = self.read();
        let saved = by_sink.values().map(|entry| entry.saved.load(Ordering::Acquire));
        saved.min().unwrap_or(u64::MAX >> 1)
    }

    /// The cursors that moved since they were saved.
    pub(crate) fn moved(&self) -> Vec<(Arc<str>, u64)> {
        self.read()
            .iter()
            .map(|(sink, entry)| (sink, entry.cursor.get(), entry.saved.load(Ordering::Acquire)))
            .filter(|(_, now, saved)| now != saved)
            .map(|(sink, now, _)| (Arc::clone(sink), now))
            .collect()
    }

    /// Writes `moved` inside the writer's transaction.
    pub(crate) fn save(
        connection: &Connection,
        moved: &[(Arc<str>, u64)],
        now_ms: i64,
    ) -> rusqlite::Result<()> {
        for (sink, seq) in moved {
            upsert(connection, sink, *seq, now_ms)?;
        }
        Ok(())
    }

    /// Notes, after the commit, that `moved` is on disk.
    pub(crate) fn saved(&self, moved: &[(Arc<str>, u64)]) {
        let by_sink = self.read();
        for (sink, seq) in moved {
            if let Some(entry) = by_sink.get(sink) {
                entry.saved.store(*seq, Ordering::Release);
            }
        }
    }
}

/// The cursor of each sink; the start of one that was never seen before is recorded.
pub(crate) fn load_all(
    connection: &Connection,
    sinks: &[(Arc<str>, Start)],
    last: u64,
) -> rusqlite::Result<Vec<(Arc<str>, u64)>> {
    sinks
        .iter()
        .map(|(sink, start)| Ok((Arc::clone(sink), load_one(connection, sink, *start, last)?)))
        .collect()
}

fn load_one(connection: &Connection, sink: &str, start: Start, last: u64) -> rusqlite::Result<u64> {
    let known = connection
        .query_row("SELECT seq, sum FROM cursor WHERE sink = ?1", [sink], |row| {
            let seq = row.get::<_, i64>(0)? as u64;
            sum::check("cursor at", seq, row.get(1)?, sum::of_cursor(sink, seq))?;
            Ok(seq)
        })
        .optional()?;
    if let Some(seq) = known {
        return Ok(seq);
    }
    let seq = match start {
        Start::Now => last,
        Start::Beginning => 0,
    };
    upsert(connection, sink, seq, crate::clock::Clock::system().now_ms())?;
    Ok(seq)
}

pub(super) fn upsert(
    connection: &Connection,
    sink: &str,
    seq: u64,
    now_ms: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO cursor(sink, seq, updated_ms, sum) VALUES(?1, ?2, ?3, ?4)
             ON CONFLICT(sink) DO UPDATE SET seq = ?2, updated_ms = ?3, sum = ?4",
        )?
        .execute(params![sink, seq as i64, now_ms, sum::of_cursor(sink, seq)])
        .map(drop)
}
