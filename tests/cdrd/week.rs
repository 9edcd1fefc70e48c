//! A week of an office in minutes: nights without calls, restarts of the PBX, hours without
//! REST, a receiver that is down over the weekend, tokens that expire, files that change
//! every day, retention, the hourly comparison, and the night in which summer time begins
//! or ends. Then each call is in the file of its day once, and nothing has grown.
//!
//! The real program runs in time that is faster: `week/warp.c`, a library that is loaded
//! before it, speeds up both clocks and shortens waits. The test starts itself again under
//! that library, so that simulator and receiver live in the same time.
//!
//! `CDRD_WEEK_HOURS` says how much of the office's time (8 unless set: one night),
//! `CDRD_WEEK_SPEED` how many of its seconds pass in one (1440 unless set), `CDRD_SEED`
//! what happens when.

mod warp;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cdrd::simulator::{DOMAIN, DownDoor, Options, PASSWORD, Simulator};
use fastrand::Rng;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, sleep_until};

use crate::harness::{envelopes, number, until_within};
use crate::network::memory_kib;
use crate::port::Port;
use crate::process::{cdrd, preloaded};
use crate::receiver::Receiver;

const ZONE: &str = "Europe/Berlin";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// What memory may grow by from one day to another, in KiB.
const GROWTH: u64 = 24 << 10;

fn hours() -> u64 {
    number("CDRD_WEEK_HOURS", 8)
}

/// Shorter than the time that is tried, so that it shows; longer than REST may be locked
/// out, since the hourly comparison looks back no further than the journal reaches.
fn retention_hours() -> u64 {
    (hours() * 3 / 7).max(2)
}

/// From when the office is looked at, in Unix nanoseconds: so that the clock is changed in
/// the middle of it.
fn beginning() -> i128 {
    let zone = TimeZone::get(ZONE).unwrap();
    let change = zone.following(Timestamp::now()).next().expect("clocks are changed");
    change.timestamp().as_nanosecond() - i128::from(hours()) * 3_600_000_000_000 / 2
}

#[test]
fn after_a_week_of_outages_each_call_is_in_the_file_of_its_day_once() {
    let folder = tempfile::tempdir().unwrap();
    let speed = number("CDRD_WEEK_SPEED", 1440);
    let seed = number("CDRD_SEED", fastrand::u64(0..1_000_000));
    println!("week: CDRD_SEED={seed} CDRD_WEEK_HOURS={} CDRD_WEEK_SPEED={speed}", hours());
    let inside = Command::new(std::env::current_exe().unwrap())
        .args(["week::inside_of_it", "--exact", "--ignored", "--nocapture"])
        .env("LD_PRELOAD", preloaded("tests/cdrd/week/warp.c", folder.path()))
        .env("CDRD_WARP", warp::warp(speed, beginning()))
        .env("CDRD_SEED", seed.to_string())
        .output()
        .unwrap();
    let (said, erred) =
        (String::from_utf8_lossy(&inside.stdout), String::from_utf8_lossy(&inside.stderr));
    println!("{said}");
    assert!(inside.status.success() && said.contains("1 passed"), "{said}\n{erred}");
}

/// What happens to the office.
#[derive(Debug, Clone, Copy)]
enum Act {
    Restart,
    HalfOpen,
    RestDown,
    RestUp,
    TokensWorthless,
    ReceiverDown,
    ReceiverUp,
    StopAndStart,
    Kill,
}

/// Everything that will happen, in order.
fn plan(random: &mut Rng) -> Vec<(Duration, Act)> {
    let end = hours() * 60;
    let mut acts = Vec::new();
    // Each of these comes about once in four hours, or once in a night.
    for act in [Act::Restart, Act::HalfOpen, Act::TokensWorthless, Act::StopAndStart, Act::Kill] {
        for part in 0..(end / 240).max(1) {
            acts.push((part * 240 + random.u64(5..235.min(end)), act));
        }
    }
    // REST is down for two hours in each twelve, from the third on.
    for half_day in 0..end.div_ceil(720) {
        let from = half_day * 720 + 150;
        acts.extend([(from, Act::RestDown), (from + 120, Act::RestUp)]);
    }
    // And the receiver for a third of all time: over the weekend.
    acts.extend([(end / 3, Act::ReceiverDown), (end * 2 / 3, Act::ReceiverUp)]);
    acts.retain(|(minute, _)| *minute < end);
    acts.sort_by_key(|(minute, _)| *minute);
    acts.into_iter().map(|(minute, act)| (MINUTE * minute as u32, act)).collect()
}

