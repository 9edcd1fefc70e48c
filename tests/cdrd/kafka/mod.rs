//! The Kafka sink against librdkafka's mock cluster: where records go, what is with them,
//! what is waited out, and what is refused.

mod broker;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::types::RDKafkaRespErr;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::{Bench, dead_letters, until};
use crate::http::Authority;
use crate::port::Port;
use crate::process::{Process, cdrd};
use crate::wire::Wire;
pub use broker::{Broker, Mortal, Record};

const TOO_LARGE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
const CALLS: &str = "events = [\"call_cdr\"]";

/// A sink named `kafka` that tries again at once.
pub fn sink(address: &str, lines: &str) -> String {
    format!(
        "[sink.kafka]\ntype = \"kafka\"\nbrokers = [{address:?}]\ntopic = \"cdr\"\n\
         start = \"beginning\"\nretry = {{ initial = \"10ms\", max = \"50ms\" }}\n\
         timeout = \"3s\"\nconnect_timeout = \"1s\"\n{lines}\n"
    )
}

/// A daemon of its own, whose log can be read.
async fn program(bench: &Bench, sinks: &str) -> Process {
    let config = bench.path("config.toml");
    // Reading takes this thread.
    std::fs::write(&config, bench.patient_config_text(sinks)).unwrap();
    let mut program = Process::start(&mut cdrd(["run", "-c", config.to_str().unwrap()]));
    program.logs("state=\"subscribed\"").await;
    program
}

async fn end(program: Process) {
    program.signal("TERM");
    program.ended().await.ended_with(0);
}

fn ids(records: &[Record]) -> BTreeSet<String> {
    records.iter().map(|record| record.headers["ce_id"].clone()).collect()
}

async fn has(broker: &Broker, calls: usize) -> Vec<Record> {
    until("the calls are there", async || ids(&broker.stored()).len() >= calls).await;
    broker.stored()
}

fn dead(bench: &Bench) -> Vec<String> {
    let letters = dead_letters(&bench.path("journal.db"), "kafka");
    letters.into_iter().map(|letter| letter.reason).collect()
}

#[tokio::test]
async fn the_key_is_the_call_and_says_the_partition() {
    let (bench, broker) = (Bench::new().await, Broker::new(5));
    // All events of calls, of which each call has several.
    let daemon = program(&bench, &sink(&broker.address(), "")).await;
    bench.push(40).await;
    let sent = bench.pbx.log().iter().filter(|p| p.event_type.is_some()).count();
    let records = has(&broker, sent).await;
    assert_eq!((records.len(), ids(&records).len()), (sent, sent));
    let mut partitions: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for record in &records {
        let event: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        let subject = event["subject"].as_str().filter(|subject| !subject.is_empty());
        assert_eq!(record.key, subject.unwrap_or(event["id"].as_str().unwrap()));
        assert_eq!(record.headers["ce_id"], event["id"].as_str().unwrap());
        assert_eq!(record.headers["content-type"], "application/cloudevents+json");
        partitions.entry(&record.key).or_default().insert(record.partition);
    }
    assert!(partitions.values().all(|of_a_call| of_a_call.len() == 1), "{partitions:?}");
    let used: BTreeSet<i32> = partitions.into_values().flatten().collect();
    assert_eq!(used.len(), 5, "all of them have a share");
    end(daemon).await;
}

#[tokio::test]
async fn raw_events_have_their_envelope_in_headers() {
    let (bench, broker) = (Bench::new().await, Broker::new(1));
    let lines = format!("{CALLS}\nformat = \"raw\"\ncompression = \"lz4\"");
    let daemon = program(&bench, &sink(&broker.address(), &lines)).await;
    bench.push(1).await;
    let record = has(&broker, 1).await.remove(0);
    let log = bench.pbx.log();
    let sent = log.iter().find(|p| p.event_type == Some("call_cdr")).unwrap();
    assert_eq!(record.value, sent.bytes.to_vec());
    assert_eq!(record.headers["ce_specversion"], "1.0");
    assert_eq!(record.headers["ce_source"], "/pbx/hq");
    assert_eq!(record.headers["content-type"], "application/json");
    end(daemon).await;
}

