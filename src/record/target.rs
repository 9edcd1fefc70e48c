//! One element of a record's `targets`: an endpoint that the call was offered to.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::moment::{Moment, seconds_between};
use super::party::{self, Party};
use super::words;
use crate::event::call;

/// One endpoint that a call was offered to. All keys always present, unknown = null.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Target {
    /// Number of the endpoint, `+` and leading zeros kept.
    pub number: Option<String>,
    /// Its address as the PBX wrote it, such as `sip:102@192.168.0.18:5066`.
    pub destination: Option<String>,
    /// Number of the caller that it was shown.
    pub caller: Option<String>,
    /// `normal_call`, `queue_call`, `ring_group_call`, `callback_call`, `queue_callback_call`.
    pub call_type: Option<String>,
    /// When it was offered the call.
    pub started_at: Option<Moment>,
    /// When it rang.
    pub rang_at: Option<Moment>,
    /// When it answered.
    pub answered_at: Option<Moment>,
    /// When its part in the call ended.
    pub ended_at: Option<Moment>,
    /// How long it rang.
    pub ring_seconds: Option<u32>,
    /// How long it was talked to.
    pub talk_seconds: Option<u32>,
    /// Whether it answered.
    pub answered: Option<bool>,
    /// Why its part ended, in the words of the record's own `end_reason`.
    pub end_reason: Option<String>,
    /// SIP status; 0 means no error.
    pub status_code: Option<i32>,
    /// Name of the trunk.
    pub trunk: Option<String>,
    /// The number that an outside caller dialled.
    pub did: Option<String>,
    /// The number shown to an outside callee.
    pub outbound_caller_id: Option<String>,
    /// Cost as the PBX wrote it.
    pub cost: Option<String>,
}

impl Target {
    /// The normal form of one target of a CDR.
    pub(super) fn new(target: &call::Target<'_>, zone: &TimeZone) -> Self {
        let moment = |at: Option<Timestamp>| at.map(|at| Moment::new(at, zone));
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let answered = answered(target);
        Target {
            number: number(target),
            destination: text(&target.destination),
            caller: user(target.caller.as_deref()),
            call_type: call_type(target),
            started_at: moment(target.started_at),
            rang_at: moment(target.rang_at),
            answered_at: moment(target.answered_at),
            ended_at: moment(target.ended_at),
            ring_seconds: ring_seconds(target),
            talk_seconds: target
                .talk_seconds
                .or_else(|| seconds_between(target.answered_at, target.ended_at))
                .or((!answered).then_some(0)),
            answered: Some(answered),
            end_reason: target.end_reason.as_deref().and_then(words::end_reason),
            status_code: target.status_code,
            trunk: target.trunk.as_deref().map(|name| party::trunk(name).to_owned()),
            did: text(&target.did),
            outbound_caller_id: text(&target.outbound_caller_id),
            cost: text(&target.cost),
        }
    }
}

impl Target {
    /// The target of a call-target event. Whether it answered is known only if it did.
    pub(super) fn of_event(target: &call::Target<'_>, zone: &TimeZone) -> Self {
        let told = Target::new(target, zone);
        let answered = told.answered.filter(|yes| *yes);
        Target { answered, talk_seconds: None, ..told }
    }
}

/// Whether the PBX says in any way that the target answered.
pub(super) fn answered(target: &call::Target<'_>) -> bool {
    target.answered_at.is_some()
        || target.talk_seconds.is_some_and(|talk| talk > 0)
        || target.status.as_deref().is_some_and(|word| word.eq_ignore_ascii_case("answered"))
}

fn ring_seconds(target: &call::Target<'_>) -> Option<u32> {
    let until = target.answered_at.or(target.ended_at);
    target.ring_seconds.or_else(|| seconds_between(target.rang_at, until))
}

/// The type of call in lower case; the PBX's `none` is `None`.
fn call_type(target: &call::Target<'_>) -> Option<String> {
    let word = target.call_type.as_deref()?.trim().to_lowercase();
    (word != "none").then_some(word)
}

/// The number of the endpoint itself: that of its address if one can dial it
/// (some clients register under a random name), else the number asked for.
pub(super) fn number(target: &call::Target<'_>) -> Option<String> {
    let address = user(target.destination.as_deref());
    address
        .clone()
        .filter(|user| party::is_dialable(user))
        .or(user(target.callee.as_deref()))
        .or(address)
}

/// The number in a number or SIP URI.
pub(super) fn user(text: Option<&str>) -> Option<String> {
    Party::read(text?).number.map(|number| number.into_owned())
}
