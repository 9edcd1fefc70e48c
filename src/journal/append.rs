//! Placing events in the journal: sequence numbers, duplicates, ordinals.
//!
//! The unique index on (`pbx`, `id`) finds a repeat. Two events with the same
//! identity are then compared: if they say the same it is a repeat, dropped and
//! counted; if not, the second gets the next ordinal, and with it an id of its own.
//! Events of two `[pbx.*]` tables never count as repeats of each other, since a
//! sink may listen to one of the two alone.

use rusqlite::{Connection, OptionalExtension, params};

use super::sum;
use crate::event::same::same_json;
use crate::event::{Event, EventId, Origin};

/// Where an event came to stand; `None` for a repeat of one that is there.
pub type Place = Option<(u64, EventId)>;

/// The next event's sequence number.
pub fn next_seq(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = 'next_seq'")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|seq| seq as u64)
}

/// Inserts events inside the writer's transaction, from `next` on. The caller
/// advances its own `next` only after COMMIT.
pub(crate) fn insert<'a>(
    connection: &Connection,
    mut next: u64,
    events: impl Iterator<Item = &'a Event>,
) -> rusqlite::Result<(u64, Vec<Place>)> {
    let mut places = Vec::with_capacity(events.size_hint().0);
    for event in events {
        let id = insert_one(connection, next, event)?;
        places.push(id.map(|id| (next, id)));
        next += u64::from(id.is_some());
    }
    connection
        .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'next_seq'")?
        .execute([next as i64])?;
    Ok((next, places))
}

fn insert_one(
    connection: &Connection,
    seq: u64,
    event: &Event,
) -> rusqlite::Result<Option<EventId>> {
    for ordinal in 0..u32::MAX {
        let id = event.id.with_ordinal(ordinal);
        if insert_as(connection, seq, id, event)? {
            return Ok(Some(id));
        }
        if is_repeat(connection, id, event)? {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Puts one event at its place; `false` if its id is taken.
pub(super) fn insert_as(
    connection: &Connection,
    seq: u64,
    id: EventId,
    event: &Event,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "INSERT INTO event(seq, id, pbx, type, origin, received_ms, session_id, data, sum)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT(pbx, id) DO NOTHING",
        )?
        .execute(params![
            seq as i64,
            id.as_bytes(),
            &*event.pbx,
            &*event.event_type,
            event.origin.as_str(),
            event.received_ms,
            event.session_id.as_deref(),
            text(&event.raw)?,
            sum::of_event(seq, id.as_bytes(), event),
        ])
        .map(|rows| rows == 1)
}

/// Whether the event that has this id says the same. The live, webhook and
/// backfilled forms of one call are spelled differently and count as the same.
fn is_repeat(connection: &Connection, id: EventId, event: &Event) -> rusqlite::Result<bool> {
    let there = connection
        .prepare_cached("SELECT origin, data FROM event WHERE pbx = ?1 AND id = ?2")?
        .query_row(params![&*event.pbx, id.as_bytes()], |row| {
            let other_way = Origin::from_word(row.get_ref(0)?.as_str()?) != Some(event.origin);
            let same_call = other_way && event.event_type == "call_cdr";
            Ok(same_call || same_json(row.get_ref(1)?.as_bytes()?, &event.raw))
        })
        .optional()?;
    Ok(there.unwrap_or(false))
}

/// The PBX's object as text: decoding has made sure that it is UTF-8.
pub(crate) fn text(raw: &[u8]) -> rusqlite::Result<&str> {
    std::str::from_utf8(raw).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}
