//! What a sink refused for good: kept with the event, so that it can be sent again.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::reader;
use crate::event::Stored;

/// One event that one sink will not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The sink.
    pub sink: Arc<str>,
    /// When it was given up, in Unix milliseconds.
    pub at_ms: i64,
    /// The receiver's answer in words.
    pub reason: String,
    /// The event, with all its bytes.
    pub event: Stored,
}

/// A dead letter with its number in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Names it for commands.
    pub n: i64,
    /// Somebody asked to send it again, and it has not been tried yet.
    pub waiting: bool,
    /// The dead letter.
    pub letter: DeadLetter,
}

/// The columns of an event first, as [`reader::stored`] wants them.
const COLUMNS: &str = "seq, id, pbx, type, origin, received_ms, session_id, data, sum, at_ms, reason, sink, n, \
     retry";

/// A sink may refuse the same event again, after a crash or when somebody asked it
/// to try again: the newer reason counts.
pub(crate) fn insert(connection: &Connection, letter: &DeadLetter) -> rusqlite::Result<()> {
    let Stored { seq, event } = &letter.event;
    connection
        .prepare_cached(
            "INSERT INTO dead_letter
             (sink, at_ms, reason, seq, id, pbx, type, origin, received_ms, session_id, data, sum)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT(sink, seq) DO UPDATE SET at_ms = ?2, reason = ?3, retry = 0",
        )?
        .execute(params![
            &*letter.sink,
            letter.at_ms,
            letter.reason,
            *seq as i64,
            event.id.as_bytes(),
            &*event.pbx,
            &*event.event_type,
            event.origin.as_str(),
            event.received_ms,
            event.session_id.as_deref(),
            text(&event.raw)?,
            super::sum::of_event(*seq, event.id.as_bytes(), event),
        ])
        .map(drop)
}

/// The PBX's object as text: decoding has made sure that it is UTF-8.
fn text(raw: &[u8]) -> rusqlite::Result<&str> {
    std::str::from_utf8(raw).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

/// The sink has taken it after all.
pub(crate) fn delivered(connection: &Connection, n: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM dead_letter WHERE n = ?1", [n]).map(drop)
}

/// All dead letters, of one sink or of all, oldest first.
pub fn list(connection: &Connection, sink: Option<&str>) -> rusqlite::Result<Vec<Numbered>> {
    let sql = format!("SELECT {COLUMNS} FROM dead_letter WHERE ?1 IS NULL OR sink = ?1 ORDER BY n");
    connection.prepare(&sql)?.query_map([sink], numbered)?.collect()
}

/// One of them.
pub fn get(connection: &Connection, n: i64) -> rusqlite::Result<Option<Numbered>> {
    let sql = format!("SELECT {COLUMNS} FROM dead_letter WHERE n = ?1");
    connection.query_row(&sql, [n], numbered).optional()
}

/// The oldest that somebody asked to send again to this sink.
pub fn next_retry(connection: &Connection, sink: &str) -> rusqlite::Result<Option<Numbered>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letter WHERE sink = ?1 AND retry = 1 ORDER BY n LIMIT 1"
    );
    connection.prepare_cached(&sql)?.query_row([sink], numbered).optional()
}

/// Asks the sink to try one again.
pub fn ask_retry(connection: &Connection, n: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE dead_letter SET retry = 1 WHERE n = ?1", [n]).map(drop)
}

/// Forgets one for good; tells whether it was there.
pub fn forget(connection: &Connection, n: i64) -> rusqlite::Result<bool> {
    connection.execute("DELETE FROM dead_letter WHERE n = ?1", [n]).map(|rows| rows == 1)
}

fn numbered(row: &Row<'_>) -> rusqlite::Result<Numbered> {
    let letter = DeadLetter {
        sink: Arc::from(row.get_ref(11)?.as_str()?),
        at_ms: row.get(9)?,
        reason: row.get(10)?,
        event: reader::stored(row)?,
    };
    Ok(Numbered { n: row.get(12)?, waiting: row.get(13)?, letter })
}
