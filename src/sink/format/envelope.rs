//! The CloudEvents 1.0 envelope around an event: its attributes, as text and as JSON.
//!
//! Written for each event of most sinks, so without anything on the heap.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

use crate::event::{Event, Stored};

/// What goes before the PBX's name in `source`.
const SOURCE_PREFIX: &str = "/pbx/";
/// What goes before `event_type` in `type`.
const TYPE_PREFIX: &str = "com.portsip.pbx.";
/// Milliseconds.
const TIME: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// The CloudEvents attributes of an event, as text.
pub struct Attributes {
    /// `/pbx/NAME`.
    pub source: String,
    /// `com.portsip.pbx.` and the event type.
    pub event_type: String,
    /// Time of receipt, RFC 3339, UTC, milliseconds.
    pub time: String,
}

impl Attributes {
    /// Of an event.
    pub fn of(event: &Event) -> Self {
        Self {
            source: format!("{SOURCE_PREFIX}{}", event.pbx),
            event_type: format!("{TYPE_PREFIX}{}", event.event_type),
            time: TIME.timestamp_to_string(&received(event)),
        }
    }
}

fn received(event: &Event) -> Timestamp {
    Timestamp::from_millisecond(event.received_ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Everything up to the value of `data`.
pub fn write(stored: &Stored, out: &mut Vec<u8>) {
    let Stored { seq, event } = stored;
    out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
    out.extend_from_slice(&event.id.text());
    out.extend_from_slice(b"\",\"source\":\"");
    write_text(SOURCE_PREFIX, &event.pbx, out);
    out.extend_from_slice(b"\",\"type\":\"");
    write_text(TYPE_PREFIX, &event.event_type, out);
    out.extend_from_slice(b"\",\"time\":\"");
    TIME.print_timestamp(&received(event), &mut *out).expect("a Vec takes every byte");
    if let Some(session_id) = &event.session_id {
        out.extend_from_slice(b"\",\"subject\":\"");
        write_text("", session_id, out);
    }
    out.extend_from_slice(b"\",\"datacontenttype\":\"application/json\",\"origin\":\"");
    out.extend_from_slice(event.origin.as_str().as_bytes());
    out.extend_from_slice(b"\",\"seq\":");
    write_number(*seq, out);
    out.extend_from_slice(b",\"data\":");
}

/// The inside of a JSON string. Types and names may hold anything, and mostly do not.
fn write_text(prefix: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(prefix.as_bytes());
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let quoted = serde_json::to_string(text).expect("a string is JSON");
    out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
