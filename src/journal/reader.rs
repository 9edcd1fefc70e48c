//! Reading events back: for sinks that lag, and for commands beside the daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{JournalError, refusals, schema, sum};
use crate::event::{Event, EventId, Origin, Stored, intern_type};

/// A connection that only reads.
pub struct Reader {
    path: PathBuf,
    connection: Connection,
    /// The last PBX name that was read, so that rows share it.
    pbx: Arc<str>,
    /// The end of the last hole in the numbers that was looked into.
    hole: u64,
}

impl Reader {
    /// Opens the journal at `path`, which must exist.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let connection = schema::open_for_reading(path)?;
        Ok(Self { path: path.to_owned(), connection, pbx: Arc::from(""), hole: 0 })
    }

    /// Opens it so that not even SQLite's own helper files appear beside it: for
    /// commands that write nothing. Only with no daemon on it, for as long as one
    /// is sure of that; what a crash has left in the WAL is read the usual way.
    pub fn open_untouched(path: &Path) -> Result<Self, JournalError> {
        let wal = super::lock::path_beside(path, "-wal");
        let settled = std::fs::metadata(wal).map_or(true, |wal| wal.len() == 0);
        if super::lock::is_held(path) || !settled {
            return Self::open(path);
        }
        let connection = schema::open_immutable(path)?;
        Ok(Self { path: path.to_owned(), connection, pbx: Arc::from(""), hole: 0 })
    }

    /// Events after `seq`, in order: at most `max_events`, and no more once
    /// `max_bytes` of data are reached. Empty means that there are none.
    pub fn after(
        &mut self,
        seq: u64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Stored>, JournalError> {
        // Before the events: what is committed in between is no hole.
        let last = self.last_seq()?;
        let events = read_after(&self.connection, &mut self.pbx, seq, max_events, max_bytes)
            .map_err(|cause| JournalError::Sqlite { path: self.path.clone(), cause })?;
        self.look_into_holes(seq, &events, last)?;
        Ok(events)
    }

    /// A page of the table can lose rows without SQLite noticing. Retention leaves holes as
    /// well, if the clock has jumped, but it deletes from the index, too.
    fn look_into_holes(
        &mut self,
        seq: u64,
        events: &[Stored],
        last: u64,
    ) -> Result<(), JournalError> {
        let end = events.last().map_or(last, |event| event.seq);
        let hole = has_holes(seq, events) || (events.is_empty() && last > seq);
        if !hole || self.hole >= end {
            return Ok(());
        }
        let same = "SELECT (SELECT count(*) FROM event NOT INDEXED)
                    = (SELECT count(*) FROM event INDEXED BY event_id WHERE pbx >= '')";
        if !self.ask(|db| db.query_row(same, [], |row| row.get(0)))? {
            let what = format!("events after {seq} are missing from it");
            return Err(JournalError::Damaged { path: self.path.clone(), what });
        }
        self.hole = end;
        Ok(())
    }

    /// The last `seq` given out; 0 in a new journal.
    pub fn last_seq(&self) -> Result<u64, JournalError> {
        self.ask(|db| Ok(super::append::next_seq(db)? - 1))
    }

    /// The `seq` of the oldest event; the next one's if there is none.
    pub fn first_seq(&self) -> Result<u64, JournalError> {
        self.ask(|db| {
            let oldest = "SELECT min(seq) FROM event";
            let first: Option<i64> = db.query_row(oldest, [], |row| row.get(0))?;
            first.map_or_else(|| super::append::next_seq(db), |seq| Ok(seq as u64))
        })
    }

    /// Since when the journal has everything that it ever had: when its oldest event came,
    /// in Unix milliseconds, if older ones were deleted. `None` if none was.
    pub fn reach_ms(&self) -> Result<Option<i64>, JournalError> {
        self.ask(|db| {
            let oldest = "SELECT seq, received_ms FROM event ORDER BY seq LIMIT 1";
            let oldest: Option<(i64, i64)> =
                db.query_row(oldest, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            Ok(match oldest {
                Some((1, _)) => None,
                Some((_, received_ms)) => Some(received_ms),
                None if super::append::next_seq(db)? == 1 => None,
                None => Some(i64::MAX),
            })
        })
    }

    /// The `seq` before the first event that was received at `ms` (Unix
    /// milliseconds) or later. Times of receipt rise with `seq`, so a search by
    /// halves finds it without an index of its own.
    pub fn seq_before(&self, ms: i64) -> Result<u64, JournalError> {
        self.ask(|db| seq_before(db, ms))
    }

    /// The login attempts that the journal remembers.
    pub fn refusals(&self) -> Result<Vec<refusals::Attempt>, JournalError> {
        self.ask(refusals::load)
    }

    /// Runs a query of another file of this module.
    pub fn ask<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        query(&self.connection)
            .map_err(|cause| JournalError::Sqlite { path: self.path.clone(), cause })
    }
}

