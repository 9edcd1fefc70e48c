//! Subjects: a template such as `cdr.{pbx}.{tenant_id}.{event_type}`, filled in for
//! each event.
//!
//! A subject is read by servers and consumers as tokens between dots, so what an event
//! says may never add a token, nor a wildcard. Letters, digits, `-` and `_` stay; every
//! other byte becomes `%XX`. What the event does not have is `_`. Personal fields are
//! not offered: subjects are shown by servers and tools, and no mask covers them.

use std::borrow::Cow;
use std::fmt;

use jiff::tz::TimeZone;

use crate::config::no_choice;
use crate::event::{Event, Stored};
use crate::record::{Record, call_of};

/// What `{…}` may name.
const FIELDS: &[(&str, Field)] = &[
    ("pbx", Field::Pbx),
    ("event_type", Field::EventType),
    ("origin", Field::Origin),
    ("id", Field::Id),
    ("session_id", Field::SessionId),
    ("tenant_id", Field::TenantId),
    ("tenant_name", Field::TenantName),
    ("direction", Field::Direction),
    ("trunk", Field::Trunk),
    ("queue", Field::Queue),
    ("outcome", Field::Outcome),
];

/// What the event does not have.
const UNKNOWN: &str = "_";
/// Longest value, escaped, in bytes; what is longer is cut. With [`MOST_FIELDS`] and
/// [`LONGEST_TEMPLATE`] a subject stays below the 4 KiB that a server takes on a line.
const LONGEST_VALUE: usize = 128;
const MOST_FIELDS: usize = 16;
const LONGEST_TEMPLATE: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Pbx,
    EventType,
    Origin,
    Id,
    SessionId,
    TenantId,
    TenantName,
    Direction,
    Trunk,
    Queue,
    Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

/// A subject with places for what events say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pieces: Vec<Piece>,
    wildcard: String,
}

impl Subject {
    /// Reads a template; an error is the second half of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST_TEMPLATE {
            return Err(format!("must not be longer than {LONGEST_TEMPLATE} bytes"));
        }
        let pieces = pieces(text)?;
        let fields = pieces.iter().filter(|piece| matches!(piece, Piece::Field(_))).count();
        if fields > MOST_FIELDS {
            return Err(format!("must not have more than {MOST_FIELDS} fields"));
        }
        // A stand-in for values, which have no dots: then the tokens are those of every subject.
        let shape = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Field(_) => "*",
        });
        let shape: String = shape.collect();
        let tokens: Vec<&str> = shape.split('.').collect();
        if tokens.iter().any(|token| token.is_empty()) {
            return Err("must have something between its dots, and before and after them".into());
        }
        if shape.starts_with('$') {
            return Err("must not begin with $: such subjects belong to the server".into());
        }
        let wild = |token: &&str| if token.contains('*') { "*" } else { token }.to_owned();
        let wildcard = tokens.iter().map(wild).collect::<Vec<_>>().join(".");
        Ok(Self { pieces, wildcard })
    }

    /// The subject that matches all subjects of this template.
    pub fn wildcard(&self) -> &str {
        &self.wildcard
    }

    /// The subject of one event.
    pub fn of(&self, stored: &Stored) -> String {
        let event = &stored.event;
        let mut record = None;
        let mut subject = String::with_capacity(96);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => subject.push_str(text),
                Piece::Field(field) => match value(*field, event, &mut record) {
                    Some(value) => push_escaped(&value, &mut subject),
                    None => subject.push_str(UNKNOWN),
                },
            }
        }
        subject
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wildcard)
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (plain, after) = rest.split_once('{').map_or((rest, None), |(p, a)| (p, Some(a)));
        if plain.contains('}') {
            return Err("has a } without a { before it".to_owned());
        }
        if let Some(c) = plain.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '*' | '>')) {
            return Err(format!("must not contain {c:?}; a subject is tokens between dots"));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.to_owned()));
        }
        let Some(after) = after else { break };
        let Some((name, after)) = after.split_once('}') else {
            return Err("has a { without a } after it".to_owned());
        };
        pieces.push(Piece::Field(field(name)?));
        rest = after;
    }
    Ok(pieces)
}

fn field(name: &str) -> Result<Field, String> {
    let found = FIELDS.iter().find(|(known, _)| *known == name);
    found.map(|(_, field)| *field).ok_or_else(|| {
        let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        format!("has a field that {}", no_choice(name, &names))
    })
}

