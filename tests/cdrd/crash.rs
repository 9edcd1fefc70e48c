//! kill -9 at random moments: nothing that was committed is missing from the file,
//! nothing is torn.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cdrd::config::Start;
use cdrd::event::decode::{Frame, decode};
use cdrd::event::{Event, Origin, Stored};
use cdrd::journal::Journal;
use cdrd::journal::reader::Reader;
use cdrd::simulator::flood::{Flood, Load, Records};
use cdrd::simulator::spelling::Spelling;
use cdrd::simulator::{Options, Rate, Release};
use serde_json::Value;

use crate::harness::{Bench, PATIENCE, envelopes, journal_settings, until};

const ROUNDS: usize = 50;

/// The real program; killed if the test ends early.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(bench: &Bench) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_cdrd"))
            .args(["run", "--log-level", "error", "-c"])
            .arg(bench.path("config.toml"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn committed(bench: &Bench) -> Vec<Stored> {
    let path = bench.path("journal.db");
    if !path.exists() {
        return Vec::new();
    }
    // Killed before the first table was made: then there is nothing to read.
    let Ok(mut reader) = Reader::open(&path) else { return Vec::new() };
    reader.after(0, usize::MAX >> 1, usize::MAX).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_committed_is_in_the_file_after_fifty_kills_under_load() {
    let options = Options { rate: Rate::PerSecond(400.0), record: false, ..Options::default() };
    let bench = Bench::with(options).await;
    let file = bench.path("cdr.jsonl");
    // A first sight of the sink starts at "now"; with "beginning" a kill before its
    // cursor exists loses nothing either.
    let sink = format!("[sink.archive]\ntype = \"file\"\npath = {file:?}\nstart = \"beginning\"\n");
    std::fs::write(bench.path("config.toml"), bench.config_text(&sink)).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let mut grew = 0;
    let mut last = 0;
    for round in 0..ROUNDS {
        let daemon = Daemon::start(&bench);
        if round % 2 == 1 {
            // However slow the machine is, every second kill meets a daemon at work.
            commits_after(&bench, last as u64).await;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(5..250))).await;
        daemon.kill();
        let now = committed(&bench).len();
        grew += usize::from(now > last);
        last = now;
    }
    assert!(grew >= ROUNDS / 2, "only {grew} of {ROUNDS} rounds committed anything");

    let expected = committed(&bench);
    let daemon = Daemon::start(&bench);
    let newest = expected.last().unwrap().seq;
    until("the file has the newest committed event", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains(&format!("\"seq\":{newest},"))
    })
    .await;
    commits_after(&bench, newest).await;
    terminate(daemon).await;

    let delivered = envelopes(&file);
    let ids: BTreeSet<&str> = delivered.iter().map(|e| e["id"].as_str().unwrap()).collect();
    let missing = expected.iter().filter(|e| !ids.contains(e.event.id.to_string().as_str()));
    assert_eq!(missing.count(), 0, "committed, but not in the file");
    let by_seq: BTreeMap<u64, &Value> =
        delivered.iter().map(|e| (e["seq"].as_u64().unwrap(), e)).collect();
    for event in &expected {
        let line = by_seq[&event.seq];
        let data: Value = serde_json::from_slice(&event.event.raw).unwrap();
        assert_eq!(line["data"], data, "corrupt");
    }
    // A redelivery after a kill starts again from the cursor; apart from that, order holds.
    let back =
        delivered.windows(2).filter(|w| w[1]["seq"].as_u64() <= w[0]["seq"].as_u64()).count();
    assert!(back <= ROUNDS, "{back} steps back in {ROUNDS} rounds");
    println!("{} committed, {} delivered, {back} redeliveries", expected.len(), delivered.len());
}

/// Large batches go to the disk past the page cache, in blocks that end amid lines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_amid_large_batches_leave_whole_lines_in_order_and_lose_none() {
    const EVENTS: u64 = 15_000;
    let bench = Bench::new().await;
    let events = fill(&bench.path("journal.db"), EVENTS).await;
    let file = bench.path("cdr.jsonl");
    let sink = format!("[sink.archive]\ntype = \"file\"\npath = {file:?}\nstart = \"beginning\"\n");
    std::fs::write(bench.path("config.toml"), bench.patient_config_text(&sink)).unwrap();
    let length = || std::fs::metadata(&file).map_or(0, |file| file.len());
    let lines = || std::fs::read(&file).unwrap_or_default().iter().filter(|b| **b == b'\n').count();
    let mut random = fastrand::Rng::with_seed(12);
    let mut kills = 0;
    while kills < 12 && lines() < EVENTS as usize {
        let before = length();
        let daemon = Daemon::start(&bench);
        // What a kill has left may be cut off first, and comes again.
        until("it writes", async || length() > before).await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..60))).await;
        daemon.kill();
        kills += 1;
    }
    let daemon = Daemon::start(&bench);
    bench.subscribed().await;
    let newest = format!("\"seq\":{EVENTS},");
    until("the last one is there", async || {
        std::fs::read_to_string(&file).unwrap_or_default().contains(&newest)
    })
    .await;
    terminate(daemon).await;
    assert!(kills > 2, "it was killed amid batches");

    let delivered = envelopes(&file);
    let seqs: Vec<u64> = delivered.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    // Only a kill brings events again; none is left out.
    let steps = seqs.windows(2).filter(|pair| pair[1] != pair[0] + 1);
    let back: Vec<_> = steps.inspect(|pair| assert!(pair[1] <= pair[0], "{pair:?}")).collect();
    assert!(back.len() <= kills, "{back:?}");
    let mut seen = BTreeSet::new();
    // The newest may be of the PBX that was connected meanwhile.
    for (seq, line) in seqs.iter().zip(&delivered).filter(|(seq, _)| **seq <= EVENTS) {
        let sent = &events[*seq as usize - 1].raw;
        assert_eq!(line["data"], serde_json::from_slice::<Value>(sent).unwrap(), "corrupt");
        seen.insert(seq);
    }
    assert_eq!(seen.len(), events.len());
}

