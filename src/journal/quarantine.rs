//! What the PBX sent and nobody could decode: kept, with the reason.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::event::decode::{Frame, decode};
use crate::event::{Event, Origin};

/// One frame that is neither an event nor an answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Name of the PBX that sent it.
    pub pbx: Arc<str>,
    /// The way it came.
    pub origin: Origin,
    /// When it came, in Unix milliseconds.
    pub received_ms: i64,
    /// Why it could not be decoded, without any of its content.
    pub reason: String,
    /// How many bytes came.
    pub size: u64,
    /// The bytes; only the first ones of a frame over the limit.
    pub data: Bytes,
}

impl std::fmt::Debug for Quarantined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Quarantined({} bytes from {}: {})", self.size, self.pbx, self.reason)
    }
}

impl Quarantined {
    /// What is left of an event that was damaged in the journal. Its size is told as larger
    /// than it is: nobody can tell what it was, so decoding it again must not make an event
    /// of it.
    pub(super) fn damaged(pbx: Arc<str>, received_ms: i64, reason: String, data: Bytes) -> Self {
        let (origin, size) = (Origin::Live, data.len() as u64 + 1);
        Self { pbx, origin, received_ms, reason, size, data }
    }

    /// Decodes it again; fails in words.
    fn again(&self) -> Result<Event, String> {
        if self.size > self.data.len() as u64 {
            return Err("only its first bytes are kept".to_owned());
        }
        match decode(&self.pbx, self.origin, self.received_ms, self.data.clone()) {
            Ok(Frame::Event(event)) => Ok(event),
            Ok(Frame::Answer(_)) => Err("an answer to a command, not an event".to_owned()),
            Err((why, _)) => Err(why.to_string()),
        }
    }
}

/// An entry with its number in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Names it for commands.
    pub n: i64,
    /// Somebody asked to decode it again, and it has not been tried yet.
    pub waiting: bool,
    /// The entry.
    pub entry: Quarantined,
}

const COLUMNS: &str = "n, retry, pbx, origin, received_ms, reason, size, data";

pub(crate) fn insert(connection: &Connection, entry: &Quarantined) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO quarantine(pbx, origin, received_ms, reason, size, data)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            &*entry.pbx,
            entry.origin.as_str(),
            entry.received_ms,
            entry.reason,
            entry.size as i64,
            &*entry.data,
        ])
        .map(drop)
}

/// All entries, oldest first.
pub fn list(connection: &Connection) -> rusqlite::Result<Vec<Numbered>> {
    let sql = format!("SELECT {COLUMNS} FROM quarantine ORDER BY n");
    connection.prepare(&sql)?.query_map([], numbered)?.collect()
}

/// One of them.
pub fn get(connection: &Connection, n: i64) -> rusqlite::Result<Option<Numbered>> {
    let sql = format!("SELECT {COLUMNS} FROM quarantine WHERE n = ?1");
    connection.query_row(&sql, [n], numbered).optional()
}

/// Asks the journal's writer to decode one again.
pub fn ask_retry(connection: &Connection, n: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE quarantine SET retry = 1 WHERE n = ?1", [n]).map(drop)
}

/// Forgets one for good; tells whether it was there.
pub fn forget(connection: &Connection, n: i64) -> rusqlite::Result<bool> {
    connection.execute("DELETE FROM quarantine WHERE n = ?1", [n]).map(|rows| rows == 1)
}

/// How a second try of an entry ended.
pub(crate) struct Retried {
    pub(crate) n: i64,
    /// The event that it is after all, or why it still is none.
    pub(crate) outcome: Result<Event, String>,
}

/// Tries some of the entries that somebody asked for.
pub(crate) fn retry_some(connection: &Connection) -> rusqlite::Result<Vec<Retried>> {
    let sql = format!("SELECT {COLUMNS} FROM quarantine WHERE retry = 1 ORDER BY n LIMIT 100");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], numbered)?;
    rows.map(|row| row.map(|row| Retried { n: row.n, outcome: row.entry.again() })).collect()
}

/// Writes down how a second try ended, in the transaction that places its event.
pub(crate) fn settle(connection: &Connection, retried: &Retried) -> rusqlite::Result<()> {
    match &retried.outcome {
        Ok(_) => forget(connection, retried.n).map(drop),
        Err(reason) => connection
            .execute(
                "UPDATE quarantine SET retry = 0, reason = ?2 WHERE n = ?1",
                params![retried.n, reason],
            )
            .map(drop),
    }
}

fn numbered(row: &Row<'_>) -> rusqlite::Result<Numbered> {
    let entry = Quarantined {
        pbx: Arc::from(row.get_ref(2)?.as_str()?),
        origin: Origin::from_word(row.get_ref(3)?.as_str()?).unwrap_or(Origin::Live),
        received_ms: row.get(4)?,
        reason: row.get(5)?,
        size: row.get::<_, i64>(6)? as u64,
        data: Bytes::copy_from_slice(row.get_ref(7)?.as_blob()?),
    };
    Ok(Numbered { n: row.get(0)?, waiting: row.get(1)?, entry })
}
