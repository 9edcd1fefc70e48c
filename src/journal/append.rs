//! Placing events in the journal: sequence numbers, duplicates, ordinals.
//!
//! The table of ids, with `pbx` and `id` as its key, finds a repeat. Two events with the
//! same identity are then compared: if they say the same it is a repeat, dropped and
//! counted; if not, the second gets the next ordinal, and with it an id of its own.
//! Events of two `[pbx.*]` tables never count as repeats of each other, since a
//! sink may listen to one of the two alone.

use rusqlite::Connection;

use super::block::Packer;
use super::blocks::{self, Filler, Finder, Ids};
use crate::event::same::same_json;
use crate::event::{Event, EventId};

/// Where an event came to stand; `None` for a repeat of one that is there.
pub type Place = Option<(u64, EventId)>;

/// The next event's sequence number.
pub fn next_seq(connection: &Connection) -> rusqlite::Result<u64> {
    meta(connection, "next_seq")
}

/// The sequence number of the oldest event that was not deleted; the next one's if there
/// is none.
pub fn first_seq(connection: &Connection) -> rusqlite::Result<u64> {
    meta(connection, "first_seq")
}

fn meta(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get::<_, i64>(0))
        .map(|seq| seq as u64)
}

/// Changes a number of the table `meta`.
pub(super) fn set_meta(connection: &Connection, key: &str, seq: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE meta SET value = ?2 WHERE key = ?1")?
        .execute((key, seq as i64))
        .map(drop)
}

/// Inserts events inside the writer's transaction, from `next` on. The caller
/// advances its own `next` only after COMMIT.
pub(crate) fn insert<'a>(
    connection: &Connection,
    packer: &mut Packer,
    next: u64,
    events: impl Iterator<Item = &'a Event>,
) -> rusqlite::Result<(u64, Vec<Place>)> {
    let mut placing = Placing {
        connection,
        ids: Ids::of(connection)?,
        filler: Filler::new(connection, packer, next),
        finder: Finder::default(),
    };
    let places = events.map(|event| placing.place(event)).collect::<rusqlite::Result<_>>()?;
    placing.filler.put()?;
    let next = placing.filler.next_seq();
    set_meta(connection, "next_seq", next)?;
    Ok((next, places))
}

struct Placing<'a, 'e> {
    connection: &'a Connection,
    ids: Ids<'a>,
    filler: Filler<'a, 'e>,
    finder: Finder,
}

impl<'e> Placing<'_, 'e> {
    fn place(&mut self, event: &'e Event) -> rusqlite::Result<Place> {
        for ordinal in 0..u32::MAX {
            let (id, seq) = (event.id.with_ordinal(ordinal), self.filler.next_seq());
            if self.ids.take(&event.pbx, id, seq)? {
                self.filler.push(id, event)?;
                return Ok(Some((seq, id)));
            }
            if self.is_repeat(id, event)? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Whether the event that has this id says the same.
    fn is_repeat(&mut self, id: EventId, event: &Event) -> rusqlite::Result<bool> {
        let Some(seq) = blocks::seq_of(self.connection, &event.pbx, id)? else { return Ok(false) };
        if let Some(there) = self.filler.get(seq) {
            return Ok(say_the_same(there, event));
        }
        let there = self.finder.get(self.connection, seq)?;
        // Deleted, or lost to damage: nothing is there to be repeated.
        Ok(there.is_some_and(|there| say_the_same(&there.event, event)))
    }
}

/// The live, webhook and backfilled forms of one call are spelled differently and count
/// as the same.
fn say_the_same(there: &Event, event: &Event) -> bool {
    let other_way = there.origin != event.origin;
    (other_way && event.event_type == "call_cdr") || same_json(&there.raw, &event.raw)
}
