//! How far spans are compared with REST, and what closes them.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{Found, Kind};

/// How long a closed gap is remembered: a quarter of a year.
const KEEP_MS: i64 = 92 * DAY_MS;
/// How long a span is that somebody asked for, and did not wait for.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What a comparison writes down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A span to compare.
    Begun {
        /// NAME of `[pbx.NAME]`.
        pbx: Arc<str>,
        /// Why.
        kind: Kind,
        /// Begin and end, in Unix milliseconds.
        span: (i64, i64),
    },
    /// Every call that started before `reached_ms` has been seen.
    Reached {
        /// Which span.
        n: i64,
        /// How far.
        reached_ms: i64,
        /// What was found since the last note.
        found: Found,
    },
    /// A comparison is finished; another one is due then, or the span is closed.
    Passed {
        /// Which span.
        n: i64,
        /// When, in Unix milliseconds.
        again_at_ms: Option<i64>,
    },
    /// The comparison could not be finished; it goes on where it was.
    Failed {
        /// Which span.
        n: i64,
        /// For the operator.
        error: String,
        /// When to try again, in Unix milliseconds; `None` is never.
        again_at_ms: Option<i64>,
    },
}

/// Writes down how a comparison goes, inside the writer's transaction.
pub(crate) fn progress(
    connection: &Connection,
    progress: &Progress,
    now_ms: i64,
) -> rusqlite::Result<()> {
    match progress {
        Progress::Begun { pbx, kind, span } => ask(connection, pbx, *kind, *span).map(drop),
        Progress::Reached { n, reached_ms, found } => connection
            .execute(
                "UPDATE gap SET reached_ms = ?2, found = found + ?3, present = present + ?4,
                 added = added + ?5 WHERE n = ?1",
                params![
                    n,
                    reached_ms,
                    found.found as i64,
                    found.present as i64,
                    found.added as i64
                ],
            )
            .map(drop),
        Progress::Passed { n, again_at_ms: Some(again_at_ms) } => connection
            .execute(
                "UPDATE gap SET passes = passes + 1, due_ms = ?2, reached_ms = NULL,
                 error = NULL WHERE n = ?1",
                params![n, again_at_ms],
            )
            .map(drop),
        Progress::Passed { n, again_at_ms: None } => close(connection, *n, now_ms),
        Progress::Failed { n, error, again_at_ms } => connection
            .execute(
                "UPDATE gap SET error = ?2, due_ms = coalesce(?3, due_ms),
                 closed_ms = CASE WHEN ?3 IS NULL THEN ?4 END WHERE n = ?1",
                params![n, error, again_at_ms, now_ms],
            )
            .map(drop),
    }
}

fn close(connection: &Connection, n: i64, now_ms: i64) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE gap SET passes = passes + 1, closed_ms = ?2, error = NULL WHERE n = ?1",
        params![n, now_ms],
    )?;
    // A clean comparison leaves one number: up to when the record is complete.
    connection.execute(
        "UPDATE pbx SET reconciled_ms = max(coalesce(reconciled_ms, 0), g.end_ms)
         FROM gap AS g WHERE g.n = ?1 AND g.kind = 'reconcile' AND pbx.name = g.pbx",
        [n],
    )?;
    connection.execute("DELETE FROM gap WHERE n = ?1 AND kind = 'reconcile'", [n])?;
    connection.execute(
        "DELETE FROM gap WHERE closed_ms < ?1 OR (kind = 'asked' AND closed_ms < ?2)",
        params![now_ms - KEEP_MS, now_ms - DAY_MS],
    )?;
    Ok(())
}

/// Has a span compared; its number.
pub fn ask(
    connection: &Connection,
    pbx: &str,
    kind: Kind,
    (start_ms, end_ms): (i64, i64),
) -> rusqlite::Result<i64> {
    connection.execute(
        "INSERT INTO gap(pbx, kind, why, start_ms, end_ms, due_ms) VALUES(?1, ?2, '', ?3, ?4, 0)",
        params![pbx, kind.as_str(), start_ms, end_ms],
    )?;
    Ok(connection.last_insert_rowid())
}

/// Forgets a span that somebody asked for; tells whether it was there.
pub fn forget(connection: &Connection, n: i64) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM gap WHERE n = ?1 AND kind = 'asked'";
    connection.execute(sql, [n]).map(|rows| rows == 1)
}
