//! The counters of each part of the daemon, and what of its state is not a count.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram, counter};

use super::lock;
use crate::heartbeat::Heartbeat;

/// What is counted for one PBX.
pub struct PbxMetrics {
    connects_ok: Counter,
    connects_failed: Counter,
    connects_refused: Counter,
    login_refused: Counter,
    duplicate: Counter,
    quarantined: Counter,
    /// Seconds in which nobody listened.
    pub gap_seconds: Counter,
    /// Events fetched over REST that were missing.
    pub backfilled: Counter,
    /// Calls that only a comparison with REST found missing.
    pub reconcile_missing: Counter,
    last_event_ms: AtomicI64,
    /// Of the loop that runs its sessions.
    pub beat: Heartbeat,
}

impl PbxMetrics {
    pub(super) fn new(name: &str) -> Self {
        let of = |metric: &'static str| counter!(metric, "pbx" => name.to_owned());
        let connects = |result: &'static str| counter!("cdrd_connects_total", "pbx" => name.to_owned(), "result" => result);
        // Most alerts are about CDRs; other types appear with their first event.
        counter!("cdrd_events_received_total", "pbx" => name.to_owned(), "type" => "call_cdr")
            .absolute(0);
        Self {
            connects_ok: connects("ok"),
            connects_failed: connects("failed"),
            connects_refused: connects("refused"),
            login_refused: of("cdrd_login_refused_total"),
            duplicate: of("cdrd_events_duplicate_total"),
            quarantined: of("cdrd_events_quarantined_total"),
            gap_seconds: of("cdrd_gap_seconds_total"),
            backfilled: of("cdrd_backfilled_total"),
            reconcile_missing: of("cdrd_reconcile_missing_total"),
            last_event_ms: AtomicI64::new(0),
            beat: Heartbeat::default(),
        }
    }

    /// A connect that led to a subscription.
    pub fn connected(&self) {
        self.connects_ok.increment(1);
    }

    /// A connect that did not.
    pub fn connect_failed(&self) {
        self.connects_failed.increment(1);
    }

    /// A connect that ended with a refused login.
    pub fn refused(&self) {
        self.connects_refused.increment(1);
        self.login_refused.increment(1);
    }

    /// An event that was there already.
    pub fn duplicate(&self) {
        self.duplicate.increment(1);
    }

    /// A frame that could not be decoded.
    pub fn quarantined(&self) {
        self.quarantined.increment(1);
    }

    /// Notes when the PBX's last event came.
    pub fn heard(&self, at_ms: i64) {
        self.last_event_ms.fetch_max(at_ms, Ordering::Relaxed);
    }

    /// When the PBX's last event came, in Unix milliseconds.
    pub fn last_event_ms(&self) -> Option<i64> {
        Some(self.last_event_ms.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

/// What is counted for one sink, and how it is.
pub struct SinkMetrics {
    delivered_total: Counter,
    retries: Counter,
    refusals: Counter,
    /// Ever, over all starts of the daemon.
    delivered: AtomicU64,
    failing: AtomicBool,
    last_error: Mutex<Option<(i64, String)>>,
}

impl SinkMetrics {
    pub(super) fn new(name: &str) -> Self {
        let errors = |kind: &'static str| counter!("cdrd_sink_errors_total", "sink" => name.to_owned(), "kind" => kind);
        Self {
            delivered_total: counter!("cdrd_sink_delivered_total", "sink" => name.to_owned()),
            retries: errors("retry"),
            refusals: errors("refused"),
            delivered: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            last_error: Mutex::default(),
        }
    }

    /// What an earlier daemon has noted.
    pub fn remember(&self, delivered: u64, last_error: Option<(i64, String)>) {
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
        *lock(&self.last_error) = last_error;
    }

    /// The sink confirmed so many events.
    pub fn delivered(&self, events: usize) {
        if events > 0 {
            self.delivered_total.increment(events as u64);
            self.delivered.fetch_add(events as u64, Ordering::Relaxed);
            self.failing.store(false, Ordering::Relaxed);
        }
    }

    /// A delivery failed; `for_good` if the event is refused.
    pub fn failed(&self, for_good: bool, at_ms: i64, reason: &str) {
        if for_good { &self.refusals } else { &self.retries }.increment(1);
        self.failing.store(!for_good, Ordering::Relaxed);
        *lock(&self.last_error) = Some((at_ms, reason.to_owned()));
    }

    /// Events confirmed ever.
    pub fn delivered_ever(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Whether the last thing that it did was to fail.
    pub fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// The last failure: when, and in words.
    pub fn last_error(&self) -> Option<(i64, String)> {
        lock(&self.last_error).clone()
    }
}

/// How the journal's writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalState {
    /// It takes events.
    Ok = 0,
    /// Over `max_size`: it takes none until sinks have caught up.
    Paused = 1,
    /// The disk is full: it waits for room.
    DiskFull = 2,
}

/// What the journal's writer measures.
pub struct JournalMetrics {
    commit_seconds: Histogram,
    state: AtomicU8,
    /// Of the writing thread.
    pub beat: Heartbeat,
}

impl JournalMetrics {
    pub(super) fn new(commit_seconds: Histogram) -> Self {
        let (state, beat) = (AtomicU8::new(JournalState::Ok as u8), Heartbeat::default());
        Self { commit_seconds, state, beat }
    }

    /// A commit took so long.
    pub fn committed(&self, took: Duration) {
        self.commit_seconds.record(took);
    }

    /// How the writer is.
    pub fn set_state(&self, state: JournalState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// How the writer is.
    pub fn state(&self) -> JournalState {
        match self.state.load(Ordering::Relaxed) {
            1 => JournalState::Paused,
            2 => JournalState::DiskFull,
            _ => JournalState::Ok,
        }
    }
}
