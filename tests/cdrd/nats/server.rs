//! A real NATS server in a process of its own: it can be told to stop, be killed, and
//! come back on the same port with the same files; and what is in its streams.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, consumer};
use async_nats::{ConnectOptions, HeaderMap};
use futures_util::StreamExt;
use tempfile::TempDir;

use crate::harness::{PATIENCE, until};
use crate::port::Port;
use crate::process::python;

/// One message of a stream.
#[derive(Debug, Clone)]
pub struct Stored {
    pub subject: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Stored {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.as_str())
    }
}

/// A server that is up from the start.
pub struct Server {
    host: &'static str,
    port: Port,
    directory: TempDir,
    running: Mutex<Option<Child>>,
    options: ConnectOptions,
    /// What was read so far, for while it is down.
    read: Mutex<Vec<Stored>>,
}

impl Server {
    /// With these lines in its configuration.
    pub fn with(lines: &str) -> Self {
        Self::known_by(lines, ConnectOptions::new())
    }

    /// The same, where the test must show who it is.
    pub fn known_by(lines: &str, options: ConnectOptions) -> Self {
        let lines =
            format!("jetstream {{ store_dir: STORE, max_mem: 1G, max_file: 10G }}\n{lines}");
        Self::named("127.0.0.1", &lines, options)
    }

    pub fn without_jetstream() -> Self {
        Self::named("127.0.0.1", "", ConnectOptions::new())
    }

    /// With a name for its URL, and no more in its configuration than these lines.
    pub fn named(host: &'static str, lines: &str, options: ConnectOptions) -> Self {
        let (port, directory) = (Port::reserve(), tempfile::tempdir().unwrap());
        let store = format!("{:?}", directory.path().join("store"));
        let lines = lines.replace("STORE", &store);
        let config = format!("listen: \"{}\"\n{lines}\n", port.address);
        std::fs::write(directory.path().join("nats.conf"), config).unwrap();
        let (running, read) = (Mutex::default(), Mutex::default());
        let server = Self { host, port, directory, running, options, read };
        server.start();
        server
    }

    /// With a stream called CDR, which takes all that the tests send.
    pub fn with_stream() -> Self {
        let server = Self::with("");
        server.make("CDR", Config::default());
        server
    }

    /// Makes a stream over `cdr.>`.
    pub fn make(&self, name: &str, config: Config) {
        let config = Config { name: name.into(), subjects: vec!["cdr.>".into()], ..config };
        self.ask(async |jetstream| drop(jetstream.create_stream(config).await.unwrap()));
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.host, self.address().port())
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn start(&self) {
        let python = python();
        let server = Path::new(python.get_program()).with_file_name("nats-server");
        assert!(server.exists(), "{} is not there; run scripts/check", server.display());
        let config = self.directory.path().join("nats.conf");
        let log = self.directory.path().join("nats.log");
        let mut command = Command::new(server);
        command.arg("-c").arg(config).arg("-l").arg(&log);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        *self.running.lock().unwrap() = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while !greets(self.address()) {
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < deadline, "the NATS server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// kill -9.
    pub fn kill(&self) {
        let mut child = self.running.lock().unwrap().take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// In order.
    pub fn stop(&self) {
        let mut child = self.running.lock().unwrap().take().expect("it runs");
        let told = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(told.success());
        child.wait().unwrap();
    }

    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    fn runs(&self) -> bool {
        self.running.lock().unwrap().is_some()
    }

    /// Talks to it as an operator would. On a thread of its own, so that it can be
    /// called from anywhere.
    pub fn ask<T: Send>(&self, question: impl AsyncFnOnce(jetstream::Context) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let options = self.options.clone().connection_timeout(PATIENCE);
                    let client = options.connect(self.url()).await.expect("the server answers");
                    let mut jetstream = jetstream::new(client);
                    jetstream.set_timeout(PATIENCE);
                    question(jetstream).await
                })
            });
            asked.join().unwrap()
        })
    }

    /// Waits until the stream CDR is there.
    pub async fn has_stream(&self) {
        let is_there =
            async |jetstream: jetstream::Context| jetstream.get_stream("CDR").await.is_ok();
        until("the stream is there", async || self.ask(is_there)).await;
    }

    /// What the stream CDR has, in its order; while the server is down, what it had when
    /// it was last asked.
    pub fn stored(&self) -> Vec<Stored> {
        let mut read = self.read.lock().unwrap();
        if self.runs() {
            let next = read.len();
            let more = self.ask(async |jetstream| {
                let stream = jetstream.get_stream("CDR").await.expect("the stream is there");
                messages_from(&stream, next).await
            });
            read.extend(more);
        }
        read.clone()
    }
}

/// The messages after the first so many; none must have been deleted.
async fn messages_from(stream: &Stream, next: usize) -> Vec<Stored> {
    let last = stream.cached_info().state.last_sequence as usize;
    if last <= next {
        return Vec::new();
    }
    let config = consumer::pull::OrderedConfig {
        deliver_policy: consumer::DeliverPolicy::ByStartSequence {
            start_sequence: next as u64 + 1,
        },
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(last - next);
    let messages = messages.map(|message| {
        let message = message.unwrap().message;
        Stored {
            subject: message.subject.to_string(),
            headers: message.headers.unwrap_or_default(),
            body: message.payload.to_vec(),
        }
    });
    messages.collect().await
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether it says its first line.
fn greets(address: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("INFO ")
}
