//! `cdrd tail`: beside a running daemon and without one.

use cdrd::simulator::{Ending, Options, Simulator};
use serde_json::Value;

use super::{config_file, delivered, listing, output, subscribed_daemon};
use crate::harness::{Bench, PATIENCE};
use crate::process::{Process, cdrd};

fn tail(arguments: &[&str]) -> Process {
    Process::start(&mut cdrd(["tail"].iter().chain(arguments)))
}

/// The lines of calls, below the header.
fn calls(said: &str) -> Vec<&str> {
    let mut lines = said.lines();
    let header = lines.next().unwrap_or_default();
    assert!(header.starts_with("STARTED ") && header.ends_with("OUTCOME"), "{header}");
    lines.collect()
}

/// Waits for so many lines of calls, then types Ctrl-C.
async fn shows(mut tail: Process, count: usize) -> String {
    tail.has_said("every call", |said| said.lines().count() > count).await;
    tail.signal("INT");
    let outcome = tail.ended().await.ended_with(0);
    assert_eq!(outcome.stderr, "");
    let lines = calls(&outcome.stdout);
    assert_eq!(lines.len(), count, "{}", outcome.stdout);
    assert!(lines.iter().all(|line| line.contains(" → ")), "{}", outcome.stdout);
    outcome.stdout
}

#[tokio::test]
async fn beside_a_daemon_it_shows_calls_from_now_on_and_connects_nowhere() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(5).await;
    delivered(&bench).await;
    let mut tail = tail(&["-c", &config]);
    tail.says("STARTED").await;
    bench.push(2).await;
    assert!(bench.pbx.subscribed() <= 1, "it has a connection of its own");
    shows(tail, 2).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn since_shows_earlier_calls_first() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(5).await;
    delivered(&bench).await;
    let mut tail = tail(&["-c", &config, "--since", "1h"]);
    tail.has_said("the earlier calls", |said| said.lines().count() > 5).await;
    bench.push(2).await;
    shows(tail, 7).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn json_is_what_a_cloudevents_sink_gets_byte_for_byte() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(5).await;
    let mut tail = tail(&["-c", &config, "--since", "1h", "--json"]);
    bench.push(5).await;
    let events = bench.pbx.log().len();
    tail.has_said("every event", |said| said.lines().count() >= events).await;
    tail.signal("INT");
    let told = tail.ended().await.ended_with(0).stdout;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    assert!(bench.compare() > 0);
    assert_eq!(told, std::fs::read_to_string(bench.path("cdr.jsonl")).unwrap());
}

#[tokio::test]
async fn one_of_several_pbxs_can_be_chosen_and_an_unknown_one_is_a_usage_error() {
    let bench = Bench::new().await;
    let branch = Simulator::start(Options { seed: 2, ..Options::default() }).await.unwrap();
    let other = bench.pbx_table().replace("pbx.hq", "pbx.branch");
    let other = other.replace(&bench.pbx.url(), &branch.url());
    let config = config_file(&bench, &format!("{other}{}", bench.raw_sink()));
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    assert!(branch.wait_subscribed(1, PATIENCE).await);
    let mut tail = tail(&["-c", &config, "--pbx", "branch", "--since", "1h", "--json"]);
    bench.push(5).await;
    branch.push_calls(1).await;
    let events = branch.log().len();
    tail.has_said("the branch's events", |said| said.lines().count() >= events).await;
    tail.signal("INT");
    let told = tail.ended().await.ended_with(0).stdout;
    for line in told.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["source"], "/pbx/branch");
    }
    assert_eq!(told.lines().count(), events);

    let outcome = output(&["tail", "-c", &config, "--pbx", "brunch"]).await.ended_with(64);
    assert_eq!(outcome.stderr, "cdrd: --pbx brunch: the configuration knows hq, branch\n");
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn without_a_daemon_it_connects_by_itself_and_writes_nothing() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let before = listing(bench.directory.path());
    let tail = tail(&["-c", &config, "--since", "1h"]);
    bench.subscribed().await;
    bench.push(3).await;
    assert_eq!(listing(bench.directory.path()), before);
    shows(tail, 3).await;
    assert_eq!(listing(bench.directory.path()), before);
    assert!(bench.pbx.wait_disconnected(PATIENCE).await);
    let ending = bench.pbx.connections().last().unwrap().ending.clone();
    assert_eq!(ending, Some(Ending::ClosedByClient(Some(1000))));
}

/// A daemon has come and gone; returns the path of its configuration.
async fn after_a_daemon(bench: &Bench) -> String {
    let config = config_file(bench, &bench.raw_sink());
    let daemon = subscribed_daemon(bench, &["-c", &config]).await;
    bench.push(5).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    assert!(bench.pbx.wait_disconnected(PATIENCE).await);
    config
}

#[tokio::test]
async fn without_a_daemon_since_reads_the_journal_that_one_left() {
    let bench = Bench::new().await;
    let config = after_a_daemon(&bench).await;
    let tail = tail(&["-c", &config, "--since", "1h"]);
    bench.subscribed().await;
    bench.push(2).await;
    shows(tail, 7).await;
}

#[tokio::test]
async fn reading_a_journal_that_a_daemon_left_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let config = after_a_daemon(&bench).await;
    let before = listing(bench.directory.path());
    let mut tail = tail(&["-c", &config, "--since", "1h"]);
    tail.has_said("the earlier calls", |said| said.lines().count() > 5).await;
    tail.signal("INT");
    tail.ended().await.ended_with(0);
    assert_eq!(listing(bench.directory.path()), before);
}

#[tokio::test]
async fn a_refused_login_is_tried_once_and_ends_it_with_69() {
    let bench = Bench::new().await;
    bench.pbx.refuse_logins(9, "Account is suspended");
    let config = config_file(&bench, &bench.raw_sink());
    let before = listing(bench.directory.path());
    let outcome = output(&["tail", "-c", &config]).await.ended_with(69);
    assert!(
        outcome
            .stderr
            .contains("cdrd: pbx \"hq\": the PBX refused the login: Account is suspended;"),
        "{}",
        outcome.stderr
    );
    assert_eq!(bench.pbx.logins().len(), 1);
    assert_eq!(listing(bench.directory.path()), before);
}

#[tokio::test]
async fn without_a_daemon_no_sink_gets_anything() {
    let bench = Bench::new().await;
    let sinks = "[sink.out]\ntype = \"stdout\"\nformat = \"raw\"\n";
    let config = config_file(&bench, sinks);
    let tail = tail(&["-c", &config]);
    bench.subscribed().await;
    bench.push(3).await;
    let told = shows(tail, 3).await;
    assert!(!told.contains("event_type"), "{told}");
}
