//! Dead letters, quarantine, replay and export: beside a daemon and without one.

use std::collections::BTreeSet;
use std::process::Output;
use std::sync::Arc;

use cdrd::daemon::Ended;
use cdrd::event::Origin;
use cdrd::journal::Journal;
use cdrd::journal::quarantine::Quarantined;
use serde_json::Value;

use crate::harness::{Bench, Running, dead_letters, envelopes_so_far, parse, quarantine, until};
use crate::receiver::{Answer, Receiver};

/// Runs a command of the real program to its end.
async fn cdrd(bench: &Bench, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_cdrd"));
    command.args(args).arg("-c").arg(bench.path("config.toml")).kill_on_drop(true);
    tokio::time::timeout(crate::harness::PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{args:?} does not end"))
        .unwrap()
}

async fn says(bench: &Bench, args: &[&str], code: i32) -> String {
    let output = cdrd(bench, args).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    format!("{out}{err}")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes the configuration for commands and starts a daemon with it.
fn start(bench: &Bench, sinks: &str) -> Running {
    let text = bench.config_text(sinks);
    std::fs::write(bench.path("config.toml"), &text).unwrap();
    Running::start(&parse(&text))
}

fn crm(receiver: &Receiver) -> String {
    format!(
        "[sink.crm]\ntype = \"http\"\nurl = {:?}\nretry = {{ initial = \"10ms\", max = \"50ms\" }}\n",
        receiver.url()
    )
}

fn ids(receiver: &Receiver) -> Vec<String> {
    receiver.accepted().iter().map(|r| r.header("ce-id").unwrap().to_owned()).collect()
}

/// A daemon whose receiver has refused `calls` calls for good.
async fn refused(calls: u64) -> (Bench, Receiver, Running, usize) {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    receiver.answer(Answer::Status(422));
    let daemon = start(&bench, &crm(&receiver));
    bench.subscribed().await;
    bench.push(calls).await;
    let (journal, events) = (bench.path("journal.db"), bench.pbx.log().len());
    until("all are dead letters", async || dead_letters(&journal, "crm").len() == events).await;
    (bench, receiver, daemon, events)
}

#[tokio::test]
async fn dead_letters_are_listed_shown_and_sent_again_beside_a_daemon() {
    let (bench, receiver, daemon, events) = refused(2).await;
    let list = says(&bench, &["dead-letters", "list"], 0).await;
    assert_eq!(list.lines().count(), events + 1, "{list}");
    assert!(list.contains("answered 422"), "{list}");
    for caller in bench.pbx.log().iter().filter_map(|p| p.session_id.clone()) {
        assert!(!list.contains(&caller), "no content in a list: {list}");
    }
    let show = says(&bench, &["dead-letters", "show", "1"], 0).await;
    let first: Value = serde_json::from_str(show.lines().last().unwrap()).unwrap();
    assert_eq!(first["seq"], 1);

    let again = says(&bench, &["dead-letters", "retry", "1", "2"], 69).await;
    assert!(again.contains("0 delivered, 2 refused again"), "{again}");
    receiver.answer(Answer::Status(200));
    let again = says(&bench, &["dead-letters", "retry", "--all", "--sink", "crm"], 0).await;
    assert!(again.contains(&format!("{events} delivered, 0 refused again")), "{again}");
    assert_eq!(ids(&receiver).iter().collect::<BTreeSet<_>>().len(), events);
    assert_eq!(says(&bench, &["dead-letters", "list"], 0).await, "no dead letters\n");

    // The sink's own way goes on as if nothing had been.
    bench.push(1).await;
    let all = bench.pbx.log().len();
    until("live events arrive", async || receiver.accepted().len() == all).await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn dead_letters_are_sent_again_and_dropped_without_a_daemon() {
    let (bench, receiver, daemon, events) = refused(2).await;
    daemon.stop().await.unwrap();
    receiver.answer(Answer::Status(200));
    receiver.answer_next([Answer::Status(503), Answer::Cut, Answer::Status(400)]);
    let again = says(&bench, &["dead-letters", "retry", "--all"], 69).await;
    assert!(again.contains(&format!("{} delivered, 1 refused again", events - 1)), "{again}");
    assert_eq!(receiver.accepted().len(), events - 1);
    let left = dead_letters(&bench.path("journal.db"), "crm");
    assert_eq!(left.len(), 1);
    assert!(left[0].reason.contains("400"), "{}", left[0].reason);
    assert!(
        says(&bench, &["dead-letters", "drop", "999"], 64).await.contains("no dead letter 999")
    );
    assert_eq!(says(&bench, &["dead-letters", "drop", "--all"], 0).await, "1 dropped\n");
    assert!(dead_letters(&bench.path("journal.db"), "crm").is_empty());
}

#[tokio::test]
async fn the_quarantine_is_listed_shown_retried_and_dropped() {
    let bench = Bench::new().await;
    let daemon = start(&bench, &bench.raw_sink());
    bench.subscribed().await;
    let broken = b"{\"event_type\":\"call_cdr\" oops \xff";
    bench.pbx.push_bytes(broken).await;
    bench.push(1).await;
    let journal = bench.path("journal.db");
    until("it is there", async || quarantine(&journal).len() == 1).await;
    let list = says(&bench, &["quarantine", "list"], 0).await;
    assert!(list.contains("not UTF-8") && list.contains("hq"), "{list}");
    assert_eq!(cdrd(&bench, &["quarantine", "show", "1"]).await.stdout, broken);
    let again = says(&bench, &["quarantine", "retry", "1"], 69).await;
    assert!(again.contains("0 decoded, 1 not"), "{again}");

    // As if a newer cdrd understood what this one did not.
    put_into_quarantine(&daemon.journal, r#"{"event_type":"call_cdr","session_id":"77"}"#).await;
    until("it is there", async || quarantine(&journal).len() == 2).await;
    let again = says(&bench, &["quarantine", "retry", "--all"], 69).await;
    assert!(again.contains("1 decoded, 1 not"), "{again}");
    let file = bench.path("cdr.jsonl");
    until("the file has it", async || envelopes_so_far(&file).iter().any(|e| e["subject"] == "77"))
        .await;
    assert_eq!(says(&bench, &["quarantine", "drop", "1"], 0).await, "1 dropped\n");
    assert_eq!(says(&bench, &["quarantine", "list"], 0).await, "the quarantine is empty\n");
    daemon.stop().await.unwrap();
}

async fn put_into_quarantine(journal: &Journal, text: &str) {
    let entry = Quarantined {
        pbx: Arc::from("hq"),
        origin: Origin::Live,
        received_ms: 1_795_000_000_000,
        reason: "not understood yet".to_owned(),
        size: text.len() as u64,
        data: bytes::Bytes::from(text.to_owned()),
    };
    journal.intake().suspects(&mut vec![entry]).await.unwrap();
}

#[tokio::test]
async fn the_quarantine_is_retried_without_a_daemon_and_the_next_daemon_delivers() {
    let bench = Bench::new().await;
    let daemon = start(&bench, &bench.raw_sink());
    put_into_quarantine(&daemon.journal, r#"{"event_type":"call_cdr","session_id":"77"}"#).await;
    daemon.stop().await.unwrap();
    let again = says(&bench, &["quarantine", "retry", "--all"], 0).await;
    assert!(again.contains("1 decoded, 0 not"), "{again}");
    let daemon = start(&bench, &bench.raw_sink());
    let file = bench.path("cdr.jsonl");
    until("the file has it", async || envelopes_so_far(&file).iter().any(|e| e["subject"] == "77"))
        .await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_replay_sends_the_same_events_again_and_moves_no_cursor() {
    for beside_a_daemon in [true, false] {
        let (bench, receiver) = (Bench::new().await, Receiver::start().await);
        let mut daemon = Some(start(&bench, &crm(&receiver)));
        bench.subscribed().await;
        bench.push(20).await;
        let events = bench.pbx.log().len();
        until("all arrive", async || receiver.accepted().len() == events).await;
        let before = ids(&receiver);
        let cursor = daemon.as_ref().unwrap().journal.cursor("crm").unwrap();
        if !beside_a_daemon {
            daemon.take().unwrap().stop().await.unwrap();
        }
        // A receiver that fails meanwhile gets it all the same.
        receiver.answer_next([Answer::Status(200), Answer::Status(503), Answer::Cut]);
        let words = says(&bench, &["replay", "--sink", "crm", "--since", "1h"], 0).await;
        assert!(words.contains(&format!("events 1 to {events}")), "{words}");
        assert_eq!(ids(&receiver)[events..], before, "the same, in the same order");

        let from = (events - 4).to_string();
        says(&bench, &["replay", "--sink", "crm", "--from-seq", &from], 0).await;
        assert_eq!(ids(&receiver)[2 * events..], before[events - 5..]);
        let nothing =
            says(&bench, &["replay", "--sink", "crm", "--since", "2h", "--until", "1h"], 0).await;
        assert!(nothing.contains("nothing to send"), "{nothing}");
        assert_eq!(cursor.get(), events as u64);
        if let Some(daemon) = daemon {
            bench.push(1).await;
            let more = bench.pbx.log().len() - events;
            until("live events go on", async || receiver.accepted().len() == 2 * events + 5 + more)
                .await;
            drop(cursor);
            daemon.stop().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_replay_neither_delays_nor_is_lost_by_a_restart() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let sinks = format!("{}{}", bench.raw_sink(), crm(&receiver));
    let daemon = start(&bench, &sinks);
    bench.subscribed().await;
    bench.push(100).await;
    let events = bench.pbx.log().len();
    until("all arrive", async || receiver.accepted().len() == events).await;
    // The receiver is down: the request waits, over a restart too.
    receiver.answer(Answer::Status(503));
    let replay = tokio::spawn({
        let config = bench.path("config.toml");
        async move {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_cdrd"));
            command.args(["replay", "--sink", "crm", "--from-seq", "1", "-c"]).arg(config);
            command.kill_on_drop(true).output().await.unwrap()
        }
    });
    let tried = receiver.requests().len();
    until("it is tried", async || receiver.requests().len() > tried).await;
    replay.abort();
    bench.push(1).await;
    assert!(bench.pbx.log().len() > events);
    let file = bench.path("raw.jsonl");
    let newest = bench.pbx.log().last().unwrap().bytes.to_vec();
    until("the other sink does not wait", async || {
        std::fs::read(&file).unwrap_or_default().ends_with(&[&newest[..], b"\n"].concat())
    })
    .await;
    // The receiver is still down: there is nothing to wait for.
    daemon.stop.now.cancel();
    assert_eq!(daemon.stop().await.unwrap(), Ended::AtDeadline);
    bench.compare();

    receiver.answer(Answer::Status(200));
    let daemon = start(&bench, &sinks);
    let all = bench.pbx.log().len();
    until("the replay is served after all", async || receiver.accepted().len() == events + all)
        .await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn an_export_is_what_the_journal_has() {
    let bench = Bench::new().await;
    let daemon = start(&bench, &bench.raw_sink());
    bench.subscribed().await;
    bench.push(30).await;
    let raw = bench.path("raw.jsonl");
    let events = bench.pbx.log().len();
    until("the file has all", async || {
        std::fs::read(&raw).unwrap_or_default().iter().filter(|b| **b == b'\n').count() == events
    })
    .await;
    // Beside the daemon.
    let exported = cdrd(&bench, &["export", "--format", "raw"]).await.stdout;
    assert!(exported == std::fs::read(&raw).unwrap());
    daemon.stop().await.unwrap();
    let exported = cdrd(&bench, &["export"]).await.stdout;
    assert!(exported == std::fs::read(bench.path("cdr.jsonl")).unwrap());
    let cdrs = cdrd(&bench, &["export", "--type", "call_cdr", "--since", "1h"]).await.stdout;
    assert_eq!(text(&cdrs).lines().count(), 30);
    let table =
        text(&cdrd(&bench, &["export", "--type", "call_cdr", "--format", "csv"]).await.stdout);
    assert_eq!(table.matches("\r\n").count(), 31, "a header and a row for each call");
    assert!(table.starts_with("schema,id,pbx,"), "{table}");
    assert!(table.contains(",cost,targets\r\n"), "CDRs alone need no column for the type");
    let records =
        text(&cdrd(&bench, &["export", "--type", "call_cdr", "--format", "record"]).await.stdout);
    assert!(
        records.lines().all(|line| line.starts_with(r#"{"schema":"cdr/1","id":"#)),
        "{records}"
    );
    assert!(cdrd(&bench, &["export", "--until", "1h"]).await.stdout.is_empty());
    let wrong = says(&bench, &["export", "--since", "yesterday"], 64).await;
    assert!(wrong.contains("is no point in time"), "{wrong}");
}

#[tokio::test]
async fn a_sink_or_a_journal_that_is_not_there_is_told() {
    let bench = Bench::new().await;
    std::fs::write(bench.path("config.toml"), bench.config_text(&bench.raw_sink())).unwrap();
    let words = says(&bench, &["replay", "--sink", "nobody", "--since", "1h"], 64).await;
    assert!(
        words.contains("no sink \"nobody\"") && words.contains("\"raw\", \"archive\""),
        "{words}"
    );
    let words = says(&bench, &["replay", "--sink", "raw", "--since", "1h"], 74).await;
    assert!(words.contains("no journal at"), "{words}");
}

#[tokio::test]
async fn people_need_no_credentials_to_look_beside_a_daemon() {
    let bench = Bench::new().await;
    let daemon = start(&bench, &bench.raw_sink());
    bench.subscribed().await;
    bench.push(3).await;
    let events = bench.pbx.log().len() as u64;
    until("all are delivered", async || daemon.journal.cursor("raw").unwrap().get() == events)
        .await;
    let text = bench.config_text(&bench.raw_sink());
    let secret = "{ credential = \"pbx-hq\" }";
    std::fs::write(bench.path("config.toml"), text.replace("\"cdrd-demo\"", secret)).unwrap();
    assert_eq!(says(&bench, &["export", "--type", "call_cdr"], 0).await.lines().count(), 3);
    assert_eq!(says(&bench, &["dead-letters", "list"], 0).await, "no dead letters\n");
    says(&bench, &["replay", "--sink", "raw", "--from-seq", "1"], 0).await;
    says(&bench, &["quarantine", "retry", "--all"], 0).await;
    daemon.stop().await.unwrap();
    // Without a daemon, who sends must be able to log in.
    let words = says(&bench, &["replay", "--sink", "raw", "--from-seq", "1"], 78).await;
    assert!(words.contains("CREDENTIALS_DIRECTORY"), "{words}");
}
