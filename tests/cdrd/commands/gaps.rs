//! `cdrd gaps`, and what the status says of gaps that nothing can close.

use serde_json::Value;

use super::{config_file, output};
use crate::harness::{Bench, Running, until};

async fn status(config: &str) -> Value {
    let outcome = output(&["status", "--json", "-c", config]).await.ended_with(0);
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[tokio::test]
async fn a_gap_that_cannot_be_closed_is_a_problem_until_somebody_accepts_it() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let daemon = Running::start(&bench.config(&bench.raw_sink()));
    bench.subscribed().await;
    until("the status tells of it", async || {
        status(&config).await["problems"].as_array().is_some_and(|list| !list.is_empty())
    })
    .await;
    let told = status(&config).await;
    let problem = &told["problems"][0];
    assert_eq!(problem["about"], "pbx \"hq\"");
    assert!(problem["what"].as_str().unwrap().starts_with("a gap is open: no backfill: "));
    assert_eq!(told["gaps"]["open"][0]["n"], 1);
    let list = output(&["gaps", "list", "-c", &config]).await.ended_with(0).stdout;
    assert!(list.starts_with("   1  hq  20") && list.contains(" to 20"), "{list}");
    assert!(list.contains("cdrd started for the first time; no backfill: "), "{list}");

    let none = output(&["gaps", "accept", "2", "-c", &config]).await.ended_with(64);
    assert_eq!(none.stderr, "cdrd: no gap 2 that is over and open; see cdrd gaps list\n");
    let accepted = output(&["gaps", "accept", "1", "-c", &config]).await.ended_with(0);
    assert_eq!(accepted.stdout, "1 accepted\n");
    let list = output(&["gaps", "list", "-c", &config]).await.ended_with(0).stdout;
    assert_eq!(list, "no gaps are open\n");
    let list = output(&["gaps", "list", "--closed", "-c", &config]).await.ended_with(0).stdout;
    assert!(list.contains("; closed, accepted by hand\n"), "{list}");
    let told = status(&config).await;
    assert_eq!((&told["problems"], &told["ok"]), (&Value::Array(vec![]), &Value::Bool(true)));
    daemon.stop().await.unwrap();

    // What the stop begins is not over, and cannot be accepted.
    let all = output(&["gaps", "accept", "--all", "-c", &config]).await.ended_with(0);
    assert_eq!(all.stdout, "0 accepted\n");
    let list = output(&["gaps", "list", "-c", &config]).await.ended_with(0).stdout;
    assert!(list.contains(" to now  cdrd was stopped; nobody listens yet\n"), "{list}");
}