/// Reads a journal off the async threads, with a connection that is made when needed.
pub struct Reading {
    path: Arc<Path>,
    reader: Option<Reader>,
}

impl Reading {
    /// Of the journal at `path`, which need not be there yet.
    pub fn of(path: &Path) -> Self {
        Self { path: Arc::from(path), reader: None }
    }

    /// Runs a reading function.
    pub async fn with<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&mut Reader) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (reader, path) = (self.reader.take(), Arc::clone(&self.path));
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = match reader {
                Some(reader) => reader,
                None => Reader::open(&path)?,
            };
            let result = read(&mut reader);
            Ok((reader, result))
        });
        let (reader, result) = reading.await.expect("reading the journal does not panic")?;
        self.reader = Some(reader);
        result
    }
}

fn has_holes(seq: u64, events: &[Stored]) -> bool {
    events.last().is_some_and(|last| last.seq - seq != events.len() as u64)
}

fn read_after(
    connection: &Connection,
    pbx: &mut Arc<str>,
    seq: u64,
    max_events: usize,
    max_bytes: usize,
) -> rusqlite::Result<Vec<Stored>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, pbx, type, origin, received_ms, session_id, data, sum
         FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query(params![seq as i64, max_events as i64])?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let event = stored(row, |name| {
            if **pbx != *name {
                *pbx = Arc::from(name);
            }
            Arc::clone(pbx)
        })?;
        bytes += event.event.raw.len();
        events.push(event);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(events)
}

/// The event in the first nine columns of a row, in the order of the table; fails if it
/// is not what was written.
pub(crate) fn stored(
    row: &Row<'_>,
    pbx: impl FnOnce(&str) -> Arc<str>,
) -> rusqlite::Result<Stored> {
    let event = Event {
        id: EventId::from_bytes(row.get(1)?),
        pbx: pbx(row.get_ref(2)?.as_str()?),
        event_type: intern_type(row.get_ref(3)?.as_str()?),
        origin: Origin::from_word(row.get_ref(4)?.as_str()?).unwrap_or(Origin::Live),
        received_ms: row.get(5)?,
        session_id: row.get_ref(6)?.as_str_or_null()?.map(Box::from),
        raw: Bytes::copy_from_slice(row.get_ref(7)?.as_bytes()?),
    };
    let seq = row.get::<_, i64>(0)? as u64;
    sum::check("event", seq, row.get(8)?, sum::of_event(seq, event.id.as_bytes(), &event))?;
    Ok(Stored { seq, event })
}

fn seq_before(connection: &Connection, ms: i64) -> rusqlite::Result<u64> {
    let bounds = "SELECT ifnull(min(seq), 1), ifnull(max(seq), 0) FROM event";
    let (mut low, mut high): (i64, i64) =
        connection.query_row(bounds, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut at = connection
        .prepare("SELECT seq, received_ms FROM event WHERE seq >= ?1 ORDER BY seq LIMIT 1")?;
    while low <= high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> =
            at.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((seq, received)) if received < ms => low = seq + 1,
            _ => high = middle - 1,
        }
    }
    Ok((low - 1) as u64)
}
