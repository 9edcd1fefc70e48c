//! One call as REST tells it, and the `call_cdr` event that it makes.
//!
//! The event has the shape of the WebSocket interface, so that every sink and the
//! normal form read it like a live one, and its identity (`session_id`, `call_id`) as
//! REST tells it, so that it has the id that the live one has or would have had. What
//! REST told stays verbatim under `rest` (and `rest_details`). Pure.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::event::call::{self, Target};
use crate::event::decode::{Frame, decode};
use crate::event::{Event, Origin};

/// Names one item within a run.
pub(super) type Key = [u8; 16];

/// One call from REST.
#[derive(Clone)]
pub struct Call {
    /// REST's name of the record.
    pub id: Option<String>,
    /// Names the call across all its events; missing in releases without call logs.
    pub session_id: Option<String>,
    /// The SIP Call-ID.
    pub call_id: Option<String>,
    /// When it started, in Unix milliseconds of the PBX's clock.
    pub started_ms: i64,
    /// When it ended; `None` if it has not.
    pub ended_ms: Option<i64>,
    /// The item, byte for byte.
    pub item: Bytes,
    /// What the PBX told of its targets, byte for byte, where it was asked and did.
    pub details: Option<Bytes>,
}

/// Shows what is not personal.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call(session {:?}, {} bytes)", self.session_id, self.item.len())
    }
}

/// An item that is no call, for the quarantine.
#[derive(Clone, PartialEq, Eq)]
pub struct Odd {
    /// Why, without any of its content.
    pub reason: String,
    /// The item, byte for byte.
    pub item: Bytes,
}

impl fmt::Debug for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Odd({}, {} bytes)", self.reason, self.item.len())
    }
}

/// A call makes no event, which is a fault of ours: it was read before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a call from REST makes no event: {0}")]
pub struct NotAnEvent(String);

impl Call {
    /// Reads one item of `/calllogs` or `/cdrs`.
    ///
    /// # Errors
    /// It is no object, or its start cannot be read.
    pub fn read(item: Bytes) -> Result<Self, Odd> {
        let odd = |reason: &str| Odd { reason: reason.to_owned(), item: item.clone() };
        let told = call::parse(&item).map_err(|_| odd("an item of REST that is no JSON object"))?;
        let started = told
            .started_at
            .ok_or_else(|| odd("an item of REST without a started_at that can be read"))?;
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Ok(Self {
            id: text(&told.id),
            session_id: text(&told.session_id),
            call_id: text(&told.call_id),
            started_ms: started.as_millisecond(),
            ended_ms: told.ended_at.map(|at| at.as_millisecond()),
            item: item.clone(),
            details: None,
        })
    }

    /// Not the `id` alone: the vendor's own samples have ids that name nothing.
    pub(super) fn key(&self) -> Key {
        let mut hash = Sha256::new();
        for part in [&self.id, &self.session_id, &self.call_id] {
            let part = part.as_deref().unwrap_or_default();
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(self.started_ms.to_be_bytes());
        short(hash)
    }

    /// The event, as if it had come live; `received_ms` is now.
    ///
    /// # Errors
    /// None is known. It is not for the caller to panic.
    pub fn event(&self, pbx: &Arc<str>, received_ms: i64) -> Result<Event, NotAnEvent> {
        let raw = self.wsi_shape()?;
        // Without session and SIP id the time of receipt would go into the event's id,
        // and every sweep would find the call anew.
        let named = self.session_id.is_some() || self.call_id.is_some();
        let time = if named { received_ms } else { self.started_ms };
        match decode(pbx, Origin::Backfill, time, raw) {
            Ok(Frame::Event(event)) => Ok(Event { received_ms, ..event }),
            Ok(Frame::Answer(_)) => Err(NotAnEvent("it reads as an answer".to_owned())),
            Err((why, _)) => Err(NotAnEvent(why.to_string())),
        }
    }

    fn wsi_shape(&self) -> Result<Bytes, NotAnEvent> {
        let told = call::parse(&self.item).map_err(|e| NotAnEvent(e.to_string()))?;
        let details = self.details.as_deref().and_then(Details::read);
        let rang = ring_seconds(&told);
        let mut event = Object::new();
        event.text("event_type", "call_cdr");
        event.time("start_time", told.started_at);
        event.time("ring_time", told.rang_at);
        event.time("answered_time", told.answered_at);
        event.time("ended_time", told.ended_at);
        event.maybe("session_id", &told.session_id);
        event.maybe("cdr_id", &told.id);
        event.maybe("call_id", &told.call_id);
        event.maybe("caller", &told.caller);
        event.maybe("caller_display_name", &told.caller_name);
        event.maybe("caller_domain", &told.caller_domain);
        event.maybe("callee", if told.callee.is_some() { &told.callee } else { &told.destination });
        event.maybe("callee_display_name", &told.callee_name);
        event.maybe("callee_domain", &told.callee_domain);
        event.maybe("tenant_id", &told.tenant_id);
        event.maybe("tenant_name", &told.tenant_name);
        event.maybe("direction", &told.direction.map(direction));
        event.maybe("ended_reason", &told.end_reason.map(lower));
        event.maybe("status_code", &told.status_code.map(status_code));
        event.maybe("ring_duration", &rang.map(digits));
        event.maybe("talk_duration", &told.talk_seconds.map(digits));
        event.maybe("trunk_name", &told.trunk);
        event.maybe("outbound_caller_id", &told.outbound_caller_id);
        event.maybe("user_data", &told.user_data);
        event.maybe("did", &told.did);
        let cost = details.as_ref().and_then(|d| scalar(d.cost?)).map(Cow::Owned);
        event.maybe("cost", &told.cost.or(cost));
        event.raw("call_targets", &details.map_or_else(|| "[]".to_owned(), |d| d.targets()));
        event.raw("rest", text(&self.item)?);
        if let Some(details) = &self.details {
            event.raw("rest_details", text(details)?);
        }
        Ok(event.finish())
    }
}

impl Odd {
    pub(super) fn key(&self) -> Key {
        short(Sha256::new().chain_update(b"odd").chain_update(&self.item))
    }
}

fn short(hash: Sha256) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

fn text(json: &[u8]) -> Result<&str, NotAnEvent> {
    std::str::from_utf8(json).map_err(|e| NotAnEvent(e.to_string()))
}

/// The answer to `/cdrs/{id}`.
#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    items: &'a RawValue,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
}

