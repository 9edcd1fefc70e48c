//! How a call went. The table, the first row that applies:
//!
//! | evidence | outcome |
//! |---|---|
//! | answered time, or talk time above 0, or status `answered` | `answered` |
//! | SIP status 486, 600, 603 | `busy` |
//! | SIP status 487 | `cancelled` |
//! | SIP status 408, 480 | `no_answer` |
//! | any other SIP status from 400 on | `failed` |
//! | end reason `cancelled` | `cancelled` |
//! | status `busy`; `cancelled`; `noanswer`; `fail` | `busy`; `cancelled`; `no_answer`; `failed` |
//! | end reason `caller_disconnected` | `cancelled` |
//! | the last target whose own SIP status or end reason says something | that |
//! | the call has ended, no more is known | `no_answer` |
//!
//! The code stands before the PBX's word because the word is coarse: the PBX
//! knows only `answered`, `noanswer` and `fail`. 603 (declined) counts as busy,
//! as common switches have it. A target's 487 says nothing: the PBX itself
//! cancels the targets that rang when another one answered or time was up.

use serde::Serialize;

use super::words;
use crate::event::call::{Call, Target};

/// How a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Somebody, or an announcement, took the call.
    Answered,
    /// It rang until time was up, or nobody was reachable.
    NoAnswer,
    /// The callee was busy or declined.
    Busy,
    /// The caller gave up before an answer.
    Cancelled,
    /// It could not be put through.
    Failed,
}

impl Outcome {
    /// The word in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::NoAnswer => "no_answer",
            Outcome::Busy => "busy",
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
        }
    }
}

/// Whether the call was answered; `None` if the CDR says nothing about it.
pub(super) fn answered(call: &Call<'_>) -> Option<bool> {
    let yes = call.answered_at.is_some()
        || call.talk_seconds.is_some_and(|talk| talk > 0)
        || call.status.as_deref().is_some_and(|word| from_word(word) == Some(Outcome::Answered));
    let known = yes
        || call.ended_at.is_some()
        || call.talk_seconds.is_some()
        || call.status.is_some()
        || call.status_code.is_some()
        || call.end_reason.is_some();
    known.then_some(yes)
}

/// The outcome of an ended call, by the table above; `None` if nothing is known.
pub(super) fn of(call: &Call<'_>) -> Option<Outcome> {
    if answered(call)? {
        return Some(Outcome::Answered);
    }
    let reason = call.end_reason.as_deref().and_then(words::end_reason);
    let reason = reason.as_deref();
    let caller_left = (reason == Some("caller_disconnected")).then_some(Outcome::Cancelled);
    call.status_code
        .and_then(from_code)
        .or((reason == Some("cancelled")).then_some(Outcome::Cancelled))
        .or_else(|| call.status.as_deref().and_then(from_word))
        .or(caller_left)
        .or_else(|| call.targets.iter().rev().find_map(from_target))
        .or(Some(Outcome::NoAnswer))
}

fn from_code(code: i32) -> Option<Outcome> {
    match code {
        486 | 600 | 603 => Some(Outcome::Busy),
        487 => Some(Outcome::Cancelled),
        408 | 480 => Some(Outcome::NoAnswer),
        400.. => Some(Outcome::Failed),
        _ => None,
    }
}

fn from_word(word: &str) -> Option<Outcome> {
    match word.trim().to_ascii_lowercase().as_str() {
        "answered" => Some(Outcome::Answered),
        "noanswer" | "no_answer" => Some(Outcome::NoAnswer),
        "busy" => Some(Outcome::Busy),
        "cancelled" | "canceled" => Some(Outcome::Cancelled),
        "fail" | "failed" => Some(Outcome::Failed),
        _ => None,
    }
}

fn from_target(target: &Target<'_>) -> Option<Outcome> {
    let code = target.status_code.and_then(from_code);
    let reason = target.end_reason.as_deref().and_then(words::end_reason);
    let cancelled = reason.as_deref() == Some("cancelled");
    code.filter(|outcome| *outcome != Outcome::Cancelled)
        .or(cancelled.then_some(Outcome::Cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::call::parse;

    fn outcome(members: &str) -> Option<&'static str> {
        of(&parse(format!("{{{members}}}").as_bytes()).unwrap()).map(Outcome::as_str)
    }

    #[test]
    fn every_row_of_the_table_holds() {
        for (members, expected) in [
            (r#""answered_time":"1679476851","status_code":"486""#, "answered"),
            (r#""talk_duration":"7""#, "answered"),
            (r#""call_status":"answered""#, "answered"),
            (r#""status_code":"486","call_status":"fail""#, "busy"),
            (r#""status_code":600"#, "busy"),
            (r#""status_code":603"#, "busy"),
            (r#""status_code":487,"call_status":"noanswer""#, "cancelled"),
            (r#""status_code":408,"end_reason":"cancelled""#, "no_answer"),
            (r#""status_code":480"#, "no_answer"),
            (r#""status_code":404"#, "failed"),
            (r#""status_code":503"#, "failed"),
            (r#""end_reason":"CANCELLED","call_status":"noanswer""#, "cancelled"),
            (r#""call_status":"busy""#, "busy"),
            (r#""call_status":"noanswer","ended_reason":"caller_disconnect""#, "no_answer"),
            (r#""call_status":"fail","status_code":"0""#, "failed"),
            (r#""ended_reason":"caller_disconnect","status_code":"0""#, "cancelled"),
            (r#""ended_time":1,"call_targets":[{"status_code":486},{"status_code":487}]"#, "busy"),
            (r#""ended_time":1,"call_targets":[{"end_reason":"cancelled"}]"#, "cancelled"),
            (r#""ended_time":1,"answered_time":"0","status_code":"200""#, "no_answer"),
        ] {
            assert_eq!(outcome(members), Some(expected), "{members}");
        }
    }

    #[test]
    fn a_cdr_without_any_evidence_has_no_outcome() {
        assert_eq!(outcome(r#""caller":"101","answered_time":"0""#), None);
    }
}
