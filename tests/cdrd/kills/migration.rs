//! A journal that an older cdrd wrote, taken over by this one, which is killed while it
//! does so.
//!
//! `tests/journals/journal-1.db.zst` was written by format 1: events of a simulated PBX, a
//! sink that has them all (`books`), one that has none (`late`), one with a dead letter
//! (`crm`), a quarantine entry, and gaps. `journal-1.txt` says what is in it. Both were made by
//!
//! ```sh
//! CDRD_MAKE_SAMPLE=1 cargo test --test cdrd kills::migration::make -- --ignored
//! ```
//!
//! by the last version that wrote this format.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cdrd::simulator::Options;
use fastrand::Rng;
use sha2::{Digest, Sha256};

use crate::harness::{Bench, Running, envelopes, number, parse, quarantine, until};
use crate::process::{Process, cdrd};
use crate::receiver::{Answer, Receiver};

/// Kills of a run that nobody asked to be longer.
const KILLS: u64 = 12;
/// Kills of one copy of the sample, at most: then it is looked at, and a new one begun.
const KILLS_OF_ONE: u64 = 4;
/// The longest life, in milliseconds.
const LIFE_MS: u64 = 150;

fn sample(ending: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals");
    folder.join(format!("journal-1.{ending}"))
}

/// Of a journal: what tells it from another.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    events: usize,
    sha256: String,
    dead_letters: usize,
    quarantined: usize,
    gaps: usize,
}

impl Content {
    fn of(config: &Path) -> Self {
        let export = printed(config, &["export"]);
        let lines = |arguments: &[&str]| {
            let text = String::from_utf8(printed(config, arguments)).unwrap();
            text.lines().filter(|line| line.trim_start().starts_with(char::is_numeric)).count()
        };
        Self {
            events: export.iter().filter(|byte| **byte == b'\n').count(),
            sha256: Sha256::digest(&export).iter().map(|byte| format!("{byte:02x}")).collect(),
            dead_letters: lines(&["dead-letters", "list"]),
            quarantined: lines(&["quarantine", "list"]),
            gaps: lines(&["gaps", "list", "--closed"]),
        }
    }
}

fn printed(config: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = cdrd(arguments).arg("-c").arg(config).output().unwrap();
    let (out, err) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {} {err}", String::from_utf8_lossy(out));
    output.stdout
}

