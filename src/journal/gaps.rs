//! Gaps: spans of time in which nobody listened to a PBX, and how far each has been
//! compared with what the PBX's REST interface tells.
//!
//! Promise 6 rests on three rules.
//! - A gap begins at the last moment of which it is certain that somebody listened:
//!   the last event or pong before it, not the moment at which the fault was noticed.
//!   The last certain moment is on disk with the events ([`heard`]), so a killed process
//!   costs no more than that.
//! - What sessions note comes through the queue of events, in its order: a note is
//!   durable only after the events before it.
//! - A gap is closed by a comparison with REST alone; until then it says why it is open.
//!
//! The same table holds spans that are compared although somebody listened: those that
//! are due from time to time, and those that `cdrd backfill` asked for.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

/// How long a closed gap is remembered: a quarter of a year.
const KEEP_MS: i64 = 92 * 24 * 3600 * 1000;

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

/// Why a span is compared with REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody listened.
    Gap,
    /// It is time for a comparison.
    Reconcile,
    /// `cdrd backfill` asked for it.
    Asked,
}

impl Kind {
    /// The word in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Reconcile => "reconcile",
            Self::Asked => "asked",
        }
    }

    fn from_word(word: &str) -> Self {
        match word {
            "reconcile" => Self::Reconcile,
            "asked" => Self::Asked,
            _ => Self::Gap,
        }
    }
}

/// What a comparison has found so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Calls that REST tells and that ended in the span.
    pub found: u64,
    /// Of these, calls that the journal had.
    pub present: u64,
    /// Of these, calls that were added.
    pub added: u64,
}

impl std::ops::AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.present += other.present;
        self.added += other.added;
    }
}

/// A span of time of one PBX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Names it.
    pub n: i64,
    /// NAME of `[pbx.NAME]`.
    pub pbx: Arc<str>,
    /// Why it is compared.
    pub kind: Kind,
    /// What happened, for the operator.
    pub why: String,
    /// Its begin, in Unix milliseconds.
    pub start_ms: i64,
    /// Its end; `None` while it lasts.
    pub end_ms: Option<i64>,
    /// Comparisons that were finished: a gap is compared again once late rows are there.
    pub passes: u32,
    /// When the next comparison is due, in Unix milliseconds.
    pub due_ms: i64,
    /// The comparison under way has seen every call that started before this.
    pub reached_ms: Option<i64>,
    /// What was found.
    pub found: Found,
    /// Why it is still open, or why nobody could compare.
    pub error: Option<String>,
    /// When it was closed, in Unix milliseconds.
    pub closed_ms: Option<i64>,
}

impl Span {
    /// One that somebody asks for, and that no journal knows.
    pub fn asked(pbx: &Arc<str>, (start_ms, end_ms): (i64, i64)) -> Self {
        Self {
            n: 0,
            pbx: Arc::clone(pbx),
            kind: Kind::Asked,
            why: String::new(),
            start_ms,
            end_ms: Some(end_ms),
            passes: 0,
            due_ms: 0,
            reached_ms: None,
            found: Found::default(),
            error: None,
            closed_ms: None,
        }
    }
}

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
        params![now_ms - KEEP_MS, now_ms - KEEP_MS / 92],
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

const COLUMNS: &str = "n, pbx, kind, why, start_ms, end_ms, passes, due_ms, reached_ms, found, \
                       present, added, error, closed_ms";

/// Closes a gap that no comparison can close: somebody knows what is missing, or that
/// nothing is. Tells whether there was one, over and open.
pub fn accept(connection: &Connection, n: i64, now_ms: i64) -> rusqlite::Result<bool> {
    let sql = "UPDATE gap SET closed_ms = ?2, error = 'accepted by hand' WHERE n = ?1
               AND kind = 'gap' AND end_ms IS NOT NULL AND closed_ms IS NULL";
    connection.execute(sql, params![n, now_ms]).map(|rows| rows == 1)
}

