//! What was pushed, to whom, and what of it is known to have been read; and who
//! logged in, subscribed and left. Tests assert on it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::Instant;

/// One frame pushed to one connection.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Number of the connection, from 1 up.
    pub connection: u64,
    /// The payload.
    pub bytes: Bytes,
    /// Its `event_type`; `None` for raw and broken frames.
    pub event_type: Option<&'static str>,
    /// Its call's session, in decimal digits.
    pub session_id: Option<String>,
    /// The client answered a ping that was sent after this: it has read it.
    pub confirmed: bool,
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginResult {
    /// Accepted.
    Accepted,
    /// Refused, in these words.
    Refused(String),
    /// Left without an answer.
    Unanswered,
}

/// One `auth` command.
#[derive(Debug, Clone)]
pub struct Login {
    /// On which connection.
    pub connection: u64,
    /// When, in the time of the runtime (which tests can pause).
    pub at: Instant,
    /// When, by the clock on the wall.
    pub wall: SystemTime,
    /// Who: `cdr@example.com`, `admin`.
    pub who: String,
    /// With which result.
    pub result: LoginResult,
}

/// One topic of one `subscribe` command.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// On which connection.
    pub connection: u64,
    /// The topic.
    pub topic: String,
    /// The values of its selector array.
    pub selector: Vec<String>,
    /// Whether it was accepted.
    pub accepted: bool,
    /// The words of the refusal.
    pub error: Option<String>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The client sent a close frame, which was answered.
    ClosedByClient(Option<u16>),
    /// The simulator closed; whether the client answered the close frame.
    ClosedByServer {
        /// The client's close frame came back.
        answered: bool,
    },
    /// The client's side of TCP ended without a close frame, or it read no more.
    Vanished(String),
    /// The simulator reset or dropped it.
    Cut,
}

/// One connection, from its upgrade on.
#[derive(Debug, Clone)]
pub struct ConnectionRecord {
    /// Its number, from 1 up.
    pub number: u64,
    /// Path and query of its request.
    pub target: String,
    /// Frames pushed to it.
    pub pushed: u64,
    /// The first so many of them are known to have been read.
    pub confirmed: u64,
    /// Topics it has now.
    pub topics: usize,
    /// The simulator has gone silent on it.
    pub silent: bool,
    /// How it ended, if it has.
    pub ending: Option<Ending>,
}

impl ConnectionRecord {
    /// Whether it is open and subscribed to something.
    pub fn subscribed(&self) -> bool {
        self.topics > 0 && !self.silent && self.ending.is_none()
    }
}

/// Counts over all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Connections, ended ones too.
    pub connections: usize,
    /// Of them, those subscribed now.
    pub subscribed: usize,
    /// Frames pushed.
    pub pushed: u64,
    /// Of them, those known to have been read.
    pub confirmed: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} subscribed; {} frames pushed, {} known to be read",
            self.connections, self.subscribed, self.pushed, self.confirmed
        )
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every login.
    pub logins: Vec<Login>,
    /// Every topic asked for.
    pub subscribes: Vec<Subscribe>,
    /// Every connection, by number.
    pub connections: BTreeMap<u64, ConnectionRecord>,
    /// Every frame pushed, in the order of pushing; the number is the frame's
    /// place among those of its connection, from 1 up.
    pushed: Vec<(u64, Pushed)>,
}

impl Ledger {
    /// Notes a new connection and numbers it.
    pub fn open(&mut self, target: &str) -> u64 {
        let number = self.connections.len() as u64 + 1;
        let record = ConnectionRecord {
            number,
            target: target.into(),
            pushed: 0,
            confirmed: 0,
            topics: 0,
            silent: false,
            ending: None,
        };
        self.connections.insert(number, record);
        number
    }

    /// Notes a frame; `keep` it for [`Ledger::log`], or only count it.
    pub fn push(&mut self, frame: Pushed, keep: bool) {
        if let Some(connection) = self.connections.get_mut(&frame.connection) {
            connection.pushed += 1;
            if keep {
                self.pushed.push((connection.pushed, frame));
            }
        }
    }

    /// Counts frames that nobody keeps.
    pub fn count(&mut self, connection: u64, frames: u64) {
        if let Some(record) = self.connections.get_mut(&connection) {
            record.pushed += frames;
        }
    }

    /// Notes that the client has read the connection's first `count` frames.
    pub fn confirm(&mut self, connection: u64, count: u64) {
        if let Some(record) = self.connections.get_mut(&connection) {
            record.confirmed = record.confirmed.max(count.min(record.pushed));
        }
    }

    /// The counts.
    pub fn tally(&self) -> Tally {
        let all = || self.connections.values();
        Tally {
            connections: self.connections.len(),
            subscribed: all().filter(|record| record.subscribed()).count(),
            pushed: all().map(|record| record.pushed).sum(),
            confirmed: all().map(|record| record.confirmed).sum(),
        }
    }

    /// Every frame pushed, in order.
    pub fn log(&self) -> Vec<Pushed> {
        let mark = |(place, frame): &(u64, Pushed)| Pushed {
            confirmed: *place <= self.connections[&frame.connection].confirmed,
            ..frame.clone()
        };
        self.pushed.iter().map(mark).collect()
    }
}
