//! What is going on at extensions, queues and trunks, as the PBX pushes it.
//!
//! Events and fields are the protocol page's, 1.6. Words of states that it does
//! not name (an agent's `READY`, a presence) are the simulator's own.

use super::call::{Call, Moment};
use super::events::{Event, Family};
use super::exchange::Due;
use super::object::Object;
use super::office::{self, EXTENSIONS, Queue, TRUNKS};
use super::spelling::Spelling;

/// What extensions and queues make of a moment.
pub fn side_events(spelling: Spelling, due: &Due) -> Vec<Event> {
    let call = &*due.call;
    let extension = |number: &str, status| extension_status(spelling, number, status, due.shown);
    match due.moment {
        Moment::Start => extension(&call.caller.number, "ON_CALL").into_iter().collect(),
        Moment::Record => extension(&call.caller.number, "").into_iter().collect(),
        Moment::Ringing(n) => {
            extension(&call.targets[n].to.number, "RINGING").into_iter().collect()
        }
        Moment::Answered(n) => {
            extension(&call.targets[n].to.number, "ON_CALL").into_iter().collect()
        }
        Moment::Finished(n) => extension(&call.targets[n].to.number, "").into_iter().collect(),
        Moment::Enqueued | Moment::Dequeued => queue_events(spelling, due),
        Moment::Update(_) | Moment::Added(_) => Vec::new(),
    }
}

/// What the PBX pushes right after a subscription to a family.
pub fn initial_state(spelling: Spelling, family: Family, now: i64) -> Vec<Event> {
    match family {
        Family::Extension => EXTENSIONS
            .iter()
            .filter_map(|(number, ..)| extension_status(spelling, number, "", now))
            .collect(),
        Family::Queue => {
            office::QUEUES.iter().map(|queue| queue_status(spelling, queue, None, now)).collect()
        }
        Family::Trunk => TRUNKS.iter().map(|trunk| trunk_connected(trunk, now)).collect(),
        Family::Cdr | Family::Management => Vec::new(),
    }
}

fn extension_status(spelling: Spelling, number: &str, status: &str, now: i64) -> Option<Event> {
    let id = office::extension_id(number)?.parse().unwrap_or_default();
    let one = Object::new()
        .put("extension", number)
        .put("extension_id", spelling.id(id))
        .put("call_status", status)
        .put("online", true)
        .put("presence", "ONLINE")
        .put("presence_note", "")
        .put("push_online", false)
        .put("time", spelling.time(Some(now)));
    let object = Object::event("extension_status").put_all("status", [one]);
    Some(Event::about(Family::Extension, "extension_status", number, object))
}

fn queue_events(spelling: Spelling, due: &Due) -> Vec<Event> {
    let Some(waiting) = &due.call.waiting else {
        return Vec::new();
    };
    let reason = match (due.moment, waiting.answered) {
        (Moment::Enqueued, _) => "enqueue",
        (_, true) => "agent_answered",
        (_, false) => "hangup",
    };
    let caller = waiting_caller(spelling, &due.call, due.shown).put("reason", reason);
    let moved = queue_head(spelling, "queue_caller_status", waiting.queue)
        .put_all("updated_callers", [caller]);
    let number = waiting.queue.number;
    let still = (due.moment == Moment::Enqueued).then_some(&*due.call);
    vec![
        Event::about(Family::Queue, "queue_caller_status", number, moved),
        queue_status(spelling, waiting.queue, still, due.shown),
    ]
}

fn queue_head(spelling: Spelling, name: &str, queue: &Queue) -> Object {
    Object::event(name)
        .put("queue_id", spelling.id(queue.id.parse().unwrap_or_default()))
        .put("queue_number", queue.number)
        .put("queue_name", queue.name)
}

fn waiting_caller(spelling: Spelling, call: &Call, now: i64) -> Object {
    Object::new()
        .put("session_id", spelling.id(call.session_id))
        .put("caller", &call.caller.number)
        .put("caller_display_name", &call.caller.name)
        .put("time", spelling.time(Some(now)))
}

/// The queue with the one caller that this event is about, others left out: the
/// simulated queues keep no books.
fn queue_status(spelling: Spelling, queue: &Queue, caller: Option<&Call>, now: i64) -> Event {
    let agents = queue.agents.iter().map(|number| {
        Object::new()
            .put("extension", number)
            .put("name", &office::person(number).name)
            .put("status", "READY")
    });
    let object = queue_head(spelling, "queue_status", queue)
        .put_all("waiting_list", caller.map(|call| waiting_caller(spelling, call, now)))
        .put_all("agents", agents);
    Event::about(Family::Queue, "queue_status", queue.number, object)
}

fn trunk_connected(trunk: &office::Trunk, now: i64) -> Event {
    let object =
        Object::event("trunk_connected").put("trunk_name", trunk.name).put("time", now.to_string());
    Event::about(Family::Trunk, "trunk_connected", trunk.name, object)
}
