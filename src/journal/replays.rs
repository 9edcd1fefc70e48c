//! Ranges of events that somebody asked to send to a sink again.
//!
//! A request is a row: it survives restarts, its progress is saved with the
//! journal's commits, and it is gone once it is done. The sink's own cursor does
//! not move.

use rusqlite::{Connection, OptionalExtension, Row, params};

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Names it.
    pub n: i64,
    /// The first event that is still to be sent.
    pub next_seq: u64,
    /// The last one.
    pub last_seq: u64,
}

/// Asks a sink to send `first..=last` again; the number of the request.
pub fn ask(connection: &Connection, sink: &str, first: u64, last: u64) -> rusqlite::Result<i64> {
    connection.execute(
        "INSERT INTO replay(sink, next_seq, last_seq) VALUES(?1, ?2, ?3)",
        params![sink, first as i64, last as i64],
    )?;
    Ok(connection.last_insert_rowid())
}

/// A request by its number; `None` once it is done.
pub fn get(connection: &Connection, n: i64) -> rusqlite::Result<Option<Replay>> {
    let sql = "SELECT n, next_seq, last_seq FROM replay WHERE n = ?1";
    connection.prepare_cached(sql)?.query_row([n], replay).optional()
}

/// The oldest request for a sink.
pub fn next(connection: &Connection, sink: &str) -> rusqlite::Result<Option<Replay>> {
    let sql = "SELECT n, next_seq, last_seq FROM replay WHERE sink = ?1 ORDER BY n LIMIT 1";
    connection.prepare_cached(sql)?.query_row([sink], replay).optional()
}

/// Notes that everything before `next_seq` is sent; past the last the request is done.
pub(crate) fn advance(connection: &Connection, n: i64, next_seq: u64) -> rusqlite::Result<()> {
    let next_seq = next_seq as i64;
    connection.execute("UPDATE replay SET next_seq = ?2 WHERE n = ?1", params![n, next_seq])?;
    connection.execute("DELETE FROM replay WHERE n = ?1 AND next_seq > last_seq", [n]).map(drop)
}

fn replay(row: &Row<'_>) -> rusqlite::Result<Replay> {
    let unsigned = |column| row.get::<_, i64>(column).map(|n| n as u64);
    Ok(Replay { n: row.get(0)?, next_seq: unsigned(1)?, last_seq: unsigned(2)? })
}
