//! What came back: the items of one answer, each a call or odd, and what the answer
//! says of itself.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::RestError;
use super::item::{Call, Key, Odd};

/// One item in its place.
#[derive(Debug)]
pub(super) enum Entry {
    Call(Call),
    Odd(Odd),
}

impl Entry {
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Call(call) => call.key(),
            Self::Odd(odd) => odd.key(),
        }
    }

    /// Unix seconds; `None` of what cannot be placed.
    pub(super) fn started_s(&self) -> Option<i64> {
        match self {
            Self::Call(call) => Some(call.started_ms.div_euclid(1000)),
            Self::Odd(_) => None,
        }
    }
}

/// One answer.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// How many there are in all, as the PBX says.
    pub(super) count: Option<u64>,
    /// The answer was no UTF-8.
    pub(super) mended: bool,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    count: Option<&'a RawValue>,
}

impl Batch {
    /// Reads `{"count":N,"items":[…]}`.
    pub(super) fn read(body: Bytes) -> Result<Self, RestError> {
        // One call with a name in an old encoding must not hide all others.
        let (body, mended) = match std::str::from_utf8(&body) {
            Ok(_) => (body, false),
            Err(_) => (Bytes::from(String::from_utf8_lossy(&body).into_owned()), true),
        };
        let read: Body<'_> = serde_json::from_slice(&body).map_err(|e| {
            let (line, column) = (e.line(), e.column());
            RestError::invalid(format!(
                "the PBX's list of calls is no {{\"count\":…,\"items\":[…]}} (line {line}, column {column})"
            ))
        })?;
        let count = read.count.and_then(|count| count.get().trim_matches('"').parse().ok());
        // An answer without either is somebody else's.
        if read.items.is_none() && count != Some(0) {
            return Err(RestError::invalid("the PBX's list of calls has no \"items\""));
        }
        let items = read.items.unwrap_or_default();
        let entries = items.iter().map(|item| entry(&body, item)).collect();
        Ok(Self { entries, count, mended })
    }

    /// Whether calls stand in the order of their start.
    pub(super) fn ascends(&self) -> bool {
        self.starts().is_sorted()
    }

    /// Whether they stand in the opposite order.
    pub(super) fn descends(&self) -> bool {
        self.starts().is_sorted_by(|a, b| a >= b)
    }

    /// When the calls started, in Unix seconds, as they stand.
    pub(super) fn starts(&self) -> impl DoubleEndedIterator<Item = i64> {
        self.entries.iter().filter_map(Entry::started_s)
    }
}

fn entry(body: &Bytes, item: &RawValue) -> Entry {
    match Call::read(body.slice_ref(item.get().as_bytes())) {
        Ok(call) => Entry::Call(call),
        Err(odd) => Entry::Odd(odd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Batch, RestError> {
        Batch::read(Bytes::from(body.to_owned()))
    }

    #[test]
    fn items_that_are_no_calls_are_kept_with_their_bytes() {
        let batch = read(
            r#"{"count":"4","items":[{"id":"1","started_at":"2026-08-06T07:00:00.250Z"}, 7,{"id":"2","started_at":""},{"started_at":"soon","caller":"+49"}]}"#,
        )
        .unwrap();
        assert_eq!((batch.count, batch.entries.len()), (Some(4), 4));
        assert!(matches!(&batch.entries[0], Entry::Call(call) if call.started_ms % 1000 == 250));
        for (entry, item) in batch.entries[1..].iter().zip(["7", r#"{"id":"2","started_at":""}"#]) {
            let Entry::Odd(odd) = entry else { panic!("{entry:?}") };
            assert_eq!(odd.item, item);
        }
        let Entry::Odd(odd) = &batch.entries[3] else { panic!() };
        assert!(!odd.reason.contains("49"), "{}", odd.reason);
    }

    #[test]
    fn what_is_no_list_of_calls_is_an_error() {
        for body in
            ["", "[]", "{}", "<html>", r#"{"items":{}}"#, r#"{"items":null}"#, r#"{"items":[}"#]
        {
            assert!(matches!(read(body), Err(RestError::Invalid { .. })), "{body}");
        }
        assert_eq!(read(r#"{"items":null,"count":0}"#).unwrap().entries.len(), 0);
        assert_eq!(read(r#"{"items":[]}"#).unwrap().count, None);
    }

    #[test]
    fn one_name_in_another_encoding_does_not_hide_the_others() {
        let body = b"{\"items\":[{\"started_at\":\"2026-08-06T07:00:00Z\",\"caller_display_name\":\"M\xfcller\"}]}";
        let batch = Batch::read(Bytes::from_static(body)).unwrap();
        assert!(batch.mended);
        assert!(matches!(batch.entries[0], Entry::Call(_)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Batch::read(Bytes::from(body));
        }
    }
}
