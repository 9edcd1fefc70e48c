//! Runs a simulated PBX and a daemon, and compares what was sent and delivered.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cdrd::clock::Clock;
use cdrd::config::{self, Config, Environment, WhenFull};
use cdrd::daemon::{Daemon, DaemonError, Ended, Stop};
use cdrd::pbx::state::Phase;
use cdrd::simulator::{DOMAIN, Options, PASSWORD, Simulator};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take that should take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// No backfill: what such tests lose on purpose shall stay lost.
pub const NO_BACKFILL: &str = "backfill = { enabled = false }";
/// In its place: gaps are closed at once, and nothing else is compared.
pub const PLAIN_BACKFILL: &str = "backfill = { settle = \"0s\", reconcile_every = \"0s\" }";
/// Short waits, so that a test of reconnects takes no minutes.
pub const QUICK: &str = r#"
    backfill = { enabled = false }
    connect_timeout = "2s"
    ping_interval = "200ms"
    ping_timeout = "400ms"
    reconnect = { initial = "20ms", max = "200ms" }
"#;

/// A journal that gives nothing up by itself.
pub fn journal_settings(path: &Path) -> config::Journal {
    config::Journal {
        path: path.to_owned(),
        retention: Duration::from_secs(100 * 365 * 24 * 3600),
        max_size: 2 << 30,
        when_full: WhenFull::Pause,
    }
}

/// A PBX and a place for a daemon's files.
pub struct Bench {
    pub pbx: Simulator,
    pub directory: TempDir,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let pbx = Simulator::start(options).await.expect("the simulator starts");
        Self { pbx, directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `[pbx.hq]` with quick reconnects.
    pub fn pbx_table(&self) -> String {
        let url = self.pbx.url();
        format!(
            "[pbx.hq]\nurl = {url:?}\nlogin = {{ username = \"cdr\", domain = {DOMAIN:?}, \
             password = {PASSWORD:?} }}\n{QUICK}"
        )
    }

    pub fn journal_table(&self) -> String {
        format!("[journal]\npath = {:?}\n", self.path("journal.db"))
    }

    /// A file sink in `raw` form: what is in the file is what came over the wire.
    pub fn raw_sink(&self) -> String {
        format!(
            "[sink.raw]\ntype = \"file\"\npath = {:?}\nformat = \"raw\"\n\
             [sink.archive]\ntype = \"file\"\npath = {:?}\n",
            self.path("raw.jsonl"),
            self.path("cdr.jsonl")
        )
    }

    pub fn config_text(&self, sinks: &str) -> String {
        format!("{}{}{sinks}", self.pbx_table(), self.journal_table())
    }

    /// The same for what is not about a PBX that falls silent: a busy machine is no
    /// silent PBX.
    pub fn patient_config_text(&self, sinks: &str) -> String {
        format!("{}{}{sinks}", self.patient_pbx_table(), self.journal_table())
    }

    pub fn patient_pbx_table(&self) -> String {
        self.pbx_table().replace("ping_timeout = \"400ms\"", "ping_timeout = \"60s\"")
    }

    pub fn config(&self, sinks: &str) -> Config {
        parse(&self.config_text(sinks))
    }

    /// Events in the journal so far; 0 while there is none.
    pub fn journalled(&self) -> usize {
        let reader = cdrd::journal::reader::Reader::open(&self.path("journal.db"));
        reader.and_then(|reader| reader.last_seq()).unwrap_or(0) as usize
    }

    /// A daemon with file sinks in both forms.
    pub fn daemon(&self) -> Running {
        Running::start(&self.config(&self.raw_sink()))
    }

    /// Waits until the daemon listens (again).
    pub async fn subscribed(&self) {
        assert!(self.pbx.wait_subscribed(1, PATIENCE).await, "not subscribed in time");
    }

    /// Pushes calls and waits until the daemon has read them.
    pub async fn push(&self, calls: u64) {
        self.pbx.push_calls(calls).await;
        self.pbx.settle().await.expect("the daemon reads");
    }

    /// Stops the daemon and compares: everything that was certainly read is in the
    /// file, nothing is there that was not sent, nothing twice, all in order.
    pub async fn finish(&self, daemon: Running) -> usize {
        assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
        self.compare()
    }

    /// The comparison alone; returns how many events were delivered.
    pub fn compare(&self) -> usize {
        let log = self.pbx.log();
        let events = log.iter().filter(|pushed| pushed.event_type.is_some());
        let sent: Vec<(&[u8], bool)> = events.map(|p| (&*p.bytes, p.confirmed)).collect();
        let raw = std::fs::read(self.path("raw.jsonl")).unwrap_or_default();
        let got: Vec<&[u8]> = raw.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
        let mut at = 0;
        for line in &got {
            let skipped = sent[at..].iter().position(|(bytes, _)| bytes == line);
            let skipped = skipped.unwrap_or_else(|| {
                panic!("not sent, doubled or out of order: {}", String::from_utf8_lossy(line))
            });
            let lost = sent[at..at + skipped].iter().find(|(_, confirmed)| *confirmed);
            assert_eq!(lost.map(|(b, _)| String::from_utf8_lossy(b)), None, "lost");
            at += skipped + 1;
        }
        let lost = sent[at..].iter().find(|(_, confirmed)| *confirmed);
        assert_eq!(lost.map(|(b, _)| String::from_utf8_lossy(b)), None, "lost at the end");
        check_envelopes(&self.path("cdr.jsonl"), &got);
        got.len()
    }
}

/// The `cloudevents` file has the same events, each with an id of its own and in
/// order of `seq`.
fn check_envelopes(path: &Path, raw: &[&[u8]]) {
    let events = envelopes(path);
    let ids: BTreeSet<&str> = events.iter().map(|e| e["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "an id came twice");
    assert_eq!(events.len(), raw.len());
    let mut last = 0;
    for (event, raw) in events.iter().zip(raw) {
        let seq = event["seq"].as_u64().unwrap();
        assert!(seq > last, "out of order: {seq} after {last}");
        last = seq;
        assert_eq!(event["data"], serde_json::from_slice::<Value>(raw).unwrap());
    }
}

/// The lines of a file of events; none may be torn.
pub fn envelopes(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line at the end of {path:?}");
    read_envelopes(&text)
}

/// The lines of a file that is being written: of the last one a part may be there.
pub fn envelopes_so_far(path: &Path) -> Vec<Value> {
    let bytes = std::fs::read(path).unwrap_or_default();
    read_envelopes(std::str::from_utf8(whole_lines(&bytes)).unwrap())
}

/// Without the beginning of a line that is still being written.
pub fn whole_lines(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)]
}

fn read_envelopes(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}")))
        .collect()
}

