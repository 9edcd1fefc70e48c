//! Disks that fill: the journal's, a file sink's, and one that holds both. Events wait,
//! or the session pauses and the gap is filled; it goes on by itself once there is
//! room, and in the end each call is in the file, once.
//!
//! The disk is a small tmpfs in a mount namespace, which a process holds as long as the
//! test lasts, so that the daemon can end and start again on the same full disk. A
//! sink's disk that fills while files are rotated is in `files::faults`.
//!
//! `CDRD_DISK_ROUNDS` sets how often each disk fills.

use std::collections::BTreeMap;
use std::future::ready;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cdrd::simulator::{DOMAIN, Options, PASSWORD};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::{Bench, PATIENCE, number, until, until_within};
use crate::process::{Process, cdrd};

/// With these options of `unshare` a file system can be mounted, and entered with those
/// of `nsenter`: as root, or as anybody where user namespaces are allowed.
const WAYS: [(&str, &[&str]); 2] =
    [("-m", &["-m"]), ("-rm", &["-U", "--preserve-credentials", "-m"])];
/// What a stop may take where there is room, and where there is none to wait for.
const PATIENT: &str = "60s";
const HASTY: &str = "1s";
/// How long a PBX waits for a client that does not read.
const STALL: Duration = Duration::from_millis(500);

/// A small file system, mounted where only its holder and those who enter see it.
struct Disk {
    holder: Process,
    enter: &'static [&'static str],
    place: PathBuf,
}

impl Disk {
    /// `None` if nothing can be mounted here, which is said loudly.
    async fn mount(bench: &Bench, mebibytes: u32) -> Option<Self> {
        let place = bench.path("disk");
        std::fs::create_dir(&place).unwrap();
        let script = "mount -t tmpfs -o size=$1m,mode=755 tmpfs \"$0\" && echo mounted && cat";
        for (unshare, enter) in WAYS {
            let mut command = Command::new("unshare");
            command.args([unshare, "sh", "-c", script]).arg(&place).arg(mebibytes.to_string());
            let mut holder = Process::start(&mut command);
            until("it is mounted, or not", || ready(!holder.is_silent())).await;
            if holder.has_printed("mounted") {
                return Some(Self { holder, enter, place });
            }
        }
        eprintln!(
            "\n*** LEFT OUT: nothing can be mounted here, neither by root nor in a user \
             namespace, so full disks were NOT tried ***\n"
        );
        None
    }

    /// The same folder, for those outside.
    fn seen(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), self.place.display()))
    }

    /// The program under test, which sees the disk.
    fn cdrd(&self, arguments: &[&str], config: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string()]).args(self.enter);
        let program = cdrd(arguments);
        command.arg(program.get_program()).args(arguments).arg("-c").arg(config);
        command.env("TZ", "UTC").env("CDRD_LOG", "info").env("RUST_BACKTRACE", "0");
        command
    }

    fn start(&self, config: &Path, drain: &str) -> Process {
        Process::start(&mut self.cdrd(&["run", "--drain", drain], config))
    }

    /// Fills it, and whatever becomes free, until told to stop; then it has room.
    async fn fill(&self, stop: &CancellationToken) {
        let path = self.seen().join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while !stop.is_cancelled() {
            while file.write_all(&[0; 4096]).is_ok() {}
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(file);
        std::fs::remove_file(path).unwrap();
    }
}

/// A daemon between a PBX and a file, with some of it on a small disk.
struct Scene {
    bench: Bench,
    disk: Disk,
    journal: PathBuf,
    /// As those outside see it.
    seen_file: PathBuf,
    config: PathBuf,
}

impl Scene {
    async fn new(mebibytes: u32, journal_is_there: bool, file_is_there: bool) -> Option<Self> {
        let bench = Bench::with(Options { stall_limit: STALL, ..Options::default() }).await;
        let disk = Disk::mount(&bench, mebibytes).await?;
        let at = |is_there: bool, name: &str| match is_there {
            true => (disk.place.join(name), disk.seen().join(name)),
            false => (bench.path(name), bench.path(name)),
        };
        let (journal, _) = at(journal_is_there, "journal.db");
        let (file, seen_file) = at(file_is_there, "cdr.jsonl");
        let url = bench.pbx.url();
        let text = format!(
            "[pbx.hq]\nurl = {url:?}\nreconnect = {{ initial = \"10ms\", max = \"50ms\" }}\n\
             login = {{ username = \"cdr\", domain = {DOMAIN:?}, password = {PASSWORD:?} }}\n\
             backfill = {{ requests_per_minute = 1000, settle = \"0s\", reconcile_every = \"0s\" }}\n\
             [journal]\npath = {journal:?}\n\
             [sink.archive]\ntype = \"file\"\npath = {file:?}\nstart = \"beginning\"\n"
        );
        let config = bench.path("config.toml");
        std::fs::write(&config, text).unwrap();
        Some(Self { bench, disk, journal, seen_file, config })
    }

    /// Up, and nothing to be fetched any more: whatever comes now is known.
    async fn start(&self, drain: &str) -> Process {
        let daemon = self.disk.start(&self.config, drain);
        self.bench.subscribed().await;
        self.closed().await;
        daemon
    }

