//! The stable id of an event: UUIDv8 (RFC 9562).
//!
//! ```text
//!  48 bits          | 4 | 12 bits    | 2 | 62 bits
//!  rises with time  | 8 | hash, top  | 2 | hash, rest
//! ```
//! The same event gets the same id whichever way it came and on whichever daemon.
//! The first 48 bits rise with time, so that the journal's unique index appends
//! instead of dirtying a page for each event.
//!
//! - Events of a call (`call_*`, `cdr_target_*`, `target_*` with a `session_id` or
//!   `call_id`): the top of the numeric `session_id`, which the PBX hands out in
//!   rising order, else the event's time; then a hash of the identity. The identity
//!   of `call_cdr` is `session_id` and `call_id` alone, since REST has no more.
//! - All others: time of receipt, then a hash of the bytes and that time, since
//!   the same bytes may rightly come twice.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::decode::Identity;
use super::is_call_type;

/// A 128-bit event id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId([u8; 16]);

impl EventId {
    /// The id of the `ordinal`-th different event with this identity: 0 is the id
    /// itself. The journal asks for the next one when two events that differ fall
    /// on the same identity.
    pub fn with_ordinal(self, ordinal: u32) -> Self {
        if ordinal == 0 {
            return self;
        }
        let hash = Sha256::new().chain_update(self.0).chain_update(ordinal.to_be_bytes());
        Self::assemble(self.top(), &hash.finalize())
    }

    /// The bytes, as the journal keeps them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The usual form with hyphens, in ASCII.
    pub fn text(&self) -> [u8; 36] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let (mut text, mut at) = ([b'-'; 36], 0);
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        text
    }

    /// From the journal.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    fn top(self) -> [u8; 6] {
        let mut top = [0; 6];
        top.copy_from_slice(&self.0[..6]);
        top
    }

    fn assemble(top: [u8; 6], hash: &[u8]) -> Self {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&top);
        id[6..].copy_from_slice(&hash[..10]);
        id[6] = 0x80 | (id[6] & 0x0f);
        id[8] = 0x80 | (id[8] & 0x3f);
        Self(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no event id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event id; it looks like 0123abcd-0123-8123-8123-0123456789ab")]
pub struct NotAnId;

impl FromStr for EventId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let hex: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        if hex.len() != 32 || !hex.iter().all(u8::is_ascii_hexdigit) {
            return Err(NotAnId);
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(hex.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NotAnId)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotAnId)?;
        }
        Ok(Self(id))
    }
}

/// The id of an event.
pub fn of(identity: &Identity<'_>, event_type: &str, raw: &[u8], received_ms: i64) -> EventId {
    let has_call = identity.session_id.is_some() || identity.call_id.is_some();
    if has_call && is_call_type(event_type) {
        let hash = call_hash(identity, event_type);
        return EventId::assemble(call_top(identity), &hash);
    }
    let hash = Sha256::new()
        .chain_update(b"cdrd/other/1")
        .chain_update(received_ms.to_be_bytes())
        .chain_update(raw)
        .finalize();
    EventId::assemble(low_48(u64::try_from(received_ms).unwrap_or(0)), &hash)
}

/// The 48 bits that rise with time: from the session, else from the call's start.
fn call_top(identity: &Identity<'_>) -> [u8; 6] {
    let session = identity.session_id.as_deref().and_then(|s| s.parse::<u64>().ok());
    if let Some(session) = session {
        return low_48(session >> 16);
    }
    let seconds = [&identity.start_time, &identity.time]
        .into_iter()
        .find_map(|time| time.as_deref()?.parse::<u64>().ok());
    low_48(seconds.unwrap_or(0).saturating_mul(1000))
}

fn low_48(n: u64) -> [u8; 6] {
    let bytes = n.min((1 << 48) - 1).to_be_bytes();
    [bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]
}

