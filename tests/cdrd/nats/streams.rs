//! Streams: found, made, missing, and what `check` says of them.

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use insta::assert_snapshot;

use super::{RAW, Server, has_all, program, sink, started};
use crate::harness::Bench;
use crate::port::Port;
use crate::process::{Outcome, Process, cdrd};

/// What `check --connect` says about the sink.
async fn checked(bench: &Bench, server: &Server, lines: &str, code: i32) -> String {
    let text = bench.config_text(&sink(server, lines));
    let config = bench.path("check.toml");
    std::fs::write(&config, text).unwrap();
    let command = &mut cdrd(["check", "--connect", "-c", config.to_str().unwrap()]);
    let outcome: Outcome = Process::run(command, "").await.ended_with(code);
    let line = outcome.stdout.lines().find(|line| line.contains("sink \""));
    line.unwrap_or_default().replace(&server.address().to_string(), "[NATS]")
}

const MAKE: &str = "create_stream = { name = \"CDR\", max_bytes = \"1GiB\", max_age = \"30d\", duplicate_window = \"10m\" }";

#[tokio::test]
async fn a_stream_is_made_if_the_file_says_so_and_only_by_the_daemon() {
    let bench = Bench::new().await;
    let server = Server::with("");
    let lines = format!("{RAW}\n{MAKE}");
    assert_snapshot!(checked(&bench, &server, &lines, 0).await, @r#"ok      sink "nats": nats://[NATS] takes cdr.*.*.* into stream CDR, which will be made"#);
    let daemon = started(&bench, &server, &lines).await;
    bench.push(3).await;
    server.has_stream().await;
    has_all(&bench, &server).await;
    let config = server.ask(async |jetstream| {
        jetstream.get_stream("CDR").await.unwrap().cached_info().config.clone()
    });
    assert_eq!(config.subjects, ["cdr.*.*.*"]);
    assert_eq!((config.max_bytes, config.max_age.as_secs()), (1 << 30, 30 * 86_400));
    assert_eq!(config.duplicate_window.as_secs(), 600);
    assert_eq!(config.discard, DiscardPolicy::New);
    assert_snapshot!(checked(&bench, &server, &lines, 0).await, @r#"ok      sink "nats": nats://[NATS] takes cdr.*.*.* into stream CDR, which knows duplicates for 600s"#);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_stream_events_wait_until_there_is_one() {
    let bench = Bench::new().await;
    let server = Server::with("");
    let mut daemon = program(&bench, &server, RAW).await;
    bench.push(3).await;
    daemon.logs("no stream takes the subjects cdr.*.*.*").await;
    server.make("CDR", Config::default());
    has_all(&bench, &server).await;
    // And again, in the middle of everything.
    server.ask(async |jetstream| jetstream.delete_stream("CDR").await.unwrap());
    bench.push(1).await;
    server.make("OTHER", Config::default());
    let calls = async |jetstream: async_nats::jetstream::Context| {
        jetstream.get_stream("OTHER").await.unwrap().cached_info().state.messages
    };
    crate::harness::until("the new stream has some", async || server.ask(calls) > 0).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn check_tells_what_is_missing() {
    let bench = Bench::new().await;
    let server = Server::with("");
    assert_snapshot!(checked(&bench, &server, "", 69).await, @r#"FAILED  sink "nats": nats://[NATS]: no stream takes the subjects cdr.*.*.*; make one (nats stream add CDR --subjects "cdr.*.*.*"), or set create_stream"#);
    server.make("CDR", Config::default());
    let other = "subject = \"calls.{pbx}\"\ncreate_stream = { name = \"CDR\" }";
    assert_snapshot!(checked(&bench, &server, other, 69).await, @r#"FAILED  sink "nats": nats://[NATS]: the stream CDR is there, but takes only cdr.>; add "calls.*" to its subjects"#);
    assert_snapshot!(checked(&bench, &server, "", 0).await, @r#"ok      sink "nats": nats://[NATS] takes cdr.*.*.* into stream CDR, which knows duplicates for 120s"#);
    server.stop();
    assert_snapshot!(checked(&bench, &server, "", 69).await, @r#"FAILED  sink "nats": nats://[NATS]: cannot connect: Connection refused (os error 111); is the server running?"#);
}

#[tokio::test]
async fn a_server_without_jetstream_is_told() {
    let bench = Bench::new().await;
    let server = Server::without_jetstream();
    assert_snapshot!(checked(&bench, &server, "", 69).await, @r#"FAILED  sink "nats": nats://[NATS]: JetStream is not enabled on this server, or not for this account"#);
}

#[tokio::test]
async fn of_several_servers_the_first_that_works_is_taken() {
    let bench = Bench::new().await;
    let server = Server::with_stream();
    let nobody = Port::reserve();
    let urls = format!("url = [\"nats://{}\", {:?}]", nobody.address, server.url());
    let text = sink(&server, RAW).replace(&format!("url = {:?}", server.url()), &urls);
    let daemon = crate::harness::Running::start(&bench.config(&text));
    bench.subscribed().await;
    bench.push(3).await;
    has_all(&bench, &server).await;
    daemon.stop().await.unwrap();
}
