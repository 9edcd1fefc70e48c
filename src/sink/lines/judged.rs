//! What receivers have said about events that the runner does not know of yet.

use std::collections::BTreeMap;

use crate::event::Stored;
use crate::sink::{Delivered, Failure};

/// Judgements by `seq`, until they are told to the runner. Out of order they wait
/// here, also while the receiver is started again.
#[derive(Debug, Default)]
pub struct Judged(BTreeMap<u64, Result<(), String>>);

impl Judged {
    /// Notes a judgement: taken, or refused with a reason.
    pub fn note(&mut self, seq: u64, judgement: Result<(), String>) {
        self.0.insert(seq, judgement);
    }

    /// Whether an event need not be sent.
    pub fn has(&self, event: &Stored) -> bool {
        self.0.contains_key(&event.seq)
    }

    /// Forgets what the runner has left behind.
    pub fn forget_before(&mut self, seq: u64) {
        self.0 = self.0.split_off(&seq);
    }

    /// What can be told about events: that some at the front are taken, or that the
    /// first is refused; never both at once, since a refusal is told once only.
    pub fn tell(&mut self, events: &[&Stored]) -> Option<Delivered> {
        let taken = events.iter().take_while(|e| self.0.get(&e.seq) == Some(&Ok(()))).count();
        for event in &events[..taken] {
            self.0.remove(&event.seq);
        }
        if taken > 0 {
            return Some(Delivered { confirmed: taken, failure: None });
        }
        match self.0.remove(&events.first()?.seq) {
            Some(Err(reason)) => Some(Delivered::none(Failure::Refused { reason })),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{Event, EventId, Origin};

    fn event(seq: u64) -> Stored {
        let event = Event {
            id: EventId::from_bytes([7; 16]),
            pbx: "hq".into(),
            event_type: "call_cdr".into(),
            session_id: None,
            origin: Origin::Live,
            received_ms: 0,
            raw: Bytes::new(),
        };
        Stored { seq, event }
    }

    fn taken(confirmed: usize) -> Option<Delivered> {
        Some(Delivered { confirmed, failure: None })
    }

    #[test]
    fn only_the_front_is_told_and_each_judgement_once() {
        let events: Vec<Stored> = (1..=4).map(event).collect();
        let events: Vec<&Stored> = events.iter().collect();
        let mut judged = Judged::default();
        judged.note(3, Ok(()));
        judged.note(2, Err("no".to_owned()));
        assert_eq!(judged.tell(&events), None);
        judged.note(1, Ok(()));
        assert_eq!(judged.tell(&events), taken(1));
        let refused = Delivered::none(Failure::Refused { reason: "no".to_owned() });
        assert_eq!(judged.tell(&events[1..]), Some(refused));
        assert_eq!(judged.tell(&events[1..]), None, "asked again, it is sent again");
        assert_eq!(judged.tell(&events[2..]), taken(1));
        assert!(!judged.has(events[2]));
    }

    #[test]
    fn what_is_left_behind_is_forgotten() {
        let mut judged = Judged::default();
        judged.note(1, Err("no".to_owned()));
        judged.note(5, Ok(()));
        judged.forget_before(5);
        assert!(!judged.has(&event(1)));
        assert!(judged.has(&event(5)));
    }
}
