//! The table of blocks: putting them in, finding the one that has an event.
//!
//! Numbers of events have no holes: each block begins where the one before it ended, the
//! first begins at `first_seq` of the table `meta`, and the last ends before `next_seq`.
//! So whoever reads notices a block that is missing. Where a repair could save nothing, a
//! block without data stands for the numbers that are lost.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::block::{self, MOST_EVENTS, Packer};
use super::{append, sum};
use crate::event::{Event, EventId, Stored};

/// What a block is, but for what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The number of its first event.
    pub first_seq: u64,
    /// The number of its last event.
    pub last_seq: u64,
    /// When its first event came, in Unix milliseconds.
    pub first_ms: i64,
    /// The latest time of receipt in it.
    pub latest_ms: i64,
}

/// The columns that [`whole`] reads.
pub const COLUMNS: &str = "first_seq, last_seq, first_ms, latest_ms, data, sum";

/// Packs events, which get the numbers from `first_seq` on, and puts them into the table.
pub(super) fn put(
    connection: &Connection,
    packer: &mut Packer,
    first_seq: u64,
    events: &[(EventId, &Event)],
) -> rusqlite::Result<()> {
    let [(_, first), ..] = events else { return Ok(()) };
    let latest_ms = events.iter().map(|(_, event)| event.received_ms).max();
    let span = Span {
        first_seq,
        last_seq: first_seq + events.len() as u64 - 1,
        first_ms: first.received_ms,
        latest_ms: latest_ms.unwrap_or(first.received_ms),
    };
    let data =
        packer.pack(events).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    insert(connection, &span, Some(&data))
}

fn insert(connection: &Connection, span: &Span, data: Option<&[u8]>) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO block(first_seq, last_seq, first_ms, latest_ms, data, sum)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            span.first_seq as i64,
            span.last_seq as i64,
            span.first_ms,
            span.latest_ms,
            data,
            sum::of_block(span, data),
        ])
        .map(drop)
}

/// Puts events that have their numbers already, which rise, into blocks, the first of which
/// begins at `next`; numbers that are missing count as lost. The next number.
pub(super) fn put_all(
    connection: &Connection,
    packer: &mut Packer,
    mut next: u64,
    events: &[Stored],
) -> rusqlite::Result<u64> {
    let mut ids = Ids::of(connection)?;
    for run in events.chunk_by(|one, other| one.seq + 1 == other.seq) {
        let [Stored { seq, .. }, ..] = run else { continue };
        lose(connection, next, *seq)?;
        let mut filler = Filler::new(connection, packer, *seq);
        for Stored { seq, event } in run {
            ids.take(&event.pbx, event.id, *seq)?;
            filler.push(event.id, event)?;
        }
        filler.put()?;
        next = filler.next_seq();
    }
    Ok(next)
}

/// Puts a block that stands for the numbers from `next` up to that before `until`, if there
/// are any.
pub(super) fn lose(connection: &Connection, next: u64, until: u64) -> rusqlite::Result<()> {
    if next >= until {
        return Ok(());
    }
    let before = last(connection)?.map_or(0, |block| block.latest_ms);
    let (first_seq, last_seq) = (next, until - 1);
    insert(connection, &Span { first_seq, last_seq, first_ms: before, latest_ms: before }, None)
}

/// What is wrong with the ends of the table, if they are not where `meta` says.
pub(super) fn misfit(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let (first_seq, next_seq) = (append::first_seq(connection)?, append::next_seq(connection)?);
    let ends = match (first(connection)?, last(connection)?) {
        (Some(first), Some(last)) => (first.first_seq, last.last_seq + 1),
        _ => (next_seq, next_seq),
    };
    Ok((ends != (first_seq, next_seq)).then(|| {
        let (from, to) = ends;
        format!(
            "it should have events {first_seq} to {}, and has {from} to {}",
            next_seq - 1,
            to - 1
        )
    }))
}

/// The block in a row of [`COLUMNS`], if it is what was written; `None` for its data means
/// that its events are lost.
pub(super) fn whole<'r>(row: &'r Row<'_>) -> rusqlite::Result<(Span, Option<&'r [u8]>)> {
    let span = span(row)?;
    let data = row.get_ref(4)?.as_blob_or_null()?;
    sum::check("block up to", span.last_seq, Some(row.get(5)?), sum::of_block(&span, data))?;
    Ok((span, data))
}

/// The span in a row of [`COLUMNS`].
pub(super) fn span(row: &Row<'_>) -> rusqlite::Result<Span> {
    Ok(Span {
        first_seq: row.get::<_, i64>(0)? as u64,
        last_seq: row.get::<_, i64>(1)? as u64,
        first_ms: row.get(2)?,
        latest_ms: row.get(3)?,
    })
}

/// The block in a row of [`COLUMNS`] and its events; those of a lost one are none.
pub(super) fn unpacked(row: &Row<'_>) -> rusqlite::Result<(Span, Vec<Stored>)> {
    let (span, data) = whole(row)?;
    let Some(data) = data else { return Ok((span, Vec::new())) };
    let events = block::unpack(data, span.first_seq).map_err(sum::damaged)?;
    let there = events.last().map(|last| last.seq);
    if there != Some(span.last_seq) {
        return Err(sum::damaged(sum::WrongSum { table: "block up to", key: span.last_seq }));
    }
    Ok((span, events))
}

