//! Events as rows: a list of texts for each column.

use std::collections::HashSet;

use super::table::{CALLS, TARGETS};
use crate::event::Stored;
use crate::record::{Moment, Record, Target};
use crate::sink::format::Encoder;

/// A column of a batch.
pub type Values = Vec<Option<String>>;

/// What a batch says, by column.
pub struct Rows {
    /// The columns of calls, then those of targets.
    pub columns: Vec<Values>,
}

impl Rows {
    /// Of events, as this sink may see them.
    pub fn of(encoder: &Encoder, events: &[&Stored]) -> Self {
        let mut columns = vec![Values::with_capacity(events.len()); CALLS.len() + TARGETS.len()];
        let (calls, targets) = columns.split_at_mut(CALLS.len());
        // Two PBXs of one configuration may have told the same call.
        let mut seen = HashSet::new();
        for stored in events.iter().filter(|stored| seen.insert(stored.event.id)) {
            let (record, data) = encoder.record_and_data(&stored.event);
            let event_time = time_of(&record).at.to_string();
            for (at, target) in record.targets.iter().enumerate() {
                push(targets, target_row(&record.id, at, &event_time, target));
            }
            // Whatever is no UTF-8 is no JSON either, and the database says so.
            let raw = String::from_utf8_lossy(&data).into_owned();
            let event_type = stored.event.event_type.to_string();
            push(calls, call_row(record, event_time, event_type, raw));
        }
        Self { columns }
    }

    /// Calls.
    pub fn len(&self) -> usize {
        self.columns[0].len()
    }
}

fn push<const N: usize>(columns: &mut [Values], row: [Option<String>; N]) {
    for (column, value) in columns.iter_mut().zip(row) {
        column.push(value);
    }
}

/// When a call was, for those who order or cut by time: its start; where the PBX did not
/// say, when we heard of it.
fn time_of(record: &Record) -> &Moment {
    record.started_at.as_ref().unwrap_or(&record.received_at)
}

fn call_row(
    record: Record,
    event_time: String,
    event_type: String,
    raw: String,
) -> [Option<String>; CALLS.len()] {
    [
        Some(record.id),
        Some(event_time),
        Some(event_type),
        Some(record.schema.to_owned()),
        Some(record.pbx),
        Some(record.origin),
        moment(Some(&record.received_at)),
        record.tenant_id,
        record.tenant_name,
        record.session_id,
        record.cdr_id,
        record.call_id,
        record.direction,
        record.caller,
        record.caller_name,
        record.caller_domain,
        record.callee,
        record.callee_name,
        record.callee_domain,
        record.did,
        record.outbound_caller_id,
        record.trunk,
        moment(record.started_at.as_ref()),
        moment(record.rang_at.as_ref()),
        moment(record.answered_at.as_ref()),
        moment(record.ended_at.as_ref()),
        text(record.ring_seconds),
        text(record.talk_seconds),
        text(record.duration_seconds),
        text(record.answered),
        record.outcome.map(|outcome| outcome.as_str().to_owned()),
        record.end_reason,
        text(record.status_code),
        record.queue,
        record.agent,
        record.user_data,
        record.cost,
        Some(record.targets.len().to_string()),
        Some(raw),
    ]
}

fn target_row(
    id: &str,
    position: usize,
    event_time: &str,
    target: &Target,
) -> [Option<String>; TARGETS.len()] {
    [
        Some(id.to_owned()),
        Some(position.to_string()),
        Some(event_time.to_owned()),
        target.number.clone(),
        target.destination.clone(),
        target.caller.clone(),
        target.call_type.clone(),
        moment(target.started_at.as_ref()),
        moment(target.rang_at.as_ref()),
        moment(target.answered_at.as_ref()),
        moment(target.ended_at.as_ref()),
        text(target.ring_seconds),
        text(target.talk_seconds),
        text(target.answered),
        target.end_reason.clone(),
        text(target.status_code),
        target.trunk.clone(),
        target.did.clone(),
        target.outbound_caller_id.clone(),
        target.cost.clone(),
    ]
}

/// In UTC; a `timestamptz` has no zone of its own.
fn moment(moment: Option<&Moment>) -> Option<String> {
    moment.map(|moment| moment.at.to_string())
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}
