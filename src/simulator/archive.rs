//! The calls that have ended: what the PBX has on record, pushed or not.
//!
//! The office's calls go on whether or not anybody listens, so this is the list
//! that a complete record is compared with. REST answers from it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::call::Call;

/// Ended calls that are kept: some days of an office.
const CAPACITY: usize = 100_000;

/// A call that has ended, as tests compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedCall {
    /// Its session, in decimal digits.
    pub session_id: String,
    /// Its SIP Call-ID.
    pub call_id: String,
    /// Start in Unix seconds.
    pub started: i64,
    /// End in Unix seconds.
    pub ended: i64,
    /// Its record was written to at least one WSI connection; whether that was read
    /// before the connection broke is another matter (see `Simulator::log`).
    pub pushed: bool,
}

impl EndedCall {
    /// The call's own.
    pub fn of(call: &Call, pushed: bool) -> Self {
        Self {
            session_id: call.session_id.to_string(),
            call_id: call.call_id.clone(),
            started: call.started,
            ended: call.ended(),
            pushed,
        }
    }
}

/// One of them.
struct Entry {
    call: Arc<Call>,
    /// When it was filed; `None` for one from before the simulator's time.
    filed: Option<Instant>,
    pushed: bool,
}

/// All of them, in the order in which they were filed.
#[derive(Default)]
pub struct Archive {
    entries: VecDeque<Entry>,
}

impl Archive {
    /// Files a call that ends now; the oldest make room.
    pub fn file(&mut self, call: Arc<Call>) {
        self.add(Entry { call, filed: Some(Instant::now()), pushed: false });
    }

    /// Files a call that ended before the simulator began.
    pub fn remember(&mut self, call: Arc<Call>) {
        self.add(Entry { call, filed: None, pushed: false });
    }

    fn add(&mut self, entry: Entry) {
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Notes that a call's record went onto a connection.
    pub fn note_pushed(&mut self, session_id: &str) {
        let number = session_id.parse();
        let mut latest_first = self.entries.iter_mut().rev();
        if let Some(entry) = latest_first.find(|entry| Ok(entry.call.session_id) == number) {
            entry.pushed = true;
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Every call.
    pub fn calls(&self) -> Vec<Arc<Call>> {
        self.entries.iter().map(|entry| Arc::clone(&entry.call)).collect()
    }

    /// Those that were filed at least so long ago.
    pub fn settled(&self, late: Duration) -> Vec<Arc<Call>> {
        let visible = |entry: &&Entry| entry.filed.is_none_or(|filed| filed.elapsed() >= late);
        self.entries.iter().filter(visible).map(|entry| Arc::clone(&entry.call)).collect()
    }

    /// Every call, for a comparison.
    pub fn ended(&self) -> Vec<EndedCall> {
        let ended = |entry: &Entry| EndedCall::of(&entry.call, entry.pushed);
        self.entries.iter().map(ended).collect()
    }
}
