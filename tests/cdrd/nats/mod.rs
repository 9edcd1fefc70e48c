//! The NATS sink against a real server: what confirms, what is waited out, what is
//! refused; who is let in; streams that are there, and that are not.

mod access;
mod server;
mod streams;

use std::collections::BTreeSet;

use async_nats::jetstream::stream::{Config, DiscardPolicy};

use crate::harness::{Bench, Running, dead_letters, until};
use crate::process::{Process, cdrd};
pub use server::{Server, Stored};

/// A sink named `nats` that tries again at once.
pub fn sink(server: &Server, lines: &str) -> String {
    format!(
        "[sink.nats]\ntype = \"nats\"\nurl = {:?}\nstart = \"beginning\"\n\
         retry = {{ initial = \"10ms\", max = \"50ms\" }}\ntimeout = \"5s\"\n{lines}\n",
        server.url()
    )
}

fn bodies(server: &Server) -> Vec<Vec<u8>> {
    server.stored().into_iter().map(|message| message.body).collect()
}

fn sent(bench: &Bench) -> Vec<Vec<u8>> {
    let log = bench.pbx.log();
    log.iter().filter(|p| p.event_type.is_some()).map(|p| p.bytes.to_vec()).collect()
}

async fn has_all(bench: &Bench, server: &Server) {
    let sent = sent(bench);
    until("everything is in the stream", async || server.stored().len() >= sent.len()).await;
    assert!(bodies(server) == sent, "not the same bytes in the same order");
}

async fn started(bench: &Bench, server: &Server, lines: &str) -> Running {
    let daemon = Running::start(&bench.config(&sink(server, lines)));
    bench.subscribed().await;
    daemon
}

/// The same in a process of its own, whose log can be read.
async fn program(bench: &Bench, server: &Server, lines: &str) -> Process {
    logging(bench, server, lines, "info").await
}

/// The same, which says all that there is to say.
async fn talkative(bench: &Bench, server: &Server, lines: &str) -> Process {
    logging(bench, server, lines, "trace,async_nats=trace").await
}

async fn logging(bench: &Bench, server: &Server, lines: &str, level: &str) -> Process {
    let config = bench.path("config.toml");
    std::fs::write(&config, bench.config_text(&sink(server, lines))).unwrap();
    let config = config.to_str().unwrap();
    let mut program = Process::start(&mut cdrd(["run", "--log-level", level, "-c", config]));
    program.logs("state=\"subscribed\"").await;
    program
}

const RAW: &str = "format = \"raw\"";

#[tokio::test]
async fn the_id_goes_along_and_the_subject_says_whose_event_it_is() {
    let bench = Bench::new().await;
    let server = Server::with_stream();
    let daemon = started(&bench, &server, "events = [\"call_cdr\"]").await;
    bench.push(5).await;
    until("all calls are there", async || server.stored().len() == 5).await;
    for message in server.stored() {
        let event: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(message.header("Nats-Msg-Id"), event["id"]);
        assert_eq!(message.header("content-type"), "application/cloudevents+json");
        let tenant = event["data"]["tenant_id"].as_str().unwrap();
        assert_eq!(message.subject, format!("cdr.hq.{tenant}.call_cdr"));
    }
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn raw_events_have_their_envelope_in_headers() {
    let bench = Bench::new().await;
    let server = Server::with_stream();
    let daemon = started(&bench, &server, &format!("{RAW}\nsubject = \"cdr.{{pbx}}\"")).await;
    bench.push(1).await;
    has_all(&bench, &server).await;
    let first = server.stored().remove(0);
    assert_eq!(first.subject, "cdr.hq");
    assert_eq!(first.header("ce-id"), first.header("Nats-Msg-Id"));
    assert_eq!(first.header("ce-source"), "/pbx/hq");
    assert_eq!(first.header("ce-specversion"), "1.0");
    assert_eq!(first.header("content-type"), "application/json");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_restarts_or_is_killed_under_load_costs_no_event_and_no_order() {
    let bench = Bench::new().await;
    let server = Server::with_stream();
    let daemon = started(&bench, &server, RAW).await;
    for round in 0..6 {
        bench.push(40).await;
        // In the middle of the delivery, whenever that is.
        match round % 3 {
            0 => server.restart(),
            1 => {
                server.kill();
                bench.push(20).await;
                server.start();
            }
            _ => {}
        }
    }
    has_all(&bench, &server).await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_stream_is_waited_out() {
    let bench = Bench::new().await;
    let server = Server::with("");
    let full = Config { max_messages: 30, discard: DiscardPolicy::New, ..Config::default() };
    server.make("CDR", full.clone());
    // With several on their way, those behind a refused one may get in before it.
    let mut daemon = program(&bench, &server, &format!("{RAW}\nin_flight = 1")).await;
    bench.push(20).await;
    until("the stream is full", async || server.stored().len() == 30).await;
    daemon.logs("the stream is full (maximum messages exceeded").await;
    assert_eq!(dead_letters(&bench.path("journal.db"), "nats").len(), 0);
    let roomy =
        Config { name: "CDR".into(), subjects: vec!["cdr.>".into()], max_messages: -1, ..full };
    server.ask(async |jetstream| drop(jetstream.update_stream(roomy).await.unwrap()));
    has_all(&bench, &server).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn what_is_too_large_is_a_dead_letter_and_the_rest_goes_on() {
    let bench = Bench::new().await;
    let server = Server::with("max_payload: 20000");
    let config = Config { max_message_size: 9000, ..Config::default() };
    server.make("CDR", config);
    let daemon = started(&bench, &server, RAW).await;
    let event = |session: u32, size: usize| {
        let filling = "x".repeat(size);
        format!(r#"{{"event_type":"call_cdr","session_id":"{session}","user_data":"{filling}"}}"#)
    };
    let sizes = [10, 30_000, 10, 12_000, 10];
    for (session, size) in (1..).zip(sizes) {
        bench.pbx.push_raw(&event(session, size)).await;
    }
    until("the small ones are there", async || server.stored().len() == 3).await;
    daemon.stop().await.unwrap();
    let letters = dead_letters(&bench.path("journal.db"), "nats");
    let reasons: Vec<&str> = letters.iter().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("raise its max_payload"), "{reasons:?}");
    assert!(reasons[1].contains("raise its max_msg_size"), "{reasons:?}");
}

#[tokio::test]
async fn what_was_stored_already_is_stored_once() {
    let bench = Bench::new().await;
    let server = Server::with_stream();
    let daemon = started(&bench, &server, RAW).await;
    bench.push(10).await;
    has_all(&bench, &server).await;
    daemon.stop().await.unwrap();
    // Another journal knows nothing of the first one's deliveries: as after a restore,
    // or on another machine.
    std::fs::rename(bench.path("journal.db"), bench.path("old.db")).unwrap();
    let config = bench.config(&sink(&server, RAW));
    let daemon = Running::start(&config);
    bench.subscribed().await;
    for event in sent(&bench) {
        bench.pbx.push_raw(&String::from_utf8(event).unwrap()).await;
    }
    bench.pbx.settle().await.unwrap();
    daemon.stop().await.unwrap();
    let ids: BTreeSet<String> =
        server.stored().iter().map(|m| m.header("Nats-Msg-Id").to_owned()).collect();
    assert_eq!(ids.len(), server.stored().len(), "an id is there twice");
    let calls =
        |events: &[Stored]| events.iter().filter(|m| m.subject.ends_with("call_cdr")).count();
    assert_eq!(calls(&server.stored()), 10);
}
