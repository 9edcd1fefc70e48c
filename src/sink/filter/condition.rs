//! A condition on one field of the record: `where = { direction = ["inbound"] }`.

use std::borrow::Cow;

use super::matches;
use crate::config::{Section, no_choice, quoted};
use crate::record::Record;

/// The fields that take a list of texts, in the record's order. Times, durations and
/// what names a single call are left out.
const FIELDS: &[&str] = &[
    "origin",
    "tenant_id",
    "tenant_name",
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
    "outcome",
    "end_reason",
    "status_code",
    "queue",
    "agent",
    "user_data",
    "cost",
];
const ORIGINS: &[&str] = &["live", "webhook", "backfill"];
const DIRECTIONS: &[&str] = &["internal", "inbound", "outbound", "inbound_outbound"];
const OUTCOMES: &[&str] = &["answered", "no_answer", "busy", "cancelled", "failed"];

/// What one field must be. A field that the event does not have is never that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// One of these texts, in which `*` stands for any characters.
    Text {
        /// Its name.
        field: &'static str,
        /// The patterns.
        wanted: Vec<String>,
    },
    /// `answered` is this.
    Answered(bool),
}

impl Condition {
    /// Reads the table `where`.
    pub fn read_all(section: &mut Section) -> Vec<Self> {
        section.optional_table("where", read).unwrap_or_default()
    }

    pub(super) fn holds(&self, record: &Record) -> bool {
        match self {
            Self::Answered(wanted) => record.answered == Some(*wanted),
            Self::Text { field, wanted } => text(record, field)
                .is_some_and(|text| wanted.iter().any(|pattern| matches(pattern, &text))),
        }
    }
}

fn read(section: &mut Section) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for field in FIELDS {
        let wanted = section.list(field, |text| word(field, text));
        let Some(wanted) = wanted else { continue };
        if wanted.is_empty() && !section.is_faulty(field) {
            section.problem(field, format!("\"{field}\" is empty; leave it out to accept any"));
        }
        if *field == "direction" {
            warn_of_other_words(section, &wanted);
        }
        conditions.push(Condition::Text { field, wanted });
    }
    if section.has("answered") {
        conditions.push(Condition::Answered(section.flag("answered", false)));
    }
    if conditions.is_empty() && !section.has_faults() && !section.has_unknown() {
        section.problem_here("is empty; leave it out to deliver everything");
    }
    conditions
}

/// Where a field has few words, another one would silently match nothing.
fn word(field: &str, text: &str) -> Result<String, String> {
    let words = match field {
        "origin" => ORIGINS,
        "outcome" => OUTCOMES,
        _ => return Ok(text.to_owned()),
    };
    match words.iter().any(|word| matches(text, word)) {
        true => Ok(text.to_owned()),
        false => Err(no_choice(text, words)),
    }
}

/// A PBX may have directions of its own, so others than the known words are allowed.
fn warn_of_other_words(section: &mut Section, wanted: &[String]) {
    let is_other = |text: &&String| !DIRECTIONS.iter().any(|word| matches(text, word));
    if let Some(other) = wanted.iter().find(is_other) {
        let message = format!(
            "{other:?} matches only if the PBX has directions of its own; records have {}",
            quoted(DIRECTIONS)
        );
        section.warn("direction", message);
    }
}

fn text<'r>(record: &'r Record, field: &str) -> Option<Cow<'r, str>> {
    let text = match field {
        "origin" => return Some(Cow::Borrowed(&record.origin)),
        "outcome" => return record.outcome.map(|outcome| Cow::Borrowed(outcome.as_str())),
        "status_code" => return record.status_code.map(|code| Cow::Owned(code.to_string())),
        "tenant_id" => &record.tenant_id,
        "tenant_name" => &record.tenant_name,
        "direction" => &record.direction,
        "caller" => &record.caller,
        "caller_name" => &record.caller_name,
        "caller_domain" => &record.caller_domain,
        "callee" => &record.callee,
        "callee_name" => &record.callee_name,
        "callee_domain" => &record.callee_domain,
        "did" => &record.did,
        "outbound_caller_id" => &record.outbound_caller_id,
        "trunk" => &record.trunk,
        "end_reason" => &record.end_reason,
        "queue" => &record.queue,
        "agent" => &record.agent,
        "user_data" => &record.user_data,
        "cost" => &record.cost,
        _ => return None,
    };
    text.as_deref().map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::call;
    use crate::record::Context;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    const CALL: &str = r#"{"event_type":"call_cdr","tenant_id":744028133476442112,"tenant_name":"t",
        "direction":"in","caller":"sip:+4930123@c.example","caller_display_name":"Ann","callee":"8000",
        "callee_display_name":"Support","callee_domain":"d","did":"+4930","outbound_caller_id":"+49301",
        "trunk_name":"T:1","answered_time":"100","ended_time":"160","end_reason":"caller_disconnect",
        "status_code":"200","user_data":"x=1","call_targets":[{"call_type":"queue_call",
        "callee":"8000","destination":"sip:101@1.2.3.4","answered_time":"100","cost":"0.10"}]}"#;

    fn record(raw: &str) -> Record {
        let context = Context {
            id: "",
            pbx: "hq",
            origin: "live",
            received_at: Timestamp::UNIX_EPOCH,
            zone: &TimeZone::UTC,
        };
        Record::new(&context, &call::parse(raw.as_bytes()).unwrap())
    }

    fn holds(field: &'static str, wanted: &[&str], record: &Record) -> bool {
        let wanted = wanted.iter().map(|text| (*text).to_owned()).collect();
        Condition::Text { field, wanted }.holds(record)
    }

    #[test]
    fn every_field_can_be_asked_for_and_has_the_value_of_the_record() {
        let record = record(CALL);
        let json = serde_json::to_value(&record).unwrap();
        for field in FIELDS {
            let value = match &json[field] {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_ne!(value, "null", "{field}");
            assert!(holds(field, &["no", &value], &record), "{field} = {value}");
            assert!(!holds(field, &["no"], &record), "{field}");
        }
    }

    #[test]
    fn a_star_stands_for_any_characters_and_case_counts() {
        let record = record(CALL);
        assert!(holds("caller", &["+4930*"], &record));
        assert!(holds("status_code", &["2*"], &record));
        assert!(!holds("caller", &["4930*"], &record));
        assert!(!holds("caller_name", &["ann"], &record));
    }

    #[test]
    fn a_field_that_is_not_there_never_matches() {
        let empty = record(r#"{"event_type":"queue_status"}"#);
        for field in FIELDS {
            let known = *field == "origin";
            assert_eq!(holds(field, &["*"], &empty), known, "{field}");
        }
        for wanted in [true, false] {
            assert!(!Condition::Answered(wanted).holds(&empty));
            assert_eq!(Condition::Answered(wanted).holds(&record(CALL)), wanted);
        }
    }
}
