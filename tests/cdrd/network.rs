//! A bad network for half an hour: WSI, REST and receivers behind proxies that delay,
//! lose, change, cut, throttle and reset, while calls go on. Then all of it is there, and
//! a PBX beside the bad ones was never disturbed.
//!
//! `CDRD_NETWORK_SECONDS` says how long (8 unless set), `CDRD_SEED` which faults.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cdrd::simulator::{DOMAIN, LoginResult, Options, PASSWORD, Rate, Simulator};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::harness::{number, until_within, whole_lines};
use crate::http::Authority;
use crate::process::{Process, cdrd};
use crate::proxy::Proxy;
use crate::receiver::Receiver;

/// How soon all must be there once the network is good again. A comparison that failed
/// again and again waits ten minutes; a login that had no answer three times in a row waits
/// two, and four if that happens once more. Mostly it takes seconds.
const RECOVERY: Duration = Duration::from_secs(900);
/// How long an event of the undisturbed PBX may take to its file, on a machine that does
/// much else. What disturbs the others lasts as long as that and longer.
const UNDISTURBED: Duration = Duration::from_secs(10);
/// Peak of memory in KiB, built without optimization.
const MOST_KIB: u64 = 160 << 10;
/// Calls of each bad PBX a second.
const CALLS: f64 = 3.0;

/// A figure of `/proc/PID/status`, in KiB.
pub fn memory_kib(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A PBX whose WSI and REST are reached by bad ways.
struct Branch {
    name: &'static str,
    pbx: Simulator,
    wsi: Proxy,
    rest: Proxy,
}

impl Branch {
    /// `host` is its own: refused logins are counted by host.
    async fn open(name: &'static str, host: &str, tls: bool, calls: u64, seed: u64) -> Self {
        let options = Options {
            tls,
            seed,
            rate: Rate::PerSecond(CALLS),
            calls: Some(calls),
            unattended: true,
            stall_limit: Duration::from_secs(3),
            record: false,
            ..Options::default()
        };
        let pbx = Simulator::start(options).await.unwrap();
        let wsi = Proxy::start(host, pbx.addr(), tls, seed + 1).await;
        let rest = Proxy::start(host, pbx.addr(), tls, seed + 2).await;
        Self { name, pbx, wsi, rest }
    }

    fn table(&self) -> String {
        let Self { name, pbx, wsi, rest } = self;
        let (secure, tls) = match pbx.fingerprint() {
            Some(pin) => ("s", format!("tls = {{ pin_sha256 = {pin:?} }}\n")),
            None => ("", String::new()),
        };
        format!(
            "[pbx.{name}]\nurl = \"ws{secure}://{}/wsi\"\n{tls}{}connect_timeout = \"2s\"\n\
             ping_interval = \"1s\"\nping_timeout = \"2s\"\n\
             reconnect = {{ initial = \"50ms\", max = \"1s\" }}\n\
             backfill = {{ url = \"http{secure}://{}/api\", requests_per_minute = 1000, \
             settle = \"1s\", reconcile_every = \"0s\" }}\n",
            wsi.address,
            login(),
            rest.address
        )
    }

    /// The Call-IDs on its own record.
    fn calls(&self) -> Vec<String> {
        self.pbx.ended_calls().into_iter().map(|call| call.call_id).collect()
    }
}

fn login() -> String {
    format!("login = {{ username = \"cdr\", domain = {DOMAIN:?}, password = {PASSWORD:?} }}\n")
}

/// Reads what was added to a file since the last time.
pub struct Tail {
    path: PathBuf,
    at: u64,
    rest: Vec<u8>,
}

impl Tail {
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), at: 0, rest: Vec::new() }
    }

    /// Whole lines.
    pub fn more(&mut self) -> Vec<Value> {
        let Ok(mut file) = std::fs::File::open(&self.path) else { return Vec::new() };
        file.seek(SeekFrom::Start(self.at)).unwrap();
        self.at += file.read_to_end(&mut self.rest).unwrap() as u64;
        let whole = whole_lines(&self.rest).len();
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("whole lines are JSON")).collect()
    }
}

/// How often each call's CDR is in the file, by PBX and Call-ID.
#[derive(Default)]
struct Delivered(BTreeMap<(String, String), usize>);

impl Delivered {
    fn add(&mut self, events: Vec<Value>) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        for event in events.iter().filter(|e| e["type"] == "com.portsip.pbx.call_cdr") {
            let call = (text(&event["source"]), text(&event["data"]["call_id"]));
            *self.0.entry(call).or_default() += 1;
        }
    }

    fn missing(&self, branch: &Branch) -> usize {
        let source = format!("/pbx/{}", branch.name);
        let lacks = |call: &String| !self.0.contains_key(&(source.clone(), call.clone()));
        branch.calls().iter().filter(|call| lacks(call)).count()
    }
}

