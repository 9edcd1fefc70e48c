//! Gaps: spans of time in which nobody listened to a PBX, and how far each has been
//! compared with what the PBX's REST interface tells.
//!
//! Promise 6 rests on three rules.
//! - A gap begins at the last moment of which it is certain that somebody listened:
//!   the last event or pong before it, not the moment at which the fault was noticed.
//!   The last certain moment is on disk with the events, so a killed process
//!   costs no more than that.
//! - What sessions note comes through the queue of events, in its order: a note is
//!   durable only after the events before it.
//! - A gap is closed by a comparison with REST alone; until then it says why it is open.
//!
//! The same table holds spans that are compared although somebody listened: those that
//! are due from time to time, and those that `cdrd backfill` asked for.

mod compared;
mod note;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

pub(crate) use compared::progress;
pub use compared::{Progress, ask, forget};
pub use note::Note;
pub(crate) use note::{EndedGap, end, heard, note, pause};

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
