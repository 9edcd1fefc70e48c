//! From the bytes of a frame to an event or an answer, without touching the bytes.
//!
//! Only the handful of members that identify an event are looked at; all others
//! are skipped, whatever they hold, so that new fields and new event types of a
//! later PBX release pass through. What cannot be read is an [`Undecodable`],
//! which its caller must quarantine: nothing that the PBX sent is dropped.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Event, Origin, id, intern_type};

/// Longest `event_type` that is believed; the vendor's longest has 40 characters.
const MAX_TYPE: usize = 200;

/// Characters of the PBX's words about a refusal that are passed on: they go to log, status
/// and page.
const MAX_WORDS: usize = 500;

/// What one frame holds.
#[derive(Debug)]
pub enum Frame {
    /// An event (it has an `event_type`).
    Event(Event),
    /// The answer to a command (`status` without an `event_type`).
    Answer(Answer),
}

/// The PBX's answer to `auth`, `subscribe` or `unsubscribe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which command it answers; dialects 12 and 16 leave it out.
    pub command: Option<String>,
    /// 0 means yes.
    pub status: i64,
    /// The PBX's words on a refusal.
    pub error: Option<String>,
}

/// Why a frame is neither an event nor an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// The bytes are not text.
    #[error("not UTF-8: invalid byte at offset {0}")]
    NotUtf8(usize),
    /// The text is not one JSON object. The position, never the content: it may be a number.
    #[error("not a JSON object: {kind} error at line {line}, column {column}")]
    NotJson {
        /// serde_json's category: `syntax`, `data` or `eof`.
        kind: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// An object, but neither `event_type` nor `status` is there.
    #[error("neither an event (no event_type) nor an answer (no status)")]
    Unknown,
    /// `event_type` is there, but no usable text.
    #[error("event_type is not a text of 1 to {MAX_TYPE} characters")]
    BadType,
}

/// Reads one frame that came from `pbx` at `received_ms` (Unix milliseconds).
pub fn decode(
    pbx: &Arc<str>,
    origin: Origin,
    received_ms: i64,
    raw: Bytes,
) -> Result<Frame, (Undecodable, Bytes)> {
    match read(&raw) {
        Err(why) => Err((why, raw)),
        Ok(Read::Answer(answer)) => Ok(Frame::Answer(answer)),
        Ok(Read::Event(head)) => {
            let event_type = intern_type(&head.event_type);
            let id = id::of(&head.identity, &event_type, &raw, received_ms);
            let session_id = head.identity.session_id.as_deref().map(Box::from);
            Ok(Frame::Event(Event {
                id,
                pbx: Arc::clone(pbx),
                event_type,
                session_id,
                origin,
                received_ms,
                raw,
            }))
        }
    }
}

/// The members of an event that make its identity, as text without quotes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Names the call across all its events.
    pub session_id: Option<Cow<'a, str>>,
    /// The SIP Call-ID.
    pub call_id: Option<Cow<'a, str>>,
    /// Names one record.
    pub cdr_id: Option<Cow<'a, str>>,
    /// Unix seconds, of all call events but `call_cdr`.
    pub time: Option<Cow<'a, str>>,
    /// Unix seconds, of `call_cdr`.
    pub start_time: Option<Cow<'a, str>>,
    /// Whom a call target was offered to.
    pub destination: Option<Cow<'a, str>>,
}

struct EventHead<'a> {
    event_type: Cow<'a, str>,
    identity: Identity<'a>,
}

enum Read<'a> {
    Event(EventHead<'a>),
    Answer(Answer),
}

fn read(raw: &[u8]) -> Result<Read<'_>, Undecodable> {
    let text = std::str::from_utf8(raw).map_err(|e| Undecodable::NotUtf8(e.valid_up_to()))?;
    let members: Members<'_> = serde_json::from_str(text).map_err(|e| not_json(&e))?;
    if let Some(event_type) = members.event_type {
        let event_type = text_of(event_type)
            .filter(|t| (1..=MAX_TYPE).contains(&t.len()))
            .ok_or(Undecodable::BadType)?;
        return Ok(Read::Event(EventHead { event_type, identity: members.identity() }));
    }
    members.answer().map(Read::Answer).ok_or(Undecodable::Unknown)
}

fn not_json(error: &serde_json::Error) -> Undecodable {
    use serde_json::error::Category;
    let kind = match error.classify() {
        Category::Eof => "end of input",
        Category::Data => "type",
        Category::Syntax | Category::Io => "syntax",
    };
    Undecodable::NotJson { kind, line: error.line(), column: error.column() }
}

