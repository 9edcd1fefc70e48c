//! The Kafka sink against a broker, read by librdkafka's consumer: where records go, what
//! is with them, and what happens while the broker is away.
//!
//! `scripts/check-kafka` installs the broker and runs these.

mod broker;

use std::collections::BTreeSet;

use crate::harness::{Bench, dead_letters, until};
use crate::process::{Process, cdrd};
use broker::{Broker, Record};

const CALLS: &str = "events = [\"call_cdr\"]";
const NEW_TOPIC: &str = "create_topic = { partitions = 5, replication = 1 }";

/// A sink named `kafka` that tries again at once.
fn sink(broker: &Broker, lines: &str) -> String {
    format!(
        "[sink.kafka]\ntype = \"kafka\"\nbrokers = [{:?}]\ntopic = \"cdr\"\n\
         start = \"beginning\"\nretry = {{ initial = \"10ms\", max = \"50ms\" }}\n\
         timeout = \"3s\"\n{lines}\n",
        broker.address()
    )
}

/// A daemon of its own, whose log can be read.
async fn program(bench: &Bench, sinks: &str) -> Process {
    let config = bench.path("config.toml");
    std::fs::write(&config, bench.config_text(sinks)).unwrap();
    let mut program = Process::start(&mut cdrd(["run", "-c", config.to_str().unwrap()]));
    program.logs("state=\"subscribed\"").await;
    program
}

async fn end(program: Process) {
    program.signal("TERM");
    program.ended().await.ended_with(0);
}

/// What is in the topic, once it has so many calls.
async fn stored(broker: &Broker, calls: usize) -> Vec<Record> {
    let mut records = Vec::new();
    until("the calls are there", async || {
        records = broker.stored();
        ids(&records).len() >= calls
    })
    .await;
    records
}

fn ids(records: &[Record]) -> BTreeSet<String> {
    records.iter().map(|record| record.headers["ce_id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_the_call_and_says_the_partition_as_others_would() {
    let (bench, broker) = (Bench::new().await, Broker::new().await);
    let daemon = program(&bench, &sink(&broker, &format!("{CALLS}\n{NEW_TOPIC}"))).await;
    bench.push(40).await;
    let records = stored(&broker, 40).await;
    assert_eq!((records.len(), ids(&records).len()), (40, 40));
    for record in &records {
        let event: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        assert_eq!(record.key, event["subject"].as_str().unwrap());
        assert_eq!(record.partition, record.murmur2, "{}", record.key);
        assert_eq!(record.headers["ce_id"], event["id"].as_str().unwrap());
        assert_eq!(record.headers["content-type"], "application/cloudevents+json");
    }
    let partitions: BTreeSet<u64> = records.iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 5, "as many as were asked for");
    end(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_events_have_their_envelope_in_headers() {
    let (bench, broker) = (Bench::new().await, Broker::new().await);
    let lines = format!("{CALLS}\n{NEW_TOPIC}\nformat = \"raw\"");
    let daemon = program(&bench, &sink(&broker, &lines)).await;
    bench.push(1).await;
    let headers = stored(&broker, 1).await.remove(0).headers;
    assert_eq!(headers["ce_specversion"], "1.0");
    assert_eq!(headers["ce_source"], "/pbx/hq");
    assert_eq!(headers["content-type"], "application/json");
    end(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_killed_events_wait_and_then_all_of_them_come() {
    let (bench, broker) = (Bench::new().await, Broker::new().await);
    let mut daemon = program(&bench, &sink(&broker, &format!("{CALLS}\n{NEW_TOPIC}"))).await;
    bench.push(10).await;
    let before = ids(&stored(&broker, 10).await);
    broker.kill();
    bench.push(30).await;
    daemon.logs("delivery failed; the event waits in the journal").await;
    broker.start().await;
    // It has forgotten what came before its death, and has all that came after.
    let after = ids(&stored(&broker, 30).await);
    assert_eq!((before.len(), after.difference(&before).count()), (10, 30));
    assert_eq!(dead_letters(&bench.path("journal.db"), "kafka").len(), 0);
    end(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_there_is_named_and_its_events_wait() {
    let (bench, broker) = (Bench::new().await, Broker::new().await);
    let mut daemon = program(&bench, &sink(&broker, CALLS)).await;
    bench.push(1).await;
    daemon.logs("there is no topic cdr").await;
    assert_eq!(dead_letters(&bench.path("journal.db"), "kafka").len(), 0);
    daemon.signal("KILL");
    daemon.ended().await;
}
