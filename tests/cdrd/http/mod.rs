//! The HTTP sink: what it sends, and what each answer does.
//!
//! | file | asks |
//! |---|---|
//! | `batches` | several events in a request, several requests at once |
//! | `credentials` | Digest, signatures, secret headers; is no secret ever shown? |
//! | `fallbacks` | who gets events when the first receiver cannot take them |
//! | `network` | connections, proxies, TLS, client certificates, HTTP/2 |

mod batches;
mod credentials;
mod fallbacks;
mod network;

pub use network::Authority;

use std::time::Duration;

use cdrd::daemon::Ended;
use cdrd::simulator::Options;
use tokio::time::Instant;

use crate::harness::{Bench, Running, dead_letters, until};
use crate::port::Port;
use crate::receiver::{Answer, Receiver};

/// `[sink.crm]` with short waits.
fn crm(receiver: &Receiver, more: &str) -> String {
    crm_at(&receiver.url(), more)
}

fn crm_at(url: &str, more: &str) -> String {
    format!(
        "[sink.crm]\ntype = \"http\"\nurl = {url:?}\nretry = {{ initial = \"10ms\", max = \"50ms\" }}\n{more}\n"
    )
}

/// The bytes of the events that were pushed, in order.
fn sent(bench: &Bench) -> Vec<Vec<u8>> {
    let log = bench.pbx.log();
    log.iter().filter(|p| p.event_type.is_some()).map(|p| p.bytes.to_vec()).collect()
}

async fn accepted(receiver: &Receiver, count: usize) {
    until("the receiver has everything", async || receiver.accepted().len() >= count).await;
}

#[tokio::test]
async fn each_event_is_posted_as_the_pbx_would_with_its_attributes_as_headers() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let more = "headers = { X-Team = \"voice\" }\nauth = { bearer = \"t0ken\" }";
    let daemon = Running::start(&bench.config(&crm(&receiver, more)));
    bench.subscribed().await;
    bench.push(2).await;
    accepted(&receiver, sent(&bench).len()).await;
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);

    let got = receiver.requests();
    let bodies: Vec<_> = got.iter().map(|r| r.body.clone()).collect();
    assert_eq!(bodies, sent(&bench), "the bodies are the frames, byte for byte, in order");
    for (request, seq) in got.iter().zip(1..) {
        assert_eq!(request.line, "POST /hooks/cdr HTTP/1.1");
        let data: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let header = |name| request.header(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("ce-specversion"), "1.0");
        assert_eq!(header("ce-source"), "/pbx/hq");
        let event_type = data["event_type"].as_str().unwrap();
        assert_eq!(header("ce-type"), format!("com.portsip.pbx.{event_type}"));
        assert_eq!(header("ce-subject"), data["session_id"].as_str().unwrap());
        assert_eq!(header("ce-origin"), "live");
        assert_eq!(header("ce-seq"), seq.to_string());
        assert_eq!(header("ce-id"), header("idempotency-key"));
        assert_eq!(header("ce-id").len(), 36);
        assert!(header("ce-time").parse::<jiff::Timestamp>().is_ok());
        assert_eq!(header("x-team"), "voice");
        assert_eq!(header("authorization"), "Bearer t0ken");
    }
}

#[tokio::test]
async fn in_cloudevents_form_the_body_is_the_envelope() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let more = "format = \"cloudevents\"\nauth = { username = \"u\", password = \"p\" }";
    let daemon = Running::start(&bench.config(&crm(&receiver, more)));
    bench.subscribed().await;
    bench.push(1).await;
    accepted(&receiver, sent(&bench).len()).await;
    daemon.stop().await.unwrap();
    for (request, raw) in receiver.requests().iter().zip(sent(&bench)) {
        assert_eq!(request.header("content-type"), Some("application/cloudevents+json"));
        assert_eq!(request.header("authorization"), Some("Basic dTpw"));
        let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(event["data"], serde_json::from_slice::<serde_json::Value>(&raw).unwrap());
        assert_eq!(event["id"], request.header("idempotency-key").unwrap());
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_nothing_overtakes() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let passing = [408, 425, 429, 500, 502, 503, 504, 401, 403, 404, 302];
    receiver.answer_next(passing.map(Answer::Status));
    receiver.answer_next([Answer::Cut, Answer::Never]);
    let daemon = Running::start(&bench.config(&crm(&receiver, "timeout = \"200ms\"")));
    bench.subscribed().await;
    bench.push(3).await;
    accepted(&receiver, sent(&bench).len()).await;
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
    let bodies: Vec<_> = receiver.accepted().into_iter().map(|r| r.body).collect();
    assert_eq!(bodies, sent(&bench));
    let first = receiver.requests()[0].body.clone();
    let tries = receiver.requests().iter().filter(|r| r.body == first).count();
    assert_eq!(tries, passing.len() + 3);
    assert!(dead_letters(&bench.path("journal.db"), "crm").is_empty());
}