/// Words of the PBX, on one line and of a bearable length.
fn shown(words: &str) -> String {
    let mut shown: String =
        words.chars().take(MAX_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if words.chars().nth(MAX_WORDS).is_some() {
        shown.push('…');
    }
    shown
}

/// The members that matter, unread. A repeated member counts with its last value.
#[derive(Default)]
struct Members<'a> {
    event_type: Option<&'a RawValue>,
    session_id: Option<&'a RawValue>,
    call_id: Option<&'a RawValue>,
    cdr_id: Option<&'a RawValue>,
    time: Option<&'a RawValue>,
    start_time: Option<&'a RawValue>,
    destination: Option<&'a RawValue>,
    command: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

impl<'a> Members<'a> {
    fn slot(&mut self, key: Key) -> Option<&mut Option<&'a RawValue>> {
        Some(match key {
            Key::EventType => &mut self.event_type,
            Key::SessionId => &mut self.session_id,
            Key::CallId => &mut self.call_id,
            Key::CdrId => &mut self.cdr_id,
            Key::Time => &mut self.time,
            Key::StartTime => &mut self.start_time,
            Key::Destination => &mut self.destination,
            Key::Command => &mut self.command,
            Key::Status => &mut self.status,
            Key::Error => &mut self.error,
            Key::Other => return None,
        })
    }

    fn identity(&self) -> Identity<'a> {
        Identity {
            session_id: self.session_id.and_then(scalar),
            call_id: self.call_id.and_then(scalar),
            cdr_id: self.cdr_id.and_then(scalar),
            time: self.time.and_then(scalar),
            start_time: self.start_time.and_then(scalar),
            destination: self.destination.and_then(scalar),
        }
    }

    /// `status` comes as a number or as a string.
    fn answer(&self) -> Option<Answer> {
        let status = scalar(self.status?)?.trim().parse().ok()?;
        let owned = |member: Option<&'a RawValue>| member.and_then(scalar).map(Cow::into_owned);
        let error = self.error.and_then(scalar).map(|words| shown(&words));
        Some(Answer { command: owned(self.command), status, error })
    }
}

