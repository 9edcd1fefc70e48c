//! An event: one JSON object that a PBX pushed, kept byte for byte.
//!
//! Pure code: no clock, no I/O, no knowledge of any other part.
//! [`decode`] reads from a frame what identifies an event, [`id`] makes its
//! stable id, [`same`] tells whether two events say the same, and [`call`] gives
//! typed access to calls for those who look inside (the normal form, `tail`).

pub mod call;
pub mod decode;
pub mod id;
pub mod same;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

pub use id::EventId;

/// The way an event came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Pushed over the WebSocket interface.
    Live,
    /// Posted by the PBX's own webhook.
    Webhook,
    /// Fetched over REST after a gap.
    Backfill,
}

impl Origin {
    /// The word used in envelopes and in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Webhook => "webhook",
            Self::Backfill => "backfill",
        }
    }

    /// The reverse of [`Origin::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Live, Self::Webhook, Self::Backfill]
            .into_iter()
            .find(|origin| origin.as_str() == word)
    }
}

/// One event, as the journal and the sinks handle it.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// Stable identity, the same on every redelivery.
    pub id: EventId,
    /// Name of the `[pbx.NAME]` that it came from.
    pub pbx: Arc<str>,
    /// The PBX's `event_type`.
    pub event_type: Cow<'static, str>,
    /// The PBX's `session_id`, digits as sent; names the call.
    pub session_id: Option<Box<str>>,
    /// The way it came.
    pub origin: Origin,
    /// When it came, in Unix milliseconds.
    pub received_ms: i64,
    /// The PBX's object, byte for byte.
    pub raw: Bytes,
}

/// Shows what is not personal: calls are people's own business.
impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Event({} {} from {}, {} bytes)",
            self.id,
            self.event_type,
            self.pbx,
            self.raw.len()
        )
    }
}

/// An event with its place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Journal sequence number, from 1, without holes, never used twice.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// The event types that the vendor documents under the CDR topics, so that the
/// common ones cost no allocation.
const COMMON_TYPES: [&str; 9] = [
    "call_cdr",
    "call_start",
    "call_update_info",
    "cdr_target_add",
    "cdr_target_ringing",
    "cdr_target_answer",
    "cdr_target_noanswer",
    "cdr_target_fail",
    "cdr_target_end",
];

/// Shares the text of the common event types.
pub fn intern_type(event_type: &str) -> Cow<'static, str> {
    COMMON_TYPES
        .iter()
        .find(|known| **known == event_type)
        .map_or_else(|| Cow::Owned(event_type.to_owned()), |known| Cow::Borrowed(*known))
}

/// Whether events of this type belong to a call (`call_*`, `cdr_target_*`, `target_*`).
pub fn is_call_type(event_type: &str) -> bool {
    ["call_", "cdr_target_", "target_"].iter().any(|family| event_type.starts_with(family))
}
