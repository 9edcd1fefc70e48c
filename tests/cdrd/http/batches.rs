//! Several events in a request, and several requests at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cdrd::daemon::Ended;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{crm, sent};
use crate::harness::{Bench, Running, dead_letters, until};
use crate::receiver::{Answer, Receiver, Request};

/// The events that were pushed, in order.
fn pushed(bench: &Bench) -> Vec<Value> {
    sent(bench).iter().map(|event| serde_json::from_slice(event).unwrap()).collect()
}

/// The events that were accepted, in order.
fn got(receiver: &Receiver) -> Vec<Value> {
    receiver.accepted().iter().flat_map(Request::events).collect()
}

async fn has_all(bench: &Bench, receiver: &Receiver) {
    let count = sent(bench).len();
    until("everything is there", async || got(receiver).len() >= count).await;
}

/// Fills the journal, for a sink that comes later.
async fn journalled(bench: &Bench, calls: u64) {
    let daemon = bench.daemon();
    bench.subscribed().await;
    bench.push(calls).await;
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
}

/// A daemon whose sink begins at the beginning of the journal, so that its batches are full.
fn start(bench: &Bench, receiver: &Receiver, more: &str) -> Running {
    let more = format!("{more}\nstart = \"beginning\"");
    Running::start(&bench.config(&crm(receiver, &more)))
}

/// Keys that are unequal between calls, so that events can be told apart.
fn key(event: &Value) -> String {
    event.to_string()
}

#[tokio::test]
async fn a_batch_is_an_array_of_the_events_byte_for_byte() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    journalled(&bench, 10).await;
    let daemon = start(&bench, &receiver, "batch = 20");
    has_all(&bench, &receiver).await;
    daemon.stop().await.unwrap();
    let mut body = Vec::new();
    for request in receiver.accepted() {
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert!(request.header("ce-id").is_none());
        let inner = request.body.strip_prefix(b"[").and_then(|b| b.strip_suffix(b"]")).unwrap();
        body.extend_from_slice(inner);
        body.push(b',');
        assert!(request.events().len() <= 20);
    }
    assert_eq!(body, sent(&bench).iter().flat_map(|e| [e, &b","[..]].concat()).collect::<Vec<_>>());
    assert!(receiver.accepted().iter().any(|r| r.events().len() == 20), "no batch was full");
}

#[tokio::test]
async fn in_cloudevents_form_a_batch_is_one_of_cloudevents() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let more = "batch = 20\nformat = \"cloudevents\"";
    journalled(&bench, 10).await;
    let daemon = start(&bench, &receiver, more);
    has_all(&bench, &receiver).await;
    daemon.stop().await.unwrap();
    let data: Vec<Value> = got(&receiver).into_iter().map(|mut e| e["data"].take()).collect();
    assert_eq!(data, pushed(&bench));
    for request in receiver.accepted() {
        assert_eq!(request.header("content-type"), Some("application/cloudevents-batch+json"));
    }
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_the_same_and_has_the_same_key() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let more = "batch = 10\nin_flight = 3";
    journalled(&bench, 30).await;
    receiver.answer_next([200, 503, 200, 429, 503].map(Answer::Status));
    let daemon = start(&bench, &receiver, more);
    has_all(&bench, &receiver).await;
    daemon.stop().await.unwrap();
    let mut keys: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut again = 0;
    for request in receiver.requests() {
        let key = request.header("idempotency-key").unwrap();
        assert_eq!(key.len(), 36, "{key}");
        match keys.insert(key.to_owned(), request.body.clone()) {
            Some(before) => {
                assert_eq!(before, request.body, "one key for two batches");
                again += 1;
            }
            None => {
                let same = keys.values().filter(|body| **body == request.body).count();
                assert_eq!(same, 1, "two keys for one batch");
            }
        }
    }
    assert!(again > 0, "nothing was sent again");
    assert_eq!(got(&receiver).len(), pushed(&bench).len(), "a confirmed batch came again");
}

/// Refuses requests that hold one of these events, takes the others.
fn picky(bad: Vec<Value>, status: u16) -> Answer {
    Answer::fitting(move |request| {
        let refused = request.events().iter().any(|event| bad.contains(event));
        Answer::Status(if refused { status } else { 200 })
    })
}

