//! A call as the lists show it: exactly the documented fields (protocol page, 2).
//!
//! Words are the release's own in capitals. What did not happen is `null`, in
//! 22.2 `""`; the page says that both were seen. Pure: no I/O, no clock.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::simulator::call::{Call, Direction, EndReason, Target};
use crate::simulator::flows::Flow;
use crate::simulator::object::Object;
use crate::simulator::options::Release;
use crate::simulator::spelling::Spelling;

/// A moment of a call, so many seconds after its start.
pub fn moment(call: &Call, offset: u32) -> Timestamp {
    let whole = Timestamp::from_second(call.started + i64::from(offset)).unwrap_or_default();
    whole + SignedDuration::from_millis(i64::from(call.millis))
}

/// An item of `/calllogs`, or without `session_id` of `/cdrs`.
pub fn call(spelling: Spelling, call: &Call, with_session: bool) -> Object {
    let at = |offset| time(spelling, call, offset);
    let session = with_session.then(|| call.session_id.to_string());
    Object::new()
        .put("id", call.cdr_id.to_string())
        .put_some("session_id", session)
        .put("caller", &call.caller.number)
        .put("caller_domain", call.caller.domain)
        .put("caller_display_name", &call.caller.name)
        .put("callee", &call.callee.number)
        .put("callee_domain", call.callee.domain)
        .put("callee_display_name", &call.callee.name)
        .put("started_at", at(Some(0)))
        .put("rang_at", at(call.rang()))
        .put("answered_at", at(call.answered()))
        .put("ended_at", at(Some(call.length)))
        .put("call_id", &call.call_id)
        .put("direction", direction(call.direction))
        .put("end_reason", end_reason(spelling, call.end_reason))
        .put("reroute_reason", reroute_reason(spelling, call))
        .put("status_code", call.status_code)
        .put("destination", destination(call))
        .put("outbound_caller_id", call.outbound_caller_id.unwrap_or_default())
        .put("did_cid", call.did.unwrap_or_default())
        .put("trunk", spelling.trunk(call.trunk))
        .put("duration", call.talk_seconds())
        .put("service_number", call.waiting.as_ref().map_or("", |waiting| waiting.queue.number))
        .put("user_data", call.user_data.as_deref().unwrap_or_default())
}

/// The items of `/cdrs/{id}`, one for each target. The page says "plus `cost`" and
/// not where: each item has its own, and the answer the sum.
pub fn targets(spelling: Spelling, call: &Call) -> Vec<Object> {
    call.targets.iter().map(|one| target(spelling, call, one)).collect()
}

fn target(spelling: Spelling, call: &Call, target: &Target) -> Object {
    let at = |offset| time(spelling, call, offset);
    Object::new()
        .put("id", call.cdr_id.to_string())
        .put("caller", &call.caller.number)
        .put("caller_domain", call.caller.domain)
        .put("caller_display_name", &call.caller.name)
        .put("callee", &target.to.number)
        .put("callee_domain", target.to.domain)
        .put("callee_display_name", &target.to.name)
        .put("started_at", at(Some(target.added)))
        .put("rang_at", at(target.rang))
        .put("answered_at", at(target.answered))
        .put("ended_at", at(Some(target.ended)))
        .put("call_id", &call.call_id)
        .put("direction", direction(call.direction))
        .put("end_reason", end_reason(spelling, target.end_reason))
        .put("reroute_reason", "")
        .put("status_code", target.status_code)
        .put("destination", &target.to.number)
        .put("outbound_caller_id", call.outbound_caller_id.unwrap_or_default())
        .put("did_cid", call.did.unwrap_or_default())
        .put("trunk", spelling.trunk(target.trunk))
        .put("duration", target.talk_seconds())
        .put("service_number", "")
        .put("user_data", "")
        .put("cost", money(target_cost(target)))
}

/// What the whole call costs.
pub fn cost(call: &Call) -> String {
    money(call.targets.iter().map(target_cost).sum())
}

/// Cents: as in WSI, one for every minute begun on a trunk.
fn target_cost(target: &Target) -> u32 {
    target.trunk.map_or(0, |_| target.talk_seconds() / 60 + 1)
}

fn money(cents: u32) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn time(spelling: Spelling, call: &Call, offset: Option<u32>) -> Value {
    let Some(offset) = offset else {
        return if spelling.release == Release::R22_2 { "".into() } else { Value::Null };
    };
    let moment = moment(call, offset);
    let seconds = moment.strftime("%Y-%m-%dT%H:%M:%S");
    if spelling.release == Release::R22_2 {
        return format!("{seconds}.{:03}0000Z", call.millis).into();
    }
    format!("{seconds}.{:03}Z", call.millis).into()
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Internal => "EXTENSION_CALL",
        Direction::Inbound => "INBOUND_CALL",
        Direction::Outbound => "OUTBOUND_CALL",
        Direction::InboundOutbound => "INBOUND_OUTBOUND_CALL",
    }
}

fn end_reason(spelling: Spelling, reason: EndReason) -> String {
    spelling.end_reason(reason).to_uppercase()
}

/// Why the call went elsewhere than dialled; the page names the field alone.
fn reroute_reason(spelling: Spelling, call: &Call) -> String {
    match call.flow {
        Flow::BlindTransfer => end_reason(spelling, EndReason::BlindTransfer),
        Flow::Forwarded => end_reason(spelling, EndReason::Redirected),
        _ => String::new(),
    }
}

/// Who took the call, or was offered it last.
fn destination(call: &Call) -> &str {
    let taken = call.targets.iter().rev().find(|target| target.answered.is_some());
    let last = taken.or(call.targets.last());
    last.map_or(&call.callee.number, |target| &target.to.number)
}
