//! Events as the PBX pushes them: a moment of a call becomes JSON objects.
//!
//! Which fields an event of a call has is the protocol page's, 1.5; how they are
//! spelled is asked of `spelling`. Who gets to see an event is decided in `topics`
//! by its [`Family`]. Events that are not of a call are in [`super::presence`].

use bytes::Bytes;

use super::call::{Call, Finish, Moment, Target};
use super::exchange::Due;
use super::object::Object;
use super::options::{Release, TENANT_ID, TENANT_NAME};
use super::spelling::Spelling;

/// The group of topics under which an event is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `cdr_events`, `global_cdr_events`.
    Cdr,
    /// `extension_events`, `global_extension_events`.
    Extension,
    /// `queue_events`, `global_queue_events`.
    Queue,
    /// `trunk_events`.
    Trunk,
    /// The `…_management_events`: nobody changes the simulated office.
    Management,
}

/// One event, ready to be pushed.
#[derive(Debug, Clone)]
pub struct Event {
    /// Under which topics.
    pub family: Family,
    /// Its `event_type`.
    pub event_type: &'static str,
    /// The call's session, in decimal digits.
    pub session_id: Option<String>,
    /// The extension or queue it is about, which selectors ask for.
    pub subject: Option<String>,
    /// The JSON object.
    pub json: Bytes,
}

impl Event {
    /// An event about an extension, a queue or a trunk.
    pub(super) fn about(
        family: Family,
        event_type: &'static str,
        subject: &str,
        object: Object,
    ) -> Self {
        Self {
            family,
            event_type,
            session_id: None,
            subject: Some(subject.into()),
            json: object.finish().into(),
        }
    }
}

/// The CDR-family event of a moment, if it has one in this release.
pub fn cdr_event(spelling: Spelling, due: &Due) -> Option<Event> {
    let call = &*due.call;
    let (event_type, object) = match due.moment {
        Moment::Record => ("call_cdr", record(spelling, call)),
        // 12 pushes the record alone.
        _ if spelling.release == Release::R12 => return None,
        Moment::Start => ("call_start", info(spelling, due, "call_start")),
        Moment::Update(_) => ("call_update_info", info(spelling, due, "call_update_info")),
        Moment::Added(n) | Moment::Ringing(n) | Moment::Answered(n) | Moment::Finished(n) => {
            let name = spelling.target_event(due.moment, call.targets[n].finish);
            (name, target_event(spelling, due, name, &call.targets[n]))
        }
        Moment::Enqueued | Moment::Dequeued => return None,
    };
    Some(Event {
        family: Family::Cdr,
        event_type,
        session_id: Some(call.session_id.to_string()),
        subject: None,
        json: object.finish().into(),
    })
}

fn tenant(spelling: Spelling) -> serde_json::Value {
    spelling.id(TENANT_ID.parse().unwrap_or_default())
}

fn info(spelling: Spelling, due: &Due, name: &str) -> Object {
    let call = &*due.call;
    let callee = match due.moment {
        Moment::Update(index) => &call.updates[index].1,
        _ => &call.dialled,
    };
    Object::event(name)
        .put("time", spelling.time(Some(due.shown)))
        .put("session_id", spelling.id(call.session_id))
        .put("cdr_id", spelling.id(call.cdr_id))
        .put("call_id", &call.call_id)
        .put("direction", spelling.direction(call.direction))
        .put("caller", spelling.live_number(&call.caller))
        .put("caller_display_name", &call.caller.name)
        .put("callee", spelling.live_number(callee))
        .put("callee_display_name", &callee.name)
        .put("tenant_id", tenant(spelling))
        .put_some(spelling.did_key(), call.did)
        .put_some("outbound_caller_id", call.outbound_caller_id)
        .put_some("user_data", call.user_data.as_ref())
}