/// The Call-IDs that a receiver has accepted.
fn accepted(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for request in receiver.accepted() {
        let event: Value = serde_json::from_slice(&request.body).unwrap();
        *calls.entry(event["call_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    calls
}

/// A PBX with no proxy, called again and again: the longest time from event to file.
struct Neighbour {
    pbx: Simulator,
    tail: Tail,
    slowest: Duration,
    calls: u64,
}

impl Neighbour {
    async fn call_until(&mut self, over: Instant) {
        while Instant::now() < over {
            self.call().await;
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn call(&mut self) {
        let begun = Instant::now();
        let session = self.pbx.push_calls(1).await.remove(0);
        self.calls += 1;
        let tail = &mut self.tail;
        until_within(RECOVERY, "the neighbour's call is in its file", async || {
            let is_it = |event: &Value| {
                event["subject"] == *session && event["type"] == "com.portsip.pbx.call_cdr"
            };
            tail.more().iter().any(is_it)
        })
        .await;
        self.slowest = self.slowest.max(begun.elapsed());
    }
}

async fn status(config: &Path) -> Value {
    let command = &mut cdrd(["status", "--json", "-c"]);
    let outcome = Process::run(command.arg(config), "").await;
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {outcome:?}"))
}

fn sinks(folder: &Path, crm: &Proxy, billing: &Proxy) -> String {
    let (archive, calm) = (folder.join("archive.jsonl"), folder.join("calm.jsonl"));
    let http = |name: &str, url: String| {
        format!(
            "[sink.{name}]\ntype = \"http\"\nurl = {url:?}\nevents = [\"call_cdr\"]\n\
             pbx = [\"plain\", \"secret\"]\nstart = \"beginning\"\ntimeout = \"2s\"\n\
             retry = {{ initial = \"50ms\", max = \"1s\" }}\n"
        )
    };
    format!(
        "[sink.archive]\ntype = \"file\"\npath = {archive:?}\npbx = [\"plain\", \"secret\"]\n\
         start = \"beginning\"\n[sink.calm]\ntype = \"file\"\npath = {calm:?}\n\
         pbx = [\"calm\"]\nstart = \"beginning\"\n{}{}tls = {{ ca_file = {:?} }}\n",
        http("billing", format!("http://{}/cdr", billing.address)),
        http("crm", format!("https://localhost:{}/cdr", crm.address.port())),
        folder.join("ca.pem"),
    )
}

/// Everything of one try.
struct Region {
    folder: TempDir,
    config: PathBuf,
    branches: [Branch; 2],
    crm: (Receiver, Proxy),
    billing: (Receiver, Proxy),
    daemon: Process,
}

impl Region {
    async fn open(seconds: u64, seed: u64, calm: &Simulator) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let calls = (seconds as f64 * CALLS) as u64;
        let branches = [
            Branch::open("plain", "127.0.1.1", false, calls, seed).await,
            Branch::open("secret", "127.0.1.2", true, calls, seed + 10).await,
        ];
        let authority = Authority::within(folder.path());
        let crm = Receiver::secure(authority.server(false, &["http/1.1"])).await;
        let billing = Receiver::start().await;
        let to_crm = Proxy::start("127.0.0.1", crm.address, true, seed + 20).await;
        let to_billing = Proxy::start("127.0.0.1", billing.address, false, seed + 30).await;
        let config = folder.path().join("config.toml");
        let text = format!(
            "{}{}[pbx.calm]\nurl = {:?}\n{}[journal]\npath = {:?}\n{}",
            branches[0].table(),
            branches[1].table(),
            calm.url(),
            login(),
            folder.path().join("journal.db"),
            sinks(folder.path(), &to_crm, &to_billing)
        );
        std::fs::write(&config, text).unwrap();
        let daemon = Process::start(cdrd(["run", "-c"]).arg(&config));
        let (crm, billing) = ((crm, to_crm), (billing, to_billing));
        Self { folder, config, branches, crm, billing, daemon }
    }

    fn proxies(&self) -> [&Proxy; 6] {
        let [plain, secret] = &self.branches;
        [&plain.wsi, &plain.rest, &secret.wsi, &secret.rest, &self.crm.1, &self.billing.1]
    }

    /// All that the PBXs have on record is in the file and at both receivers.
    async fn complete(&self, delivered: &mut Delivered, tail: &mut Tail) {
        self.recovered("every call is in the file", async || {
            delivered.add(tail.more());
            self.branches.iter().all(|branch| delivered.missing(branch) == 0)
        })
        .await;
        self.recovered("every call is at the receivers", async || {
            let (crm, billing) = (accepted(&self.crm.0), accepted(&self.billing.0));
            let has = |call: &String| crm.contains_key(call) && billing.contains_key(call);
            self.branches.iter().all(|branch| branch.calls().iter().all(has))
        })
        .await;
        self.recovered("every gap is closed", async || {
            status(&self.config).await["gaps"]["open"].as_array().unwrap().is_empty()
        })
        .await;
        delivered.add(tail.more());
    }

    /// Waits for what has to come again; tells how all is if it does not.
    async fn recovered(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + RECOVERY;
        while !done().await {
            if Instant::now() > deadline {
                let status = status(&self.config).await;
                panic!("never: {what}\n{}\n{status:#}", self.daemon.log());
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_bad_network_every_call_is_there_and_the_neighbour_was_not_disturbed() {
    let seconds = number("CDRD_NETWORK_SECONDS", 8);
    let seed = number("CDRD_SEED", fastrand::u64(0..1_000_000));
    println!("network: CDRD_SEED={seed} CDRD_NETWORK_SECONDS={seconds}");
    let calm = Simulator::start(Options { record: false, ..Options::default() }).await.unwrap();
    let region = Region::open(seconds, seed, &calm).await;
    assert!(calm.wait_subscribed(1, RECOVERY).await);
    let mut tail = Tail::of(&region.folder.path().join("archive.jsonl"));
    let calm_file = Tail::of(&region.folder.path().join("calm.jsonl"));
    let mut neighbour = Neighbour { pbx: calm, tail: calm_file, slowest: Duration::ZERO, calls: 0 };
    let mut delivered = Delivered::default();

    let over = Instant::now() + Duration::from_secs(seconds);
    let [a, b, c, d, e, f] = region.proxies();
    tokio::join!(
        a.torment(over),
        b.torment(over),
        c.torment(over),
        d.torment(over),
        e.torment(over),
        f.torment(over),
        neighbour.call_until(over),
    );
    let good = Instant::now();
    for branch in &region.branches {
        assert!(branch.pbx.wait_calls_made(RECOVERY).await, "the calls were not made in time");
    }
    region.complete(&mut delivered, &mut tail).await;
    let recovery = good.elapsed();
    neighbour.call().await;

    report(&region, &neighbour, &delivered, recovery);
    check(&region, &neighbour, &delivered).await;
    region.daemon.signal("TERM");
    region.daemon.ended().await.ended_with(0);
}

fn report(region: &Region, neighbour: &Neighbour, delivered: &Delivered, recovery: Duration) {
    for branch in &region.branches {
        let logins = branch.pbx.logins().len();
        println!(
            "network: {}: {} calls, {} connections to WSI, {} to REST, {logins} logins",
            branch.name,
            branch.calls().len(),
            branch.wsi.connections(),
            branch.rest.connections()
        );
    }
    for (name, (receiver, proxy)) in [("crm", &region.crm), ("billing", &region.billing)] {
        let (calls, taken) = (accepted(receiver), receiver.accepted().len());
        let connections = proxy.connections();
        println!(
            "network: {name}: {} calls, {taken} posts, {connections} connections",
            calls.len()
        );
    }
    println!(
        "network: {} CDRs in the file; all there {:.1} s after the last fault; the neighbour's \
         {} calls were in their file within {:.3} s; peak {} MiB",
        delivered.0.len(),
        recovery.as_secs_f64(),
        neighbour.calls,
        neighbour.slowest.as_secs_f64(),
        memory_kib(region.daemon.id(), "VmHWM:") >> 10
    );
}

async fn check(region: &Region, neighbour: &Neighbour, delivered: &Delivered) {
    let twice: Vec<_> = delivered.0.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "more than once in the file: {twice:?}");
    let wanted: usize = region.branches.iter().map(|branch| branch.calls().len()).sum();
    assert_eq!(delivered.0.len(), wanted, "in the file, and not on record");
    assert!(wanted > 10, "there were calls");
    for branch in &region.branches {
        let refused = |result| matches!(result, LoginResult::Refused(_));
        assert!(!branch.pbx.logins().into_iter().any(|login| refused(login.result)));
    }
    assert!(neighbour.slowest < UNDISTURBED, "the neighbour waited {:?}", neighbour.slowest);
    assert_eq!(neighbour.pbx.connections_ever(), 1, "the neighbour's connection broke");
    let peak = memory_kib(region.daemon.id(), "VmHWM:");
    assert!(peak < MOST_KIB, "{peak} KiB");
    let status = status(&region.config).await;
    for pbx in status["pbxs"].as_array().unwrap() {
        assert_eq!(pbx["state"], "subscribed", "{pbx}");
    }
    for sink in status["sinks"].as_array().unwrap() {
        assert_eq!(sink["dead_letters"], 0, "{sink}");
    }
}