#[tokio::test]
async fn of_a_refused_batch_only_the_bad_events_become_dead_letters() {
    for (status, in_flight) in [(400, 1), (413, 1), (422, 4)] {
        let (bench, receiver) = (Bench::new().await, Receiver::start().await);
        let more = format!("batch = 16\nin_flight = {in_flight}");
        journalled(&bench, 20).await;
        let events = pushed(&bench);
        let bad = vec![events[5].clone(), events[6].clone(), events[40].clone()];
        receiver.answer(picky(bad.clone(), status));
        let daemon = start(&bench, &receiver, &more);
        until("the good ones are there", async || got(&receiver).len() + 3 >= events.len()).await;
        let journal = bench.path("journal.db");
        until("the bad ones are aside", async || dead_letters(&journal, "crm").len() == 3).await;
        daemon.stop().await.unwrap();
        let mut expected: Vec<String> =
            events.iter().filter(|e| !bad.contains(e)).map(key).collect();
        let mut delivered: Vec<String> = got(&receiver).iter().map(key).collect();
        if in_flight > 1 {
            expected.sort();
            delivered.sort();
        }
        assert_eq!(delivered, expected, "each good one once, for {status}");
        let letters = dead_letters(&journal, "crm");
        let letters: Vec<Value> =
            letters.iter().map(|l| serde_json::from_slice(&l.event.event.raw).unwrap()).collect();
        assert_eq!(letters, bad);
    }
}

#[tokio::test]
async fn an_event_that_makes_the_receiver_fail_does_not_hold_up_its_batch() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let sink = crm(&receiver, "batch = 16").replace("50ms\"", "50ms\", give_up_after = \"400ms\"");
    journalled(&bench, 10).await;
    let events = pushed(&bench);
    receiver.answer(picky(vec![events[9].clone()], 500));
    let daemon = Running::start(&bench.config(&format!("{sink}start = \"beginning\"\n")));
    let journal = bench.path("journal.db");
    until("the bad one is given up", async || !dead_letters(&journal, "crm").is_empty()).await;
    until("the good ones are there", async || got(&receiver).len() + 1 >= events.len()).await;
    daemon.stop().await.unwrap();
    let letters = dead_letters(&journal, "crm");
    let raw: Vec<_> = letters.iter().map(|l| l.event.event.raw.to_vec()).collect();
    assert_eq!(raw, [sent(&bench)[9].clone()]);
}

#[tokio::test]
async fn several_requests_are_on_their_way_at_once_and_never_more() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    journalled(&bench, 20).await;
    let permits = Arc::new(Semaphore::new(0));
    // One goes ahead alone.
    receiver.answer_next([Answer::Status(200)]);
    receiver.answer(Answer::Held(Arc::clone(&permits)));
    let daemon = start(&bench, &receiver, "in_flight = 8");
    until("eight wait", async || receiver.requests().len() > 8).await;
    for done in 1..=30 {
        permits.add_permits(1);
        until("one more comes", async || receiver.requests().len() > 8 + done).await;
        let open = receiver.requests().iter().filter(|r| r.answered.is_none()).count();
        assert!(open <= 8, "{open} at once");
    }
    permits.add_permits(10_000);
    has_all(&bench, &receiver).await;
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
    assert!(receiver.connections() <= 8, "{} connections", receiver.connections());
}

#[tokio::test]
async fn with_several_at_once_everything_arrives_once_whatever_is_refused_or_fails() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    journalled(&bench, 40).await;
    let events = pushed(&bench);
    let bad = vec![events[30].clone(), events[100].clone()];
    receiver.answer_next([200, 500, 200, 200, 503, 200].map(Answer::Status));
    receiver.answer_next([Answer::Cut, Answer::Status(429), Answer::Cut]);
    receiver.answer(picky(bad.clone(), 422));
    let daemon = start(&bench, &receiver, "in_flight = 16");
    until("the good ones are there", async || got(&receiver).len() + 2 >= events.len()).await;
    let journal = bench.path("journal.db");
    until("the bad ones are aside", async || dead_letters(&journal, "crm").len() == 2).await;
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
    let delivered = got(&receiver);
    let distinct: BTreeSet<String> = delivered.iter().map(key).collect();
    assert_eq!(distinct.len(), delivered.len(), "something came twice");
    assert!(events.iter().all(|e| bad.contains(e) || distinct.contains(&key(e))));
}

#[tokio::test]
async fn what_is_confirmed_behind_a_stuck_event_moves_no_cursor() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    journalled(&bench, 10).await;
    let events = pushed(&bench);
    receiver.answer(picky(vec![events[2].clone()], 503));
    let daemon = start(&bench, &receiver, "in_flight = 4");
    until("the others are there", async || got(&receiver).len() >= 3).await;
    daemon.stop.now.cancel();
    daemon.stop().await.unwrap();
    // A new process knows of no confirmations beyond the cursor.
    receiver.answer(Answer::Status(200));
    let daemon = Running::start(&bench.config(&crm(&receiver, "")));
    let all = async || {
        let got: BTreeSet<String> = got(&receiver).iter().map(key).collect();
        events.iter().all(|event| got.contains(&key(event)))
    };
    until("everything is there", all).await;
    daemon.stop().await.unwrap();
    let journal = bench.path("journal.db");
    assert!(dead_letters(&journal, "crm").is_empty());
}