/// A configuration for the sample, whose PBX is not there: nothing new comes.
fn configure(folder: &Path, crm: &str) -> PathBuf {
    let path = |name: &str| folder.join(name);
    let text = format!(
        "[pbx.hq]\nurl = \"ws://127.0.0.1:9/wsi\"\nbackfill = {{ enabled = false }}\n\
         login = {{ username = \"cdr\", domain = \"example.com\", password = \"x\" }}\n\
         [journal]\npath = {:?}\nretention = \"3650d\"\n\
         [sink.books]\ntype = \"file\"\npath = {:?}\nstart = \"beginning\"\n\
         [sink.late]\ntype = \"file\"\npath = {:?}\nstart = \"now\"\n\
         [sink.crm]\ntype = \"http\"\nurl = {crm:?}\nstart = \"beginning\"\n",
        path("journal.db"),
        path("books.jsonl"),
        path("late.jsonl"),
    );
    std::fs::write(path("config.toml"), text).unwrap();
    path("config.toml")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_of_format_1_is_taken_over_whole_whenever_the_process_is_killed() {
    let (kills, seed) = (number("CDRD_KILLS", KILLS), number("CDRD_SEED", 8));
    println!("{kills} kills, seed {seed}");
    let (mut random, mut done, mut copies) = (Rng::with_seed(seed), 0, 0);
    while done < kills {
        let folder = tempfile::tempdir().unwrap();
        let packed = std::fs::read(sample("db.zst")).unwrap();
        std::fs::write(folder.path().join("journal.db"), zstd::decode_all(&*packed).unwrap())
            .unwrap();
        let receiver = Receiver::start().await;
        let config = configure(folder.path(), &receiver.url());
        for _ in 0..random.u64(1..=KILLS_OF_ONE) {
            kill_once(&config, &mut random).await;
            done += 1;
        }
        check(&config, folder.path()).await;
        copies += 1;
    }
    println!("{done} kills of {copies} copies");
}

async fn kill_once(config: &Path, random: &mut Rng) {
    let mut command = cdrd(["run", "--log-level", "error", "-c"]);
    command.arg(config).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(random.u64(0..LIFE_MS))).await;
    assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn check(config: &Path, folder: &Path) {
    let mut daemon = Process::start(cdrd(["run", "--log-level", "info", "-c"]).arg(config));
    daemon.logs("ready").await;
    let wanted = std::fs::read_to_string(sample("txt")).unwrap();
    let events: usize = wanted.lines().next().unwrap().parse().unwrap();
    let late = folder.join("late.jsonl");
    let lines = || std::fs::read(&late).unwrap_or_default().iter().filter(|b| **b == b'\n').count();
    until("the sink that was behind has everything", async || lines() >= events).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    let content = Content::of(config);
    assert_eq!(told(&content), wanted, "the journal is not what it was");
    printed(config, &["journal", "check"]);
    let ids = |name: &str| -> BTreeSet<String> {
        let events = envelopes(&folder.join(name)).into_iter();
        events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("late.jsonl").len(), events);
    assert_eq!(ids("books.jsonl").len(), 0, "delivered before, and once more");
}

/// What the sample's description says.
fn told(content: &Content) -> String {
    let Content { events, sha256, dead_letters, quarantined, gaps } = content;
    format!(
        "{events}\nevents, whose export has the SHA-256 {sha256}; {dead_letters} dead letters, \
         {quarantined} quarantined, {gaps} gaps\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes the sample that the test above starts from"]
async fn make_the_sample_of_the_present_format() {
    if std::env::var_os("CDRD_MAKE_SAMPLE").is_none() {
        println!("CDRD_MAKE_SAMPLE is not set: nothing was made");
        return;
    }
    let start_time = Some(1_790_000_000);
    let bench = Bench::with(Options { start_time, ..Options::default() }).await;
    let receiver = Receiver::start().await;
    let config = configure(bench.directory.path(), &receiver.url());
    let text = std::fs::read_to_string(&config).unwrap();
    let text =
        text.replace("\"x\"", "\"cdrd-demo\"").replace("ws://127.0.0.1:9/wsi", &bench.pbx.url());
    // A sink that cannot write is behind.
    let text = text.replace("late.jsonl", "no/late.jsonl");
    std::fs::write(bench.path("no"), "").unwrap();
    receiver.answer_next([Answer::Status(200), Answer::Status(422)]);
    let daemon = Running::start(&parse(&text));
    bench.subscribed().await;
    bench.pbx.push_raw("{\"event_type\":\"call_cdr\" \"a comma\":\"is missing\"}").await;
    bench.push(60).await;
    bench.pbx.reset_all().await;
    bench.subscribed().await;
    bench.push(240).await;
    until("it is quarantined", async || quarantine(&bench.path("journal.db")).len() == 1).await;
    let sent = bench.pbx.log().len() - 1;
    until("all is journalled", async || bench.journalled() == sent).await;
    let settled = || receiver.requests().len() >= sent;
    until("the receiver has everything", async || settled()).await;
    daemon.stop().await.unwrap();
    let content = Content::of(&config);
    assert!(content.dead_letters == 1 && content.quarantined == 1 && content.gaps >= 2);
    std::fs::write(sample("txt"), told(&content)).unwrap();
    let packed = zstd::encode_all(std::fs::File::open(bench.path("journal.db")).unwrap(), 19);
    std::fs::write(sample("db.zst"), packed.unwrap()).unwrap();
    println!("{content:?}");
}