/// The oldest block.
pub fn first(connection: &Connection) -> rusqlite::Result<Option<Span>> {
    let sql = format!("SELECT {COLUMNS} FROM block ORDER BY last_seq LIMIT 1");
    connection.prepare_cached(&sql)?.query_row([], span).optional()
}

/// The newest block.
pub fn last(connection: &Connection) -> rusqlite::Result<Option<Span>> {
    let sql = format!("SELECT {COLUMNS} FROM block ORDER BY last_seq DESC LIMIT 1");
    connection.prepare_cached(&sql)?.query_row([], span).optional()
}

/// The first block with an event after `seq`, and its events.
pub fn after(connection: &Connection, seq: u64) -> rusqlite::Result<Option<(Span, Vec<Stored>)>> {
    let sql = format!("SELECT {COLUMNS} FROM block WHERE last_seq > ?1 ORDER BY last_seq LIMIT 1");
    connection.prepare_cached(&sql)?.query_row([seq as i64], unpacked).optional()
}

/// When the first event after `seq` came.
pub fn received_after(connection: &Connection, seq: u64) -> rusqlite::Result<Option<i64>> {
    let found = after(connection, seq)?;
    Ok(found.map(|(span, events)| {
        let event = events.iter().find(|stored| stored.seq > seq);
        event.map_or(span.first_ms, |stored| stored.event.received_ms)
    }))
}

/// Looks at every event in `after < seq <= up_to`, in order.
pub fn each(
    connection: &Connection,
    after: u64,
    up_to: u64,
    mut look: impl FnMut(&Stored),
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {COLUMNS} FROM block WHERE last_seq > ?1 AND first_seq <= ?2 ORDER BY last_seq"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let bound = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
    let mut rows = statement.query([bound(after), bound(up_to)])?;
    while let Some(row) = rows.next()? {
        let (span, events) = unpacked(row)?;
        let inside = |stored: &&Stored| stored.seq > after && stored.seq <= up_to;
        events.iter().filter(inside).for_each(&mut look);
        if span.last_seq >= up_to {
            break;
        }
    }
    Ok(())
}

/// Finds single events; who asks for neighbours does not unpack their block twice.
#[derive(Default)]
pub struct Finder {
    block: Vec<Stored>,
}

impl Finder {
    /// The event with this number.
    pub fn get(&mut self, connection: &Connection, seq: u64) -> rusqlite::Result<Option<&Stored>> {
        if !self.has(seq) {
            let found = after(connection, seq.saturating_sub(1))?;
            self.block = found.map(|(_, events)| events).unwrap_or_default();
        }
        Ok(self.block.binary_search_by_key(&seq, |stored| stored.seq).ok().map(|n| &self.block[n]))
    }

    fn has(&self, seq: u64) -> bool {
        let ends = (self.block.first(), self.block.last());
        matches!(ends, (Some(first), Some(last)) if (first.seq..=last.seq).contains(&seq))
    }
}

/// The number under which an id stands.
pub fn seq_of(connection: &Connection, pbx: &str, id: EventId) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT seq FROM id WHERE pbx = ?1 AND id = ?2")?
        .query_row(params![pbx, id.as_bytes()], |row| row.get::<_, i64>(0))
        .optional()
        .map(|seq| seq.map(|seq| seq as u64))
}

/// Notes which ids are taken.
pub(super) struct Ids<'a>(CachedStatement<'a>);

impl<'a> Ids<'a> {
    pub(super) fn of(connection: &'a Connection) -> rusqlite::Result<Self> {
        let sql = "INSERT INTO id(pbx, id, seq) VALUES(?1, ?2, ?3) ON CONFLICT(pbx, id) DO NOTHING";
        connection.prepare_cached(sql).map(Self)
    }

    /// Notes that an id is taken; `false` if it was before.
    pub(super) fn take(&mut self, pbx: &str, id: EventId, seq: u64) -> rusqlite::Result<bool> {
        self.0.execute(params![pbx, id.as_bytes(), seq as i64]).map(|rows| rows == 1)
    }
}

/// Takes events as they come and puts them into blocks.
pub(super) struct Filler<'a, 'e> {
    connection: &'a Connection,
    packer: &'a mut Packer,
    first_seq: u64,
    events: Vec<(EventId, &'e Event)>,
    bytes: usize,
}

impl<'a, 'e> Filler<'a, 'e> {
    /// The first event will get the number `next`.
    pub(super) fn new(connection: &'a Connection, packer: &'a mut Packer, next: u64) -> Self {
        Self { connection, packer, first_seq: next, events: Vec::new(), bytes: 0 }
    }

    /// The number of the next event.
    pub(super) fn next_seq(&self) -> u64 {
        self.first_seq + self.events.len() as u64
    }

    /// The event that got this number, if it is not in a block yet.
    pub(super) fn get(&self, seq: u64) -> Option<&'e Event> {
        let place = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        self.events.get(place).map(|(_, event)| *event)
    }

    /// Takes one more.
    pub(super) fn push(&mut self, id: EventId, event: &'e Event) -> rusqlite::Result<()> {
        self.events.push((id, event));
        self.bytes += event.raw.len();
        if self.events.len() >= MOST_EVENTS || self.bytes >= block::FULL_BYTES {
            self.put()?;
        }
        Ok(())
    }

    /// Puts what it has into a block.
    pub(super) fn put(&mut self) -> rusqlite::Result<()> {
        put(self.connection, self.packer, self.first_seq, &self.events)?;
        self.first_seq = self.next_seq();
        self.events.clear();
        self.bytes = 0;
        Ok(())
    }
}
