//! Which events go into one request, and what has become of them so far.
//!
//! A sink reports a confirmed prefix and one failure at a time; with batches and
//! several requests on their way it knows more than that. What it knows beyond the
//! prefix is kept here until it can be reported, so that within this process no
//! event that was confirmed is sent again, and no refusal asked for twice. A batch
//! that failed keeps its limits, so that it is the same batch, with the same key,
//! when it is sent again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;

use crate::event::Stored;

/// A batch whose tries end so often in a plain 500 is sent in halves: one event may
/// be what the receiver stumbles over, and the others shall not wait for it.
const SUSPICIONS: u32 = 5;

/// Events to be sent together: indices of what is being delivered.
pub type Chunk = Range<usize>;

/// What is known of events that are not reported yet, by `seq`.
#[derive(Debug, Default)]
pub struct Plan {
    confirmed: HashSet<u64>,
    refused: HashMap<u64, String>,
    /// Batches with an end, by their first event.
    fixed: BTreeMap<u64, Fixed>,
}

#[derive(Debug)]
struct Fixed {
    length: usize,
    suspicions: u32,
}

impl Plan {
    /// What to send of `events`, in order. What is known of others is forgotten: they
    /// come again only if somebody asked for it.
    pub fn chunks(&mut self, events: &[&Stored], batch: usize) -> VecDeque<Chunk> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return VecDeque::new();
        };
        let present = first.seq..=last.seq;
        self.confirmed.retain(|seq| present.contains(seq));
        self.refused.retain(|seq, _| present.contains(seq));
        self.fixed.retain(|seq, _| present.contains(seq));

        let (mut chunks, mut at) = (VecDeque::new(), 0);
        while at < events.len() {
            let length = self.length(&events[at..], batch);
            if length > 0 {
                chunks.push_back(at..at + length);
            }
            at += length.max(1);
        }
        chunks
    }

    /// Events of the batch that begins here; 0 if the first is done with.
    fn length(&self, events: &[&Stored], batch: usize) -> usize {
        if self.is_decided(events[0]) {
            return 0;
        }
        if let Some(fixed) = self.fixed.get(&events[0].seq) {
            return fixed.length.min(events.len());
        }
        let free =
            |event: &&&Stored| !self.is_decided(event) && !self.fixed.contains_key(&event.seq);
        events.iter().take(batch).take_while(free).count()
    }

    fn is_decided(&self, event: &Stored) -> bool {
        self.confirmed.contains(&event.seq) || self.refused.contains_key(&event.seq)
    }

    /// The receiver has these.
    pub fn confirm(&mut self, events: &[&Stored]) {
        self.fixed.remove(&events[0].seq);
        self.confirmed.extend(events.iter().map(|event| event.seq));
    }

    /// The receiver will never take these: one event is a refusal, several are sent in
    /// halves until the one that is to blame stands alone.
    pub fn refuse(&mut self, chunk: &Chunk, events: &[&Stored], reason: String) -> Vec<Chunk> {
        if chunk.len() > 1 {
            return self.halve(chunk, events, 0);
        }
        let seq = events[chunk.start].seq;
        self.fixed.remove(&seq);
        self.refused.insert(seq, reason);
        Vec::new()
    }

    /// The receiver may take these later.
    pub fn fail(&mut self, chunk: &Chunk, events: &[&Stored], suspicious: bool) {
        let first = events[chunk.start].seq;
        let fixed = self.fixed.entry(first).or_insert(Fixed { length: 0, suspicions: 0 });
        fixed.length = chunk.len();
        fixed.suspicions += u32::from(suspicious);
        if fixed.suspicions >= SUSPICIONS && chunk.len() > 1 {
            // Whatever half it is in, the next 500 halves that one.
            self.halve(chunk, events, SUSPICIONS - 1);
        }
    }

    fn halve(&mut self, chunk: &Chunk, events: &[&Stored], suspicions: u32) -> Vec<Chunk> {
        let middle = chunk.start + chunk.len().div_ceil(2);
        let halves = vec![chunk.start..middle, middle..chunk.end];
        for half in &halves {
            let fixed = Fixed { length: half.len(), suspicions };
            self.fixed.insert(events[half.start].seq, fixed);
        }
        halves
    }

    /// Reports: how many from the start are confirmed, and why the next was refused,
    /// if it was. What is reported is forgotten.
    pub fn report(&mut self, events: &[&Stored]) -> (usize, Option<String>) {
        let confirmed = events.iter().take_while(|event| self.confirmed.remove(&event.seq)).count();
        let next = events.get(confirmed);
        (confirmed, next.and_then(|event| self.refused.remove(&event.seq)))
    }
}

#[cfg(test)]
mod tests;
