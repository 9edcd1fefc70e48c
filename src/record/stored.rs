//! From an event of the journal to its record.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Context, Record};
use crate::event::Event;
use crate::event::call::{self, Call};

/// Reads the call of an event. Never fails: data that cannot be read, which is there
/// only if somebody edited the journal, gives a call of which no more is known than
/// what the journal keeps beside it.
pub fn call_of(event: &Event) -> Call<'_> {
    let mut call = call::parse(&event.raw).unwrap_or_else(|_| Call {
        session_id: event.session_id.as_deref().map(Into::into),
        ..Call::default()
    });
    // A call without a type is a CDR, from REST; the journal knows better.
    if call.event_type.is_none() && event.event_type != "call_cdr" {
        call.event_type = Some((&*event.event_type).into());
    }
    call
}

impl Record {
    /// The record of an event whose call is read already.
    pub fn of(event: &Event, call: &Call<'_>, zone: &TimeZone) -> Self {
        let context = Context {
            id: &event.id.to_string(),
            pbx: &event.pbx,
            origin: event.origin.as_str(),
            received_at: Timestamp::from_millisecond(event.received_ms)
                .unwrap_or(Timestamp::UNIX_EPOCH),
            zone,
        };
        Self::new(&context, call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Origin;
    use crate::event::decode::{Frame, decode};

    fn event(raw: &str) -> Event {
        let raw = bytes::Bytes::from(raw.to_owned());
        match decode(&"hq".into(), Origin::Live, 1_782_864_000_123, raw) {
            Ok(Frame::Event(event)) => event,
            other => panic!("not an event: {other:?}"),
        }
    }

    #[test]
    fn data_that_was_damaged_gives_a_record_of_nulls() {
        for raw in [&b"{\"caller\":\"+49"[..], b"", b"\xff\x00", b"[]"] {
            let mut event = event(r#"{"event_type":"call_start","session_id":"1","caller":"2"}"#);
            event.raw = bytes::Bytes::copy_from_slice(raw);
            let record = Record::of(&event, &call_of(&event), &TimeZone::UTC);
            assert_eq!(record.session_id.as_deref(), Some("1"));
            assert_eq!(record.event_type.as_deref(), Some("call_start"));
            assert_eq!((record.caller, record.answered, record.outcome), (None, None, None));
            assert_eq!(record.received_at.to_string(), "2026-07-01T00:00:00.123Z");
        }
    }

    #[test]
    fn only_a_cdr_is_one() {
        for (raw, kind) in [
            (r#"{"event_type":"call_cdr"}"#, None),
            (r#"{"event_type":" "}"#, Some(" ")),
            (r#"{"event_type":"queue_status","caller":"1"}"#, Some("queue_status")),
        ] {
            let event = event(raw);
            let record = Record::of(&event, &call_of(&event), &TimeZone::UTC);
            assert_eq!(record.event_type.as_deref(), kind, "{raw}");
        }
    }
}
