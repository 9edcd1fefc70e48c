//! How each release spells a call: names of keys and events, words, numbers.
//!
//! The differences are those of the protocol page, 1.5. The page says which
//! spellings were seen, seldom in which release; the assignment to releases here
//! is the simulator's own, so that every spelling comes up in one of them.

use serde::Serialize;
use serde_json::Value;

use super::call::{CallType, Direction, EndReason, Finish, Moment};
use super::office::{Party, Trunk};
use super::options::Release;

/// One release's spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelling {
    /// Which.
    pub release: Release,
}

impl Spelling {
    fn old(self) -> bool {
        self.release <= Release::R16
    }

    fn newest(self) -> bool {
        self.release == Release::R22_3
    }

    /// Name of a call-target event.
    pub fn target_event(self, moment: Moment, finish: Finish) -> &'static str {
        let old = self.old();
        match (moment, finish) {
            (Moment::Added(_), _) if old => "target_add",
            (Moment::Added(_), _) => "cdr_target_add",
            (Moment::Ringing(_), _) if old => "target_ringing",
            (Moment::Ringing(_), _) => "cdr_target_ringing",
            (Moment::Answered(_), _) if old => "target_answer",
            (Moment::Answered(_), _) => "cdr_target_answer",
            (_, Finish::Ended) if old => "target_ended",
            (_, Finish::Ended) => "cdr_target_end",
            (_, Finish::NoAnswer) if old => "target_noanswer",
            (_, Finish::NoAnswer) => "cdr_target_noanswer",
            (_, Finish::Failed) if old => "target_fail",
            (_, Finish::Failed) => "cdr_target_fail",
        }
    }

    /// Key of the DID.
    pub fn did_key(self) -> &'static str {
        if self.newest() { "did" } else { "did_cid" }
    }

    /// Key of a call-target event's destination; 22.2 has the documented misspelling.
    pub fn destination_key(self) -> &'static str {
        if self.release == Release::R22_2 { "destiantion" } else { "destination" }
    }

    /// Key of the call's own end reason.
    pub fn call_end_reason_key(self) -> &'static str {
        if self.old() { "end_reason" } else { "ended_reason" }
    }

    /// Direction word.
    pub fn direction(self, direction: Direction) -> &'static str {
        match (direction, self.newest()) {
            (Direction::Internal, true) => "internal",
            (Direction::Inbound, true) => "inbound",
            (Direction::Outbound, true) => "outbound",
            (Direction::InboundOutbound, true) => "inbound_outbound",
            (Direction::Internal, false) => "ext",
            (Direction::Inbound, false) => "in",
            (Direction::Outbound, false) => "out",
            (Direction::InboundOutbound, false) => "in2out",
        }
    }

    /// End reason word.
    pub fn end_reason(self, reason: EndReason) -> &'static str {
        match reason {
            EndReason::CallerDisconnect if self.newest() => "caller_disconnected",
            EndReason::CallerDisconnect => "caller_disconnect",
            EndReason::CalleeDisconnect if self.newest() => "callee_disconnected",
            EndReason::CalleeDisconnect => "callee_disconnect",
            EndReason::BlindTransfer if self.old() => "blind_transfer_complete",
            EndReason::BlindTransfer => "blind_transfer_completed",
            EndReason::Cancelled => "cancelled",
            EndReason::Redirected => "redirected",
            EndReason::None => "None",
        }
    }

    /// Call type word.
    pub fn call_type(self, call_type: CallType) -> &'static str {
        match call_type {
            CallType::Normal => "normal_call",
            CallType::Queue => "queue_call",
        }
    }

    /// A session's, record's or tenant's id: a string, before 16 a JSON integer.
    pub fn id(self, id: u64) -> Value {
        if self.release == Release::R12 { id.into() } else { id.to_string().into() }
    }

    /// A point in time in Unix seconds; what did not happen is `"0"`, in 22.2 `""`.
    pub fn time(self, second: Option<i64>) -> String {
        match second {
            Some(second) => second.to_string(),
            None if self.release == Release::R22_2 => String::new(),
            None => "0".into(),
        }
    }

    /// A call's own status code: a string since 22.
    pub fn call_status_code(self, code: u16) -> Value {
        number(code, !self.old())
    }

    /// A call's own durations: strings in 22.3 only.
    pub fn call_duration(self, seconds: u32) -> Value {
        number(seconds, self.newest())
    }

    /// A target's durations: strings since 22 (its status code always is a number).
    pub fn target_duration(self, seconds: u32) -> Value {
        number(seconds, !self.old())
    }

    /// A trunk: `name`, in 22.3 `name:id`.
    pub fn trunk(self, trunk: Option<&Trunk>) -> String {
        match trunk {
            Some(trunk) if self.newest() => format!("{}:{}", trunk.name, trunk.id),
            Some(trunk) => trunk.name.into(),
            None => String::new(),
        }
    }

    /// A party in `call_start` and `call_update_info`: in 22.3 a SIP URI.
    pub fn live_number(self, party: &Party) -> String {
        if self.newest() {
            format!("sip:{}@{}", party.number, party.domain)
        } else {
            party.number.clone()
        }
    }
}

fn number(value: impl Serialize + ToString + Into<Value>, quoted: bool) -> Value {
    if quoted { Value::String(value.to_string()) } else { value.into() }
}
