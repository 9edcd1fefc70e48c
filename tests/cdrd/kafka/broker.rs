//! A broker in a process of its own (`tansu`, which speaks Kafka's protocol), and what an
//! independent consumer reads from it.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

use crate::harness::until;
use crate::port::Port;
use crate::process::python;

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

/// A broker that keeps its topics in memory: killed, it forgets them.
pub struct Broker {
    port: Port,
    running: Mutex<Option<Child>>,
    /// More of its command line.
    options: Vec<String>,
}

impl Broker {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(options: &[&str]) -> Self {
        let options = options.iter().map(ToString::to_string).collect();
        let broker = Self { port: Port::reserve(), running: Mutex::default(), options };
        broker.start().await;
        broker
    }

    pub fn address(&self) -> String {
        self.port.address.to_string()
    }

    pub async fn start(&self) {
        let (program, url) = (program(), format!("tcp://{}", self.address()));
        let mut command = Command::new(&program);
        command.args(["broker", "--storage-engine", "memory://tansu/"]);
        command.args(["--listener-url", &url, "--advertised-listener-url", &url]);
        command.args(&self.options).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|e| {
            panic!("{}: {e}; scripts/check-kafka installs it", program.display())
        });
        *self.running.lock().unwrap() = Some(child);
        until("the broker listens", async || TcpStream::connect(self.port.address).is_ok()).await;
    }

    /// As with `kill -9`.
    pub fn kill(&self) {
        if let Some(mut child) = self.running.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// All that there is in the topic.
    pub fn stored(&self) -> Vec<Record> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cdrd/kafka/reader.py");
        let output = python().arg(script).args([&self.address(), "cdr"]).output().unwrap();
        if String::from_utf8_lossy(&output.stderr).contains("UNKNOWN_TOPIC") {
            return Vec::new();
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(record).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `CDRD_TEST_KAFKA` names the program, else it is where `scripts/check-kafka` puts it.
fn program() -> PathBuf {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/tansu");
    std::env::var_os("CDRD_TEST_KAFKA").map_or(made, PathBuf::from)
}

fn record(line: &str) -> Record {
    let value: Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    Record {
        partition: value["partition"].as_u64().unwrap(),
        murmur2: value["murmur2"].as_u64().unwrap(),
        key: text("key"),
        value: BASE64_STANDARD.decode(text("value")).unwrap(),
        headers: serde_json::from_value(value["headers"].clone()).unwrap(),
    }
}
