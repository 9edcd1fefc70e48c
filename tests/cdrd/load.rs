//! Load, held: events come at a steady rate to three sinks, one of which is down for a
//! third of the time. Memory stays flat, the others do not notice, and in the end each
//! sink has each event.
//!
//! `CDRD_LOAD_SECONDS` says how long (9 unless set) and `CDRD_LOAD_RATE` how many events a
//! second (300 unless set, since the short form runs beside other tests, unoptimized). For
//! the long form `CDRD_BIN` names a release build.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cdrd::journal::gaps;
use cdrd::simulator::{DOMAIN, Options, PASSWORD};
use tokio::time::{Instant, sleep};

use crate::admin::get;
use crate::counter::{Counter, behind, lines, posts};
use crate::harness::{Bench, NO_BACKFILL, Running, number, parse, until_within};
use crate::network::memory_kib;
use crate::port::Port;
use crate::process::{Process, cdrd};
use crate::receiver::Receiver;

/// Events of a simulated call on average: 3,489 of 415 calls.
const EVENTS_PER_CALL: f64 = 8.4;
/// Figures that are printed over the whole time.
const SAMPLES: u64 = 45;
/// How late the good sinks may be on a machine that does much else, in seconds.
const GOOD_LAG: f64 = 15.0;
/// What memory may grow by while nothing but time passes, in KiB.
const GROWTH: u64 = 24 << 10;
/// Peak of memory, in KiB; without optimization, too.
const MOST_KIB: u64 = 200 << 10;

/// The figures of a scrape.
struct Scrape(String);

impl Scrape {
    async fn of(admin: SocketAddr) -> Self {
        Self(get(admin, "/metrics").await.body)
    }

    /// The sum of all series of a name that have these words in their labels.
    fn sum(&self, name: &str, words: &str) -> f64 {
        let lines = self.0.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(words)
        });
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    fn lag(&self, sink: &str) -> (f64, f64) {
        let sink = format!("sink=\"{sink}\"");
        (self.sum("cdrd_sink_lag_events", &sink), self.sum("cdrd_sink_lag_seconds", &sink))
    }

    /// The bucket in which the slowest percent of commits begins.
    fn slowest_percent(&self) -> String {
        let name = "cdrd_journal_commit_seconds_bucket{le=\"";
        let buckets = self.0.lines().filter_map(|line| line.strip_prefix(name)?.split_once("\"} "));
        let buckets: Vec<(&str, f64)> = buckets.map(|(le, n)| (le, n.parse().unwrap())).collect();
        let all = buckets.last().expect("there were commits").1;
        buckets.iter().find(|(_, n)| *n >= all * 0.99).expect("all of them").0.to_owned()
    }
}

/// A simulator and a daemon, each a process of its own.
struct Plant {
    folder: tempfile::TempDir,
    http: Counter,
    socket: Counter,
    admin: Port,
    simulator: Process,
    daemon: Process,
    begun: Instant,
}

impl Plant {
    async fn open(calls: u64, rate: f64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (http, socket, admin) = (Counter::start(posts), Counter::start(lines), Port::reserve());
        let (rate, calls) = (format!("{rate}/s"), calls.to_string());
        let simulate =
            ["simulate", "--listen", "127.0.0.1:0", "--rate", &rate, "--calls", &calls, "--exit"];
        let mut simulator = Process::start(&mut cdrd(simulate));
        let words = simulator.logs("# REST").await;
        let url = words.lines().find_map(|line| line.strip_prefix("url = \"")).unwrap();
        let config = folder.path().join("config.toml");
        let text = config_text(folder.path(), url.trim_end_matches('"'), &http, &socket, &admin);
        std::fs::write(&config, text).unwrap();
        let arguments = ["run", "--log-level", "warn", "-c"];
        let daemon = Process::start(cdrd(arguments).arg(&config));
        Self { folder, http, socket, admin, simulator, daemon, begun: Instant::now() }
    }

    async fn tell(&self, what: &str) -> Scrape {
        let scrape = Scrape::of(self.admin.address).await;
        let [file, http, socket] = ["file", "http", "socket"].map(|sink| scrape.lag(sink));
        println!(
            "load: {:6.1} s {what:8} RSS {:3} MiB, journal {:4} MiB, received {:7}; lag in events \
             and seconds: file {} {}, socket {} {}, http {} {}",
            self.begun.elapsed().as_secs_f64(),
            memory_kib(self.daemon.id(), "VmRSS:") >> 10,
            scrape.sum("cdrd_journal_bytes", "") as u64 >> 20,
            scrape.sum("cdrd_events_received_total", ""),
            file.0,
            file.1,
            socket.0,
            socket.1,
            http.0,
            http.1,
        );
        scrape
    }

    /// Looks at it again and again until `over`; returns the worst lag of the good sinks.
    async fn watch(&self, what: &str, over: Instant, every: Duration) -> f64 {
        let mut worst: f64 = 0.0;
        while Instant::now() < over {
            let scrape = self.tell(what).await;
            worst = worst.max(scrape.lag("file").1).max(scrape.lag("socket").1);
            sleep(every.min(over.saturating_duration_since(Instant::now()))).await;
        }
        worst
    }

