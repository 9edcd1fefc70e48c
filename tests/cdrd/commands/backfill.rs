//! `cdrd backfill`: with a daemon and without, and what it says when it cannot.

use super::{output, write_config};
use crate::harness::{Bench, NO_BACKFILL, Running, envelopes_so_far, parse, until};

/// Fast, and of its own accord nothing.
const BACKFILL: &str =
    "backfill = { requests_per_minute = 1000, settle = \"500ms\", reconcile_every = \"0s\" }";

fn text(bench: &Bench) -> String {
    bench.config_text(&bench.raw_sink()).replace(NO_BACKFILL, BACKFILL)
}

/// Runs it; standard output.
async fn backfill(config: &str, more: &[&str], code: i32) -> String {
    let arguments = [&["backfill", "-c", config, "--pbx", "hq"], more].concat();
    let outcome = output(&arguments).await.ended_with(code);
    format!("{}{}", outcome.stdout, outcome.stderr)
}

fn delivered(bench: &Bench) -> usize {
    envelopes_so_far(&bench.path("cdr.jsonl")).len()
}

#[tokio::test]
async fn a_running_daemon_adds_what_is_missing_and_a_dry_run_only_tells() {
    let bench = Bench::new().await;
    bench.pbx.remember_calls(50, -3600, -120);
    let config = write_config(bench.directory.path(), &text(&bench));
    let daemon = Running::start(&parse(&text(&bench)));
    bench.subscribed().await;
    let dry = backfill(&config, &["--since", "2h", "--dry-run"], 0).await;
    assert_eq!(dry, "50 found, 0 already present, 50 missing\n");
    assert_eq!(delivered(&bench), 0);
    let added = backfill(&config, &["--since", "2h"], 0).await;
    assert_eq!(added, "50 found, 0 already present, 50 added\n");
    until("they are delivered", async || delivered(&bench) == 50).await;
    let again = backfill(&config, &["--since", "2h"], 0).await;
    assert_eq!(again, "50 found, 50 already present, 0 added\n");
    daemon.stop().await.unwrap();
    assert_eq!(delivered(&bench), 50);
}

#[tokio::test]
async fn a_span_has_an_end_where_one_is_named() {
    let bench = Bench::new().await;
    let calls = bench.pbx.remember_calls(60, -3600, -60);
    let config = write_config(bench.directory.path(), &text(&bench));
    let now = cdrd::clock::Clock::system().now_ms() / 1000;
    let wanted = calls.iter().filter(|call| call.ended < now - 1800).count();
    let told = backfill(&config, &["--since", "2h", "--until", "30m"], 0).await;
    let found: usize = told.split(' ').next().unwrap().parse().unwrap();
    // The span is a little wider than asked for, since clocks differ.
    assert!((wanted..=wanted + 3).contains(&found), "{wanted} of {told}");
}

#[tokio::test]
async fn without_a_daemon_it_adds_by_itself_and_the_next_start_delivers() {
    let bench = Bench::new().await;
    let config = write_config(bench.directory.path(), &text(&bench));
    let daemon = Running::start(&parse(&text(&bench)));
    bench.subscribed().await;
    daemon.stop().await.unwrap();
    bench.pbx.remember_calls(20, -3600, -120);
    let added = backfill(&config, &["--since", "2h"], 0).await;
    assert_eq!(added, "20 found, 0 already present, 20 added\n");
    assert_eq!(delivered(&bench), 0);
    assert_eq!(bench.pbx.rest_tokens_alive(), 0, "it ends its session");
    let daemon = Running::start(&parse(&text(&bench)));
    until("they are delivered", async || delivered(&bench) == 20).await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_login_ends_it_with_69_and_counts_for_the_daemon_too() {
    let bench = Bench::new().await;
    bench.pbx.set_faults(|all| all.rest.refuse_logins = Some((9, "no such user".to_owned())));
    let config = write_config(bench.directory.path(), &text(&bench));
    let told = backfill(&config, &["--since", "2h"], 69).await;
    assert!(told.contains("the PBX refused the REST login: no such user"), "{told}");
    let told = backfill(&config, &["--since", "2h"], 69).await;
    assert!(told.contains("has to wait"), "{told}");
    assert_eq!(bench.pbx.rest_logins().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_asked_is_told_before_anything_is_done() {
    let bench = Bench::new().await;
    let config = write_config(bench.directory.path(), &text(&bench));
    let unknown = ["backfill", "-c", &config, "--pbx", "nowhere", "--since", "2h"];
    let outcome = output(&unknown).await.ended_with(64);
    assert_eq!(outcome.stderr, "cdrd: --pbx nowhere: the configuration knows hq\n");
    let told = backfill(&config, &["--since", "1h", "--until", "2h"], 64).await;
    assert_eq!(told, "cdrd: --since must be before --until, and in the past\n");
    let off = write_config(bench.directory.path(), &bench.config_text(&bench.raw_sink()));
    let told = backfill(&off, &["--since", "2h"], 78).await;
    assert!(told.contains("pbx \"hq\": no backfill: it is switched off"), "{told}");
    assert_eq!(bench.pbx.rest_logins().len(), 0);
}
