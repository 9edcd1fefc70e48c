//! How a daemon is: what `cdrd status`, `/status`, the page and systemd's status line say.
//!
//! | file | holds |
//! |---|---|
//! | this one | the shape of it all, which is also the JSON (`docs/status.schema.json`) |
//! | [`live`] | what only a running daemon knows; it keeps it in the journal's `state` row |
//! | [`gather`] | puts that together with what the journal knows |
//! | [`observer`] | asks on behalf of a running daemon |
//! | [`problems`] | what is wrong, in words, and what to do next |
//! | [`text`] | the form for people |
//!
//! Nothing here has a number, a name or any other content of a call.

pub mod gather;
pub mod live;
pub mod observer;
pub mod problems;
#[cfg(test)]
mod tests;
pub mod text;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// `schema` of the JSON; a change that breaks a reader takes the next number.
pub const SCHEMA: &str = "cdrd-status/1";

/// A moment: Unix milliseconds, in JSON as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct At(pub i64);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        serializer.collect_str(&format_args!("{time:.3}"))
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Self(time.as_millisecond()))
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of the daemon that runs, or ran last.
    pub version: String,
    /// When this was true.
    pub at: At,
    /// Whether a daemon runs on the journal.
    pub running: bool,
    /// Since when it runs, or does not (then as far as it could say so).
    pub since: Option<At>,
    /// Nothing is wrong.
    pub ok: bool,
    /// One line.
    pub summary: String,
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
    /// The PBXs.
    pub pbxs: Vec<Pbx>,
    /// The sinks.
    pub sinks: Vec<Sink>,
    /// The journal.
    pub journal: Journal,
    /// Frames that could not be decoded, and are kept.
    pub quarantine: u64,
    /// Spans of time in which nobody listened.
    pub gaps: Gaps,
    /// The last reload of the configuration that was refused, if it was the last one.
    pub reload_refused: Option<Told>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The thing: `pbx "hq"`, `sink "crm"`, `journal`.
    pub about: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub next: String,
}

/// Words with their time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When.
    pub at: At,
    /// The words.
    pub words: String,
}

/// A topic that the PBX refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedTopic {
    /// Its name.
    pub topic: String,
    /// The PBX's words.
    pub words: String,
}

/// One PBX.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pbx {
    /// `NAME` of `[pbx.NAME]`.
    pub name: String,
    /// `subscribed`, `waiting`, `login refused`, `not running` and so on.
    pub state: String,
    /// Since when.
    pub since: Option<At>,
    /// When its last event came.
    pub last_event: Option<At>,
    /// The last fault, in the PBX's words where it gave any.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<At>,
    /// The topics that are asked for.
    pub topics: Vec<String>,
    /// Those of them that the PBX refused.
    pub refused_topics: Vec<RefusedTopic>,
    /// Up to here nothing is missing; null while that is not known.
    pub complete_up_to: Option<At>,
}

/// One sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// `NAME` of `[sink.NAME]`.
    pub name: String,
    /// `delivering`, `behind`, `failing`, `not running`.
    pub state: String,
    /// Events confirmed ever.
    pub delivered: u64,
    /// Events that it has not confirmed yet.
    pub lag_events: u64,
    /// Age of the oldest of those.
    pub lag_seconds: u64,
    /// The last failure in words.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<At>,
    /// Events that it refused for good.
    pub dead_letters: u64,
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The database.
    pub path: String,
    /// `ok`, `paused`, `disk full`, `stuck`.
    pub state: String,
    /// Events in it.
    pub events: u64,
    /// Bytes that hold something.
    pub size: u64,
    /// Bytes at which it counts as full.
    pub max_size: u64,
    /// When its oldest event came.
    pub oldest: Option<At>,
}

/// Spans of time in which nobody listened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// Those that are not filled.
    pub open: Vec<Gap>,
    /// The last ones that were.
    pub closed: Vec<Gap>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Its number in the journal.
    pub n: i64,
    /// The PBX.
    pub pbx: String,
    /// When it began.
    pub start: At,
    /// When somebody listened again; null while nobody does.
    pub end: Option<At>,
    /// Why nobody listened.
    pub why: String,
    /// Why it is open still, or how it was closed.
    pub state: String,
    /// Why it cannot be closed, if so.
    pub error: Option<String>,
    /// Events that were fetched for it.
    pub backfilled: u64,
}
