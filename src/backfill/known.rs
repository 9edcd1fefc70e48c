//! Whether the journal has a call that REST tells of.
//!
//! By its session: the events of a session stand close to each other in the index of
//! ids. A call without one (`/cdrs`) by its SIP Call-ID and the second of its start,
//! among the CDRs that came since the span began.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use crate::event::call;
use crate::event::{Event, EventId, Origin, Stored};
use crate::journal::blocks::{self, Finder};

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
    let mut seqs =
        db.prepare_cached("SELECT seq FROM id WHERE pbx = ?1 AND id BETWEEN ?2 AND ?3")?;
    let mut seqs = seqs.query(params![&*event.pbx, first, last])?;
    let mut finder = Finder::default();
    while let Some(row) = seqs.next()? {
        let Some(stored) = finder.get(db, row.get::<_, i64>(0)? as u64)? else { continue };
        let there = &stored.event;
        if there.event_type != "call_cdr" || there.session_id != event.session_id {
            continue;
        }
        let backfilled = there.origin == Origin::Backfill;
        let told = call::parse(&there.raw).ok();
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
    let mut known = HashSet::new();
    blocks::each(db, seq, u64::MAX, |stored| {
        if is_cdr_of(stored, pbx) {
            let told = call::parse(&stored.event.raw).ok();
            known.extend(told.and_then(|told| {
                Some((told.call_id.as_deref()?.to_owned(), told.started_at?.as_second()))
            }));
        }
    })?;
    Ok(known)
}

fn is_cdr_of(stored: &Stored, pbx: &str) -> bool {
    *stored.event.pbx == *pbx && stored.event.event_type == "call_cdr"
}

/// Whether a call is among them; either side may have rounded its start.
pub fn has_unnamed(known: &HashSet<Unnamed>, call_id: &str, started_ms: i64) -> bool {
    let second = started_ms.div_euclid(1000);
    (second - 1..=second + 1).any(|second| known.contains(&(call_id.to_owned(), second)))
}

/// How many CDRs came live in a span of the journal.
pub fn heard_live(db: &Connection, pbx: &str, after: u64, up_to: u64) -> rusqlite::Result<u64> {
    let mut heard = 0;
    blocks::each(db, after, up_to, |stored| {
        heard += u64::from(is_cdr_of(stored, pbx) && stored.event.origin == Origin::Live);
    })?;
    Ok(heard)
}