/// The daemon. It lives in the office's time, and so do the limits of its end.
struct Daemon(Child);

impl Daemon {
    fn start(config: &Path) -> Self {
        let log = config.with_file_name("log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let command = &mut cdrd(["run", "-c"]);
        Self(command.arg(config).stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Its exit code, if no signal ended it.
    async fn stop(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        let mut code = None;
        until_within(12 * HOUR, "the daemon stops", async || {
            sleep(MINUTE).await;
            code = self.0.try_wait().unwrap();
            code.is_some()
        })
        .await;
        // One that has only just been started does not listen to signals yet, and is killed by
        // them. And ten seconds to drain are few milliseconds here: what is left comes later.
        let code = code.unwrap().code();
        assert!([Some(0), Some(75), Some(74), None].contains(&code), "{code:?}");
        code
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Office {
    folder: TempDir,
    config: PathBuf,
    pbx: Arc<Simulator>,
    port: Port,
    receiver: Option<Receiver>,
    /// Call-IDs at the receiver, also before it was down.
    received: BTreeSet<String>,
    daemon: Option<Daemon>,
    kills: u32,
    /// Kills and stops.
    ends: usize,
    /// Stops at whose deadline a commit was under way.
    stuck: usize,
    /// Memory at each hour, in KiB.
    memory: Vec<u64>,
    journal: u64,
}

impl Office {
    async fn open(seed: u64) -> Self {
        // What is tried is time, not the disk: a sync there would take virtual minutes.
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let options = Options {
            seed,
            record: false,
            ping_every: 10 * MINUTE,
            stall_limit: 10 * MINUTE,
            ..Options::default()
        };
        let pbx = Arc::new(Simulator::start(options).await.unwrap());
        let port = Port::reserve();
        let receiver = Some(Receiver::on(port.address).await);
        let config = folder.path().join("config.toml");
        std::fs::write(&config, config_text(folder.path(), &pbx, &port)).unwrap();
        std::fs::create_dir(folder.path().join("days")).unwrap();
        let daemon = Some(Daemon::start(&config));
        Self {
            folder,
            config,
            pbx,
            port,
            receiver,
            received: BTreeSet::new(),
            daemon,
            kills: 0,
            ends: 0,
            stuck: 0,
            memory: Vec::new(),
            journal: 0,
        }
    }

    async fn act(&mut self, act: Act, random: &mut Rng) {
        self.ends += usize::from(matches!(act, Act::StopAndStart | Act::Kill));
        match act {
            Act::Restart => {
                self.pbx.go_down(DownDoor::Refuses).await;
                sleep(MINUTE * random.u32(1..20)).await;
                self.pbx.come_up().await.unwrap();
            }
            Act::HalfOpen => self.pbx.silence_open().await,
            Act::RestDown => self.pbx.set_faults(|all| all.rest.unavailable = u32::MAX),
            Act::RestUp => self.pbx.set_faults(|all| all.rest.unavailable = 0),
            Act::TokensWorthless => self.pbx.revoke_rest_tokens(),
            Act::ReceiverDown => self.collect(),
            Act::ReceiverUp if self.receiver.is_some() => {}
            Act::ReceiverUp => self.receiver = Some(Receiver::on(self.port.address).await),
            Act::StopAndStart => {
                let code = self.daemon.take().unwrap().stop().await;
                self.kills += u32::from(code.is_none());
                self.stuck += usize::from(code == Some(74));
                self.daemon = Some(Daemon::start(&self.config));
            }
            Act::Kill => {
                self.kills += 1;
                drop(self.daemon.take());
                sleep(MINUTE * random.u32(1..20)).await;
                self.daemon = Some(Daemon::start(&self.config));
            }
        }
    }

    /// What the receiver has so far; it is down then.
    fn collect(&mut self) {
        let Some(receiver) = self.receiver.take() else { return };
        for request in receiver.accepted() {
            let event: Value = serde_json::from_slice(&request.body).unwrap();
            self.received.insert(event["call_id"].as_str().unwrap().to_owned());
        }
    }

    fn look(&mut self) {
        let pid = self.daemon.as_ref().unwrap().0.id();
        // None yet, if it has only just been started.
        self.memory.extend(Some(memory_kib(pid, "VmRSS:")).filter(|kib| *kib > 0));
        let size = |name: &str| {
            std::fs::metadata(self.folder.path().join(name)).map_or(0, |file| file.len())
        };
        self.journal = self.journal.max(size("journal.db"));
    }

    fn status(&self) -> Value {
        let output = cdrd(["status", "--json", "-c"]).arg(&self.config).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// All gaps are closed and nobody lags.
    async fn recovered(&self) {
        let deadline = Instant::now() + 12 * HOUR;
        loop {
            let status = self.status();
            let open = !status["gaps"]["open"].as_array().unwrap().is_empty();
            let lag = |sink: &Value| sink["lag_events"] != 0;
            if !open && !status["sinks"].as_array().unwrap().iter().any(lag) {
                return;
            }
            assert!(Instant::now() < deadline, "never all there: {status:#}\n{}", self.log());
            sleep(10 * MINUTE).await;
        }
    }

    /// How often each call is in the files, each of which is of one day.
    fn filed(&self) -> BTreeMap<String, usize> {
        let zone = TimeZone::get(ZONE).unwrap();
        let (mut filed, mut days) = (BTreeMap::new(), BTreeMap::new());
        for entry in std::fs::read_dir(self.folder.path().join("days")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let Some(day) = name.strip_prefix("cdr-").and_then(|rest| rest.get(..10)) else {
                continue;
            };
            for event in envelopes(&path) {
                let time: Timestamp = event["time"].as_str().unwrap().parse().unwrap();
                let date = zone.to_datetime(time).date().to_string();
                assert_eq!(date, day, "{event} is in {name}");
                *filed.entry(event["data"]["call_id"].as_str().unwrap().to_owned()).or_default() +=
                    1;
                *days.entry(day.to_owned()).or_insert(0) += 1;
            }
        }
        println!("week: CDRs in each day's file: {days:?}");
        filed
    }
}

fn config_text(folder: &Path, pbx: &Simulator, port: &Port) -> String {
    format!(
        "[pbx.hq]\nurl = {:?}\nlogin = {{ username = \"cdr\", domain = {DOMAIN:?}, \
         password = {PASSWORD:?} }}\nconnect_timeout = \"5m\"\nping_interval = \"10m\"\n\
         ping_timeout = \"5m\"\nreconnect = {{ initial = \"30s\", max = \"10m\" }}\n\
         backfill = {{ settle = \"2m\", reconcile_every = \"1h\" }}\n\
         [journal]\npath = {:?}\nretention = \"{}h\"\n\
         [sink.days]\ntype = \"file\"\npath = {:?}\ntimezone = {ZONE:?}\n\
         events = [\"call_cdr\"]\nrotate = {{ every = \"day\" }}\nstart = \"beginning\"\n\
         [sink.crm]\ntype = \"http\"\nurl = \"http://{}/cdr\"\nevents = [\"call_cdr\"]\n\
         timeout = \"5m\"\nstart = \"beginning\"\n\
         retry = {{ initial = \"30s\", max = \"10m\", give_up_after = \"30d\" }}\n",
        pbx.url(),
        folder.join("journal.db"),
        retention_hours(),
        folder.join("days/cdr-%Y-%m-%d.jsonl"),
        port.address
    )
}

/// Calls, a minute apart by day and half an hour by night, until `over`.
async fn calls(pbx: &Simulator, over: Instant) {
    let zone = TimeZone::get(ZONE).unwrap();
    while Instant::now() < over {
        let by_day = (7..19).contains(&zone.to_datetime(Timestamp::now()).hour());
        sleep(if by_day { MINUTE } else { 30 * MINUTE }).await;
        pbx.push_calls(if by_day { 1 } else { 3 }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs inside of faster time, where the test above starts it"]
async fn inside_of_it() {
    if std::env::var_os("CDRD_WARP").is_none() {
        return;
    }
    let seed = number("CDRD_SEED", 1);
    let mut random = Rng::with_seed(seed);
    let mut office = Office::open(seed).await;
    let begun = Instant::now();
    let over = begun + HOUR * hours() as u32;
    let plan = plan(&mut random);
    println!("week: from {:.0}: {} things happen", Timestamp::now(), plan.len());
    let pbx = Arc::clone(&office.pbx);
    tokio::join!(calls(&pbx, over), happen(&mut office, plan, over, &mut random));
    for act in [Act::RestUp, Act::ReceiverUp] {
        office.act(act, &mut random).await;
    }
    office.recovered().await;
    // What counts as late here, where a moment of the machine is a minute, the gap's comparison
    // may have left out: that is what the hourly one is for. Two of them, to be sure.
    sleep(5 * HOUR / 2).await;
    office.recovered().await;
    verify(office, &pbx, begun.elapsed()).await;
}

/// Does what is planned, and looks at the daemon every hour.
async fn happen(office: &mut Office, plan: Vec<(Duration, Act)>, over: Instant, random: &mut Rng) {
    let begun = over - HOUR * hours() as u32;
    let mut plan = plan.into_iter().peekable();
    let mut next_look = begun + HOUR;
    while next_look <= over {
        match plan.next_if(|(at, _)| begun + *at < next_look) {
            Some((at, act)) => {
                sleep_until(begun + at).await;
                println!("week: {:5.1} h: {act:?}", begun.elapsed().as_secs_f64() / 3600.0);
                office.act(act, random).await;
            }
            None => {
                sleep_until(next_look).await;
                office.look();
                next_look += HOUR;
            }
        }
    }
    sleep_until(over).await;
}

async fn verify(mut office: Office, pbx: &Simulator, took: Duration) {
    let status = office.status();
    // None, if retention has taken the last of them.
    let oldest = status["journal"]["oldest"].as_str();
    let age = oldest.map_or(0, |oldest| {
        let oldest: Timestamp = oldest.parse().unwrap();
        Timestamp::now().duration_since(oldest).as_secs() as u64 / 60
    });
    office.daemon.take().unwrap().stop().await;
    office.collect();
    let calls: BTreeSet<String> = pbx.ended_calls().into_iter().map(|call| call.call_id).collect();
    let live = pbx.calls_pushed_live().len();
    let filed = office.filed();
    let again = filed.values().filter(|times| **times > 1).count();
    let (count, kills, gaps) = (calls.len(), office.kills, status["gaps"]["closed"].as_array());
    println!(
        "week: {count} calls, {live} of them pushed; {} of the last gaps closed; {:.1} hours; RSS \
         each hour {:?} MiB; the journal had {} KiB at most, and at the end events of the last \
         {age} minutes; {kills} kills, {again} calls twice in a file; {} comparisons found what no gap had",
        gaps.map_or(0, Vec::len),
        took.as_secs_f64() / 3600.0,
        office.memory.iter().map(|kib| kib >> 10).collect::<Vec<_>>(),
        office.journal >> 10,
        office.log().matches("calls were missing although cdrd listened").count(),
    );
    let lacks = |has: &dyn Fn(&str) -> bool| {
        let ended = pbx.ended_calls().into_iter().filter(|call| !has(&call.call_id));
        ended.map(|call| Timestamp::from_second(call.ended).unwrap().to_string()).collect()
    };
    let (no_file, no_post): (Vec<_>, Vec<_>) =
        (lacks(&|call| filed.contains_key(call)), lacks(&|call| office.received.contains(call)));
    assert!(no_file.is_empty(), "ended then, and in no file: {no_file:?}\n{}", office.log());
    assert!(no_post.is_empty(), "ended then, and not at the receiver: {no_post:?}");
    assert_eq!((filed.len(), office.received.len()), (count, count), "and nothing else");
    // What an end catches between the file and the cursor comes again, also a stop, whose
    // deadline is short here: by night, three calls come at once.
    assert!(again <= 3 * office.ends, "{again} calls twice, {} ends", office.ends);
    assert!(age < retention_hours() * 60 + 60, "{age} minutes old");
    let third = office.memory.len().div_ceil(3);
    let most = |some: &[u64]| some.iter().copied().max().unwrap_or(0);
    let (first, last) = (&office.memory[..third], &office.memory[office.memory.len() - third..]);
    assert!(most(last) < most(first) + GROWTH, "{:?}", office.memory);
    let log = office.log();
    assert!(!log.contains("panicked"), "{log}");
    let stuck = log.matches("within the drain deadline").count();
    assert!(stuck >= office.stuck, "the journal failed otherwise: {log}");
}
