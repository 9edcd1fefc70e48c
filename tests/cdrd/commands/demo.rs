//! `cdrd demo`: something to see at once, and nothing left behind.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::listing;
use crate::process::{Process, cdrd};

/// How long a newcomer is to wait for the first call.
const FIRST_CALL: Duration = Duration::from_secs(2);

/// A demo with a temporary folder of its own.
fn demo(folder: &tempfile::TempDir, arguments: &[&str]) -> Process {
    Process::start(cdrd(["demo"].iter().chain(arguments)).env("TMPDIR", folder.path()))
}

fn nothing_left(folder: &tempfile::TempDir) {
    assert_eq!(listing(folder.path()), []);
}

#[tokio::test]
async fn it_shows_the_first_call_at_once_ends_after_the_last_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    // With this seed three calls take three seconds.
    let mut demo = demo(&folder, &["--calls", "3", "--seed", "3"]);
    demo.has_said("a call", |said| said.lines().count() >= 2).await;
    let waited = started.elapsed();
    assert!(waited < FIRST_CALL, "the first call came after {waited:?}");
    assert_eq!(listing(folder.path()).len(), 1, "its journal is elsewhere");
    let outcome = demo.ended().await.ended_with(0);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines[0].starts_with("STARTED "), "{}", outcome.stdout);
    assert_eq!(lines.len(), 4, "{}", outcome.stdout);
    assert!(lines[1..].iter().all(|line| line.contains(" → ")), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("3 calls, "), "{}", outcome.stderr);
    nothing_left(&folder);
}

#[tokio::test]
async fn ctrl_c_ends_it_with_0_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(&folder, &[]);
    demo.has_said("a call", |said| said.lines().count() >= 2).await;
    demo.signal("INT");
    let outcome = demo.ended().await.ended_with(0);
    assert!(outcome.stderr.contains("Nothing is left behind."), "{}", outcome.stderr);
    nothing_left(&folder);
}

#[tokio::test]
async fn json_shows_every_event_of_its_calls() {
    let folder = tempfile::tempdir().unwrap();
    let demo = demo(&folder, &["--calls", "5", "--rate", "50/s", "--json"]);
    let outcome = demo.ended().await.ended_with(0);
    let lines = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    let events: Vec<Value> = lines.collect();
    let is_cdr = |event: &&Value| event["type"] == "com.portsip.pbx.call_cdr";
    assert_eq!(events.iter().filter(is_cdr).count(), 5);
    assert!(events.iter().all(|event| event["source"] == "/pbx/demo"));
    nothing_left(&folder);
}
