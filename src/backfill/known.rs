//! Whether the journal has a call that REST tells of.
//!
//! By its session: the events of a session stand close to each other in the index of
//! ids. A call without one (`/cdrs`) by its SIP Call-ID and the second of its start,
//! among the CDRs that came since the span began.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use crate::event::call;
use crate::event::{Event, EventId};

/// A call without session: its SIP Call-ID, and when it started in Unix seconds.
pub type Unnamed = (String, i64);

/// Whether a CDR of this session is there. Two records that REST tells of one session
/// are two calls if their Call-IDs differ; one that came live is the session's.
pub fn has_session(
    db: &Connection,
    event: &Event,
    call_id: Option<&str>,
) -> rusqlite::Result<bool> {
    let (first, last) = ids_around(event.id);
    let mut rows = db.prepare_cached(
        "SELECT origin, data FROM event WHERE pbx = ?1 AND id BETWEEN ?2 AND ?3
             AND type = 'call_cdr' AND session_id = ?4",
    )?;
    let mut rows = rows.query(params![&*event.pbx, first, last, event.session_id.as_deref()])?;
    while let Some(row) = rows.next()? {
        let backfilled = row.get_ref(0)?.as_str()? == "backfill";
        let told = call::parse(row.get_ref(1)?.as_bytes()?).ok();
        let known = told.as_ref().and_then(|told| told.call_id.as_deref());
        if !backfilled || known.is_none() || call_id.is_none() || known == call_id {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All ids that share the bits which rise with time.
fn ids_around(id: EventId) -> ([u8; 16], [u8; 16]) {
    let (mut first, mut last) = (*id.as_bytes(), *id.as_bytes());
    first[6..].fill(0);
    last[6..].fill(0xff);
    (first, last)
}

/// The CDRs of a PBX after `seq`, by Call-ID and start.
pub fn unnamed_after(db: &Connection, pbx: &str, seq: u64) -> rusqlite::Result<HashSet<Unnamed>> {
    let mut statement = db.prepare_cached(
        "SELECT data FROM event WHERE seq > ?1 AND pbx = ?2 AND type = 'call_cdr'",
    )?;
    let mut rows = statement.query(params![seq as i64, pbx])?;
    let mut known = HashSet::new();
    while let Some(row) = rows.next()? {
        let told = call::parse(row.get_ref(0)?.as_bytes()?).ok();
        known.extend(told.and_then(|told| {
            Some((told.call_id.as_deref()?.to_owned(), told.started_at?.as_second()))
        }));
    }
    Ok(known)
}

/// Whether a call is among them; either side may have rounded its start.
pub fn has_unnamed(known: &HashSet<Unnamed>, call_id: &str, started_ms: i64) -> bool {
    let second = started_ms.div_euclid(1000);
    (second - 1..=second + 1).any(|second| known.contains(&(call_id.to_owned(), second)))
}

/// How many CDRs came live in a span of the journal.
pub fn heard_live(db: &Connection, pbx: &str, after: u64, up_to: u64) -> rusqlite::Result<u64> {
    db.prepare_cached(
        "SELECT count(*) FROM event WHERE seq > ?1 AND seq <= ?2 AND pbx = ?3
         AND type = 'call_cdr' AND origin = 'live'",
    )?
    .query_row(params![after as i64, up_to as i64, pbx], |row| row.get::<_, i64>(0))
    .map(|n| n as u64)
}
