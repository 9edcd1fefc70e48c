//! Requests: what one event, or a batch of them, looks like on the wire.

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use sha2::{Digest, Sha256};

use super::signature::{self, Key};
use crate::event::Stored;
use crate::sink::format::{Encoder, Format, attribute_headers};

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
            binary_mode(&mut headers, stored);
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
fn binary_mode(headers: &mut HeaderMap, stored: &Stored) {
    for (name, value) in attribute_headers(stored) {
        // What `attribute_headers` gives is always visible ASCII.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
