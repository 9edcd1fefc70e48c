//! Reading events back: for sinks that lag, and for commands beside the daemon.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::task::JoinHandle;

use super::blocks::{self, COLUMNS};
use super::{JournalError, refusals, schema, sum};
use crate::event::{Event, EventId, Origin, Stored, intern_type};

/// A connection that only reads.
pub struct Reader {
    path: PathBuf,
    connection: Connection,
    /// Events of a block of which the front was given out already.
    ahead: VecDeque<Stored>,
}

impl Reader {
    /// Opens the journal at `path`, which must exist.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Ok(Self::on(path, schema::open_for_reading(path)?))
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
        Ok(Self::on(path, schema::open_immutable(path)?))
    }

    fn on(path: &Path, connection: Connection) -> Self {
        Self { path: path.to_owned(), connection, ahead: VecDeque::new() }
    }

    /// Events after `seq`, in order: at most `max_events`, and no more once
    /// `max_bytes` of data are reached. Empty means that there are none.
    pub fn after(
        &mut self,
        seq: u64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Stored>, JournalError> {
        self.page(seq, max_events, max_bytes).map(|page| page.events)
    }

    /// The same, and whether there were more.
    pub fn page(
        &mut self,
        seq: u64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Page, JournalError> {
        let mut wanted = Wanted { events: Vec::new(), max_events, bytes: 0, max_bytes };
        if self.ahead.front().is_some_and(|front| front.seq == seq + 1) {
            wanted.take(&mut self.ahead);
        } else {
            self.ahead.clear();
        }
        if wanted.is_full() {
            return Ok(Page { events: wanted.events, more: true });
        }
        let from = wanted.events.last().map_or(seq, |last| last.seq);
        match read_after(&self.connection, from, &mut wanted, &mut self.ahead) {
            Ok(None) => Ok(Page { more: wanted.is_full(), events: wanted.events }),
            Ok(Some(missing)) => {
                let what = format!("events after {missing} are missing from it");
                Err(JournalError::Damaged { path: self.path.clone(), what })
            }
            Err(cause) => Err(JournalError::Sqlite { path: self.path.clone(), cause }),
        }
    }

    /// The last `seq` given out; 0 in a new journal.
    pub fn last_seq(&self) -> Result<u64, JournalError> {
        self.ask(|db| Ok(super::append::next_seq(db)? - 1))
    }

    /// The `seq` of the oldest event; the next one's if there is none.
    pub fn first_seq(&self) -> Result<u64, JournalError> {
        self.ask(super::append::first_seq)
    }

    /// Since when the journal has everything that it ever had: when its oldest event came,
    /// in Unix milliseconds, if older ones were deleted. `None` if none was.
    pub fn reach_ms(&self) -> Result<Option<i64>, JournalError> {
        self.ask(|db| match super::append::first_seq(db)? {
            1 => Ok(None),
            _ => Ok(Some(blocks::first(db)?.map_or(i64::MAX, |oldest| oldest.first_ms))),
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

/// Events, and whether there were more than asked for; if not, they are the last.
pub struct Page {
    /// In order.
    pub events: Vec<Stored>,
    /// More may follow.
    pub more: bool,
}

/// Reads a journal off the async threads, with a connection that is made when needed.
pub struct Reading {
    path: Arc<Path>,
    reader: Option<Reader>,
    ahead: Option<Ahead>,
}

/// What is read before anybody asks for it.
struct Ahead {
    seq: u64,
    page: Work,
}

enum Work {
    Begun(Started<Page>),
    Done(Result<Page, JournalError>),
}

/// A reading function at work; gives the reader back.
type Started<T> = JoinHandle<Result<(Reader, Result<T, JournalError>), JournalError>>;

impl Reading {
    /// Of the journal at `path`, which need not be there yet.
    pub fn of(path: &Path) -> Self {
        Self { path: Arc::from(path), reader: None, ahead: None }
    }

    /// Runs a reading function.
    pub async fn with<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&mut Reader) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.settle().await;
        let started = self.start(read);
        self.join(started).await
    }

    /// Events after `seq`, as [`Reader::page`] reads them. What [`Self::read_ahead`] has
    /// read after this `seq` is taken instead, however much it was told to read.
    pub async fn page(
        &mut self,
        seq: u64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Page, JournalError> {
        self.settle().await;
        match self.ahead.take() {
            Some(Ahead { seq: from, page: Work::Done(page) }) if from == seq => page,
            _ => self.with(move |reader| reader.page(seq, max_events, max_bytes)).await,
        }
    }

    /// Begins to read what will be asked for next, while its caller does something else.
    pub fn read_ahead(&mut self, seq: u64, max_events: usize, max_bytes: usize) {
        if self.ahead.is_none() {
            let read = move |reader: &mut Reader| reader.page(seq, max_events, max_bytes);
            self.ahead = Some(Ahead { seq, page: Work::Begun(self.start(read)) });
        }
    }

    /// Keeps nothing in memory of what was read and not asked for.
    pub async fn forget(&mut self) {
        self.settle().await;
        self.ahead = None;
        if let Some(reader) = &mut self.reader {
            reader.ahead = VecDeque::new();
        }
    }

    /// Waits for what is read ahead, and so for the reader.
    async fn settle(&mut self) {
        match self.ahead.take() {
            Some(Ahead { seq, page: Work::Begun(started) }) => {
                let page = Work::Done(self.join(started).await);
                self.ahead = Some(Ahead { seq, page });
            }
            ready => self.ahead = ready,
        }
    }

    fn start<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&mut Reader) -> Result<T, JournalError> + Send + 'static,
    ) -> Started<T> {
        let (reader, path) = (self.reader.take(), Arc::clone(&self.path));
        tokio::task::spawn_blocking(move || {
            let mut reader = match reader {
                Some(reader) => reader,
                None => Reader::open(&path)?,
            };
            let result = read(&mut reader);
            Ok((reader, result))
        })
    }

    async fn join<T>(&mut self, started: Started<T>) -> Result<T, JournalError> {
        let (reader, result) = started.await.expect("reading the journal does not panic")?;
        self.reader = Some(reader);
        result
    }
}

/// What a reader asks for, and what it has of it.
struct Wanted {
    events: Vec<Stored>,
    max_events: usize,
    bytes: usize,
    max_bytes: usize,
}

impl Wanted {
    fn is_full(&self) -> bool {
        self.events.len() >= self.max_events || self.bytes >= self.max_bytes
    }

    /// Takes from the front as many as are wanted.
    fn take(&mut self, from: &mut VecDeque<Stored>) {
        while !self.is_full()
            && let Some(stored) = from.pop_front()
        {
            self.bytes += stored.event.raw.len();
            self.events.push(stored);
        }
    }
}

/// Reads what is wanted after `seq`, and perhaps more of the last block than that. Tells
/// after which event some are missing that should be there.
fn read_after(
    connection: &Connection,
    seq: u64,
    wanted: &mut Wanted,
    ahead: &mut VecDeque<Stored>,
) -> rusqlite::Result<Option<u64>> {
    // One view of the ends and of what is between them.
    let view = connection.unchecked_transaction()?;
    let last = super::append::next_seq(&view)? - 1;
    let mut at = seq.max(super::append::first_seq(&view)? - 1);
    let sql = format!("SELECT {COLUMNS} FROM block WHERE last_seq > ?1 ORDER BY last_seq");
    let mut statement = view.prepare_cached(&sql)?;
    let mut rows = statement.query([i64::try_from(at).unwrap_or(i64::MAX)])?;
    let mut is_first = true;
    while at < last && !wanted.is_full() {
        let Some(row) = rows.next()? else { return Ok(Some(at)) };
        let (span, events) = blocks::unpacked(row)?;
        let follows = span.first_seq == at + 1 || (is_first && span.first_seq <= at);
        if !follows || span.last_seq > last {
            return Ok(Some(at));
        }
        ahead.extend(events.into_iter().filter(|stored| stored.seq > at));
        wanted.take(ahead);
        (at, is_first) = (span.last_seq, false);
    }
    Ok(None)
}

/// The event in the first nine columns of a row of the dead letters; fails if it is not
/// what was written.
pub(crate) fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let event = Event {
        id: EventId::from_bytes(row.get(1)?),
        pbx: Arc::from(row.get_ref(2)?.as_str()?),
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
    let (first, last) = match (blocks::first(connection)?, blocks::last(connection)?) {
        (Some(first), Some(last)) => (first, last),
        _ => return Ok(super::append::next_seq(connection)? - 1),
    };
    let (mut low, mut high) = (first.first_seq, last.last_seq);
    let mut at = connection.prepare(
        "SELECT last_seq, latest_ms FROM block WHERE last_seq >= ?1 ORDER BY last_seq LIMIT 1",
    )?;
    // The first block with an event that late, by halves.
    while low <= high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> =
            at.query_row([middle as i64], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((seq, latest)) if latest < ms => low = seq as u64 + 1,
            _ => high = middle - 1,
        }
    }
    let mut before = low - 1;
    if let Some((_, events)) = blocks::after(connection, before)? {
        let early = events.iter().take_while(|stored| stored.event.received_ms < ms);
        before = early.last().map_or(before, |stored| stored.seq);
    }
    Ok(before)
}
