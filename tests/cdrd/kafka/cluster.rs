//! librdkafka's mock cluster (`cluster.py`) in a process of its own, and what an
//! independent consumer reads from it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

use crate::process::python;

/// Kinds of requests and errors, by their numbers in Kafka's protocol.
pub const PRODUCE: i32 = 0;
pub const MESSAGE_TOO_LARGE: i32 = 10;
pub const NOT_ENOUGH_REPLICAS: i32 = 19;
pub const NOT_LEADER: i32 = 6;
pub const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
/// The mock's own: the answer is lost with the connection.
pub const TRANSPORT: i32 = -195;

/// One record of the topic.
#[derive(Debug, Clone)]
pub struct Record {
    pub partition: u64,
    /// The partition that librdkafka would choose for its key.
    pub murmur2: u64,
    pub key: String,
    pub value: Vec<u8>,
    pub headers: BTreeMap<String, String>,
}

struct Talk {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Three brokers that are up from the start, with a topic `cdr`.
pub struct Cluster {
    pub address: String,
    talk: Mutex<Talk>,
}

impl Cluster {
    pub fn with_partitions(partitions: u32) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cdrd/kafka/cluster.py");
        let mut command = python();
        command.arg(script).arg(partitions.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut talk = Talk { child, input, output };
        let address = talk.answer();
        let addresses = address.as_str().expect("the cluster starts; scripts/check installs it");
        Self { address: addresses.to_owned(), talk: Mutex::new(talk) }
    }

    /// All that there is.
    pub fn stored(&self) -> Vec<Record> {
        let mut talk = self.talk.lock().unwrap();
        let answer = talk.ask("read");
        answer.as_array().unwrap().iter().map(record).collect()
    }

    /// The next requests of this kind get these errors.
    pub fn fail(&self, api: i32, codes: &[i32]) {
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        self.talk.lock().unwrap().ask(&format!("errors {api} {}", codes.join(" ")));
    }

    /// The topic has this error from now on; 0 is none.
    pub fn topic_error(&self, code: i32) {
        self.talk.lock().unwrap().ask(&format!("topic {code}"));
    }
}

impl Talk {
    fn ask(&mut self, command: &str) -> Value {
        writeln!(self.input, "{command}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("cluster.py ended: {e}"))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn record(value: &Value) -> Record {
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    Record {
        partition: value["partition"].as_u64().unwrap(),
        murmur2: value["murmur2"].as_u64().unwrap(),
        key: text("key"),
        value: BASE64_STANDARD.decode(text("value")).unwrap(),
        headers: serde_json::from_value(value["headers"].clone()).unwrap(),
    }
}