/// A journal with so many records, and the sink's cursor before them.
async fn fill(path: &Path, count: u64) -> Vec<Event> {
    let records = Arc::new(Records::compose(Spelling { release: Release::R22_3 }, 12));
    let mut flood = Flood::new(records, Load { events: count, rate: None });
    let (pbx, now_ms) = (Arc::from("hq"), jiff::Timestamp::now().as_millisecond());
    let decoded = |text| match decode(&pbx, Origin::Live, now_ms, text) {
        Ok(Frame::Event(event)) => event,
        other => panic!("{other:?}"),
    };
    let events: Vec<Event> = (0..count).map(|_| decoded(flood.text())).collect();
    let sinks = [(Arc::from("archive"), Start::Beginning)];
    let (journal, writer) = Journal::open(&journal_settings(path), &sinks).unwrap();
    for some in events.chunks(1_000) {
        journal.intake().events_durably(some.to_vec()).await.unwrap();
    }
    drop(journal);
    writer.join().await.unwrap();
    events
}

/// Waits until the daemon is at work: one that only begins cannot be asked to stop yet.
pub async fn commits_after(bench: &Bench, seq: u64) {
    until("it commits", async || bench.journalled() as u64 > seq).await;
}

/// Asks the daemon to stop, and waits until it has.
pub async fn terminate(mut daemon: Daemon) {
    let killed = Command::new("kill").arg(daemon.0.id().to_string()).status().unwrap();
    assert!(killed.success());
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(status) = daemon.0.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(ended.await.expect("stops in time").success());
}

#[tokio::test]
async fn a_line_that_a_crash_tore_is_cut_off_and_its_event_comes_again() {
    let bench = Bench::new().await;
    let daemon = bench.daemon();
    bench.subscribed().await;
    bench.push(3).await;
    bench.finish(daemon).await;
    for file in ["raw.jsonl", "cdr.jsonl"] {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().append(true).open(bench.path(file)).unwrap();
        file.write_all(&[b'x'; 100_000]).unwrap();
    }
    let daemon = bench.daemon();
    bench.subscribed().await;
    bench.push(3).await;
    bench.finish(daemon).await;
}
