//! What nobody heard is fetched back: after outages of every kind, whatever is odd
//! about the PBX's REST interface, the file has every call of the PBX's own list once.

use std::collections::BTreeMap;
use std::time::Duration;

use cdrd::journal::gaps::{self, Span};
use cdrd::journal::reader::Reader;
use cdrd::simulator::{DownDoor, Options, RestFaults};
use fastrand::Rng;
use serde_json::Value;

use crate::harness::{Bench, NO_BACKFILL, PATIENCE, Running, envelopes, parse, until};

/// As fast as REST allows, and no long waits.
const BACKFILL: &str =
    "backfill = { settle = \"500ms\", requests_per_minute = 1000, reconcile_every = \"0s\" }";

fn config_text(bench: &Bench, backfill: &str) -> String {
    bench.config_text(&bench.raw_sink()).replace(NO_BACKFILL, backfill)
}

fn start(bench: &Bench) -> Running {
    Running::start(&parse(&config_text(bench, BACKFILL)))
}

fn spans(bench: &Bench) -> Vec<Span> {
    Reader::open(&bench.path("journal.db")).unwrap().ask(gaps::list).unwrap()
}

/// How often each call's CDR is in the file, by session.
fn delivered(bench: &Bench) -> BTreeMap<String, usize> {
    let mut delivered = BTreeMap::new();
    for event in envelopes(&bench.path("cdr.jsonl")) {
        if event["type"] == "com.portsip.pbx.call_cdr" {
            *delivered.entry(event["subject"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    delivered
}

fn expected(bench: &Bench) -> BTreeMap<String, usize> {
    bench.pbx.ended_calls().into_iter().map(|call| (call.session_id, 1)).collect()
}

/// Waits until every gap is closed, and then for the file.
async fn complete(bench: &Bench) {
    until("every gap is closed", async || {
        let spans = spans(bench);
        !spans.is_empty() && spans.iter().all(|span| span.closed_ms.is_some())
    })
    .await;
    let wanted = expected(bench);
    until("every call is in the file", async || delivered(bench).len() >= wanted.len()).await;
    let got = delivered(bench);
    let missing: Vec<_> = wanted.keys().filter(|call| !got.contains_key(*call)).collect();
    assert!(missing.is_empty(), "{} missing: {missing:?}", missing.len());
    assert!(got == wanted, "doubled: {:?}", got.iter().filter(|(_, n)| **n > 1).collect::<Vec<_>>());
}

/// The ways in which nobody listens.
async fn outage(bench: &Bench, random: &mut Rng, calls: u64) {
    match random.u8(0..4) {
        0 => {
            let push = bench.pbx.push_calls(calls);
            let moment = Duration::from_millis(random.u64(0..20));
            let cut = async {
                tokio::time::sleep(moment).await;
                bench.pbx.reset_all().await;
            };
            tokio::join!(push, cut);
        }
        1 => {
            bench.pbx.go_down(DownDoor::Refuses).await;
            bench.pbx.push_calls(calls).await;
            bench.pbx.come_up().await.unwrap();
        }
        2 => {
            bench.pbx.go_down(DownDoor::Slams).await;
            bench.pbx.push_calls(calls).await;
            bench.pbx.come_up().await.unwrap();
        }
        _ => {
            bench.pbx.silence_open().await;
            bench.pbx.push_calls(calls).await;
            assert!(bench.pbx.wait_disconnected(PATIENCE).await);
        }
    }
    bench.subscribed().await;
}

/// A thousand calls with outages at thirty moments.
async fn nothing_is_lost_with(seed: u64, faults: impl FnOnce(&mut RestFaults)) -> Bench {
    let bench = Bench::with(Options { seed, ..Options::default() }).await;
    bench.pbx.set_faults(|all| faults(&mut all.rest));
    let daemon = start(&bench);
    bench.subscribed().await;
    let mut random = Rng::with_seed(seed);
    for _ in 0..30 {
        let calls = random.u64(1..34);
        bench.pbx.push_calls(calls).await;
        outage(&bench, &mut random, 34 - calls).await;
    }
    assert!(expected(&bench).len() >= 1_000);
    complete(&bench).await;
    let lost = bench.pbx.ended_calls().iter().filter(|call| !call.pushed).count();
    assert!(lost > 100, "the outages lost only {lost}");
    daemon.stop().await.unwrap();
    bench
}

#[tokio::test]
async fn every_call_of_an_outage_is_fetched_back_once() {
    nothing_is_lost_with(1, |_| {}).await;
}