#[tokio::test]
async fn while_replicas_are_out_of_sync_events_wait_and_then_all_of_them_come() {
    let (bench, broker) = (Bench::new().await, Broker::new(5));
    let mut daemon = program(&bench, &sink(&broker.address(), CALLS)).await;
    bench.push(10).await;
    has(&broker, 10).await;
    broker.lose_replicas();
    bench.push(30).await;
    let log = daemon.logs("delivery failed; the event waits in the journal").await;
    assert!(log.contains("no answer in time") || log.contains("min.insync.replicas"), "{log}");
    broker.get_replicas_back();
    has(&broker, 40).await;
    assert_eq!(dead(&bench), [""; 0]);
    end(daemon).await;
}

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_empty_gets_all_that_it_had_not_confirmed() {
    let bench = Bench::new().await;
    let broker = Mortal::start();
    // The address in the file stays the same.
    let wire = Wire::to(broker.address);
    let mut daemon = program(&bench, &sink(&wire.address.to_string(), CALLS)).await;
    bench.push(10).await;
    until("the first calls are there", async || broker.stored().len() == 10).await;
    let before = ids(&broker.stored());
    drop(broker);
    bench.push(30).await;
    let log = daemon.logs("delivery failed; the event waits in the journal").await;
    assert!(log.contains("is the broker running"), "{log}");
    let broker = Mortal::start();
    wire.lead_to(broker.address);
    until("the others are there", async || ids(&broker.stored()).len() >= 30).await;
    let after = ids(&broker.stored());
    assert_eq!((after.len(), after.intersection(&before).count()), (30, 0));
    assert_eq!(dead(&bench), [""; 0]);
    end(daemon).await;
}

#[tokio::test]
async fn what_the_cluster_will_take_later_is_sent_again() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as TOO_FEW,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as NOT_LEADER,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as NOT_ALLOWED,
    };
    let (bench, broker) = (Bench::new().await, Broker::new(1));
    broker.answer(&[TOO_FEW, NOT_LEADER, NOT_ALLOWED]);
    let mut daemon = program(&bench, &sink(&broker.address(), CALLS)).await;
    bench.push(20).await;
    let log = daemon.logs("delivery failed; the event waits in the journal").await;
    assert!(log.contains("allow it WRITE"), "{log}");
    let records = has(&broker, 20).await;
    assert_eq!(ids(&records).len(), 20);
    assert_eq!(dead(&bench), [""; 0]);
    end(daemon).await;
}

#[tokio::test]
async fn an_event_that_is_too_large_becomes_a_dead_letter() {
    let (bench, broker) = (Bench::new().await, Broker::new(1));
    broker.answer(&[TOO_LARGE]);
    let lines = format!("{CALLS}\nbatch = 1");
    let daemon = program(&bench, &sink(&broker.address(), &lines)).await;
    bench.push(20).await;
    assert_eq!(ids(&has(&broker, 19).await).len(), 19);
    until("the other is a dead letter", async || dead(&bench).len() == 1).await;
    assert!(dead(&bench)[0].contains("max.message.bytes"), "{:?}", dead(&bench));
    end(daemon).await;
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_one_by_one() {
    let (bench, broker) = (Bench::new().await, Broker::new(1));
    // Into the journal first, so that they come many at a time.
    let file = format!("[sink.file]\ntype = \"file\"\npath = {:?}\n", bench.path("events"));
    let daemon = program(&bench, &file).await;
    bench.push(20).await;
    end(daemon).await;
    broker.answer(&[TOO_LARGE]);
    let daemon = program(&bench, &sink(&broker.address(), CALLS)).await;
    assert_eq!(ids(&has(&broker, 20).await).len(), 20);
    assert_eq!(dead(&bench), [""; 0]);
    end(daemon).await;
}

#[tokio::test]
async fn answers_that_come_too_late_lose_nothing() {
    let (bench, broker) = (Bench::new().await, Broker::new(2));
    let lines = format!("{CALLS}\nbatch = 5");
    let text = sink(&broker.address(), &lines).replace("\"3s\"", "\"300ms\"");
    let mut daemon = program(&bench, &text).await;
    bench.push(5).await;
    has(&broker, 5).await;
    broker.cluster.broker_round_trip_time(1, Duration::from_millis(700)).unwrap();
    bench.push(20).await;
    daemon.logs("delivery failed; the event waits in the journal").await;
    broker.cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
    let records = has(&broker, 25).await;
    assert_eq!(ids(&records).len(), 25);
    assert_eq!(dead(&bench), [""; 0]);
    end(daemon).await;
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named_and_its_events_wait() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_NO_ERROR as FOUND, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as UNKNOWN,
    };
    let (bench, broker) = (Bench::new().await, Broker::new(1));
    broker.cluster.topic_error("cdr", UNKNOWN).unwrap();
    let mut daemon = program(&bench, &sink(&broker.address(), CALLS)).await;
    bench.push(1).await;
    daemon.logs("there is no topic cdr").await;
    assert_eq!(dead(&bench), [""; 0]);
    broker.cluster.topic_error("cdr", FOUND).unwrap();
    has(&broker, 1).await;
    end(daemon).await;
}

