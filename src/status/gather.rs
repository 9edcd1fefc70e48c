//! Puts together what a daemon said of itself and what its journal knows.
//!
//! Every query here looks at a few rows or walks over an index, so that it stays quick
//! in a journal of millions of events.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::Connection;

use super::live::{Live, LivePbx, LiveSink};
use super::{At, Gap, Gaps, Journal, Pbx, SCHEMA, Sink, Status, problems};
use crate::config::Config;
use crate::journal::gaps::{self, Span};
use crate::journal::reader::Reader;
use crate::journal::{JournalError, append, blocks, retention, state};

/// What stands in for a session's state while no daemon runs.
pub const NOT_RUNNING: &str = "not running";
/// A sink with events older than this is behind.
const BEHIND_SECONDS: u64 = 60;
/// Closed gaps that are shown.
const CLOSED_GAPS: usize = 20;

/// What the configuration says, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Asked {
    pbxs: Vec<String>,
    sinks: Vec<String>,
    path: PathBuf,
    max_size: u64,
}

impl Asked {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            pbxs: config.pbxs.iter().map(|pbx| pbx.name.to_string()).collect(),
            sinks: config.sinks.iter().map(|sink| sink.name.to_string()).collect(),
            path: config.journal.path.clone(),
            max_size: config.journal.max_size,
        }
    }
}

/// How the daemon is. `live` is what it says; `None` takes what it last said from the
/// journal. `running` tells whether it runs.
pub fn gather(
    reader: &Reader,
    asked: &Asked,
    live: Option<Live>,
    running: bool,
    now_ms: i64,
) -> Result<Status, JournalError> {
    let known = reader.ask(|db| known(db, asked))?;
    let live = live.or_else(|| known.said.as_deref().and_then(Live::read)).unwrap_or_default();
    let pbxs = pbxs(asked, &live, &known, running);
    let sinks = sinks(asked, &live, &known, running, now_ms);
    let mut status = Status {
        schema: SCHEMA.to_owned(),
        version: live.version.clone(),
        at: At(now_ms),
        running,
        since: since(&live, running),
        ok: true,
        summary: String::new(),
        problems: Vec::new(),
        pbxs,
        sinks,
        journal: Journal {
            path: asked.path.display().to_string(),
            state: if running { live.journal } else { "ok".to_owned() },
            events: known.events,
            size: known.size,
            max_size: asked.max_size,
            oldest: known.oldest,
        },
        quarantine: known.quarantine,
        gaps: known.gaps,
        reload_refused: live.reload_refused.filter(|_| running),
    };
    status.problems = problems::of(&status, asked);
    status.ok = status.problems.is_empty();
    status.summary = problems::summary(&status);
    Ok(status)
}

impl Asked {
    /// Whether the configuration names this PBX.
    pub(super) fn has_pbx(&self, name: &str) -> bool {
        self.pbxs.iter().any(|known| known == name)
    }

    /// Whether the configuration names this sink.
    pub(super) fn has_sink(&self, name: &str) -> bool {
        self.sinks.iter().any(|known| known == name)
    }
}

fn since(live: &Live, running: bool) -> Option<At> {
    let started = Some(live.started).filter(|at| at.0 > 0);
    if running { started } else { live.stopped }
}

/// What the journal knows.
struct Known {
    said: Option<String>,
    events: u64,
    last: u64,
    size: u64,
    oldest: Option<At>,
    quarantine: u64,
    gaps: Gaps,
    /// For each PBX up to when its record is complete.
    complete: BTreeMap<String, At>,
    dead_letters: BTreeMap<String, u64>,
    /// For each sink its cursor, and when the first event after it came.
    cursors: BTreeMap<String, (u64, Option<i64>)>,
}

fn known(db: &Connection, asked: &Asked) -> rusqlite::Result<Known> {
    // One view of everything, though the daemon goes on writing.
    let db = db.unchecked_transaction()?;
    let last = append::next_seq(&db)? - 1;
    let events = last + 1 - append::first_seq(&db)?;
    let oldest = blocks::first(&db)?;
    let count = |sql| db.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    Ok(Known {
        said: state::load(&db)?,
        events,
        last,
        size: retention::used_bytes(&db)?,
        oldest: oldest.map(|block| At(block.first_ms)),
        quarantine: count("SELECT count(*) FROM quarantine")? as u64,
        gaps: known_gaps(&db, asked)?,
        complete: complete(&db, asked)?,
        dead_letters: dead_letters(&db)?,
        cursors: cursors(&db)?,
    })
}