#[tokio::test]
async fn what_will_never_pass_is_a_dead_letter_at_once_and_the_rest_goes_on() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let final_ones = [400, 409, 410, 413, 415, 422];
    receiver.answer_next(final_ones.map(Answer::Status));
    let daemon = Running::start(&bench.config(&crm(&receiver, "")));
    bench.subscribed().await;
    bench.push(3).await;
    let events = sent(&bench);
    accepted(&receiver, events.len() - final_ones.len()).await;
    daemon.stop().await.unwrap();
    let bodies: Vec<_> = receiver.accepted().into_iter().map(|r| r.body).collect();
    assert_eq!(bodies, events[final_ones.len()..]);
    let letters = dead_letters(&bench.path("journal.db"), "crm");
    let kept: Vec<_> = letters.iter().map(|l| l.event.event.raw.to_vec()).collect();
    assert_eq!(kept, events[..final_ones.len()]);
    for (letter, status) in letters.iter().zip(final_ones) {
        assert!(letter.reason.contains(&status.to_string()), "{}", letter.reason);
    }
    assert!(letters[2].reason.contains("gone for good"), "{}", letters[2].reason);
}

#[tokio::test]
async fn an_event_is_given_up_after_the_configured_time() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    receiver.answer(Answer::Status(500));
    let sink =
        crm(&receiver, "").replace("max = \"50ms\"", "max = \"50ms\", give_up_after = \"200ms\"");
    let daemon = Running::start(&bench.config(&format!("{sink}events = [\"call_cdr\"]\n")));
    bench.subscribed().await;
    bench.push(1).await;
    let journal = bench.path("journal.db");
    until("it is given up", async || !dead_letters(&journal, "crm").is_empty()).await;
    daemon.stop().await.unwrap();
    let letter = &dead_letters(&journal, "crm")[0];
    assert!(letter.reason.contains("given up after 200ms"), "{}", letter.reason);
    assert!(receiver.requests().len() > 2);
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    receiver.answer_next([Answer::With(429, "Retry-After: 1".to_owned())]);
    let daemon = Running::start(&bench.config(&crm(&receiver, "events = [\"call_cdr\"]")));
    bench.subscribed().await;
    bench.push(1).await;
    until("the first try", async || !receiver.requests().is_empty()).await;
    let refused = Instant::now();
    accepted(&receiver, 1).await;
    assert!(refused.elapsed() >= Duration::from_millis(900), "{:?}", refused.elapsed());
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_is_down_all_day_gets_everything_in_order_and_delays_no_other_sink() {
    let bench = Bench::with(Options::default()).await;
    let port = Port::reserve();
    let receiver = Receiver::on(port.address).await;
    let sinks = format!("{}{}", bench.raw_sink(), crm(&receiver, ""));
    drop(receiver);
    let daemon = Running::start(&bench.config(&sinks));
    bench.subscribed().await;
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        bench.push(30).await;
        let (events, since) = (sent(&bench).len(), Instant::now());
        let file = bench.path("raw.jsonl");
        until("the file has everything at once", async || {
            let lines = std::fs::read(&file).unwrap_or_default();
            lines.iter().filter(|b| **b == b'\n').count() == events
        })
        .await;
        slowest = slowest.max(since.elapsed());
    }
    assert!(slowest < Duration::from_secs(10), "the file sink waited {slowest:?}");
    let events = sent(&bench);
    assert!(events.len() > 2_000, "more than memory holds: {}", events.len());

    let receiver = Receiver::on(port.address).await;
    accepted(&receiver, events.len()).await;
    bench.finish(daemon).await;
    let bodies: Vec<_> = receiver.accepted().into_iter().map(|r| r.body).collect();
    assert!(bodies == events, "not everything, or not in order");
}