    fn rss(&self) -> u64 {
        memory_kib(self.daemon.id(), "VmRSS:")
    }
}

/// What the files in a folder have: how many events, each once and in order.
fn filed(folder: &Path) -> u64 {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // Beside them stands the list of those that are being finished.
    names.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    // The one that is being written has no number, and comes last.
    names.sort_by_key(|path| (!path.to_string_lossy().contains("events-"), path.clone()));
    let (mut last, mut count) = (0, 0);
    for path in names {
        for line in BufReader::new(std::fs::File::open(&path).unwrap()).split(b'\n') {
            let line = line.unwrap();
            let seq = behind(&line, b"\"seq\":").expect("an envelope");
            let digits = seq.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let seq: u64 = std::str::from_utf8(&seq[..digits]).unwrap().parse().unwrap();
            assert!(seq > last, "{seq} after {last} in {path:?}");
            (last, count) = (seq, count + 1);
        }
    }
    count
}

fn config_text(folder: &Path, url: &str, http: &Counter, socket: &Counter, admin: &Port) -> String {
    std::fs::create_dir(folder.join("events")).unwrap();
    format!(
        "[pbx.hq]\nurl = {url:?}\nbackfill = {{ enabled = false }}\nlogin = {{ username = \"cdr\", \
         domain = {DOMAIN:?}, password = {PASSWORD:?} }}\n\
         [journal]\npath = {:?}\nretention = \"10s\"\nmax_size = \"16GiB\"\n\
         [admin]\nlisten = \"{}\"\n\
         [sink.file]\ntype = \"file\"\npath = {:?}\nrotate = {{ size = \"256MiB\" }}\n\
         start = \"beginning\"\n\
         [sink.http]\ntype = \"http\"\nurl = \"http://{}/cdr\"\nformat = \"cloudevents\"\n\
         batch = 200\nstart = \"beginning\"\nretry = {{ initial = \"100ms\", max = \"2s\" }}\n\
         [sink.socket]\ntype = \"socket\"\naddress = \"tcp://{}\"\nconfirm = \"line\"\n\
         window = 2000\nstart = \"beginning\"\n",
        folder.join("journal.db"),
        admin.address,
        folder.join("events/events.jsonl"),
        http.address(),
        socket.address()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_load_is_held_and_whoever_was_down_catches_up() {
    let seconds = number("CDRD_LOAD_SECONDS", 9);
    let rate = number("CDRD_LOAD_RATE", 300) as f64;
    let calls = (rate * seconds as f64 / EVENTS_PER_CALL) as u64;
    println!("load: CDRD_LOAD_SECONDS={seconds} CDRD_LOAD_RATE={rate}: {calls} calls");
    let mut plant = Plant::open(calls, rate / EVENTS_PER_CALL).await;
    plant.simulator.logs("subscribed to").await;
    until_within(Duration::from_secs(60), "the admin endpoint answers", async || {
        tokio::net::TcpStream::connect(plant.admin.address).await.is_ok()
    })
    .await;

    let third = Duration::from_secs(seconds) / 3;
    let every =
        Duration::from_secs(seconds).div_f64(SAMPLES as f64).max(Duration::from_millis(500));
    let begun = Instant::now();
    let first = plant.watch("all up", begun + third, every).await;
    let start = plant.rss();
    plant.http.go_down();
    let second = plant.watch("http down", begun + 2 * third, every).await;
    let middle = plant.rss();
    plant.http.come_up();
    let back = Instant::now();
    let backlog = plant.tell("http up").await.lag("http").0;
    // Until it has caught up, while events go on coming.
    while Scrape::of(plant.admin.address).await.lag("http").0 > rate {
        assert!(back.elapsed() < third + Duration::from_secs(600), "it never catches up");
        plant.watch("catch up", Instant::now() + every / 4, every / 4).await;
    }
    let caught_up = back.elapsed().as_secs_f64();
    let third_part = plant.watch("all up", begun + 3 * third, every).await;
    let received = delivered(plant.admin.address, Duration::from_secs(120 + seconds)).await;
    let (rss, lags) = ([start, middle], [first, second, third_part]);
    judge(&plant, &Figures { rss, lags, backlog, caught_up }, received, seconds).await;
    compare(plant, received).await;
}

/// What was measured on the way.
struct Figures {
    /// Memory before the outage and after it, in KiB.
    rss: [u64; 2],
    /// The worst lag of the good sinks in each third, in seconds.
    lags: [f64; 3],
    /// How far the third sink was behind, in events.
    backlog: f64,
    /// How long it took to catch up, in seconds.
    caught_up: f64,
}

/// Waits until nothing more comes and every sink has all; returns how much that is.
async fn delivered(admin: SocketAddr, patience: Duration) -> u64 {
    let mut received = 0;
    until_within(patience, "all is delivered", async || {
        let scrape = Scrape::of(admin).await;
        let now = scrape.sum("cdrd_events_received_total", "") as u64;
        let still = std::mem::replace(&mut received, now) == now;
        sleep(Duration::from_millis(500)).await;
        still && ["file", "http", "socket"].iter().all(|sink| scrape.lag(sink).0 == 0.0)
    })
    .await;
    received
}

/// Tells all figures, and judges them.
async fn judge(plant: &Plant, figures: &Figures, received: u64, seconds: u64) {
    let Figures { rss, lags, backlog, caught_up } = figures;
    let took = plant.begun.elapsed().as_secs_f64().min(seconds as f64);
    let scrape = plant.tell("end").await;
    let (end, peak) = (plant.rss(), memory_kib(plant.daemon.id(), "VmHWM:"));
    let database = std::fs::metadata(plant.folder.path().join("journal.db")).unwrap().len() >> 20;
    println!(
        "load: {received} events, {:.0} a second; RSS {} MiB before the outage, {} after it, {} at \
         the end, peak {}; file of the journal {database} MiB; {backlog} events behind, caught up \
         in {caught_up:.1} s while others came: {:.0} a second; 99 of 100 commits within {} s; \
         the good sinks were at most {lags:?} s late in each third",
        received as f64 / took,
        rss[0] >> 10,
        rss[1] >> 10,
        end >> 10,
        peak >> 10,
        backlog / caught_up,
        scrape.slowest_percent(),
    );
    assert!(lags.iter().all(|lag| *lag < GOOD_LAG), "{lags:?}");
    assert!(end < rss[0] + GROWTH && rss[1] < rss[0] + GROWTH, "{rss:?}, {end} KiB");
    assert!(peak < MOST_KIB, "{peak} KiB");
}

/// Ends all of it and compares: what was pushed is what came, and each sink has it.
async fn compare(plant: Plant, received: u64) {
    plant.daemon.signal("TERM");
    plant.daemon.ended().await.ended_with(0);
    let pushed = plant.simulator.ended().await.ended_with(0).stderr;
    let pushed =
        pushed.rsplit("; ").find_map(|part| part.split(" frames pushed").next()?.parse().ok());
    let pushed: u64 = pushed.expect("the simulator tells what it pushed");
    let (http, socket) = (&plant.http.seen, &plant.socket.seen);
    println!("load: again at http {}, at socket {}", http.again(), socket.again());
    assert_eq!(received, pushed, "received, and pushed");
    let filed = filed(&plant.folder.path().join("events"));
    assert_eq!([filed, http.distinct(), socket.distinct()], [received; 3], "delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_journal_is_full_nobody_listens_and_what_was_missed_is_fetched_back() {
    let stall_limit = Duration::from_secs(1);
    let options = Options { record: false, stall_limit, ..Options::default() };
    let bench = Bench::with(options).await;
    let port = Port::reserve();
    let sink = format!(
        "[sink.http]\ntype = \"http\"\nurl = \"http://{}/cdr\"\nevents = [\"call_cdr\"]\n\
         start = \"beginning\"\nretry = {{ initial = \"50ms\", max = \"500ms\" }}\n",
        port.address
    );
    let backfill =
        "backfill = { settle = \"1s\", reconcile_every = \"0s\", requests_per_minute = 1000 }";
    let text = bench.config_text(&sink).replace(NO_BACKFILL, backfill);
    let text = text.replace("[journal]\n", "[journal]\nmax_size = \"1MiB\"\n");
    let daemon = Running::start(&parse(&text));
    bench.subscribed().await;
    let spans = || daemon.journal.reader().unwrap().ask(gaps::list).unwrap();
    let is_full = || spans().iter().any(|span| span.why.contains("the journal was full"));
    let dropped = || bench.pbx.connections().iter().any(|one| one.ending.is_some());
    until_within(
        Duration::from_secs(120),
        "the journal is full, and the PBX hangs up",
        async || {
            // More than buffers hold: whoever does not read is dropped.
            bench.pbx.push_calls(300).await;
            is_full() && dropped()
        },
    )
    .await;
    let receiver = Receiver::on(port.address).await;
    let calls = bench.pbx.ended_calls();
    until_within(Duration::from_secs(120), "every call is at the receiver", async || {
        sleep(Duration::from_millis(100)).await;
        let accepted = receiver.accepted();
        let sessions: BTreeSet<_> = accepted.iter().map(|r| r.header("ce-subject")).collect();
        calls.iter().all(|call| sessions.contains(&Some(&*call.session_id)))
    })
    .await;
    let accepted = receiver.accepted();
    let fetched = accepted.iter().filter(|r| r.header("ce-origin") == Some("backfill")).count();
    println!(
        "load: a full journal: {} calls; {fetched} came from REST, with those that came again since a \
         journal this small had forgotten them",
        calls.len()
    );
    assert!(fetched > 0, "nothing was missed");
    daemon.stop().await.unwrap();
}