    async fn closed(&self) {
        until("every gap is closed", || {
            let gaps = self.gaps();
            ready(!gaps.is_empty() && gaps.lines().all(|gap| gap.contains("; closed")))
        })
        .await;
    }

    /// `cdrd gaps list --closed`, from inside: SQLite would not find the disk by the way
    /// that leads there from outside.
    fn gaps(&self) -> String {
        let output = self.disk.cdrd(&["gaps", "list", "--closed"], &self.config).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| !line.starts_with("no gaps")).map(|l| format!("{l}\n")).collect()
    }

    /// The ids under which each call's record is in the file, and how often.
    fn calls(&self) -> BTreeMap<String, Vec<String>> {
        let mut calls = BTreeMap::<String, Vec<String>>::new();
        let bytes = std::fs::read(&self.seen_file).unwrap_or_default();
        let whole = crate::harness::whole_lines(&bytes);
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line).expect("no line is torn");
            if event["type"] == "com.portsip.pbx.call_cdr" {
                let session = event["data"]["session_id"].as_str().unwrap().to_owned();
                calls.entry(session).or_default().push(event["id"].as_str().unwrap().to_owned());
            }
        }
        calls
    }

    /// Waits until every call of the PBX is in the file; how many are there again.
    async fn complete(&self) -> usize {
        let wanted = self.bench.pbx.ended_calls();
        let mut lost = 0;
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let calls = self.calls();
                lost = wanted.iter().filter(|call| !calls.contains_key(&call.session_id)).count();
                if lost == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(waited.await.is_ok(), "{lost} of {} calls lost: {}", wanted.len(), self.gaps());
        self.closed().await;
        let calls = self.calls();
        assert_eq!(calls.len(), wanted.len());
        for ids in calls.values() {
            assert!(ids.iter().all(|id| *id == ids[0]), "a call with two ids: {ids:?}");
        }
        calls.values().map(|ids| ids.len() - 1).sum()
    }
}

async fn rounds_on_a_full_disk(mebibytes: u32, journal: bool, file: bool, says: &str) {
    let Some(scene) = Scene::new(mebibytes, journal, file).await else { return };
    let pbx = &scene.bench.pbx;
    for round in 0..number("CDRD_DISK_ROUNDS", 1) {
        // A process of its own, whose log tells of this round alone.
        let daemon = scene.start(PATIENT).await;
        scene.bench.push(20).await;
        let full = CancellationToken::new();
        let trouble = async {
            while !daemon.log().contains(says) {
                pbx.push_calls(10).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Whatever is said now, the disk has no room for.
            pbx.push_calls(100).await;
            full.cancel();
        };
        tokio::join!(scene.disk.fill(&full), trouble);
        scene.bench.subscribed().await;
        pbx.push_calls(5).await;
        let again = scene.complete().await;
        assert_eq!(again, 0, "calls came twice");
        let (calls, gaps) = (pbx.ended_calls().len(), scene.gaps().lines().count());
        println!("round {round}: {calls} calls, {again} of them again; {gaps} gaps closed");
        daemon.signal("TERM");
        daemon.ended().await.ended_with(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_journals_disk_is_full_the_session_pauses_and_the_gap_is_filled() {
    rounds_on_a_full_disk(32, true, false, "the journal waits for room").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_of_a_file_is_full_events_wait_in_the_journal() {
    rounds_on_a_full_disk(32, false, true, "No space left on device").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_of_journal_and_file_is_full_both_wait_and_go_on() {
    rounds_on_a_full_disk(32, true, true, "the journal waits for room").await;
}

/// A disk that is full does not get room because the daemon ends, and systemd starts it
/// again meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_disk_that_is_full_the_daemon_can_be_stopped_started_and_killed() {
    let Some(scene) = Scene::new(32, true, true).await else { return };
    let daemon = scene.start(HASTY).await;
    scene.bench.push(20).await;
    let full = CancellationToken::new();
    let pbx = &scene.bench.pbx;
    let trouble = async {
        while !daemon.log().contains("the journal waits for room") {
            pbx.push_calls(10).await;
        }
        daemon.signal("TERM");
        let stopped = daemon.ended().await;
        assert!([74, 75].contains(&stopped.code()), "{stopped:?}");
        for _ in 0..3 {
            pbx.push_calls(10).await;
            let mut daemon = scene.disk.start(&scene.config, HASTY);
            // It waits, or says why it cannot start; it does not go on as if nothing were.
            daemon
                // That the journal waits may be logged before it is ready.
                .has_logged("how it is", |log| log.contains("ready") || log.contains("cdrd: "))
                .await;
            if daemon.log().contains("ready") {
                println!("it started, and waits");
                daemon.signal("KILL");
                continue;
            }
            println!("it did not start");
            let ended = daemon.ended().await.ended_with(74);
            let names_it = ended.stderr.contains(&scene.journal.display().to_string());
            assert!(names_it && ended.stderr.contains("full"), "{ended:?}");
        }
        full.cancel();
    };
    tokio::join!(scene.disk.fill(&full), trouble);
    let mut daemon = scene.disk.start(&scene.config, PATIENT);
    scene.bench.subscribed().await;
    until_within(PATIENCE, "every call is there", async || {
        let calls = scene.calls();
        pbx.ended_calls().iter().all(|call| calls.contains_key(&call.session_id))
    })
    .await;
    daemon.logs("ready").await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}
