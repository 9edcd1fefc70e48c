//! The same against programs that are not ours: the daemon against a PBX on the
//! Python library `websockets`, which also checks every command against the vendor's
//! documentation, and a client on that library against the simulated PBX.
//!
//! | file | asks |
//! |---|---|
//! | `login` | is every login and subscription as documented? |
//! | `wire` | events, fragments, pings, closes, resets |
//! | `client` | is the simulated PBX one that others can talk to? |

mod client;
mod login;
mod wire;

use cdrd::daemon::Ended;
use cdrd::simulator::PASSWORD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Running, parse};
use crate::process::{Process, python};

/// The login of a tenant's user in dialect 22.
const USER: &str = r#"username = "cdr", domain = "example.com""#;

/// A program of `tests/independent`, which does what it is told.
struct Peer(Process);

impl Peer {
    /// Starts it; returns what it says first.
    async fn start(program: &str, arguments: &[&str]) -> (Self, Value) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/independent");
        let mut command = python();
        command.current_dir(folder).arg(program).args(arguments);
        let mut peer = Self(Process::start(command.env("PYTHONDONTWRITEBYTECODE", "1")));
        let first = peer.answer().await;
        (peer, first)
    }

    /// Tells it what to do, and waits until it is done.
    async fn ask(&mut self, order: Value) -> Value {
        self.0.write(&format!("{order}\n"));
        let answer = self.answer().await;
        assert_eq!(answer.get("failed"), None, "{order:.200}");
        answer
    }

    async fn answer(&mut self) -> Value {
        serde_json::from_str(&self.0.line().await).unwrap()
    }
}

/// The PBX that is not ours, and a daemon at it.
struct Bench {
    pbx: Peer,
    daemon: Running,
    directory: TempDir,
    sent: Vec<String>,
}

impl Bench {
    /// `keys` are those of `[pbx.hq]`, besides url, dialect and login.
    async fn start(dialect: &str, login: &str, keys: &str) -> Self {
        Self::refusing(dialect, login, keys, &[]).await
    }

    async fn refusing(dialect: &str, login: &str, keys: &str, topics: &[(&str, &str)]) -> Self {
        let (mut pbx, told) = Peer::start("pbx.py", &[dialect, PASSWORD]).await;
        for (topic, words) in topics {
            pbx.ask(json!({"do": "refuse_topic", "topic": topic, "words": words})).await;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let config = format!(
            "[pbx.hq]\nurl = \"ws://127.0.0.1:{}{}\"\ndialect = \"{dialect}\"\n\
             login = {{ {login}, password = {PASSWORD:?} }}\n\
             reconnect = {{ initial = \"20ms\", max = \"200ms\" }}\n{keys}\n\
             [journal]\npath = {:?}\n\
             [sink.raw]\ntype = \"file\"\npath = {:?}\nformat = \"raw\"\n",
            told["port"],
            if dialect == "22" { "/wsi" } else { "" },
            path("journal.db"),
            path("raw.jsonl"),
        );
        let daemon = Running::start(&parse(&config));
        Self { pbx, daemon, directory, sent: Vec::new() }
    }

    /// A tenant's user in dialect 22, subscribed to the calls.
    async fn subscribed() -> Self {
        let mut bench = Self::start("22", USER, "").await;
        bench.wait_subscribed(1, 1).await;
        bench
    }

    async fn wait_subscribed(&mut self, connection: usize, topics: usize) {
        let order = json!({"do": "subscribed", "connection": connection, "topics": topics});
        self.pbx.ask(order).await;
    }

    async fn ended(&mut self, connection: usize) -> Value {
        self.pbx.ask(json!({"do": "ended", "connection": connection})).await
    }

    async fn send(&mut self, event: String) {
        self.pbx.ask(json!({"do": "send", "text": event})).await;
        self.sent.push(event);
    }

    /// Events that differ from all others of the same bench.
    async fn send_some(&mut self, count: usize) {
        for _ in 0..count {
            self.send(event(self.sent.len())).await;
        }
    }

    /// Waits until the daemon has read what was sent: it answers a ping after that.
    async fn settle(&mut self) {
        self.pbx.ask(json!({"do": "ping", "data": "read so far"})).await;
    }

    /// Stops the daemon and compares: everything that was sent is in the file once,
    /// byte for byte and in order, and no command was wrong.
    async fn finish(mut self) -> Value {
        self.settle().await;
        assert_eq!(self.daemon.stop().await.unwrap(), Ended::Clean);
        let got = std::fs::read_to_string(self.directory.path().join("raw.jsonl"));
        let got = got.unwrap_or_default();
        let got: Vec<&str> = got.lines().collect();
        assert_eq!(got.len(), self.sent.len());
        let different = got.iter().zip(&self.sent).find(|(got, sent)| got != sent);
        assert_eq!(different, None);
        let report = self.pbx.ask(json!({"do": "report"})).await;
        assert_eq!(report["complaints"], json!([]));
        report["connections"].clone()
    }
}

/// A CDR with all that JSON and people's names allow.
fn event(n: usize) -> String {
    const NAMES: &[&str] = &[
        "Zoë Müller",
        "日本語の名前",
        "👩‍👩‍👧 family",
        r#"M\u00fcller \\ \/ \" \t"#,
        "",
        "O'Neil\u{202e}",
    ];
    let (name, session) = (NAMES[n % NAMES.len()], 744_028_133_476_442_112 + n);
    // Releases before 16 send ids as integers above 2^53.
    let session = if n.is_multiple_of(2) { format!("\"{session}\"") } else { session.to_string() };
    format!(
        "{{\"event_type\" :\t\"call_cdr\",\"session_id\":{session},  \"caller\":\"+4930{n:06}\",\
         \"caller_display_name\":\"{name}\",\"talk_duration\":7.0e0,\"new_in_23\":[null,{{}}] }}"
    )
}

fn cdr_events() -> Value {
    json!({"command": "subscribe", "topics": ["cdr_events"]})
}

fn cdr_events_12() -> Value {
    json!({"command": "subscribe", "topics": [{"topic": "cdr_events", "keys": ["call_cdr"]}]})
}