/// Those of the PBXs that the configuration names, the newest first.
fn known_gaps(db: &Connection, asked: &Asked) -> rusqlite::Result<Gaps> {
    let spans = gaps::list(db)?.into_iter().rev().filter(|span| asked.has_pbx(&span.pbx));
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for span in spans {
        if span.closed_ms.is_none() {
            open.push(gap(&span));
        } else if closed.len() < CLOSED_GAPS {
            closed.push(gap(&span));
        }
    }
    Ok(Gaps { open, closed })
}

fn gap(span: &Span) -> Gap {
    Gap {
        n: span.n,
        pbx: span.pbx.to_string(),
        start: At(span.start_ms),
        end: span.end_ms.map(At),
        why: span.why.clone(),
        state: span.standing(),
        error: span.error.clone().filter(|_| span.closed_ms.is_none()),
        backfilled: span.found.added,
    }
}

fn complete(db: &Connection, asked: &Asked) -> rusqlite::Result<BTreeMap<String, At>> {
    let mut complete = BTreeMap::new();
    for pbx in &asked.pbxs {
        let up_to = gaps::listened(db, pbx)?.and_then(|listened| listened.complete_ms());
        complete.extend(up_to.map(|at| (pbx.clone(), At(at))));
    }
    Ok(complete)
}

fn dead_letters(db: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    let sql = "SELECT sink, count(*) FROM dead_letter GROUP BY sink";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)? as u64)))?;
    rows.collect()
}

fn cursors(db: &Connection) -> rusqlite::Result<BTreeMap<String, (u64, Option<i64>)>> {
    let mut statement = db.prepare_cached("SELECT sink, seq FROM cursor")?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)? as u64)))?;
    rows.map(|row| {
        let (sink, seq): (String, u64) = row?;
        Ok((sink, (seq, blocks::received_after(db, seq)?)))
    })
    .collect()
}

/// Those that run, in their order, then those that the configuration names beyond them.
fn names(asked: &[String], live: impl Iterator<Item = String>, running: bool) -> Vec<String> {
    let mut names: Vec<String> = if running { live.collect() } else { Vec::new() };
    for name in asked {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn pbxs(asked: &Asked, live: &Live, known: &Known, running: bool) -> Vec<Pbx> {
    let names = names(&asked.pbxs, live.pbxs.iter().map(|pbx| pbx.name.clone()), running);
    let find = |name: &String| live.pbxs.iter().find(|pbx| pbx.name == *name);
    let complete = |name: &String| known.complete.get(name).copied();
    names.iter().map(|name| pbx(name, find(name), complete(name), running)).collect()
}

fn pbx(name: &str, live: Option<&LivePbx>, complete: Option<At>, running: bool) -> Pbx {
    let now = live.filter(|_| running);
    let error = live.and_then(|pbx| pbx.last_error.clone());
    Pbx {
        name: name.to_owned(),
        state: now.map_or_else(|| NOT_RUNNING.to_owned(), |pbx| pbx.state.clone()),
        since: now.map(|pbx| pbx.since),
        last_event: live.and_then(|pbx| pbx.last_event),
        last_error_at: error.as_ref().map(|told| told.at),
        last_error: error.map(|told| told.words),
        topics: live.map(|pbx| pbx.topics.clone()).unwrap_or_default(),
        refused_topics: now.map(|pbx| pbx.refused_topics.clone()).unwrap_or_default(),
        complete_up_to: complete,
    }
}

fn sinks(asked: &Asked, live: &Live, known: &Known, running: bool, now_ms: i64) -> Vec<Sink> {
    let names = names(&asked.sinks, live.sinks.iter().map(|sink| sink.name.clone()), running);
    let find = |name: &String| live.sinks.iter().find(|sink| sink.name == *name);
    names.iter().map(|name| sink(name, find(name), known, running, now_ms)).collect()
}

fn sink(name: &str, live: Option<&LiveSink>, known: &Known, running: bool, now_ms: i64) -> Sink {
    let (cursor, waiting_since) = known.cursors.get(name).copied().unwrap_or((known.last, None));
    let waits = waiting_since.map_or(0, |at| u64::try_from(now_ms - at).unwrap_or(0) / 1000);
    let error = live.and_then(|sink| sink.last_error.clone());
    let state = match live {
        Some(live) if running && live.failing => "failing",
        Some(_) if running && waits >= BEHIND_SECONDS => "behind",
        Some(_) if running => "delivering",
        _ => NOT_RUNNING,
    };
    Sink {
        name: name.to_owned(),
        state: state.to_owned(),
        delivered: live.map_or(0, |sink| sink.delivered),
        lag_events: known.last.saturating_sub(cursor),
        lag_seconds: waits,
        last_error_at: error.as_ref().map(|told| told.at),
        last_error: error.map(|told| told.words),
        dead_letters: known.dead_letters.get(name).copied().unwrap_or(0),
    }
}
