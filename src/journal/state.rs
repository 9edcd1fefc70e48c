//! What the daemon says of itself: one row, so that `cdrd status` needs no daemon to
//! ask. What stands in it is the business of `status`.

use rusqlite::{Connection, OptionalExtension};

/// Replaces it.
pub(crate) fn save(connection: &Connection, json: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO state(key, value) VALUES('live', ?1)
             ON CONFLICT(key) DO UPDATE SET value = ?1",
        )?
        .execute([json])
        .map(drop)
}

/// The last thing said; `None` in a journal that no daemon has used yet.
pub fn load(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT value FROM state WHERE key = 'live'", [], |row| row.get(0))
        .optional()
}