#[derive(Clone, Copy)]
enum Key {
    EventType,
    SessionId,
    CallId,
    CdrId,
    Time,
    StartTime,
    Destination,
    Command,
    Status,
    Error,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(match name {
                    "event_type" => Key::EventType,
                    "session_id" => Key::SessionId,
                    "call_id" => Key::CallId,
                    "cdr_id" => Key::CdrId,
                    "time" => Key::Time,
                    "start_time" => Key::StartTime,
                    // The vendor documents the second spelling once.
                    "destination" | "destiantion" => Key::Destination,
                    "command" => Key::Command,
                    "status" => Key::Status,
                    "error" => Key::Error,
                    _ => Key::Other,
                })
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some(key) = map.next_key()? {
                    match members.slot(key) {
                        Some(slot) => *slot = Some(map.next_value()?),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A JSON string's text; `None` for anything else and for text that no string can
/// hold (a lone surrogate).
fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// A string's text or a number's digits, all of them; `None` where there is no
/// value (null, empty) or no scalar. Ids exceed 2^53 and come as either.
fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    let text = match json.as_bytes().first()? {
        // What cannot be unescaped still identifies: its source text stands in.
        b'"' => text_of(value).unwrap_or(Cow::Borrowed(json)),
        b'-' | b'0'..=b'9' => Cow::Borrowed(json),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Result<Frame, Undecodable> {
        decode(&Arc::from("hq"), Origin::Live, 1_700_000_000_000, Bytes::from(text.to_owned()))
            .map_err(|(why, _)| why)
    }

    fn event(text: &str) -> Event {
        match frame(text) {
            Ok(Frame::Event(event)) => event,
            other => panic!("not an event: {other:?}"),
        }
    }

    fn answer(text: &str) -> Answer {
        match frame(text) {
            Ok(Frame::Answer(answer)) => answer,
            other => panic!("not an answer: {other:?}"),
        }
    }

    #[test]
    fn an_event_keeps_its_bytes_exactly() {
        let text = "{ \"event_type\":\"call_cdr\",  \"session_id\":\"9007199254740993123\", \"new\":[1,{}] }";
        let event = event(text);
        assert_eq!(event.raw, text.as_bytes());
        assert_eq!(event.event_type, "call_cdr");
        assert_eq!(event.session_id.as_deref(), Some("9007199254740993123"));
    }

    #[test]
    fn ids_as_numbers_keep_every_digit() {
        let number = event(r#"{"event_type":"call_cdr","session_id":90071992547409931234567}"#);
        let string = event(r#"{"event_type":"call_cdr","session_id":"90071992547409931234567"}"#);
        assert_eq!(number.session_id.as_deref(), Some("90071992547409931234567"));
        assert_eq!(number.id, string.id);
    }

    #[test]
    fn an_event_with_a_status_is_an_event_and_not_an_answer() {
        let text = r#"{"status":[{"extension":"101"}],"event_type":"extension_status"}"#;
        assert_eq!(event(text).event_type, "extension_status");
        let text = r#"{"status":0,"event_type":"extension_status","command":"auth"}"#;
        assert_eq!(event(text).event_type, "extension_status");
    }

    #[test]
    fn answers_are_read_in_every_documented_shape() {
        let yes = Answer { command: Some("auth".into()), status: 0, error: None };
        assert_eq!(answer(r#"{"command":"auth","id":"1","status":0}"#), yes);
        assert_eq!(answer(r#"{"command":"auth","id":"1","status":"0"}"#), yes);
        assert_eq!(answer(r#"{"status":0}"#), Answer { command: None, status: 0, error: None });
        let no = answer(r#"{"command":"auth","id":"2","status":-1,"error":"wrong \"password\""}"#);
        assert_eq!((no.status, no.error.as_deref()), (-1, Some("wrong \"password\"")));
    }

    #[test]
    fn words_of_a_refusal_are_cut_and_on_one_line() {
        let words = format!("no\\n\\u001b[2J{}", "x".repeat(10_000));
        let error = answer(&format!(r#"{{"status":-1,"error":"{words}"}}"#)).error.unwrap();
        assert!(error.starts_with("no  [2Jxxx") && error.ends_with("x…"), "{error}");
        assert_eq!(error.chars().count(), MAX_WORDS + 1);
    }

    #[test]
    fn a_repeated_member_counts_with_its_last_value() {
        let event = event(
            r#"{"event_type":"a","event_type":"call_cdr","session_id":"1","session_id":"2"}"#,
        );
        assert_eq!((&*event.event_type, event.session_id.as_deref()), ("call_cdr", Some("2")));
    }

    #[test]
    fn what_cannot_be_decoded_says_why_and_shows_no_content() {
        // The vendor's own sample has this fault: a comma is missing.
        let broken = r#"{"event_type":"call_cdr","caller":"+4930123" "user_data":""}"#;
        let why = frame(broken).unwrap_err().to_string();
        assert!(why.starts_with("not a JSON object: syntax error at line 1"), "{why}");
        assert!(!why.contains("4930"), "{why}");
        assert!(matches!(frame("[1]"), Err(Undecodable::NotJson { kind: "type", .. })));
        assert!(matches!(frame(""), Err(Undecodable::NotJson { kind: "end of input", .. })));
        assert_eq!(frame("{}").unwrap_err(), Undecodable::Unknown);
        assert_eq!(frame(r#"{"event_type":7}"#).unwrap_err(), Undecodable::BadType);
        assert_eq!(frame(r#"{"event_type":"\ud800"}"#).unwrap_err(), Undecodable::BadType);
        let two = r#"{"event_type":"a"}{"event_type":"b"}"#;
        assert!(matches!(frame(two), Err(Undecodable::NotJson { .. })));
    }

    #[test]
    fn bytes_that_are_no_text_come_back_with_the_reason() {
        let raw = Bytes::from_static(b"{\"event_type\":\"call_cdr\",\"caller\":\"\xff\"}");
        let (why, back) =
            decode(&Arc::from("hq"), Origin::Live, 0, raw.clone()).expect_err("not UTF-8");
        assert_eq!((why, back), (Undecodable::NotUtf8(35), raw));
    }

    #[test]
    fn deep_json_neither_fails_nor_overflows_the_stack() {
        let deep = format!(
            r#"{{"x":{}{},"event_type":"call_cdr"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(event(&deep).event_type, "call_cdr");
        let deep = format!(
            r#"{{"session_id":{}1{},"event_type":"call_cdr"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(event(&deep).session_id, None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = decode(&Arc::from("hq"), Origin::Live, 0, Bytes::from(raw));
        }
    }
}
