//! What billing rests on: a file, a receiver and a program together; the receiver
//! fails at random, the daemon is killed again and again, and every event is
//! everywhere in the end.
//!
//! `CDRD_EVENTS` sets how many events; in CI it is a short run.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::crash::{Daemon, committed, terminate};
use crate::harness::{Bench, envelopes_so_far};
use crate::receiver::{Answer, Receiver};

/// Events of a run that nobody asked to be longer.
const EVENTS: usize = 6_000;
const KILLS: usize = 5;
/// One request in so many fails.
const ONE_IN: u32 = 5;

/// Keeps each event in a file and confirms it by its id.
const BILL: &str = r#"
import json, sys
kept = open(sys.argv[1], "a")
for line in sys.stdin:
    if not line.endswith("\n"):
        break
    kept.write(line)
    kept.flush()
    print(json.loads(line)["id"], flush=True)
"#;

fn sinks(bench: &Bench, receiver: &Receiver) -> String {
    let (file, program, kept) =
        (bench.path("cdr.jsonl"), bench.path("bill.py"), bench.path("billed.jsonl"));
    std::fs::write(&program, BILL).unwrap();
    format!(
        "[sink.archive]\ntype = \"file\"\npath = {file:?}\nstart = \"beginning\"\n\
         [sink.crm]\ntype = \"http\"\nurl = {:?}\nstart = \"beginning\"\n\
         retry = {{ initial = \"1ms\", max = \"5ms\" }}\n\
         [sink.bill]\ntype = \"exec\"\ncommand = [\"python3\", {program:?}, {kept:?}]\n\
         confirm = \"line\"\nstart = \"beginning\"\n",
        receiver.url()
    )
}

fn ids(path: &std::path::Path) -> BTreeSet<String> {
    envelopes_so_far(path).iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

fn received(receiver: &Receiver) -> BTreeSet<String> {
    receiver.accepted().iter().map(|r| r.header("ce-id").unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_at_every_sink_whatever_fails_and_whoever_is_killed() {
    let wanted = std::env::var("CDRD_EVENTS").map_or(EVENTS, |n| n.parse().unwrap());
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    receiver.fail_at_random(ONE_IN, vec![Answer::Status(500), Answer::Status(429), Answer::Cut]);
    let text = bench.config_text(&sinks(&bench, &receiver));
    std::fs::write(bench.path("config.toml"), text).unwrap();

    let mut random = fastrand::Rng::with_seed(5);
    let mut daemon = Daemon::start(&bench);
    let mut kills = 0;
    loop {
        bench.subscribed().await;
        bench.pbx.push_calls(random.u64(20..150)).await;
        let events = bench.journalled();
        // At random moments, spread over the run.
        if kills < KILLS && events * (KILLS + 1) > (kills + 1) * wanted {
            tokio::time::sleep(Duration::from_millis(random.u64(0..30))).await;
            daemon.kill();
            kills += 1;
            daemon = Daemon::start(&bench);
        } else if events >= wanted && kills == KILLS {
            break;
        }
    }
    let expected: BTreeSet<String> =
        committed(&bench).iter().map(|stored| stored.event.id.to_string()).collect();
    let everywhere = async {
        while received(&receiver).len() < expected.len()
            || ids(&bench.path("billed.jsonl")).len() < expected.len()
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let patience = Duration::from_secs(30 + wanted as u64 / 500);
    assert!(tokio::time::timeout(patience, everywhere).await.is_ok(), "not everything arrived");
    terminate(daemon).await;

    for (sink, got) in [
        ("file", ids(&bench.path("cdr.jsonl"))),
        ("http", received(&receiver)),
        ("exec", ids(&bench.path("billed.jsonl"))),
    ] {
        assert_eq!(expected.difference(&got).count(), 0, "{sink} lacks some");
    }
    let failed = receiver.requests().len() - receiver.accepted().len();
    println!("{} events, {kills} kills, {failed} requests failed", expected.len());
    assert!(failed > expected.len() / 10, "the receiver hardly failed: {failed}");
}
