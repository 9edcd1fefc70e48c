//! Makes a record of a call: field by field, in four steps.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::moment::seconds_between;
use super::party::Party;
use super::{Context, Moment, Record, SCHEMA, Target, cost, outcome, party, queue, words};
use crate::event::call::{self, Call};

impl Record {
    /// The normal form of a call event or of a call from REST (which has no `event_type`).
    ///
    /// Of an event that is not a CDR the call is not over: `answered` is known only
    /// if an answer is, `outcome` is unknown, and `event_type` is there.
    pub fn new(context: &Context<'_>, call: &Call<'_>) -> Self {
        let mut record = Record::blank(context);
        record.set_identity(call);
        record.set_parties(call);
        record.set_times(call, context.zone);
        record.set_result(call);
        record.targets = call.targets.iter().map(|t| Target::new(t, context.zone)).collect();
        record.targets.extend(target_of_event(call).map(|t| Target::of_event(&t, context.zone)));
        record
    }

    fn blank(context: &Context<'_>) -> Self {
        Record {
            schema: SCHEMA,
            id: context.id.to_owned(),
            pbx: context.pbx.to_owned(),
            origin: context.origin.to_owned(),
            received_at: Moment::of_receipt(context.received_at, context.zone),
            tenant_id: None,
            tenant_name: None,
            session_id: None,
            cdr_id: None,
            call_id: None,
            direction: None,
            caller: None,
            caller_name: None,
            caller_domain: None,
            callee: None,
            callee_name: None,
            callee_domain: None,
            did: None,
            outbound_caller_id: None,
            trunk: None,
            started_at: None,
            rang_at: None,
            answered_at: None,
            ended_at: None,
            ring_seconds: None,
            talk_seconds: None,
            duration_seconds: None,
            answered: None,
            outcome: None,
            end_reason: None,
            status_code: None,
            queue: None,
            agent: None,
            user_data: None,
            cost: None,
            targets: Vec::new(),
            event_type: None,
        }
    }

    fn set_identity(&mut self, call: &Call<'_>) {
        self.tenant_id = text(&call.tenant_id);
        self.tenant_name = text(&call.tenant_name);
        self.session_id = text(&call.session_id);
        // Only REST names its records `id`; in the vendor's WSI samples an `id` is the tenant's.
        let rest_id = call.id.as_ref().filter(|_| call.event_type.is_none());
        self.cdr_id = text(&call.cdr_id).or_else(|| rest_id.map(|id| id.to_string()));
        self.call_id = text(&call.call_id);
        self.direction = call.direction.as_deref().map(words::direction);
        self.user_data = text(&call.user_data);
        self.event_type = text(&call.event_type).filter(|_| !is_cdr(call));
    }

    fn set_parties(&mut self, call: &Call<'_>) {
        let caller = Party::read(call.caller.as_deref().unwrap_or_default());
        self.caller_name = text(&call.caller_name).or(owned(caller.name));
        self.caller_domain = text(&call.caller_domain).or(caller.domain.map(str::to_owned));
        self.caller = owned(caller.number);
        // Call-target events name the target instead of the callee; its host is a phone's
        // address, no domain.
        let target = Party::read(call.destination.as_deref().unwrap_or_default());
        let callee = Party::read(call.callee.as_deref().unwrap_or_default());
        self.callee_name = text(&call.callee_name).or(owned(callee.name));
        self.callee_domain = text(&call.callee_domain).or(callee.domain.map(str::to_owned));
        self.callee = owned(callee.number).or(owned(target.number));
        self.did = text(&call.did);
        self.outbound_caller_id = text(&call.outbound_caller_id);
        self.trunk = call.trunk.as_deref().map(|name| party::trunk(name).to_owned());
    }

    fn set_times(&mut self, call: &Call<'_>, zone: &TimeZone) {
        let moment = |at: Option<Timestamp>| at.map(|at| Moment::new(at, zone));
        // The time of `call_start` is when the call started.
        let starts = call.event_type.as_deref() == Some("call_start");
        let started_at = call.started_at.or(call.time.filter(|_| starts));
        self.started_at = moment(started_at);
        self.rang_at = moment(call.rang_at);
        self.answered_at = moment(call.answered_at);
        self.ended_at = moment(call.ended_at);
        let rang_until = call.answered_at.or(call.ended_at);
        self.ring_seconds = call.ring_seconds.or(seconds_between(call.rang_at, rang_until));
        let talked = seconds_between(call.answered_at, call.ended_at);
        self.talk_seconds = call.talk_seconds.or(talked);
        self.duration_seconds = seconds_between(started_at, call.ended_at);
    }

    fn set_result(&mut self, call: &Call<'_>) {
        self.answered = outcome::answered(call).filter(|yes| *yes || is_cdr(call));
        if is_cdr(call) {
            self.outcome = outcome::of(call);
            self.talk_seconds = self.talk_seconds.or((self.answered == Some(false)).then_some(0));
        }
        self.end_reason = call.end_reason.as_deref().and_then(words::end_reason);
        self.status_code = call.status_code;
        let found = queue::of(call);
        (self.queue, self.agent) = (found.queue, found.agent);
        let of_targets = || cost::sum(call.targets.iter().filter_map(|t| t.cost.as_deref()));
        self.cost = text(&call.cost).or_else(of_targets);
    }
}

fn is_cdr(call: &Call<'_>) -> bool {
    matches!(call.event_type.as_deref(), None | Some("call_cdr"))
}

/// What a call-target event says of its target: `time` is when it was offered the
/// call, rang, answered or was done, by the kind of event.
fn target_of_event<'a>(call: &Call<'a>) -> Option<call::Target<'a>> {
    let kind = call.event_type.as_deref()?;
    let kind = kind.strip_prefix("cdr_").unwrap_or(kind).strip_prefix("target_")?;
    let mut target = call::Target {
        caller: call.caller.clone(),
        destination: call.destination.clone(),
        did: call.did.clone(),
        outbound_caller_id: call.outbound_caller_id.clone(),
        ..call::Target::default()
    };
    match kind {
        "add" => target.started_at = call.time,
        "ringing" => target.rang_at = call.time,
        "answer" => target.answered_at = call.time,
        "noanswer" | "fail" | "end" | "ended" => target.ended_at = call.time,
        _ => {}
    }
    Some(target)
}

fn text(text: &Option<Cow<'_, str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

fn owned(text: Option<Cow<'_, str>>) -> Option<String> {
    text.map(Cow::into_owned)
}
