//! Journals of format 1, which had a row for each event: the part of their migration that
//! is no SQL.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Connection, Row};
use tracing::{error, info};

use super::block::{MOST_EVENTS, Packer};
use super::quarantine::{self, Quarantined};
use super::{append, blocks, reader};
use crate::event::Stored;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Packs every event into blocks and drops their old table, inside the transaction of the
/// migration. A row that is not what was written goes to the quarantine.
pub(super) fn settle(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let (mut told, mut moved) = (Instant::now(), 0_u64);
    let mut packer =
        Packer::new().map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let mut next = append::first_seq(connection)?;
    let sql = "SELECT seq, id, pbx, type, origin, received_ms, session_id, data, sum
               FROM event ORDER BY seq";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut events: Vec<Stored> = Vec::new();
    while let Some(row) = rows.next()? {
        match reader::stored(row) {
            Ok(stored) => events.push(stored),
            Err(e) => keep_damaged(connection, row, &e)?,
        }
        if events.len() >= MOST_EVENTS {
            next = blocks::put_all(connection, &mut packer, next, &events)?;
            moved += events.len() as u64;
            events.clear();
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                info!(path = %path.display(), events = moved, "bringing the journal to a newer format");
            }
        }
    }
    next = blocks::put_all(connection, &mut packer, next, &events)?;
    blocks::lose(connection, next, append::next_seq(connection)?)?;
    drop(rows);
    drop(statement);
    connection.execute_batch("DROP TABLE event")
}

fn keep_damaged(
    connection: &Connection,
    row: &Row<'_>,
    why: &rusqlite::Error,
) -> rusqlite::Result<()> {
    let seq: i64 = row.get(0)?;
    error!(seq, error = %why, "an event in the journal was damaged; what is left of it is in the quarantine");
    let pbx = row.get::<_, String>(2).unwrap_or_else(|_| "unknown".to_owned());
    let data = Bytes::copy_from_slice(row.get_ref(7)?.as_bytes().unwrap_or_default());
    let reason = format!("event {seq} was damaged in the journal: {why}");
    let entry = Quarantined::damaged(pbx.into(), row.get(5).unwrap_or_default(), reason, data);
    quarantine::insert(connection, &entry)
}