impl<'a> Details<'a> {
    fn read(raw: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(raw).ok()
    }

    /// The array `call_targets` in WSI's shape.
    fn targets(&self) -> String {
        // The reader of calls knows all spellings of a target.
        let wrapped = format!(r#"{{"call_targets":{}}}"#, self.items.get());
        let targets = call::parse(wrapped.as_bytes())
            .map(|call| call.targets.iter().map(target).collect::<Vec<_>>().join(","));
        format!("[{}]", targets.unwrap_or_default())
    }
}

fn target(target: &Target<'_>) -> String {
    let mut shape = Object::new();
    shape.maybe("call_type", &target.call_type.clone().map(lower));
    shape.maybe("caller", &target.caller);
    shape.maybe("callee", &target.callee);
    shape.maybe("destination", &target.destination);
    shape.time("start_time", target.started_at);
    shape.time("ring_time", target.rang_at);
    shape.time("answered_time", target.answered_at);
    shape.time("ended_time", target.ended_at);
    shape.maybe("end_reason", &target.end_reason.clone().map(lower));
    shape.maybe("status", &target.status.clone().map(lower));
    shape.maybe("status_code", &target.status_code.map(status_code));
    shape.maybe("ring_duration", &target.ring_seconds.map(digits));
    shape.maybe("talk_duration", &target.talk_seconds.map(digits));
    shape.maybe("trunk_name", &target.trunk);
    shape.maybe("did", &target.did);
    shape.maybe("outbound_caller_id", &target.outbound_caller_id);
    shape.maybe("cost", &target.cost);
    shape.json + "}"
}

/// A JSON object, member by member.
struct Object {
    json: String,
}

impl Object {
    fn new() -> Self {
        Self { json: "{".to_owned() }
    }

    fn raw(&mut self, name: &str, json: &str) {
        let comma = if self.json.len() > 1 { "," } else { "" };
        self.json.push_str(&format!("{comma}\"{name}\":{json}"));
    }

    fn text(&mut self, name: &str, text: &str) {
        self.raw(name, &serde_json::Value::from(text).to_string());
    }

    fn maybe(&mut self, name: &str, text: &Option<Cow<'_, str>>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Unix seconds, cut off as the PBX does it; `"0"` did not happen.
    fn time(&mut self, name: &str, at: Option<Timestamp>) {
        self.text(name, &at.map_or(0, Timestamp::as_second).to_string());
    }

    fn finish(self) -> Bytes {
        Bytes::from(self.json + "}")
    }
}

fn digits(number: u32) -> Cow<'static, str> {
    Cow::Owned(number.to_string())
}

/// REST does not count it, but tells from when to when; a call that never rang did so
/// for no time. Whole seconds, as the times are.
fn ring_seconds(told: &call::Call<'_>) -> Option<u32> {
    let until = told.answered_at.or(told.ended_at)?;
    let rang = told.rang_at.map_or(0, |at| until.as_second() - at.as_second());
    // An announcement may answer before somebody's phone rings.
    u32::try_from(rang.max(0)).ok()
}

/// REST tells SIP's 200 where the WebSocket interface tells 0: no error.
fn status_code(code: i32) -> Cow<'static, str> {
    Cow::Owned(if (200..300).contains(&code) { 0 } else { code }.to_string())
}

fn lower(word: Cow<'_, str>) -> Cow<'_, str> {
    Cow::Owned(word.to_lowercase())
}

/// The words of 22.x; a word that is not known stays.
fn direction(word: Cow<'_, str>) -> Cow<'_, str> {
    match word.trim().to_ascii_uppercase().as_str() {
        "EXTENSION_CALL" => Cow::Borrowed("ext"),
        "INBOUND_CALL" => Cow::Borrowed("in"),
        "OUTBOUND_CALL" => Cow::Borrowed("out"),
        "INBOUND_OUTBOUND_CALL" => Cow::Borrowed("in2out"),
        _ => word,
    }
}

fn scalar(value: &RawValue) -> Option<String> {
    let json = value.get();
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok(),
        b'-' | b'0'..=b'9' => Some(json.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
