//! `cdrd run`: signals, draining, and standard output.

use cdrd::simulator::Ending;
use serde_json::Value;

use super::{config_file, delivered, subscribed_daemon};
use crate::harness::{Bench, PATIENCE};
use crate::process::{Process, cdrd};

#[tokio::test]
async fn sigterm_and_sigint_end_it_with_0_and_everything_delivered() {
    for signal in ["TERM", "INT"] {
        let bench = Bench::new().await;
        let config = config_file(&bench, &bench.raw_sink());
        let mut daemon = subscribed_daemon(&bench, &["-c", &config]).await;
        bench.push(50).await;
        // It is no terminal's: a hangup is not its end.
        daemon.signal("HUP");
        daemon.logs("SIGHUP").await;
        bench.push(50).await;
        daemon.signal(signal);
        let outcome = daemon.ended().await.ended_with(0);
        assert!(outcome.stderr.contains("everything is delivered"), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
        assert!(bench.compare() > 500);
        assert!(bench.pbx.wait_disconnected(PATIENCE).await);
        let ending = bench.pbx.connections().last().unwrap().ending.clone();
        assert_eq!(ending, Some(Ending::ClosedByClient(Some(1000))));
    }
}

#[tokio::test]
async fn a_stdout_sink_has_standard_output_for_itself() {
    let bench = Bench::new().await;
    let config = config_file(&bench, "[sink.out]\ntype = \"stdout\"\n");
    let mut daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(20).await;
    let pushed = bench.pbx.log();
    daemon.has_said("every event", |said| said.lines().count() >= pushed.len()).await;
    daemon.signal("TERM");
    let outcome = daemon.ended().await.ended_with(0);
    assert_eq!(outcome.stdout.lines().count(), pushed.len());
    for (seq, (line, pushed)) in (1..).zip(outcome.stdout.lines().zip(pushed)) {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["source"], "/pbx/hq");
        assert_eq!(event["seq"], seq);
        let data = std::str::from_utf8(&pushed.bytes).unwrap();
        assert!(line.ends_with(&format!("\"data\":{data}}}")), "not byte for byte: {line}");
    }
    assert!(outcome.stderr.contains("ready"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("specversion"), "{}", outcome.stderr);
}

/// Those of [`Bench::raw_sink`].
const FILES: [&str; 2] = ["raw.jsonl", "cdr.jsonl"];

/// A daemon whose file sinks find folders where their files should be.
async fn stuck(bench: &Bench, drain: &str) -> Process {
    for name in FILES {
        std::fs::create_dir(bench.path(name)).unwrap();
    }
    let config = config_file(bench, &bench.raw_sink());
    let mut daemon = subscribed_daemon(bench, &["-c", &config, "--drain", drain]).await;
    bench.push(20).await;
    daemon.logs("delivery failed").await;
    daemon
}

/// The folders go away; the next daemon delivers what the last could not.
async fn mend(bench: &Bench) {
    for name in FILES {
        std::fs::remove_dir(bench.path(name)).unwrap();
    }
    let config = bench.path("config.toml");
    let daemon = Process::start(&mut cdrd(["run", "-c", config.to_str().unwrap()]));
    delivered(bench).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    assert!(bench.compare() > 100);
}

#[tokio::test]
async fn a_sink_that_takes_nothing_ends_it_with_75_and_is_served_after_the_next_start() {
    let bench = Bench::new().await;
    let daemon = stuck(&bench, "300ms").await;
    daemon.signal("TERM");
    let outcome = daemon.ended().await.ended_with(75);
    assert!(outcome.stderr.contains("what they lack is in the journal"), "{}", outcome.stderr);
    mend(&bench).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_wait_for_sinks_and_loses_nothing() {
    let bench = Bench::new().await;
    let mut daemon = stuck(&bench, "1h").await;
    daemon.signal("TERM");
    daemon.logs("stopping").await;
    daemon.signal("TERM");
    let outcome = daemon.ended().await.ended_with(75);
    assert!(outcome.stderr.contains("second signal"), "{}", outcome.stderr);
    mend(&bench).await;
}
