//! What sessions note, and the gaps that follow from it.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

/// What a session notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The daemon starts, and will listen to this PBX. From the last certain moment on
    /// nobody did.
    Started {
        /// NAME of `[pbx.NAME]`.
        pbx: Arc<str>,
        /// Why gaps cannot be closed, if they cannot.
        no_backfill: Option<Arc<str>>,
    },
    /// The daemon starts, and the PBX posts its events: there is no session whose end would
    /// be a gap.
    WebhookOnly {
        /// NAME of `[pbx.NAME]`.
        pbx: Arc<str>,
    },
    /// The connection stood, and everything that was sent before has come.
    Alive {
        /// NAME of `[pbx.NAME]`.
        pbx: Arc<str>,
        /// Then, in Unix milliseconds.
        at_ms: i64,
    },
    /// Nobody listens any more.
    Lost {
        /// NAME of `[pbx.NAME]`.
        pbx: Arc<str>,
        /// The last certain moment, in Unix milliseconds.
        since_ms: i64,
        /// For the operator.
        why: String,
    },
    /// All CDR topics are subscribed.
    Regained {
        /// NAME of `[pbx.NAME]`.
        pbx: Arc<str>,
    },
}

/// A gap that has ended: the PBX, and how long it was in milliseconds.
pub(crate) type EndedGap = (String, i64);

/// Notes, inside the writer's transaction, that live events of `pbx` are durable: the
/// last came at `at_ms`. Nothing happens for a PBX that has no CDR topic.
pub(crate) fn heard(connection: &Connection, pbx: &str, at_ms: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE pbx SET alive_ms = max(alive_ms, ?2) WHERE name = ?1")?
        .execute(params![pbx, at_ms])
        .map(drop)
}

/// Writes a session's note down, inside the writer's transaction; the gaps that it ended.
pub(crate) fn note(
    connection: &Connection,
    note: &Note,
    now_ms: i64,
) -> rusqlite::Result<Vec<EndedGap>> {
    match note {
        Note::Started { pbx, no_backfill } => {
            started(connection, pbx, no_backfill.as_deref(), now_ms)?;
            Ok(Vec::new())
        }
        Note::Alive { pbx, at_ms } => heard(connection, pbx, *at_ms).map(|()| Vec::new()),
        Note::Lost { pbx, since_ms, why } => {
            connection.execute("UPDATE pbx SET lost = 1 WHERE name = ?1", [pbx])?;
            open(connection, pbx, *since_ms, why, now_ms)?;
            Ok(Vec::new())
        }
        Note::WebhookOnly { pbx } => {
            connection.execute(
                "INSERT INTO pbx(name, first_ms, alive_ms, lost) VALUES(?1, ?2, ?2, 0)
                 ON CONFLICT(name) DO UPDATE SET lost = 0, no_backfill = NULL",
                params![pbx, now_ms],
            )?;
            end(connection, now_ms)
        }
        Note::Regained { pbx } => {
            connection.execute(
                "UPDATE pbx SET lost = 0, alive_ms = max(alive_ms, ?2) WHERE name = ?1",
                params![pbx, now_ms],
            )?;
            end(connection, now_ms)
        }
    }
}

fn started(
    connection: &Connection,
    pbx: &str,
    no_backfill: Option<&str>,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let known: Option<(i64, bool)> = connection
        .query_row("SELECT alive_ms, lost FROM pbx WHERE name = ?1", [pbx], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    connection.execute(
        "INSERT INTO pbx(name, first_ms, alive_ms, lost, no_backfill) VALUES(?1, ?2, ?2, 1, ?3)
         ON CONFLICT(name) DO UPDATE SET lost = 1, no_backfill = ?3",
        params![pbx, now_ms, no_backfill],
    )?;
    // Whatever hindered a comparison may be mended by now.
    connection.execute(
        "UPDATE gap SET due_ms = 0, error = ?2 WHERE pbx = ?1 AND closed_ms IS NULL",
        params![pbx, no_backfill],
    )?;
    let (since_ms, why) = match known {
        None => (now_ms, "cdrd started for the first time"),
        Some((alive_ms, false)) => (alive_ms, "cdrd had ended without a stop"),
        Some((alive_ms, true)) => (alive_ms, "cdrd was not running"),
    };
    if let Some((alive_ms, false)) = known {
        // It begins at the last event that is durable: what came later, and was on its
        // way to the disk when the process ended, is lost.
        connection.execute(
            "UPDATE gap SET start_ms = min(start_ms, ?2)
             WHERE pbx = ?1 AND kind = 'gap' AND end_ms IS NULL",
            params![pbx, alive_ms],
        )?;
    }
    open(connection, pbx, since_ms, why, now_ms)
}

/// Opens a gap, unless there is one that lasts.
fn open(
    connection: &Connection,
    pbx: &str,
    since_ms: i64,
    why: &str,
    now_ms: i64,
) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO gap(pbx, kind, why, start_ms, due_ms, error)
             SELECT name, 'gap', ?3, min(?2, ?4), 0, no_backfill FROM pbx WHERE name = ?1
             AND NOT EXISTS(SELECT 1 FROM gap WHERE pbx = ?1 AND kind = 'gap' AND end_ms IS NULL)",
            params![pbx, since_ms, why, now_ms],
        )
        .map(drop)
}

/// Reading pauses: from now on nobody listens to any PBX.
pub(crate) fn pause(connection: &Connection, why: &str, now_ms: i64) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO gap(pbx, kind, why, start_ms, due_ms, error)
             SELECT name, 'gap', ?1, ?2, 0, no_backfill FROM pbx WHERE lost = 0
             AND NOT EXISTS(SELECT 1 FROM gap WHERE pbx = name AND kind = 'gap' AND end_ms IS NULL)",
            params![why, now_ms],
        )
        .map(drop)
}

/// Ends the gaps of all PBXs that are listened to.
pub(crate) fn end(connection: &Connection, now_ms: i64) -> rusqlite::Result<Vec<EndedGap>> {
    connection
        .prepare_cached(
            "UPDATE gap SET end_ms = max(start_ms, ?1) WHERE kind = 'gap' AND end_ms IS NULL
             AND pbx IN (SELECT name FROM pbx WHERE lost = 0) RETURNING pbx, end_ms - start_ms",
        )?
        .query_map([now_ms], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
