//! One call target of a CDR, and the spellings that calls and targets share.

use std::borrow::Cow;

use jiff::Timestamp;

use super::fields::Fields;
use super::scalar;

// The first spelling that has a value wins. Left: WSI 22.x; right: other releases and REST.
pub(super) const DESTINATION: &[&str] = &["destination", "destiantion"];
pub(super) const DID: &[&str] = &["did", "did_cid"];
pub(super) const TRUNK: &[&str] = &["trunk_name", "trunk"];
pub(super) const STARTED: &[&str] = &["start_time", "started_at"];
pub(super) const RANG: &[&str] = &["ring_time", "rang_at"];
pub(super) const ANSWERED: &[&str] = &["answered_time", "answered_at"];
pub(super) const ENDED: &[&str] = &["ended_time", "ended_at"];
pub(super) const RING: &[&str] = &["ring_duration"];
pub(super) const TALK: &[&str] = &["talk_duration", "duration"];
pub(super) const END_REASON: &[&str] = &["ended_reason", "end_reason"];

/// One endpoint that a call was offered to. `None`: absent, empty or unusable.
///
/// Its `id` is left out on purpose: in the vendor's samples it is the tenant's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target<'a> {
    /// `normal_call`, `queue_call`, `ring_group_call`, …
    pub call_type: Option<Cow<'a, str>>,
    /// Number or SIP URI of the caller.
    pub caller: Option<Cow<'a, str>>,
    /// The number that was asked for.
    pub callee: Option<Cow<'a, str>>,
    /// Address of the endpoint, such as `sip:102@192.168.0.18:5066`.
    pub destination: Option<Cow<'a, str>>,
    /// When it was offered the call.
    pub started_at: Option<Timestamp>,
    /// When it rang.
    pub rang_at: Option<Timestamp>,
    /// When it answered.
    pub answered_at: Option<Timestamp>,
    /// When its part in the call ended.
    pub ended_at: Option<Timestamp>,
    /// How long it rang, as the PBX counts it.
    pub ring_seconds: Option<u32>,
    /// How long it was talked to, as the PBX counts it.
    pub talk_seconds: Option<u32>,
    /// `answered` or `noanswer`.
    pub status: Option<Cow<'a, str>>,
    /// Why its part ended.
    pub end_reason: Option<Cow<'a, str>>,
    /// SIP status; 0 means no error.
    pub status_code: Option<i32>,
    /// `name` or `name:id`.
    pub trunk: Option<Cow<'a, str>>,
    /// The number that an outside caller dialled.
    pub did: Option<Cow<'a, str>>,
    /// The number shown to an outside callee.
    pub outbound_caller_id: Option<Cow<'a, str>>,
    /// Cost as the PBX wrote it.
    pub cost: Option<Cow<'a, str>>,
}

impl<'a> Target<'a> {
    pub(super) fn read(fields: &Fields<'a>) -> Self {
        let moment = |names| fields.first(names, |text| scalar::moment(&text));
        let seconds = |names| fields.first(names, |text| scalar::seconds(&text));
        Target {
            call_type: fields.text(&["call_type"]),
            caller: fields.text(&["caller"]),
            callee: fields.text(&["callee"]),
            destination: fields.text(DESTINATION),
            started_at: moment(STARTED),
            rang_at: moment(RANG),
            answered_at: moment(ANSWERED),
            ended_at: moment(ENDED),
            ring_seconds: seconds(RING),
            talk_seconds: seconds(TALK),
            status: fields.text(&["status", "call_status"]),
            end_reason: fields.text(END_REASON),
            status_code: fields.first(&["status_code"], |text| scalar::integer(&text)),
            trunk: fields.text(TRUNK),
            did: fields.text(DID),
            outbound_caller_id: fields.text(&["outbound_caller_id"]),
            cost: fields.text(&["cost"]),
        }
    }
}
