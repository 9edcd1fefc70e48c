//! Checksums of rows: SQLite has none in its pages, so a flipped bit in a call's number
//! would be handed to a sink as if the PBX had said so.
//!
//! CRC-32, since it guards against accidents, not against people: whoever can write the
//! file can write the sum. A cursor or a dead
//! letter without a sum (somebody changed it with `sqlite3`, and set the sum to NULL) is
//! believed; a block has none that is not packed by cdrd.

use rusqlite::types::Type;

use super::blocks::Span;
use crate::event::Event;

/// A row that does not have the sum that was written with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{table} {key} is not what was written")]
pub struct WrongSum {
    /// The table.
    pub table: &'static str,
    /// The row.
    pub key: u64,
}

/// Adds parts, each with its length, so that none can pass for its neighbour's end.
struct Sum(flate2::Crc);

impl Sum {
    fn new() -> Self {
        Self(flate2::Crc::new())
    }

    fn part(mut self, part: &[u8]) -> Self {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }
}

/// Of a block; one without data is another than one with data of no length.
pub fn of_block(span: &Span, data: Option<&[u8]>) -> i64 {
    let sum = Sum::new()
        .part(&span.first_seq.to_le_bytes())
        .part(&span.last_seq.to_le_bytes())
        .part(&span.first_ms.to_le_bytes())
        .part(&span.latest_ms.to_le_bytes())
        .part(&[u8::from(data.is_some())])
        .part(data.unwrap_or_default());
    i64::from(sum.0.sum())
}

/// Of an event at its place, as a dead letter has it.
pub fn of_event(seq: u64, id: &[u8; 16], event: &Event) -> i64 {
    let session_id = event.session_id.as_deref();
    let sum = Sum::new()
        .part(&seq.to_le_bytes())
        .part(id)
        .part(event.pbx.as_bytes())
        .part(event.event_type.as_bytes())
        .part(event.origin.as_str().as_bytes())
        .part(&event.received_ms.to_le_bytes())
        .part(&[u8::from(session_id.is_some())])
        .part(session_id.unwrap_or_default().as_bytes())
        .part(&event.raw);
    i64::from(sum.0.sum())
}

/// Of a sink's cursor: one that is too high by a flipped bit would skip events.
pub fn of_cursor(sink: &str, seq: u64) -> i64 {
    i64::from(Sum::new().part(sink.as_bytes()).part(&seq.to_le_bytes()).0.sum())
}

/// Compares what was written with what it should be.
pub(crate) fn check(
    table: &'static str,
    key: u64,
    written: Option<i64>,
    computed: i64,
) -> rusqlite::Result<()> {
    match written {
        Some(written) if written != computed => Err(damaged(WrongSum { table, key })),
        _ => Ok(()),
    }
}

/// What is read is not what was written.
pub(crate) fn damaged(why: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(why))
}

/// An error in words: what we found ourselves without SQLite's frame around it.
pub(crate) fn told(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::FromSqlConversionFailure(_, _, why) => why.to_string(),
        other => other.to_string(),
    }
}

/// Whether an error says that the file is damaged, and not that it cannot be reached.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    // Unknown, and an error in our own SQL, mean that the tables are not as we made them.
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase | Unknown))
        || matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
                | rusqlite::Error::SqlInputError { .. }
                | rusqlite::Error::QueryReturnedNoRows
        )
}