pub fn parse(text: &str) -> Config {
    Config::parse("test.toml", text, &Environment::of_process())
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// A daemon in this process.
pub struct Running {
    pub stop: Stop,
    pub states: Vec<(std::sync::Arc<str>, tokio::sync::watch::Receiver<cdrd::pbx::state::State>)>,
    pub journal: cdrd::journal::Journal,
    pub webhooks: Vec<std::net::SocketAddr>,
    /// Where the admin endpoint listens.
    pub admin: Option<std::net::SocketAddr>,
    task: JoinHandle<Result<Ended, DaemonError>>,
}

impl Running {
    pub fn start(config: &Config) -> Self {
        Self::start_at(config, Clock::system())
    }

    pub fn start_at(config: &Config, clock: Clock) -> Self {
        Self::of(Daemon::start(config, clock).unwrap_or_else(|e| panic!("{e}")))
    }

    /// Runs a daemon that is started.
    pub fn of(daemon: Daemon) -> Self {
        let admin = daemon.admin_address();
        let states = daemon.states().to_vec();
        let journal = daemon.journal().clone();
        let webhooks = daemon.webhooks().to_vec();
        let stop = Stop::default();
        let task = tokio::spawn(daemon.run(stop.clone(), Duration::from_secs(5)));
        Self { stop, states, journal, webhooks, admin, task }
    }

    /// Stops it in order and waits for its end.
    pub async fn stop(self) -> Result<Ended, DaemonError> {
        let Self { stop, states, journal, task, .. } = self;
        // The journal's writer ends with its last handle.
        drop((states, journal));
        stop.gracefully.cancel();
        timeout(PATIENCE, task).await.expect("the daemon stops in time").unwrap()
    }

    /// Waits until the first PBX's session is in a phase.
    pub async fn phase(&self, phase: Phase) {
        let mut state = self.states[0].1.clone();
        let reached = timeout(PATIENCE, state.wait_for(|s| s.phase == phase)).await;
        let now = self.states[0].1.borrow().clone();
        assert!(reached.is_ok(), "never {phase:?}; it is {now:?}");
    }
}

/// Polls until `done` says so, or fails after [`PATIENCE`] naming `what`.
pub async fn until(what: &str, done: impl AsyncFnMut() -> bool) {
    until_within(PATIENCE, what, done).await;
}

/// The same, with a patience of its own.
pub async fn until_within(patience: Duration, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done().await {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// How much is tried: the number in a variable of the environment, or `otherwise`.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Letters and digits without any pattern, so that the journal cannot pack them well.
pub fn noise(seed: u64, length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric()).take(length).collect()
}

/// What is in the quarantine: reason, size and bytes.
pub fn quarantine(journal: &Path) -> Vec<cdrd::journal::quarantine::Quarantined> {
    let reader = cdrd::journal::reader::Reader::open(journal).unwrap();
    let entries = reader.ask(cdrd::journal::quarantine::list).unwrap();
    entries.into_iter().map(|numbered| numbered.entry).collect()
}

/// What a sink refused for good.
pub fn dead_letters(journal: &Path, sink: &str) -> Vec<cdrd::journal::dead_letters::DeadLetter> {
    let reader = cdrd::journal::reader::Reader::open(journal).unwrap();
    let letters = reader.ask(|db| cdrd::journal::dead_letters::list(db, Some(sink))).unwrap();
    letters.into_iter().map(|numbered| numbered.letter).collect()
}
