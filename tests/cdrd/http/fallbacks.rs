//! Who gets events when the first receiver cannot take them.

use std::time::Duration;

use super::{accepted, crm_at, sent};
use crate::harness::{Bench, Running, dead_letters, until};
use crate::receiver::{Answer, Receiver};

fn with_fallbacks(first: &str, others: &[&Receiver], more: &str) -> String {
    let urls: Vec<String> = others.iter().map(|other| other.url()).collect();
    crm_at(first, &format!("fallback_urls = {urls:?}\nevents = [\"call_cdr\"]\n{more}"))
}

fn cdrs(bench: &Bench) -> Vec<Vec<u8>> {
    let log = bench.pbx.log();
    let cdrs = log.iter().filter(|p| p.event_type == Some("call_cdr"));
    cdrs.map(|p| p.bytes.to_vec()).collect()
}

#[tokio::test]
async fn whatever_may_pass_at_the_first_is_tried_at_the_next_at_once() {
    for answer in
        [500, 503, 404, 429, 401, 302].map(Answer::Status).into_iter().chain([Answer::Cut])
    {
        let (bench, first, second) =
            (Bench::new().await, Receiver::start().await, Receiver::start().await);
        first.answer(answer);
        let config = with_fallbacks(&first.url(), &[&second], "")
            .replace("10ms", "1h")
            .replace("50ms", "1h");
        let daemon = Running::start(&bench.config(&config));
        bench.subscribed().await;
        bench.push(3).await;
        accepted(&second, 3).await;
        daemon.stop().await.unwrap();
        let bodies: Vec<_> = second.accepted().into_iter().map(|r| r.body).collect();
        assert_eq!(bodies, cdrs(&bench), "in order");
        assert_eq!(first.requests().len(), 1, "the one that failed rests");
        assert_eq!(
            first.requests()[0].header("idempotency-key"),
            second.requests()[0].header("idempotency-key")
        );
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_offered_to_nobody_else() {
    let (bench, first, second) =
        (Bench::new().await, Receiver::start().await, Receiver::start().await);
    first.answer_next([400, 409, 410, 413, 415, 422].map(Answer::Status));
    let daemon = Running::start(&bench.config(&with_fallbacks(&first.url(), &[&second], "")));
    bench.subscribed().await;
    bench.push(7).await;
    accepted(&first, 1).await;
    daemon.stop().await.unwrap();
    assert_eq!(dead_letters(&bench.path("journal.db"), "crm").len(), 6);
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn all_are_tried_in_their_order_and_a_resting_one_serves_when_no_other_can() {
    let bench = Bench::new().await;
    let [first, second, third] =
        [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    first.answer_next([Answer::Status(503)]);
    second.answer_next([Answer::Status(500)]);
    third.answer(Answer::Status(502));
    let config = with_fallbacks(&first.url(), &[&second, &third], "");
    let daemon = Running::start(&bench.config(&config));
    bench.subscribed().await;
    bench.push(1).await;
    accepted(&first, 1).await;
    bench.push(1).await;
    accepted(&first, 2).await;
    daemon.stop().await.unwrap();
    let counts = [&first, &second, &third].map(|receiver| receiver.requests().len());
    assert_eq!(counts, [3, 1, 1], "once round, then the first, which stays the first");
}

#[tokio::test]
async fn one_that_asks_for_patience_is_left_alone_and_the_others_serve() {
    let (bench, first, second) =
        (Bench::new().await, Receiver::start().await, Receiver::start().await);
    first.answer(Answer::With(429, "Retry-After: 3600".to_owned()));
    second.answer_next([200, 503, 503, 200].map(Answer::Status));
    let daemon = Running::start(&bench.config(&with_fallbacks(&first.url(), &[&second], "")));
    bench.subscribed().await;
    bench.push(4).await;
    accepted(&second, 4).await;
    daemon.stop().await.unwrap();
    assert_eq!((first.requests().len(), second.requests().len()), (1, 6));
}

#[tokio::test]
async fn if_all_ask_for_patience_the_shortest_wait_counts() {
    let (bench, first, second) =
        (Bench::new().await, Receiver::start().await, Receiver::start().await);
    first.answer(Answer::With(503, "Retry-After: 3600".to_owned()));
    second.answer_next([Answer::With(503, "Retry-After: 1".to_owned())]);
    let daemon = Running::start(&bench.config(&with_fallbacks(&first.url(), &[&second], "")));
    bench.subscribed().await;
    bench.push(1).await;
    until("both were asked", async || !second.requests().is_empty()).await;
    let asked = tokio::time::Instant::now();
    accepted(&second, 1).await;
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    daemon.stop().await.unwrap();
    assert_eq!(first.requests().len(), 1);
}

#[tokio::test]
async fn one_that_is_not_there_at_all_is_passed_over() {
    let (bench, second) = (Bench::new().await, Receiver::start().await);
    let gone = Receiver::start().await.url();
    let daemon = Running::start(&bench.config(&with_fallbacks(&gone, &[&second], "in_flight = 4")));
    bench.subscribed().await;
    bench.push(20).await;
    accepted(&second, 20).await;
    daemon.stop().await.unwrap();
    assert!(!sent(&bench).is_empty());
}
