//! What became of the events that the webhook was to send.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::simulator::events::Event;

/// Events that are kept.
const CAPACITY: usize = 200_000;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Waits for its turn, its answer or its next try.
    Waiting,
    /// Answered 200.
    Accepted,
    /// Given up, with what was wrong at last.
    Failed(String),
}

/// One event.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The body.
    pub bytes: Bytes,
    /// Its `event_type`.
    pub event_type: &'static str,
    /// Its call's session, in decimal digits.
    pub session_id: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// What became of it.
    pub fate: Fate,
}

/// Counts over all events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebhookTally {
    /// Answered 200.
    pub accepted: u64,
    /// Given up.
    pub failed: u64,
    /// Waiting for their turn, their answer or their next try.
    pub waiting: usize,
}

impl fmt::Display for WebhookTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, failed, waiting } = self;
        write!(f, "webhook: {accepted} events accepted, {failed} given up, {waiting} waiting")
    }
}

/// All of it.
#[derive(Debug)]
pub struct Log {
    /// Whether the last answer was a 200.
    pub healthy: Option<bool>,
    deliveries: BTreeMap<u64, Delivery>,
    opened: u64,
    tally: WebhookTally,
    keep: bool,
}

impl Log {
    /// An empty one; `keep` what is over and done with for [`Log::deliveries`], or
    /// only count it.
    pub fn new(keep: bool) -> Self {
        Self {
            healthy: None,
            deliveries: BTreeMap::new(),
            opened: 0,
            tally: WebhookTally::default(),
            keep,
        }
    }

    /// Notes an event and numbers it.
    pub fn open(&mut self, event: &Event) -> u64 {
        let delivery = Delivery {
            bytes: event.json.clone(),
            event_type: event.event_type,
            session_id: event.session_id.clone(),
            attempts: 0,
            fate: Fate::Waiting,
        };
        self.opened += 1;
        self.tally.waiting += 1;
        self.deliveries.insert(self.opened, delivery);
        if self.deliveries.len() > CAPACITY {
            self.deliveries.pop_first();
        }
        self.opened
    }

    /// Notes a try.
    pub fn attempt(&mut self, number: u64) {
        if let Some(delivery) = self.deliveries.get_mut(&number) {
            delivery.attempts += 1;
        }
    }

    /// Notes what became of it.
    pub fn close(&mut self, number: u64, fate: Fate) {
        self.tally.waiting -= 1;
        match fate {
            Fate::Accepted => self.tally.accepted += 1,
            _ => self.tally.failed += 1,
        }
        if !self.keep {
            self.deliveries.remove(&number);
        } else if let Some(delivery) = self.deliveries.get_mut(&number) {
            delivery.fate = fate;
        }
    }

    /// The counts.
    pub fn tally(&self) -> WebhookTally {
        self.tally
    }

    /// The latest events, in the order in which they came up.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.values().cloned().collect()
    }
}
