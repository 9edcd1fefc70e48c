//! Looking a journal through: SQLite's own checks, then what cdrd knows of its rows.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::blocks::{self, COLUMNS};
use super::{JournalError, append, dead_letters, gaps, quarantine, reader, schema, sum};
use crate::event::decode::{Frame, decode};
use crate::event::{Origin, Stored};

/// Faults that are told in full; of the others there is only the number.
const TOLD: usize = 50;
/// Different events with one identity beyond which an id is not recomputed. Two are rare.
const ORDINALS: u32 = 1_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Events that were read.
    pub events: u64,
    /// The first faults, for the operator.
    pub faults: Vec<String>,
    /// How many there are in all.
    pub count: u64,
}

impl Report {
    /// Whether all is as it was written.
    pub fn is_sound(&self) -> bool {
        self.count == 0
    }

    fn fault(&mut self, fault: String) {
        self.count += 1;
        if self.faults.len() < TOLD {
            self.faults.push(fault);
        }
    }

    /// A part that can be read to its end, or not.
    fn part<T>(&mut self, name: &str, read: rusqlite::Result<T>) -> Option<T> {
        read.map_err(|e| self.fault(format!("{name}: {}", sum::told(&e)))).ok()
    }
}

/// Looks the journal at `path` through, beside a running daemon or not. An error means
/// that it could not be looked at; what is wrong with it is in the report.
pub fn check(path: &Path) -> Result<Report, JournalError> {
    let mut report = Report::default();
    let db = match schema::open_for_reading(path) {
        Ok(db) => db,
        Err(JournalError::Damaged { what, .. }) => {
            report.fault(what);
            return Ok(report);
        }
        Err(JournalError::Sqlite { cause, .. }) if sum::is_damage(&cause) => {
            report.fault(cause.to_string());
            return Ok(report);
        }
        Err(e) => return Err(e),
    };
    let sqlite = integrity(&db);
    for fault in report.part("SQLite's own check", sqlite).unwrap_or_default() {
        report.fault(fault);
    }
    // One snapshot: beside a daemon, cursors would otherwise overtake what was read.
    let begun = db.execute_batch("BEGIN");
    report.part("the database", begun);
    let next = append::next_seq(&db);
    let next = report.part("the next event's number", next).unwrap_or(u64::MAX);
    let walked = events(&db, next, &mut report);
    report.part("events", walked);
    let walked = cursors(&db, next, &mut report);
    report.part("cursors", walked);
    let walked = letters(&db, next, &mut report);
    report.part("dead letters", walked);
    report.part("quarantine", quarantine::list(&db));
    report.part("gaps", gaps::list(&db));
    Ok(report)
}

fn integrity(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare("PRAGMA integrity_check")?;
    let told = statement.query_map([], |row| row.get::<_, String>(0))?;
    let told: Vec<String> = told.collect::<rusqlite::Result<_>>()?;
    Ok(told.into_iter().filter(|line| line != "ok").collect())
}

fn events(db: &Connection, next: u64, report: &mut Report) -> rusqlite::Result<()> {
    let mut statement = db.prepare(&format!("SELECT {COLUMNS} FROM block ORDER BY last_seq"))?;
    let mut rows = statement.query([])?;
    let mut at = append::first_seq(db)?;
    while let Some(row) = rows.next()? {
        let span = blocks::span(row)?;
        if span.first_seq != at {
            report.fault(format!("events {at} to {}: they are missing", span.first_seq - 1));
        }
        at = span.last_seq + 1;
        match blocks::unpacked(row) {
            Ok((_, events)) => sound_events(db, &events, next, report)?,
            Err(fault) => {
                let fault = sum::told(&fault);
                report.fault(format!("events {} to {}: {fault}", span.first_seq, span.last_seq));
            }
        }
    }
    if at != next {
        report.fault(format!("events {at} to {}: they are missing", next - 1));
    }
    let ids: i64 = db.query_row("SELECT count(*) FROM id", [], |row| row.get(0))?;
    if report.is_sound() && ids as u64 != report.events {
        report.fault(format!("there are {} events and {ids} ids", report.events));
    }
    Ok(())
}

fn sound_events(
    db: &Connection,
    events: &[Stored],
    next: u64,
    report: &mut Report,
) -> rusqlite::Result<()> {
    for stored in events {
        report.events += 1;
        if let Err(fault) = sound(stored, next) {
            report.fault(format!("event {}: {fault}", stored.seq));
        }
        if blocks::seq_of(db, &stored.event.pbx, stored.event.id)? != Some(stored.seq) {
            report.fault(format!("event {}: its id is not in the table of ids", stored.seq));
        }
    }
    Ok(())
}

fn letters(db: &Connection, next: u64, report: &mut Report) -> rusqlite::Result<()> {
    let sql = "SELECT seq, id, pbx, type, origin, received_ms, session_id, data, sum, n
               FROM dead_letter ORDER BY n";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Err(fault) = sound_event(row, next) {
            report.fault(format!("dead letter {}: {fault}", row.get::<_, i64>(9)?));
        }
    }
    dead_letters::list(db, None).map(drop)
}

fn cursors(db: &Connection, next: u64, report: &mut Report) -> rusqlite::Result<()> {
    let mut statement = db.prepare("SELECT sink, seq, sum FROM cursor")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sink: String = row.get(0)?;
        if let Err(fault) = sound_cursor(row, &sink, next) {
            report.fault(format!("cursor of sink \"{sink}\": {fault}"));
        }
    }
    Ok(())
}

/// The cursor in a row of `sink`, `seq`, `sum`.
pub(super) fn sound_cursor(row: &Row<'_>, sink: &str, next: u64) -> Result<u64, String> {
    let seq = row.get::<_, i64>(1).map_err(|e| e.to_string())? as u64;
    let written = row.get(2).map_err(|e| e.to_string())?;
    sum::check("cursor at", seq, written, sum::of_cursor(sink, seq)).map_err(|e| e.to_string())?;
    match seq < next {
        true => Ok(seq),
        false => Err(format!("it is at {seq}, the next event is {next}")),
    }
}

/// The event of a dead letter, if it is what cdrd would have written.
pub(super) fn sound_event(row: &Row<'_>, next: u64) -> Result<Stored, String> {
    let stored = reader::stored(row).map_err(|e| sum::told(&e))?;
    sound(&stored, next).map(|()| stored)
}

/// Whether an event is what cdrd would have written.
pub(super) fn sound(stored: &Stored, next: u64) -> Result<(), String> {
    if stored.seq >= next {
        return Err(format!("the next event is {next}"));
    }
    let event = &stored.event;
    let again = match decode(&event.pbx, event.origin, event.received_ms, event.raw.clone()) {
        Ok(Frame::Event(again)) => again,
        Ok(Frame::Answer(_)) => return Err("is no event".to_owned()),
        Err((why, _)) => return Err(why.to_string()),
    };
    if again.event_type != event.event_type || again.session_id != event.session_id {
        return Err("type or session_id is not that of its data".to_owned());
    }
    // A call of REST that nothing names has an id by its start (`rest::Call::event`).
    let by_start = event.origin == Origin::Backfill && event.session_id.is_none();
    if !by_start && !(0..ORDINALS).any(|ordinal| again.id.with_ordinal(ordinal) == event.id) {
        return Err("its id is not that of its data".to_owned());
    }
    Ok(())
}
