//! Batches, and a model that checks every way they can end.

use proptest::prelude::*;

use super::*;
use crate::event::Origin;
use crate::event::decode::{Frame, decode};

fn event(seq: u64) -> Stored {
    let raw = bytes::Bytes::from(format!(r#"{{"event_type":"x","session_id":"{seq}"}}"#));
    match decode(&"hq".into(), Origin::Live, 1_782_864_000_123, raw) {
        Ok(Frame::Event(event)) => Stored { seq, event },
        other => panic!("not an event: {other:?}"),
    }
}

fn events(count: u64) -> Vec<Stored> {
    // Not every number: filters leave holes.
    (0..count).map(|n| event(10 + 3 * n)).collect()
}

/// Everything in one batch.
fn one(chunk: Chunk) -> VecDeque<Chunk> {
    VecDeque::from([chunk])
}

#[test]
fn batches_are_cut_at_their_size() {
    let events = events(5);
    let events: Vec<&Stored> = events.iter().collect();
    assert_eq!(Plan::default().chunks(&events, 2), [0..2, 2..4, 4..5]);
    assert_eq!(Plan::default().chunks(&events, 1), [0..1, 1..2, 2..3, 3..4, 4..5]);
    assert!(Plan::default().chunks(&[], 2).is_empty());
}

#[test]
fn a_batch_that_failed_is_the_same_when_it_is_sent_again() {
    let events = events(8);
    let events: Vec<&Stored> = events.iter().collect();
    let mut plan = Plan::default();
    assert_eq!(plan.chunks(&events[..5], 2), [0..2, 2..4, 4..5]);
    plan.confirm(&events[0..2]);
    plan.fail(&(2..4), &events[..5], false);
    plan.fail(&(4..5), &events[..5], false);
    assert_eq!(plan.report(&events[..5]), (2, None));
    // Two places further; the event that was alone stays alone.
    assert_eq!(plan.chunks(&events[2..7], 2), [0..2, 2..3, 3..5]);
}

#[test]
fn what_is_confirmed_beyond_the_prefix_is_not_sent_again() {
    let events = events(6);
    let events: Vec<&Stored> = events.iter().collect();
    let mut plan = Plan::default();
    plan.chunks(&events, 2);
    plan.fail(&(0..2), &events, false);
    plan.confirm(&events[2..4]);
    plan.confirm(&events[4..6]);
    assert_eq!(plan.report(&events), (0, None));
    assert_eq!(plan.chunks(&events, 2), one(0..2));
    plan.confirm(&events[0..2]);
    assert_eq!(plan.report(&events), (6, None));
    // Reported is forgotten: who asks for it again gets it again.
    assert_eq!(plan.chunks(&events, 2), [0..2, 2..4, 4..6]);
}

#[test]
fn after_five_plain_500s_a_batch_is_sent_in_ever_smaller_halves() {
    let events = events(4);
    let events: Vec<&Stored> = events.iter().collect();
    let mut plan = Plan::default();
    for _ in 0..SUSPICIONS {
        assert_eq!(plan.chunks(&events, 4), one(0..4));
        plan.fail(&(0..4), &events, true);
    }
    assert_eq!(plan.chunks(&events, 4), [0..2, 2..4]);
    plan.fail(&(0..2), &events, true);
    assert_eq!(plan.chunks(&events, 4), [0..1, 1..2, 2..4]);
    for _ in 0..2 * SUSPICIONS {
        plan.fail(&(0..1), &events, true);
        plan.fail(&(2..4), &events, false);
    }
    assert_eq!(plan.chunks(&events, 4), [0..1, 1..2, 2..4]);
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Taken,
    /// Its batch fails so many times first.
    Late(u8),
    Bad,
}

proptest! {
    /// Whatever the receiver does: each good event is taken once, each bad one is
    /// refused alone and reported in its turn, and the end is reached.
    #[test]
    fn every_event_is_reported_once_in_order(
        fates in prop::collection::vec(
            prop_oneof![
                4 => Just(Fate::Taken), 1 => (1..4u8).prop_map(Fate::Late), 1 => Just(Fate::Bad)
            ],
            0..40,
        ),
        batch in 1..9usize,
        window in 1..20usize,
    ) {
        let all = events(fates.len() as u64);
        let mut fates = fates;
        let (mut plan, mut at) = (Plan::default(), 0);
        let (mut taken, mut letters) = (vec![0; all.len()], Vec::new());
        let mut steps = 0;
        while at < all.len() {
            steps += 1;
            prop_assert!(steps < 1_000, "no end");
            let now: Vec<&Stored> = all[at..].iter().take(window).collect();
            let mut waiting = plan.chunks(&now, batch);
            while let Some(chunk) = waiting.pop_front() {
                prop_assert!(!chunk.is_empty() && chunk.len() <= batch);
                let here = &mut fates[at + chunk.start..at + chunk.end];
                if let Some(Fate::Late(left)) = here.iter_mut().find(|f| matches!(f, Fate::Late(1..))) {
                    *left -= 1;
                    plan.fail(&chunk, &now, *left % 2 == 0);
                } else if here.iter().any(|f| matches!(f, Fate::Bad)) {
                    for half in plan.refuse(&chunk, &now, "bad".to_owned()).into_iter().rev() {
                        waiting.push_front(half);
                    }
                } else {
                    plan.confirm(&now[chunk.clone()]);
                    taken[at + chunk.start..at + chunk.end].iter_mut().for_each(|n| *n += 1);
                }
            }
            let (confirmed, refused) = plan.report(&now);
            at += confirmed;
            if refused.is_some() {
                letters.push(at);
                at += 1;
            }
        }
        for (n, fate) in fates.iter().enumerate() {
            let bad = matches!(fate, Fate::Bad);
            prop_assert_eq!(taken[n], usize::from(!bad));
            prop_assert_eq!(letters.contains(&n), bad);
        }
        prop_assert!(plan.confirmed.is_empty() && plan.refused.is_empty() && plan.fixed.is_empty());
    }
}
