//! The Kafka sink against librdkafka's mock cluster, read by librdkafka's own consumer:
//! what confirms, what is waited out, what is refused, and where records go.

mod cluster;

use crate::harness::{Bench, dead_letters, until};
use crate::process::{Process, cdrd};
pub use cluster::Cluster;
use cluster::{
    MESSAGE_TOO_LARGE, NOT_ENOUGH_REPLICAS, NOT_LEADER, PRODUCE, TOPIC_AUTHORIZATION_FAILED,
    TRANSPORT,
};

/// A sink named `kafka` that tries again at once.
pub fn sink(cluster: &Cluster, lines: &str) -> String {
    let brokers: Vec<&str> = cluster.address.split(',').collect();
    format!(
        "[sink.kafka]\ntype = \"kafka\"\nbrokers = {brokers:?}\ntopic = \"cdr\"\n\
         start = \"beginning\"\nretry = {{ initial = \"10ms\", max = \"50ms\" }}\n\
         timeout = \"6s\"\n{lines}\n"
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

const RAW: &str = "format = \"raw\"";
const CALLS: &str = "events = [\"call_cdr\"]";

#[tokio::test]
#[ignore = "librdkafka's mock answers ApiVersions 4 in a form that krafka cannot read"]
async fn the_key_is_the_call_and_says_the_partition_as_others_would() {
    let bench = Bench::new().await;
    let cluster = Cluster::with_partitions(7);
    let daemon = program(&bench, &sink(&cluster, CALLS)).await;
    bench.push(20).await;
    until("all calls are there", async || cluster.stored().len() == 20).await;
    for record in cluster.stored() {
        let event: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        assert_eq!(record.key, event["subject"].as_str().unwrap());
        assert_eq!(record.partition, record.murmur2, "{}", record.key);
        assert_eq!(record.headers["ce_id"], event["id"].as_str().unwrap());
        assert_eq!(record.headers["content-type"], "application/cloudevents+json");
    }
    end(daemon).await;
}

#[tokio::test]
#[ignore = "librdkafka's mock answers ApiVersions 4 in a form that krafka cannot read"]
async fn raw_events_have_their_envelope_in_headers() {
    let bench = Bench::new().await;
    let cluster = Cluster::with_partitions(1);
    let daemon = program(&bench, &sink(&cluster, &format!("{RAW}\n{CALLS}"))).await;
    bench.push(1).await;
    until("the call is there", async || cluster.stored().len() == 1).await;
    let headers = cluster.stored().remove(0).headers;
    assert_eq!(headers["ce_specversion"], "1.0");
    assert_eq!(headers["ce_source"], "/pbx/hq");
    assert_eq!(headers["content-type"], "application/json");
    end(daemon).await;
}

#[tokio::test]
#[ignore = "librdkafka's mock answers ApiVersions 4 in a form that krafka cannot read"]
async fn what_a_broker_cannot_do_now_is_tried_until_it_can_and_is_there_once() {
    let bench = Bench::new().await;
    let cluster = Cluster::with_partitions(1);
    let daemon = program(&bench, &sink(&cluster, CALLS)).await;
    for (calls, code) in [(5, NOT_ENOUGH_REPLICAS), (10, NOT_LEADER), (15, TRANSPORT)] {
        cluster.fail(PRODUCE, &[code, code]);
        bench.push(5).await;
        until("the calls are there", async || cluster.stored().len() >= calls).await;
        assert_eq!(cluster.stored().len(), calls, "doubles after {code}");
    }
    assert_eq!(dead_letters(&bench.path("journal.db"), "kafka").len(), 0);
    end(daemon).await;
}

#[tokio::test]
#[ignore = "librdkafka's mock answers ApiVersions 4 in a form that krafka cannot read"]
async fn what_is_too_large_is_a_dead_letter_and_the_rest_goes_on() {
    let bench = Bench::new().await;
    let cluster = Cluster::with_partitions(1);
    let daemon = program(&bench, &sink(&cluster, CALLS)).await;
    cluster.fail(PRODUCE, &[MESSAGE_TOO_LARGE]);
    let journal = bench.path("journal.db");
    bench.push(1).await;
    until("it is a dead letter", async || dead_letters(&journal, "kafka").len() == 1).await;
    assert!(dead_letters(&journal, "kafka")[0].reason.contains("max.message.bytes"));
    bench.push(3).await;
    until("the others are there", async || cluster.stored().len() == 3).await;
    end(daemon).await;
}

#[tokio::test]
#[ignore = "librdkafka's mock answers ApiVersions 4 in a form that krafka cannot read"]
async fn who_may_not_write_is_told_so_and_goes_on_once_allowed() {
    let bench = Bench::new().await;
    let cluster = Cluster::with_partitions(1);
    let mut daemon = program(&bench, &sink(&cluster, CALLS)).await;
    cluster.topic_error(TOPIC_AUTHORIZATION_FAILED);
    bench.push(3).await;
    daemon.logs("this sink's user may not write to the topic cdr").await;
    cluster.topic_error(0);
    until("the calls are there", async || cluster.stored().len() == 3).await;
    assert_eq!(dead_letters(&bench.path("journal.db"), "kafka").len(), 0);
    end(daemon).await;
}

#[tokio::test]
#[ignore = "librdkafka's mock answers ApiVersions 4 in a form that krafka cannot read"]
async fn a_topic_that_is_not_there_is_named() {
    let bench = Bench::new().await;
    let cluster = Cluster::with_partitions(1);
    let sink = sink(&cluster, CALLS).replace("\"cdr\"", "\"other\"");
    let mut daemon = program(&bench, &sink).await;
    bench.push(1).await;
    daemon.logs("there is no topic other").await;
    end(daemon).await;
}
