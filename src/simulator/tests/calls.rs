//! The calls by themselves: consistent, varied, repeatable.

use std::collections::{HashMap, HashSet};

use crate::simulator::call::{Call, Direction, Finish, Moment};
use crate::simulator::exchange::{Anchor, Due, Exchange};
use crate::simulator::flows::{BAG, LONGEST};

const OPENED: i64 = 1_767_600_000;

/// All moments of so many calls.
fn day(seed: u64, calls: u64) -> Vec<Due> {
    let mut exchange = Exchange::new(seed, 20.0, Anchor::Opened(OPENED), true);
    exchange.admit(calls);
    std::iter::from_fn(|| exchange.next_due(0)).collect()
}

fn calls(seed: u64, count: u64) -> Vec<Call> {
    let records = day(seed, count).into_iter().filter(|due| due.moment == Moment::Record);
    let mut calls: Vec<_> = records.map(|due| (*due.call).clone()).collect();
    calls.sort_by_key(|call| call.session_id);
    calls
}

#[test]
fn sixteen_calls_show_every_kind() {
    let seen: HashSet<_> = calls(7, 16).iter().map(|call| call.flow).collect();
    assert_eq!(seen, BAG.into_iter().collect());
}

#[test]
fn the_times_of_every_call_are_in_order() {
    for call in calls(3, 800) {
        assert!(call.length <= LONGEST, "{call:?}");
        assert!(!call.targets.is_empty());
        for target in &call.targets {
            let mut times = vec![target.added];
            times.extend(target.rang);
            times.extend(target.answered);
            times.extend([target.ended, call.length]);
            assert!(times.is_sorted(), "{target:?}");
            assert_eq!(target.finish == Finish::Ended, target.answered.is_some());
            assert_eq!(target.ring_seconds() == 0, target.rang.is_none());
        }
        let sum = call.rang().unwrap_or(0) + call.ring_seconds() + call.talk_seconds();
        assert!(sum <= call.length + LONGEST);
        assert!(call.targets.iter().any(|target| target.ended == call.length));
    }
}

#[test]
fn ids_rise_above_two_to_the_53_and_never_repeat() {
    let calls = calls(5, 500);
    assert!(calls[0].session_id > 1 << 53);
    let mut by_start = calls.clone();
    by_start.sort_by_key(|call| call.started);
    assert!(by_start.is_sorted_by_key(|call| call.session_id));
    let sessions: HashSet<_> = calls.iter().map(|call| call.session_id).collect();
    let names: HashSet<_> = calls.iter().map(|call| &call.call_id).collect();
    assert_eq!((sessions.len(), names.len()), (500, 500));
}

#[test]
fn calls_overlap_and_each_keeps_its_own_order() {
    let day = day(11, 60);
    assert!(day.is_sorted_by_key(|due| due.at));
    let mut said: HashMap<u64, Vec<Moment>> = HashMap::new();
    let mut switches = 0;
    for pair in day.windows(2) {
        switches += usize::from(pair[0].call.session_id != pair[1].call.session_id);
    }
    assert!(switches > 120, "{switches}");
    for due in &day {
        said.entry(due.call.session_id).or_default().push(due.moment);
    }
    for due in day.iter().filter(|due| due.moment == Moment::Record) {
        let expected: Vec<_> = due.call.moments().into_iter().map(|(_, m)| m).collect();
        assert_eq!(said[&due.call.session_id], expected);
        assert_eq!(expected.first(), Some(&Moment::Start));
        assert_eq!(due.shown, due.call.started + i64::from(due.call.length));
    }
}

#[test]
fn a_seed_repeats_its_calls_and_another_does_not() {
    let facts = |seed| calls(seed, 40).iter().map(|call| format!("{call:?}")).collect::<Vec<_>>();
    assert_eq!(facts(9), facts(9));
    assert_ne!(facts(9), facts(10));
}

#[test]
fn outside_legs_have_trunk_and_number() {
    for call in calls(2, 200) {
        let outside = call.direction != Direction::Internal;
        assert_eq!(call.trunk.is_some(), outside, "{call:?}");
        let inbound = matches!(call.direction, Direction::Inbound | Direction::InboundOutbound);
        assert_eq!(call.did.is_some(), inbound);
        assert_eq!(
            call.outbound_caller_id.is_some(),
            outside && call.direction != Direction::Inbound
        );
    }
}

#[test]
fn a_queue_call_rings_several_agents_and_one_answers() {
    let calls = calls(4, 64);
    let queued = calls.iter().filter(|call| call.waiting.as_ref().is_some_and(|w| w.answered));
    let mut seen = 0;
    for call in queued {
        let agents = &call.targets[1..];
        assert!(agents.len() >= 3);
        assert_eq!(agents.iter().filter(|agent| agent.answered.is_some()).count(), 1);
        seen += 1;
    }
    assert!(seen >= 4);
}

#[test]
fn calls_end_at_the_moment_at_which_their_record_is_due() {
    let opened_ms = OPENED * 1000 + 123;
    for speed in [1.0, 20.0, 400.0, f64::INFINITY] {
        let mut exchange = Exchange::new(1, 20.0, Anchor::EndsNow(speed), false);
        exchange.admit(200);
        while let Some(at) = exchange.due_at() {
            let wall_ms = opened_ms + (at as f64 / speed) as i64;
            let due = exchange.next_due(wall_ms).unwrap();
            assert!(due.shown * 1000 <= wall_ms, "{due:?}");
            if due.moment == Moment::Record {
                let ended_ms = due.call.ended() * 1000 + i64::from(due.call.millis);
                // Two roundings to a thousandth.
                assert!((wall_ms - ended_ms).abs() <= 2, "{wall_ms} {ended_ms}");
            }
        }
    }
}

#[test]
fn calls_of_the_past_lie_where_they_are_wanted() {
    let mut exchange = Exchange::new(1, 20.0, Anchor::EndsNow(1.0), false);
    let now_ms = OPENED * 1000 + 7;
    let calls = exchange.past_calls(1000, now_ms - 3_600_000, now_ms);
    assert!(calls.is_sorted_by_key(|call| call.ended()));
    assert_eq!(calls[0].ended(), OPENED - 3600);
    assert!(calls.iter().all(|call| call.ended() <= OPENED));
    let sessions: HashSet<_> = calls.iter().map(|call| call.session_id).collect();
    assert_eq!(sessions.len(), 1000);
    for (seconds, ago) in [(3 * 3600, 5), (1, 0), (0, 9), (12, 100)] {
        let ended_ms = now_ms - ago * 1000;
        let call = exchange.past_call(ended_ms - seconds * 1000, ended_ms);
        assert_eq!((call.ended() - call.started, call.ended()), (seconds, OPENED - ago));
        let mut times: Vec<_> = call.moments().into_iter().map(|(at, _)| at).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(times.pop(), Some(seconds as u32));
        assert!(call.session_id > 1 << 53);
    }
}