fn call_hash(identity: &Identity<'_>, event_type: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    if event_type == "call_cdr" {
        hash.update(b"cdrd/call_cdr/1");
        absorb(&mut hash, identity.session_id.as_deref());
        absorb(&mut hash, identity.call_id.as_deref());
    } else {
        hash.update(b"cdrd/call/1");
        absorb(&mut hash, Some(event_type));
        for part in [
            &identity.session_id,
            &identity.call_id,
            &identity.cdr_id,
            &identity.time,
            &identity.destination,
        ] {
            absorb(&mut hash, part.as_deref());
        }
    }
    hash.finalize().into()
}

/// Length first, so that no two lists of parts give the same bytes; absent differs
/// from empty.
fn absorb(hash: &mut Sha256, part: Option<&str>) {
    let length = part.map_or(u64::MAX, |p| p.len() as u64);
    hash.update(length.to_be_bytes());
    hash.update(part.unwrap_or_default().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity<'a>(session: &'a str, call: &'a str) -> Identity<'a> {
        Identity {
            session_id: Some(session.into()),
            call_id: Some(call.into()),
            ..Identity::default()
        }
    }

    #[test]
    fn the_id_of_a_cdr_depends_on_session_and_call_alone() {
        let live = Identity {
            cdr_id: Some("7".into()),
            start_time: Some("1700000000".into()),
            ..identity("849508362977513472", "a@b")
        };
        let rest = identity("849508362977513472", "a@b");
        assert_eq!(of(&live, "call_cdr", b"x", 1), of(&rest, "call_cdr", b"y", 2));
        let other = identity("849508362977513473", "a@b");
        assert_ne!(of(&rest, "call_cdr", b"", 1), of(&other, "call_cdr", b"", 1));
    }

    #[test]
    fn ids_are_version_8_and_rise_with_the_session() {
        let early = of(&identity("849508362977513472", "b"), "call_cdr", b"", 1);
        let late = of(&identity("849508362987513472", "a"), "call_cdr", b"", 1);
        assert!(early < late);
        assert_eq!(early.as_bytes()[6] >> 4, 8);
        assert_eq!(early.as_bytes()[8] >> 6, 2);
        // A golden id: changing it would make every consumer see old calls as new.
        assert_eq!(early.to_string(), "0bca0f5a-f0ff-85dc-9ff5-2063d7e468bf");
        assert_eq!(early.to_string().parse(), Ok(early));
    }

    #[test]
    fn events_of_one_call_that_differ_in_type_time_or_target_have_different_ids() {
        let with = |time: &'static str, destination: &'static str| Identity {
            time: Some(time.into()),
            destination: Some(destination.into()),
            ..identity("1", "2")
        };
        let ids = [
            of(&with("5", "101"), "cdr_target_add", b"", 1),
            of(&with("6", "101"), "cdr_target_add", b"", 1),
            of(&with("5", "102"), "cdr_target_add", b"", 1),
            of(&with("5", "101"), "cdr_target_end", b"", 1),
        ];
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(id));
        }
    }

    #[test]
    fn other_events_differ_by_bytes_and_time_of_receipt() {
        let none = Identity::default();
        let id = |raw: &[u8], ms| of(&none, "queue_status", raw, ms);
        assert_eq!(id(b"a", 1), id(b"a", 1));
        assert_ne!(id(b"a", 1), id(b"a", 2));
        assert_ne!(id(b"a", 1), id(b"b", 1));
    }

    #[test]
    fn ordinals_give_further_ids_beside_the_first() {
        let first = of(&identity("849508362977513472", "a"), "call_cdr", b"", 1);
        assert_eq!(first.with_ordinal(0), first);
        assert_ne!(first.with_ordinal(1), first);
        assert_ne!(first.with_ordinal(1), first.with_ordinal(2));
        assert_eq!(first.with_ordinal(1).as_bytes()[..6], first.as_bytes()[..6]);
    }

    #[test]
    fn without_a_numeric_session_the_start_of_the_call_leads() {
        let mut call = identity("abc", "x");
        call.start_time = Some("1700000000".into());
        let id = of(&call, "call_cdr", b"", 9);
        assert_eq!(id.as_bytes()[..6], 1_700_000_000_000_u64.to_be_bytes()[2..]);
    }
}
