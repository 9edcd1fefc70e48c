//! Deleting what every sink has and nobody needs any more.
//!
//! Deleted pages are reused; the file keeps its size (giving pages back to the
//! system cost a quarter of the throughput). Deleting an event ends its duplicate
//! check.

use rusqlite::{Connection, params};

use super::blocks::{self, COLUMNS, Span};
use super::{append, block};

/// Events deleted in one commit, or a few more: about 4 ms.
pub(crate) const CHUNK: usize = 1_000;

/// Deletes the oldest blocks, of [`CHUNK`] events or a few more, as long as all of their
/// events have a number of at most `up_to` and came before `before_ms`; tells how many
/// events went.
pub(crate) fn delete_oldest(
    connection: &Connection,
    up_to: u64,
    before_ms: i64,
) -> rusqlite::Result<usize> {
    let transaction = connection.unchecked_transaction()?;
    let mut deleted = 0;
    while deleted < CHUNK {
        match delete_one(&transaction, up_to, before_ms)? {
            0 => break,
            events => deleted += events,
        }
    }
    transaction.commit()?;
    Ok(deleted)
}

fn delete_one(connection: &Connection, up_to: u64, before_ms: i64) -> rusqlite::Result<usize> {
    let sql = format!("SELECT {COLUMNS} FROM block ORDER BY last_seq LIMIT 1");
    let mut oldest = connection.prepare_cached(&sql)?;
    let mut rows = oldest.query([])?;
    let Some(row) = rows.next()? else { return Ok(0) };
    let span = blocks::span(row)?;
    if span.last_seq > up_to || span.latest_ms >= before_ms {
        return Ok(0);
    }
    forget_ids(connection, &span, row.get_ref(4)?.as_blob_or_null()?)?;
    drop(rows);
    let mut delete = connection.prepare_cached("DELETE FROM block WHERE last_seq = ?1")?;
    delete.execute([span.last_seq as i64])?;
    append::set_meta(connection, "first_seq", span.last_seq + 1)?;
    Ok((span.last_seq + 1 - span.first_seq) as usize)
}

fn forget_ids(connection: &Connection, span: &Span, data: Option<&[u8]>) -> rusqlite::Result<()> {
    let Ok(events) = block::unpack(data.unwrap_or_default(), span.first_seq) else {
        // Lost, or damaged after everybody had it: its ids must be looked for.
        return connection
            .prepare_cached("DELETE FROM id WHERE seq BETWEEN ?1 AND ?2")?
            .execute([span.first_seq as i64, span.last_seq as i64])
            .map(drop);
    };
    let mut forget = connection.prepare_cached("DELETE FROM id WHERE pbx = ?1 AND id = ?2")?;
    for stored in &events {
        forget.execute(params![&*stored.event.pbx, stored.event.id.as_bytes()])?;
    }
    Ok(())
}

/// Bytes of the database that hold something.
pub(crate) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?) as u64)
}
