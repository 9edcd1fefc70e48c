//! Brokers, by librdkafka's mock cluster: in this process, where it can be told what to
//! answer, and in one of its own, which can be killed. And what a consumer reads there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::process::python;

pub const TOPIC: &str = "cdr";
/// For one question of a consumer.
const LIMIT: Duration = Duration::from_millis(500);

/// One record of the topic.
#[derive(Debug, Clone)]
pub struct Record {
    pub partition: i32,
    pub key: String,
    pub value: Vec<u8>,
    pub headers: BTreeMap<String, String>,
}

/// A cluster of one broker, with the topic.
pub struct Broker {
    pub cluster: MockCluster<'static, DefaultProducerContext>,
    reader: Reader,
}

impl Broker {
    pub fn new(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, partitions, 1).unwrap();
        let reader = Reader::new(&cluster.bootstrap_servers());
        Self { cluster, reader }
    }

    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// All that is in the topic.
    pub fn stored(&self) -> Vec<Record> {
        self.reader.stored()
    }

    /// The next answers to what is written; then it is taken again.
    pub fn answer(&self, errors: &[RDKafkaRespErr]) {
        self.cluster.request_errors(RDKafkaApiKey::Produce, errors);
    }

    /// Takes nothing for now. (The mock could shut its port, too, but dies if it does not
    /// get it back; and it does not outlive partitions without a leader.)
    pub fn lose_replicas(&self) {
        self.answer(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 10_000]);
    }

    pub fn get_replicas_back(&self) {
        self.cluster.clear_request_errors(RDKafkaApiKey::Produce);
    }
}

/// A broker that forgets everything when it is killed.
pub struct Mortal {
    process: Child,
    pub address: std::net::SocketAddr,
}

impl Mortal {
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cdrd/kafka/broker.py");
        let mut command = python();
        command.arg(script).arg(TOPIC).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse();
        let address = address.unwrap_or_else(|_| panic!("the broker did not start: {line:?}"));
        Self { process, address }
    }

    pub fn stored(&self) -> Vec<Record> {
        Reader::new(&self.address.to_string()).stored()
    }
}

/// As with `kill -9`.
impl Drop for Mortal {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A consumer of all partitions, that joins no group.
struct Reader {
    consumer: BaseConsumer,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    records: Vec<Record>,
    /// The next offset of each partition; empty before the first question.
    next: BTreeMap<i32, i64>,
}

impl Reader {
    fn new(address: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("group.id", "reader");
        config.set("enable.auto.commit", "false").set("reconnect.backoff.max.ms", "100");
        config.set("fetch.wait.max.ms", "10").set("log_level", "0");
        let consumer = config.create().unwrap();
        Self { consumer, read: Mutex::default() }
    }

    fn stored(&self) -> Vec<Record> {
        let mut read = self.read.lock().unwrap();
        while let Some(left) = self.left(&mut read).filter(|left| *left > 0) {
            for _ in 0..left {
                let Some(Ok(message)) = self.consumer.poll(LIMIT) else { break };
                read.next.insert(message.partition(), message.offset() + 1);
                read.records.push(record(&message));
            }
        }
        read.records.clone()
    }

    /// How many records there are that were not read yet; `None` if nobody answers.
    fn left(&self, read: &mut Read) -> Option<i64> {
        if read.next.is_empty() {
            let found = self.consumer.fetch_metadata(Some(TOPIC), LIMIT).ok()?;
            let partitions = found.topics().first()?.partitions();
            let mut all = TopicPartitionList::new();
            for partition in partitions {
                all.add_partition_offset(TOPIC, partition.id(), Offset::Beginning).unwrap();
                read.next.insert(partition.id(), 0);
            }
            self.consumer.assign(&all).unwrap();
        }
        read.next.iter().try_fold(0, |left, (partition, next)| {
            let (_, end) = self.consumer.fetch_watermarks(TOPIC, *partition, LIMIT).ok()?;
            Some(left + end - next)
        })
    }
}

fn record(message: &impl Message) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Record {
        partition: message.partition(),
        key: text(message.key().unwrap()),
        value: message.payload().unwrap().to_vec(),
        headers: headers.map(|h| (h.key.to_owned(), text(h.value.unwrap()))).collect(),
    }
}