/// All gaps, oldest first: those that last, those to be closed, those that were closed.
pub fn list(connection: &Connection) -> rusqlite::Result<Vec<Span>> {
    let sql = format!("SELECT {COLUMNS} FROM gap WHERE kind = 'gap' ORDER BY n");
    connection.prepare_cached(&sql)?.query_map([], span)?.collect()
}

/// A span by its number.
pub fn get(connection: &Connection, n: i64) -> rusqlite::Result<Option<Span>> {
    let sql = format!("SELECT {COLUMNS} FROM gap WHERE n = ?1");
    connection.prepare_cached(&sql)?.query_row([n], span).optional()
}

/// The spans of a PBX that are over and still to be compared, oldest first.
pub fn to_compare(connection: &Connection, pbx: &str) -> rusqlite::Result<Vec<Span>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM gap
         WHERE pbx = ?1 AND end_ms IS NOT NULL AND closed_ms IS NULL ORDER BY n"
    );
    connection.prepare_cached(&sql)?.query_map([pbx], span)?.collect()
}

impl Span {
    /// How it stands, for the operator.
    pub fn standing(&self) -> String {
        let fetched = match self.found.added {
            0 => "nothing was missing".to_owned(),
            1 => "1 call was fetched".to_owned(),
            n => format!("{n} calls were fetched"),
        };
        match (&self.error, self.end_ms, self.closed_ms) {
            (Some(by_hand), _, Some(_)) => format!("closed, {by_hand}"),
            (None, _, Some(_)) => format!("closed, {fetched}"),
            (_, None, None) => "nobody listens yet".to_owned(),
            (Some(error), Some(_), None) => error.clone(),
            (None, Some(_), None) if self.passes > 0 => {
                format!("compared with REST once, {fetched}; once more soon")
            }
            (None, Some(_), None) => "is about to be compared with REST".to_owned(),
        }
    }
}

/// What is known of a PBX as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listened {
    /// When cdrd first ran with it, in Unix milliseconds.
    pub first_ms: i64,
    /// The last certain moment.
    pub alive_ms: i64,
    /// Up to when a comparison with REST has found everything.
    pub reconciled_ms: Option<i64>,
    /// The begin of its oldest gap that is not closed.
    pub open_since_ms: Option<i64>,
}

impl Listened {
    /// Up to when the journal is known to have every call, in Unix milliseconds.
    pub fn complete_ms(&self) -> Option<i64> {
        let reconciled = self.reconciled_ms?;
        Some(self.open_since_ms.map_or(reconciled, |open| reconciled.min(open)))
    }
}

/// What is known of a PBX; `None` if nobody ever listened to its CDRs.
pub fn listened(connection: &Connection, pbx: &str) -> rusqlite::Result<Option<Listened>> {
    connection
        .prepare_cached(
            "SELECT first_ms, alive_ms, reconciled_ms, (SELECT min(start_ms) FROM gap
             WHERE pbx = name AND kind = 'gap' AND closed_ms IS NULL) FROM pbx WHERE name = ?1",
        )?
        .query_row([pbx], |row| {
            Ok(Listened {
                first_ms: row.get(0)?,
                alive_ms: row.get(1)?,
                reconciled_ms: row.get(2)?,
                open_since_ms: row.get(3)?,
            })
        })
        .optional()
}

fn span(row: &Row<'_>) -> rusqlite::Result<Span> {
    let unsigned = |column| row.get::<_, i64>(column).map(|n| n as u64);
    Ok(Span {
        n: row.get(0)?,
        pbx: Arc::from(row.get_ref(1)?.as_str()?),
        kind: Kind::from_word(row.get_ref(2)?.as_str()?),
        why: row.get(3)?,
        start_ms: row.get(4)?,
        end_ms: row.get(5)?,
        passes: row.get(6)?,
        due_ms: row.get(7)?,
        reached_ms: row.get(8)?,
        found: Found { found: unsigned(9)?, present: unsigned(10)?, added: unsigned(11)? },
        error: row.get(12)?,
        closed_ms: row.get(13)?,
    })
}
