//! Deleting what every sink has and nobody needs any more.
//!
//! Deleted pages are reused; the file keeps its size (giving pages back to the
//! system cost a quarter of the throughput). Deleting a row ends its duplicate
//! check.

use rusqlite::{Connection, params};

/// Rows deleted in one commit: about 4 ms.
pub(crate) const CHUNK: usize = 1_000;

/// Deletes up to [`CHUNK`] events with `seq` at most `up_to` that were received
/// before `before_ms`, oldest first; tells how many.
pub(crate) fn delete_oldest(
    connection: &Connection,
    up_to: u64,
    before_ms: i64,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM event WHERE received_ms < ?2 AND seq IN
             (SELECT seq FROM event WHERE seq <= ?1 ORDER BY seq LIMIT ?3)",
        )?
        .execute(params![up_to.min(i64::MAX as u64) as i64, before_ms, CHUNK as i64])
}

/// Bytes of the database that hold something.
pub(crate) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?) as u64)
}
