//! The envelope beside the event instead of around it: the CloudEvents attributes as
//! headers, for sinks whose messages have some (binary mode).

use super::Attributes;
use crate::event::Stored;

/// The attributes of an event as headers: lower-case names, and values of visible ASCII
/// (HTTP protocol binding 1.0.2, section 3.1; the NATS binding has the same names).
pub fn attribute_headers(stored: &Stored) -> impl Iterator<Item = (&'static str, String)> {
    attributes(stored).map(|(name, value)| (name, percent_encoded(&value)))
}

/// The same with the values as they are, for bindings whose headers are UTF-8.
pub fn attributes(stored: &Stored) -> impl Iterator<Item = (&'static str, String)> {
    let Attributes { source, event_type, time } = Attributes::of(&stored.event);
    let headers = [
        ("ce-specversion", Some("1.0".to_owned())),
        ("ce-id", Some(stored.event.id.to_string())),
        ("ce-source", Some(source)),
        ("ce-type", Some(event_type)),
        ("ce-time", Some(time)),
        ("ce-subject", stored.event.session_id.as_deref().map(str::to_owned)),
        ("ce-origin", Some(stored.event.origin.as_str().to_owned())),
        ("ce-seq", Some(stored.seq.to_string())),
    ];
    headers.into_iter().filter_map(|(name, value)| Some((name, value?)))
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