fn target_event(spelling: Spelling, due: &Due, name: &str, target: &Target) -> Object {
    let call = &*due.call;
    Object::event(name)
        .put("time", spelling.time(Some(due.shown)))
        .put("session_id", spelling.id(call.session_id))
        .put("cdr_id", spelling.id(call.cdr_id))
        .put("tenant_id", tenant(spelling))
        .put("direction", spelling.direction(call.direction))
        .put(spelling.destination_key(), &target.to.number)
        .put("caller", &call.caller.number)
        .put(spelling.did_key(), call.did.unwrap_or_default())
        .put("outbound_caller_id", call.outbound_caller_id.unwrap_or_default())
}

/// Words of `call_status` and a target's `status`; the protocol page names none.
fn status_word(answered: bool, code: u16) -> &'static str {
    match (answered, code) {
        (true, _) => "answered",
        (_, 486) => "busy",
        (_, 487) => "cancelled",
        _ => "noanswer",
    }
}

fn record(spelling: Spelling, call: &Call) -> Object {
    let at = |offset: Option<u32>| spelling.time(offset.map(|o| call.started + i64::from(o)));
    let cdr_id = (spelling.release == Release::R22_3).then(|| spelling.id(call.cdr_id));
    Object::event("call_cdr")
        .put("start_time", at(Some(0)))
        .put("ring_time", at(call.rang()))
        .put("answered_time", at(call.answered()))
        .put("ended_time", at(Some(call.length)))
        .put("session_id", spelling.id(call.session_id))
        .put("call_id", &call.call_id)
        .put_some("cdr_id", cdr_id)
        .put("caller", &call.caller.number)
        .put("caller_display_name", &call.caller.name)
        .put("caller_domain", call.caller.domain)
        .put("callee", &call.callee.number)
        .put("callee_domain", call.callee.domain)
        .put("tenant_id", tenant(spelling))
        .put("tenant_name", TENANT_NAME)
        .put("direction", spelling.direction(call.direction))
        .put(spelling.call_end_reason_key(), spelling.end_reason(call.end_reason))
        .put("status_code", spelling.call_status_code(call.status_code))
        .put("call_status", status_word(call.answered().is_some(), call.status_code))
        .put("ring_duration", spelling.call_duration(call.ring_seconds()))
        .put("talk_duration", spelling.call_duration(call.talk_seconds()))
        .put("trunk_name", spelling.trunk(call.trunk))
        .put("outbound_caller_id", call.outbound_caller_id.unwrap_or_default())
        .put_some("user_data", call.user_data.as_ref())
        .put_all("call_targets", call.targets.iter().map(|t| target(spelling, call, t)))
}

fn target(spelling: Spelling, call: &Call, target: &Target) -> Object {
    let at = |offset: Option<u32>| spelling.time(offset.map(|o| call.started + i64::from(o)));
    let answered = target.finish == Finish::Ended;
    let cost = target.trunk.map_or(0, |_| target.talk_seconds() / 60 + 1);
    Object::new()
        // As in the vendor's samples: the tenant's id, no key of the target.
        .put("id", tenant(spelling))
        .put("call_type", spelling.call_type(target.call_type))
        .put("caller", &call.caller.number)
        .put("callee", &call.dialled.number)
        .put("destination", &target.to.number)
        .put("start_time", at(Some(target.added)))
        .put("ring_time", at(target.rang))
        .put("answered_time", at(target.answered))
        .put("ended_time", at(Some(target.ended)))
        .put("end_reason", spelling.end_reason(target.end_reason))
        .put("status", status_word(answered, target.status_code))
        .put("status_code", target.status_code)
        .put("ring_duration", spelling.target_duration(target.ring_seconds()))
        .put("talk_duration", spelling.target_duration(target.talk_seconds()))
        .put("trunk_name", spelling.trunk(target.trunk))
        .put(spelling.did_key(), call.did.unwrap_or_default())
        .put("outbound_caller_id", call.outbound_caller_id.unwrap_or_default())
        .put("cost", format!("0.{cost:02}"))
}