/// What `cdrd check --connect` says of a sink.
async fn checked(bench: &Bench, sink: &str) -> (i32, String) {
    let config = bench.path("config.toml");
    std::fs::write(&config, bench.config_text(sink)).unwrap();
    let arguments = ["check", "--connect", "-c", config.to_str().unwrap()];
    let outcome = Process::run(&mut cdrd(arguments), "").await;
    let code = outcome.status.code().unwrap();
    (code, format!("{}{}", outcome.stdout, outcome.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tells_what_keeps_it_from_the_topic() {
    let (bench, broker) = (Bench::new().await, Broker::new(1));
    let address = broker.address();
    let (code, said) = checked(&bench, &sink(&address, "")).await;
    assert!(said.contains(&format!("{address} takes events into topic cdr")), "{said}");
    assert_eq!(code, 0);
    // The mock speaks no TLS, and knows no users.
    let (code, said) = checked(&bench, &sink(&address, "tls = true")).await;
    assert!(said.contains("no connection: ssl://") && code != 0, "{code} {said}");
    let auth = "auth = { mechanism = \"plain\", username = \"u\", password = \"planted\" }";
    let (code, said) = checked(&bench, &sink(&address, auth)).await;
    assert!(code != 0 && !said.contains("planted"), "{code} {said}");
    let nobody = Port::reserve();
    let (code, said) = checked(&bench, &sink(&nobody.address.to_string(), "")).await;
    assert!(said.contains("is the broker running") && code != 0, "{code} {said}");
}

/// TLS in front of a broker. What the broker says of itself leads past it, so this is for
/// one question only.
async fn secured(broker: &Broker, tls: TlsAcceptor) -> String {
    let target = broker.address();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (tls, target) = (tls.clone(), target.clone());
            tokio::spawn(async move {
                // A client that is not let in, or lets nobody in, is what some tests want.
                let Ok(mut near) = tls.accept(near).await else { return };
                let mut far = TcpStream::connect(target).await.unwrap();
                _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    format!("localhost:{port}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_on_both_sides() {
    let (bench, broker) = (Bench::new().await, Broker::new(1));
    let authority = Authority::new(&bench);
    let address = secured(&broker, authority.server(true, &[])).await;
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| bench.path(name));
    authority.client(&cert, &key);
    let tls = format!("ca_file = {ca:?}, cert_file = {cert:?}, key_file = {key:?}");
    let (code, said) = checked(&bench, &sink(&address, &format!("tls = {{ {tls} }}"))).await;
    assert!(said.contains("takes events into topic cdr") && code == 0, "{code} {said}");
    let tls = format!("tls = {{ ca_file = {ca:?} }}");
    let (code, said) = checked(&bench, &sink(&address, &tls)).await;
    assert!(said.contains("no connection") && code != 0, "{code} {said}");
    let (code, said) = checked(&bench, &sink(&address, "tls = true")).await;
    assert!(said.contains("certificate verify failed") && code != 0, "{code} {said}");
}

/// The mock cannot make topics as one asks for.
#[tokio::test]
async fn that_a_topic_cannot_be_made_is_told_and_events_wait() {
    let (bench, broker) = (Bench::new().await, Broker::new(1));
    let lines = format!("{CALLS}\ncreate_topic = {{ partitions = 3 }}");
    let text = sink(&broker.address(), &lines).replace("\"cdr\"", "\"other\"");
    let mut daemon = program(&bench, &text).await;
    bench.push(1).await;
    daemon.logs("the topic other cannot be made (no answer in time").await;
    assert_eq!(dead(&bench), [""; 0]);
    daemon.signal("KILL");
    daemon.ended().await;
}
