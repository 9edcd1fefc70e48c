//! `record` version 1: the flat normal form of a call, the same for every
//! release of the PBX and every way in (live, webhook, backfill).
//!
//! Keys, order and meaning are a contract with whoever reads a sink; the
//! documentation for them is `docs/record.md`, the schema `docs/record.schema.json`.
//! Pure: what a record needs besides the event comes in a [`Context`].

mod build;
mod cost;
pub mod csv;
mod moment;
mod outcome;
mod party;
mod queue;
mod stored;
mod target;
mod words;

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

pub use self::moment::Moment;
pub use self::outcome::Outcome;
pub use self::stored::call_of;
pub use self::target::Target;

/// `schema` of every record.
pub const SCHEMA: &str = "cdr/1";

/// The keys of a record in their order, all always present. Events other than
/// CDRs have one more at the end, `event_type`.
pub const KEYS: [&str; 36] = [
    "schema",
    "id",
    "pbx",
    "origin",
    "received_at",
    "tenant_id",
    "tenant_name",
    "session_id",
    "cdr_id",
    "call_id",
    "direction",
    "caller",
    "caller_name",
    "caller_domain",
    "callee",
    "callee_name",
    "callee_domain",
    "did",
    "outbound_caller_id",
    "trunk",
    "started_at",
    "rang_at",
    "answered_at",
    "ended_at",
    "ring_seconds",
    "talk_seconds",
    "duration_seconds",
    "answered",
    "outcome",
    "end_reason",
    "status_code",
    "queue",
    "agent",
    "user_data",
    "cost",
    "targets",
];

/// What a record says that the PBX's event does not.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The event's stable id, a UUID.
    pub id: &'a str,
    /// Name of the PBX in the configuration.
    pub pbx: &'a str,
    /// `live`, `webhook` or `backfill`.
    pub origin: &'a str,
    /// When the daemon received the event.
    pub received_at: Timestamp,
    /// The zone that the sink wants its times in.
    pub zone: &'a TimeZone,
}

/// A call in its normal form. `None`: the PBX did not say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The event's stable id, a UUID.
    pub id: String,
    /// Name of the PBX in the configuration.
    pub pbx: String,
    /// `live`, `webhook` or `backfill`.
    pub origin: String,
    /// When the daemon received the event.
    pub received_at: Moment,
    /// The tenant's id; every digit kept, as in all ids.
    pub tenant_id: Option<String>,
    /// The tenant's name.
    pub tenant_name: Option<String>,
    /// Names the call across all its events and recordings.
    pub session_id: Option<String>,
    /// Names the PBX's record.
    pub cdr_id: Option<String>,
    /// The SIP Call-ID.
    pub call_id: Option<String>,
    /// `internal`, `inbound`, `outbound`, `inbound_outbound`, or the PBX's own word.
    pub direction: Option<String>,
    /// The caller's number.
    pub caller: Option<String>,
    /// The caller's display name.
    pub caller_name: Option<String>,
    /// The caller's SIP domain.
    pub caller_domain: Option<String>,
    /// The number of the first destination.
    pub callee: Option<String>,
    /// The callee's display name.
    pub callee_name: Option<String>,
    /// The callee's SIP domain.
    pub callee_domain: Option<String>,
    /// The number that an outside caller dialled.
    pub did: Option<String>,
    /// The number shown to an outside callee.
    pub outbound_caller_id: Option<String>,
    /// Name of the trunk.
    pub trunk: Option<String>,
    /// When the call arrived.
    pub started_at: Option<Moment>,
    /// When the first target rang.
    pub rang_at: Option<Moment>,
    /// When the first target answered.
    pub answered_at: Option<Moment>,
    /// When the call ended.
    pub ended_at: Option<Moment>,
    /// How long it rang, as the PBX counts it, else from the times.
    pub ring_seconds: Option<u32>,
    /// How long was talked, as the PBX counts it, else from the times.
    pub talk_seconds: Option<u32>,
    /// From start to end.
    pub duration_seconds: Option<u32>,
    /// Whether anybody, or an announcement, answered.
    pub answered: Option<bool>,
    /// How the call went.
    pub outcome: Option<Outcome>,
    /// Why it ended, one spelling for each meaning.
    pub end_reason: Option<String>,
    /// SIP status; 0 means no error.
    pub status_code: Option<i32>,
    /// Number of the queue that it went through.
    pub queue: Option<String>,
    /// Number of the agent who answered in the queue.
    pub agent: Option<String>,
    /// What the caller's application attached to the call.
    pub user_data: Option<String>,
    /// Cost as the PBX wrote it, else the exact sum of the targets' costs.
    pub cost: Option<String>,
    /// The endpoints that the call was offered to, in the PBX's order.
    pub targets: Vec<Target>,
    /// Kind of event; left out of CDRs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
}

/// The number in what the PBX writes for a party: a number, a SIP URI, or either with a name.
pub fn number_in(party: &str) -> Option<Cow<'_, str>> {
    party::Party::read(party).number
}

/// What the PBX writes for a party, without the display name that may stand before it.
pub fn without_name(party: &str) -> &str {
    party::without_name(party)
}

#[cfg(test)]
mod tests;