/// What an event says; the record is made only if a field needs it, and once.
fn value<'a>(
    field: Field,
    event: &'a Event,
    record: &'a mut Option<Record>,
) -> Option<Cow<'a, str>> {
    match field {
        Field::Pbx => return Some(Cow::Borrowed(&event.pbx)),
        Field::EventType => return Some(Cow::Borrowed(&event.event_type)),
        Field::Origin => return Some(Cow::Borrowed(event.origin.as_str())),
        Field::Id => return Some(Cow::Owned(event.id.to_string())),
        Field::SessionId => return event.session_id.as_deref().map(Cow::Borrowed),
        _ => {}
    }
    let record = record.get_or_insert_with(|| Record::of(event, &call_of(event), &TimeZone::UTC));
    let text = match field {
        Field::TenantId => record.tenant_id.as_deref(),
        Field::TenantName => record.tenant_name.as_deref(),
        Field::Direction => record.direction.as_deref(),
        Field::Trunk => record.trunk.as_deref(),
        Field::Queue => record.queue.as_deref(),
        _ => record.outcome.map(|outcome| outcome.as_str()),
    };
    text.map(Cow::Borrowed)
}

/// Appends a value as a part of one token.
fn push_escaped(value: &str, subject: &mut String) {
    // Nobody shall take it for what is not known.
    if value.is_empty() || value == UNKNOWN {
        subject.push_str(if value.is_empty() { UNKNOWN } else { "%5F" });
        return;
    }
    let end = subject.len() + LONGEST_VALUE;
    for byte in value.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if subject.len() + if plain { 1 } else { 3 } > end {
            return;
        }
        match plain {
            true => subject.push(char::from(byte)),
            false => subject.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, Origin};

    fn event(event_type: &str, raw: &str) -> Stored {
        let event = Event {
            id: EventId::from_bytes([7; 16]),
            pbx: "hq".into(),
            event_type: event_type.to_owned().into(),
            session_id: None,
            origin: Origin::Live,
            received_ms: 0,
            raw: raw.to_owned().into(),
        };
        Stored { seq: 1, event }
    }

    fn subject(template: &str, event_type: &str, raw: &str) -> String {
        Subject::parse(template).unwrap().of(&event(event_type, raw))
    }

    #[test]
    fn fields_are_filled_in() {
        let raw = r#"{"event_type":"call_cdr","tenant_id":744028133476442112,"direction":"ext"}"#;
        let filled = |template| subject(template, "call_cdr", raw);
        assert_eq!(
            filled("cdr.{pbx}.{tenant_id}.{event_type}"),
            "cdr.hq.744028133476442112.call_cdr"
        );
        assert_eq!(filled("{origin}-{direction}.x"), "live-internal.x");
        assert_eq!(filled("a.{session_id}.{tenant_name}"), "a._._");
        assert_eq!(filled("plain"), "plain");
    }

    #[test]
    fn no_value_adds_a_token_or_a_wildcard() {
        for hostile in
            ["a.b", ".", "*", ">", "a b", "\r\nPUB x 1", "\t", "ü", "\u{0}", "", "_", "%2E", "$JS"]
        {
            let raw = serde_json::json!({ "tenant_id": hostile }).to_string();
            let subject = subject("cdr.{tenant_id}.{event_type}", hostile, &raw);
            assert_eq!(subject.split('.').count(), 3, "{hostile:?}: {subject}");
            let harmless = |c: char| c.is_ascii_alphanumeric() || "._-%".contains(c);
            assert!(subject.chars().all(harmless), "{hostile:?}: {subject}");
            assert!(subject.split('.').all(|token| !token.is_empty()), "{hostile:?}: {subject}");
        }
        assert_eq!(subject("{event_type}", "a.b", "{}"), "a%2Eb");
        assert_eq!(subject("{event_type}", "_", "{}"), "%5F");
    }

    #[test]
    fn a_long_value_is_cut_between_characters_of_the_escape() {
        for text in ["x".repeat(100_000), "ü".repeat(100_000)] {
            let subject = subject("{event_type}.end", &text, "{}");
            let (value, end) = subject.split_once('.').unwrap();
            assert_eq!(end, "end");
            assert!(value.len() <= LONGEST_VALUE && value.len() > LONGEST_VALUE - 3, "{value}");
            assert!(value.bytes().all(|b| b == b'x') || value.len() % 3 == 0, "{value}");
        }
    }

    #[test]
    fn the_wildcard_matches_whatever_is_filled_in() {
        let wildcard = |text| Subject::parse(text).unwrap().wildcard().to_owned();
        assert_eq!(wildcard("cdr.{pbx}.{tenant_id}.{event_type}"), "cdr.*.*.*");
        assert_eq!(wildcard("cdr.x-{pbx}{origin}.all"), "cdr.*.all");
        assert_eq!(wildcard("cdr"), "cdr");
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for text in [
            ".a",
            "a.",
            "a..b",
            "a b",
            "a.*",
            "a.>",
            "$JS.x",
            "a.{",
            "a.}",
            "a.{pbx",
            "a.{caller}",
            "a.{}",
            "ü",
        ] {
            assert!(Subject::parse(text).is_err(), "{text}");
        }
        assert!(Subject::parse(&"{pbx}".repeat(17)).is_err());
        assert!(Subject::parse("a.{tenantid}").unwrap_err().contains("did you mean \"tenant_id\""));
    }
}
