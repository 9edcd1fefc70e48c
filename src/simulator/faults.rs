//! The faults in force: what a PBX, its network or its operator does wrong.
//!
//! Set from the command line at start and from tests at any time. Who consults
//! which: the session its login and subscribe faults, the connection the rest.

use std::collections::HashMap;

use super::rest::RestFaults;

/// How often a topic is refused, and in which words.
#[derive(Debug, Clone)]
pub struct TopicRefusal {
    /// Refusals left; `None` is always.
    pub times: Option<u32>,
    /// The PBX's words.
    pub words: String,
}

/// The faults. `Default` has none.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Refuse so many logins, with these words.
    pub refuse_logins: Option<(u32, String)>,
    /// Never answer `auth`.
    pub mute_auth: bool,
    /// Never answer `subscribe` (it is accepted all the same).
    pub mute_subscribe: bool,
    /// Push an event before each answer to `auth` and `subscribe`.
    pub event_before_answer: bool,
    /// Refuse these topics.
    pub refuse_topics: HashMap<String, TopicRefusal>,
    /// Hang up right after so many successful logins.
    pub drop_after_login: u32,
    /// New connections are accepted by TCP and then met with silence.
    pub silent_door: bool,
    /// New connections are accepted by TCP and then dropped.
    pub slammed_door: bool,
    /// The PBX's clock is so many seconds ahead of the wall's: every time that it
    /// names, in WSI and in REST, is off by as much.
    pub clock_off: i64,
    /// Faults of the REST side.
    pub rest: RestFaults,
    /// Close each connection with the code after so many events.
    pub close_after: Option<(u64, u16)>,
    /// Reset each connection after so many events.
    pub reset_after: Option<u64>,
    /// Fall silent on each connection after so many events.
    pub silent_after: Option<u64>,
    /// After every so many events, a frame that is not JSON.
    pub malformed_every: Option<u64>,
    /// After every so many events, a text frame that is not UTF-8.
    pub non_utf8_every: Option<u64>,
    /// After every so many events, an event of [`OVERSIZE`] bytes.
    pub oversize_every: Option<u64>,
    /// Send every event in pieces, with a ping between them.
    pub fragment: bool,
}

/// Size of an oversized event: above the 4 MiB that a client accepts by default.
pub const OVERSIZE: usize = 5 << 20;

/// Close code of a server that restarts, where none is named.
pub const CLOSE_CODE: u16 = 1012;

impl Faults {
    /// The words of a refusal, if this login is to be refused.
    pub fn take_login_refusal(&mut self) -> Option<String> {
        let (left, words) = self.refuse_logins.as_mut()?;
        *left = left.checked_sub(1)?;
        Some(words.clone())
    }

    /// The words of a refusal, if this topic is to be refused.
    pub fn take_topic_refusal(&mut self, topic: &str) -> Option<String> {
        let refusal = self.refuse_topics.get_mut(topic)?;
        if let Some(left) = &mut refusal.times {
            *left = left.checked_sub(1)?;
        }
        Some(refusal.words.clone())
    }

    /// Whether to hang up after this login.
    pub fn take_drop_after_login(&mut self) -> bool {
        let drop = self.drop_after_login > 0;
        self.drop_after_login = self.drop_after_login.saturating_sub(1);
        drop
    }
}

/// A frame that is not JSON, in the way of the vendor's own example: a comma is
/// missing before `user_data`.
pub fn malformed(count: u64) -> String {
    format!(r#"{{"event_type":"call_cdr","session_id":"9{count:018}" "user_data":"broken"}}"#)
}

/// A text frame whose bytes are Latin-1, not UTF-8.
pub fn non_utf8(count: u64) -> Vec<u8> {
    let mut bytes =
        format!(r#"{{"event_type":"call_cdr","session_id":"8{count:018}","#).into_bytes();
    bytes.extend_from_slice(b"\"caller_display_name\":\"M\xfcller\"}");
    bytes
}

/// A valid event of `size` bytes.
pub fn oversized(size: usize) -> String {
    const HEAD: &str =
        r#"{"event_type":"call_update_info","session_id":"700000000000000000","user_data":""#;
    let padding = size.saturating_sub(HEAD.len() + 2);
    format!("{HEAD}{}\"}}", "x".repeat(padding))
}
