//! `cdrd status`: beside a daemon, without one, and after a crash.

use serde_json::Value;

use super::{config_file, delivered, output, subscribed_daemon, write_config};
use crate::harness::{Bench, NO_BACKFILL, PLAIN_BACKFILL, until};
use crate::process::{Process, cdrd};

async fn told(config: &str) -> Value {
    let outcome = output(&["status", "--json", "-c", config]).await.ended_with(0);
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[tokio::test]
async fn beside_a_daemon_it_tells_what_the_daemon_does() {
    let bench = Bench::new().await;
    let text = bench.config_text(&bench.raw_sink()).replace(NO_BACKFILL, PLAIN_BACKFILL);
    let config = write_config(bench.directory.path(), &text);
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(2).await;
    delivered(&bench).await;
    let events = bench.pbx.log().len() as u64;
    until("status knows of it", || async {
        let told = told(&config).await;
        let closed = told["gaps"]["open"].as_array().unwrap().is_empty();
        closed && told["ok"] == true && told["sinks"][0]["delivered"] == events
    })
    .await;
    let text = output(&["status", "-c", &config]).await.ended_with(0).stdout;
    for words in ["cdrd 0.1.0, running since ", "All is well.", "hq   subscribed", "none open"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    let stopped = told(&config).await;
    assert_eq!(stopped["running"], false);
    assert_eq!(stopped["sinks"][0]["delivered"], events);
    assert!(stopped["since"].is_string(), "{stopped:#}");
}

#[tokio::test]
async fn after_a_crash_it_says_that_no_daemon_runs_and_the_counts_go_on_with_the_next() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(1).await;
    let events = bench.pbx.log().len() as u64;
    until("it is kept", || async { told(&config).await["sinks"][0]["delivered"] == events }).await;
    daemon.signal("KILL");
    until("it is gone", || async { told(&config).await["running"] == false }).await;
    let crashed = told(&config).await;
    assert_eq!(crashed["pbxs"][0]["state"], "not running");
    assert_eq!(crashed["sinks"][0]["delivered"], events);
    assert_eq!(crashed["problems"][0]["about"], "daemon");
    drop(daemon);
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(1).await;
    let events = bench.pbx.log().len() as u64;
    until("it goes on", || async { told(&config).await["sinks"][0]["delivered"] == events }).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn it_shows_the_pbx_s_own_words_and_no_content_of_calls() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("cdrd-demo", "hunter2")).unwrap();
    let mut daemon = Process::start(&mut cdrd(["run", "-c", &config]));
    daemon.logs("ready").await;
    until("the refusal is told", || async {
        told(&config).await["pbxs"][0]["state"] == "login refused"
    })
    .await;
    let told = told(&config).await;
    let words = told["pbxs"][0]["last_error"].as_str().unwrap();
    assert!(words.contains("Invalid username or password."), "{words}");
    assert!(!told.to_string().contains("hunter2"));
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn without_a_journal_it_ends_with_74_and_says_so() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let outcome = output(&["status", "-c", &config]).await.ended_with(74);
    assert!(outcome.stderr.contains("no journal at"), "{}", outcome.stderr);
    assert!(!bench.path("journal.db").exists());
}
