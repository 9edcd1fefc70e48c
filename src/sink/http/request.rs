//! Requests: what one event, or a batch of them, looks like on the wire.

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use sha2::{Digest, Sha256};

use super::signature::{self, Key};
use crate::event::Stored;
use crate::sink::format::{Attributes, Encoder, Format};

/// A batch of CloudEvents (HTTP protocol binding 1.0.2, section 3.3).
const CLOUDEVENTS_BATCH: &str = "application/cloudevents-batch+json";
const JSON: &str = "application/json";

/// A body with its headers, the same at every try.
#[derive(Debug)]
pub struct Message {
    /// The event's id, or that of the batch.
    id: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Message {
    /// One event by itself; a `raw` one is handed on by reference.
    pub fn single(encoder: &Encoder, stored: &Stored) -> Self {
        let id = stored.event.id.to_string();
        let mut headers = HeaderMap::with_capacity(16);
        if encoder.format() == Format::Raw {
            binary_mode(&mut headers, stored, &id);
        }
        Self::new(id, headers, encoder.content_type(), encoder.body(stored))
    }

    /// An array of events, even if it is one.
    pub fn batch(encoder: &Encoder, events: &[&Stored]) -> Self {
        let content_type = match encoder.format() {
            Format::CloudEvents => CLOUDEVENTS_BATCH,
            _ => JSON,
        };
        let size: usize = events.iter().map(|stored| stored.event.raw.len() + 400).sum();
        let mut body = Vec::with_capacity(size);
        for stored in events {
            body.push(if body.is_empty() { b'[' } else { b',' });
            match encoder.format() {
                Format::Raw => body.extend_from_slice(&encoder.body(stored)),
                _ => encoder.write_line(stored, &mut body),
            }
        }
        body.push(b']');
        Self::new(batch_id(events), HeaderMap::with_capacity(8), content_type, Bytes::from(body))
    }

    fn new(id: String, mut headers: HeaderMap, content_type: &'static str, body: Bytes) -> Self {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let key = HeaderValue::try_from(&id).expect("an id is ASCII");
        headers.insert(HeaderName::from_static("idempotency-key"), key);
        Self { id, headers, body }
    }

    /// The request to one receiver, signed as of now.
    pub fn request(&self, url: &Url, keys: &[Key]) -> Request {
        let mut request = Request::new(Method::POST, url.clone());
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        signature::sign(headers, keys, &self.id, Timestamp::now().as_second(), &self.body);
        *request.body_mut() = Some(self.body.clone().into());
        request
    }
}

/// The id of a batch: the same for the same events in the same order. One event has
/// its own id. It has the form of a UUIDv8, as those of events have.
fn batch_id(events: &[&Stored]) -> String {
    if let [one] = events {
        return one.event.id.to_string();
    }
    let mut hash = Sha256::new();
    for stored in events {
        hash.update(stored.event.id.as_bytes());
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    crate::event::EventId::from_bytes(id).to_string()
}

/// The CloudEvents attributes as headers (HTTP protocol binding 1.0.2, section 3.1).
fn binary_mode(headers: &mut HeaderMap, stored: &Stored, id: &str) {
    let Attributes { source, event_type, time } = Attributes::of(&stored.event);
    let seq = stored.seq.to_string();
    let subject = stored.event.session_id.as_deref();
    let origin = stored.event.origin.as_str();
    for (name, value) in [
        ("ce-specversion", Some("1.0")),
        ("ce-id", Some(id)),
        ("ce-source", Some(source.as_str())),
        ("ce-type", Some(event_type.as_str())),
        ("ce-time", Some(time.as_str())),
        ("ce-subject", subject),
        ("ce-origin", Some(origin)),
        ("ce-seq", Some(seq.as_str())),
    ] {
        let value = value.map(|value| HeaderValue::try_from(percent_encoded(value)));
        if let Some(Ok(value)) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The binding's own rule (section 3.1.3.2): blanks, quotes, percent signs and all
/// that is not visible ASCII become `%XX` of their UTF-8 bytes.
fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' => encoded.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_encoded_as_the_binding_says() {
        assert_eq!(percent_encoded("Euro \u{20ac} \u{1F600}"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(percent_encoded("a\"b%c"), "a%22b%25c");
    }
}
