//! Typed view of the call events: `call_start`, `call_update_info`, the
//! call-target events, `call_cdr`, and the items of REST `calllogs` and `cdrs`.
//!
//! Lenient by promise: every spelling that any release of the PBX is known to
//! use is read, whatever the dialect; what is missing, unknown or of a
//! surprising type is left out and never fails the rest. Nothing is interpreted
//! here beyond numbers and times; what words mean is the business of `record`.

mod fields;
mod scalar;
mod target;

use std::borrow::Cow;

use jiff::Timestamp;

use self::fields::Fields;
pub use self::target::Target;

/// The bytes are not one JSON object in UTF-8.
#[derive(Debug, thiserror::Error)]
#[error("not a call event: {0}")]
pub struct NotACall(#[from] serde_json::Error);

/// One call event, or one call from REST. `None`: absent, empty or unusable.
///
/// Texts are as the PBX wrote them; ids keep every digit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Call<'a> {
    /// Kind of event; REST items have none.
    pub event_type: Option<Cow<'a, str>>,
    /// When the event happened; not in a CDR.
    pub time: Option<Timestamp>,
    /// Names the call across all its events, REST and recordings.
    pub session_id: Option<Cow<'a, str>>,
    /// Names one record; missing in the vendor's sample CDR.
    pub cdr_id: Option<Cow<'a, str>>,
    /// REST's name of the record.
    pub id: Option<Cow<'a, str>>,
    /// The SIP Call-ID.
    pub call_id: Option<Cow<'a, str>>,
    /// The tenant's numeric id.
    pub tenant_id: Option<Cow<'a, str>>,
    /// The tenant's name.
    pub tenant_name: Option<Cow<'a, str>>,
    /// `ext`, `inbound`, `OUTBOUND_CALL`, …
    pub direction: Option<Cow<'a, str>>,
    /// Number or SIP URI.
    pub caller: Option<Cow<'a, str>>,
    /// Display name of the caller.
    pub caller_name: Option<Cow<'a, str>>,
    /// SIP domain of the caller.
    pub caller_domain: Option<Cow<'a, str>>,
    /// Number or SIP URI: the first destination when the call arrived.
    pub callee: Option<Cow<'a, str>>,
    /// Display name of the callee.
    pub callee_name: Option<Cow<'a, str>>,
    /// SIP domain of the callee.
    pub callee_domain: Option<Cow<'a, str>>,
    /// Call-target events: the target's address. REST: the destination number.
    pub destination: Option<Cow<'a, str>>,
    /// The number that an outside caller dialled (`did`, `did_cid`).
    pub did: Option<Cow<'a, str>>,
    /// The number shown to an outside callee.
    pub outbound_caller_id: Option<Cow<'a, str>>,
    /// `name` or `name:id` (`trunk_name`, `trunk`).
    pub trunk: Option<Cow<'a, str>>,
    /// When the call arrived (`start_time`, `started_at`).
    pub started_at: Option<Timestamp>,
    /// When the first target rang (`ring_time`, `rang_at`).
    pub rang_at: Option<Timestamp>,
    /// When the first target answered (`answered_time`, `answered_at`).
    pub answered_at: Option<Timestamp>,
    /// When the call ended (`ended_time`, `ended_at`).
    pub ended_at: Option<Timestamp>,
    /// How long it rang, as the PBX counts it (`ring_duration`).
    pub ring_seconds: Option<u32>,
    /// How long was talked, as the PBX counts it (`talk_duration`; REST: `duration`).
    pub talk_seconds: Option<u32>,
    /// `answered`, `noanswer`, `fail` (`call_status`).
    pub status: Option<Cow<'a, str>>,
    /// Why it ended (`ended_reason`, `end_reason`).
    pub end_reason: Option<Cow<'a, str>>,
    /// SIP status; 0 means no error.
    pub status_code: Option<i32>,
    /// What the caller's application attached to the call.
    pub user_data: Option<Cow<'a, str>>,
    /// Cost of the call as the PBX wrote it.
    pub cost: Option<Cow<'a, str>>,
    /// The endpoints that the call was offered to, in the PBX's order.
    pub targets: Vec<Target<'a>>,
}

/// Reads a call event or a REST item.
///
/// # Errors
/// The bytes are not one JSON object in UTF-8; nothing else is an error.
pub fn parse(raw: &[u8]) -> Result<Call<'_>, NotACall> {
    let fields = Fields::parse(raw)?;
    let mut call = identity(&fields);
    call.direction = fields.text(&["direction"]);
    call.destination = fields.text(target::DESTINATION);
    call.trunk = fields.text(target::TRUNK);
    call.started_at = fields.first(target::STARTED, |text| scalar::moment(&text));
    call.rang_at = fields.first(target::RANG, |text| scalar::moment(&text));
    call.answered_at = fields.first(target::ANSWERED, |text| scalar::moment(&text));
    call.ended_at = fields.first(target::ENDED, |text| scalar::moment(&text));
    call.ring_seconds = fields.first(target::RING, |text| scalar::seconds(&text));
    call.talk_seconds = fields.first(target::TALK, |text| scalar::seconds(&text));
    call.status = fields.text(&["call_status"]);
    call.end_reason = fields.text(target::END_REASON);
    call.status_code = fields.first(&["status_code"], |text| scalar::integer(&text));
    call.user_data = fields.text(&["user_data"]);
    call.cost = fields.text(&["cost"]);
    call.targets = fields.objects("call_targets").iter().map(Target::read).collect();
    Ok(call)
}

/// The part of a call that says which call it is and between whom.
fn identity<'a>(fields: &Fields<'a>) -> Call<'a> {
    Call {
        event_type: fields.text(&["event_type"]),
        time: fields.first(&["time"], |text| scalar::moment(&text)),
        session_id: fields.text(&["session_id"]),
        cdr_id: fields.text(&["cdr_id"]),
        id: fields.text(&["id"]),
        call_id: fields.text(&["call_id"]),
        tenant_id: fields.text(&["tenant_id"]),
        tenant_name: fields.text(&["tenant_name"]),
        caller: fields.text(&["caller"]),
        caller_name: fields.text(&["caller_display_name"]),
        caller_domain: fields.text(&["caller_domain"]),
        callee: fields.text(&["callee"]),
        callee_name: fields.text(&["callee_display_name"]),
        callee_domain: fields.text(&["callee_domain"]),
        did: fields.text(target::DID),
        outbound_caller_id: fields.text(&["outbound_caller_id"]),
        ..Call::default()
    }
}

#[cfg(test)]
mod tests;
