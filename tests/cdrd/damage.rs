//! Damage to the journal's files: bytes flipped, sectors zeroed, files cut off, at random
//! places. Whoever opens it gets what was written, or is refused with words that say what
//! to do; and a repair saves the rest, telling what is lost.
//!
//! `CDRD_DAMAGES` says how many places are tried.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cdrd::config::Start;
use cdrd::event::decode::{Frame, decode};
use cdrd::event::{Event, Origin, Stored};
use cdrd::journal::check::check;
use cdrd::journal::dead_letters::{self, DeadLetter};
use cdrd::journal::gaps::{self, Note};
use cdrd::journal::quarantine::Quarantined;
use cdrd::journal::reader::Reader;
use cdrd::journal::repair::{Known, Repaired, repair};
use cdrd::journal::thread::WriterThread;
use cdrd::journal::{Journal, JournalError};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::harness::{PATIENCE, journal_settings, number};

const BATCHES: u64 = 40;
const BATCH: u64 = 5;
const SINKS: [&str; 2] = ["crm", "archive"];
const NOW_MS: i64 = 1_790_000_000_000;

fn open(path: &Path) -> Result<(Journal, WriterThread), JournalError> {
    Journal::open(&journal_settings(path), &SINKS.map(|sink| (Arc::from(sink), Start::Beginning)))
}

async fn close(journal: Journal, writer: WriterThread) -> Result<(), JournalError> {
    drop(journal);
    timeout(PATIENCE, writer.join()).await.expect("the writer ends")
}

fn event(n: u64) -> Event {
    let padding = "x".repeat((n * 37 % 900) as usize);
    let text = format!(
        r#"{{"event_type":"call_cdr","session_id":"{n}","call_id":"c{n}","caller":"+4930{n:06}","user_data":"{padding}"}}"#
    );
    match decode(&Arc::from("hq"), Origin::Live, NOW_MS + n as i64 * 1000, Bytes::from(text)) {
        Ok(Frame::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

/// A journal with something in each table.
struct Sound {
    /// Closed in order: everything is in the database.
    closed: TempDir,
    /// As a kill leaves it: much is in the log.
    killed: TempDir,
    events: Vec<Stored>,
    cursors: BTreeMap<&'static str, u64>,
}

fn copy(from: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
        }
    }
    folder
}

impl Sound {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let mut killed = None;
        for half in 0..2 {
            let (journal, writer) = open(&path).unwrap();
            if half == 0 {
                fill_tables(&journal).await;
            }
            for batch in 0..BATCHES / 2 {
                let first = (half * BATCHES / 2 + batch) * BATCH;
                let events = (first..first + BATCH).map(event).collect();
                journal.intake().events_durably(events).await.unwrap();
            }
            journal.cursor("crm").unwrap().confirm(60 + half * 100);
            journal.flush().await.unwrap();
            killed = Some(copy(folder.path()));
            close(journal, writer).await.unwrap();
        }
        let events = Reader::open(&path).unwrap().after(0, 1 << 20, usize::MAX).unwrap();
        assert_eq!(events.len() as u64, BATCHES * BATCH);
        let cursors = BTreeMap::from([("crm", 160), ("archive", 0)]);
        Self { closed: copy(folder.path()), killed: killed.unwrap(), events, cursors }
    }
}

async fn fill_tables(journal: &Journal) {
    let pbx: Arc<str> = Arc::from("hq");
    let intake = journal.intake();
    for note in [
        Note::Started { pbx: Arc::clone(&pbx), no_backfill: None },
        Note::Regained { pbx: Arc::clone(&pbx) },
    ] {
        intake.note(note).await.unwrap();
    }
    for n in 0..5 {
        let data = Bytes::from(vec![n; 100]);
        let (reason, received_ms) = ("odd".to_owned(), NOW_MS);
        let pbx = Arc::clone(&pbx);
        let entry = Quarantined { pbx, origin: Origin::Live, received_ms, reason, size: 100, data };
        intake.suspect_durably(entry).await.unwrap();
        let event = Stored { seq: u64::from(n) + 1, event: event(u64::from(n)) };
        let letter =
            DeadLetter { sink: Arc::from("crm"), at_ms: NOW_MS, reason: "no".to_owned(), event };
        journal.dead_letter(letter).await.unwrap();
    }
}

/// What was done to which file.
#[derive(Debug, Clone, Copy)]
struct Harm {
    log: bool,
    kind: u8,
    at: u64,
}

impl Harm {
    fn random(random: &mut fastrand::Rng, folder: &Path, log: bool) -> Self {
        let size = std::fs::metadata(file(folder, log)).unwrap().len();
        Self { log, kind: random.u8(0..4), at: random.u64(0..size) }
    }

    fn cuts(self) -> bool {
        self.kind == 3
    }

    fn apply(self, folder: &Path) {
        let path = file(folder, self.log);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = self.at as usize;
        let sector = at / 512 * 512..bytes.len().min(at / 512 * 512 + 512);
        match self.kind {
            0 => bytes[at] ^= 1 << (at % 8),
            1 => bytes[at] = !bytes[at],
            2 => bytes[sector].fill(0),
            _ => bytes.truncate(at),
        }
        std::fs::write(&path, bytes).unwrap();
    }
}

fn file(folder: &Path, log: bool) -> PathBuf {
    folder.join(if log { "journal.db-wal" } else { "journal.db" })
}

type Seen = (Vec<Stored>, BTreeMap<&'static str, u64>);

/// What a daemon would hand to its sinks: all that can be read before an error.
async fn look(folder: &Path) -> Result<Seen, JournalError> {
    let path = folder.join("journal.db");
    let (journal, writer) = open(&path)?;
    let cursors = SINKS.map(|sink| (sink, journal.cursor(sink).unwrap().get()));
    let (mut events, mut failed) = (Vec::<Stored>::new(), None);
    let mut reader = journal.reader()?;
    loop {
        let seq = events.last().map_or(0, |event| event.seq);
        match reader.after(seq, 7, usize::MAX) {
            Ok(more) if more.is_empty() => break,
            Ok(more) => events.extend(more),
            Err(e) => {
                failed = Some(e);
                break;
            }
        }
    }
    drop(reader);
    // Even what was read before an error must be true.
    assert!(events.iter().all(|e| e.event == event(e.seq - 1)), "wrong data");
    close(journal, writer).await.ok();
    match failed {
        Some(e) => Err(e),
        None => Ok((events, BTreeMap::from(cursors))),
    }
}

fn says_what_to_do(error: &JournalError) {
    let words = error.to_string();
    let known = ["cdrd journal repair", "move it away", "newer cdrd"];
    assert!(known.iter().any(|known| words.contains(known)), "{words}");
}

fn repaired(folder: &Path) -> Result<Repaired, JournalError> {
    let known = Known {
        sinks: SINKS.map(Arc::from).to_vec(),
        pbxs: vec![Arc::from("hq")],
        retention_ms: 3_600_000,
        now_ms: NOW_MS + 1_000_000,
    };
    repair(&folder.join("journal.db"), &known)
}

/// After a repair: sound, nothing wrong, nothing missing that is not told.
async fn compare_repaired(sound: &Sound, folder: &Path, out: &Repaired, whole_log: bool) {
    let path = folder.join("journal.db");
    let report = check(&path).unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    let (events, cursors) = look(folder).await.unwrap();
    assert_eq!(events.len() as u64, out.events);
    let reader = Reader::open(&path).unwrap();
    let last = reader.last_seq().unwrap();
    if whole_log {
        assert!(last >= sound.events.last().unwrap().seq, "numbers must not be used twice");
        for stored in &sound.events {
            let there = events.iter().any(|event| event.seq == stored.seq);
            let told = out.lost.iter().any(|(from, to)| (*from..=*to).contains(&stored.seq));
            // Before the first that was saved, retention may have been.
            let before = events.first().is_some_and(|first| first.seq > stored.seq);
            assert!(there || told || before, "{} is missing in silence", stored.seq);
        }
    }
    for sink in SINKS {
        let start = events.first().map_or(last, |first| first.seq - 1);
        let bound = sound.cursors[sink].max(start);
        assert!(cursors[sink] <= bound, "{sink} would miss events: {}", cursors[sink]);
    }
    let spans = reader.ask(gaps::list).unwrap();
    let opened = spans.iter().filter(|span| span.why.contains("damage")).count();
    assert_eq!(opened, out.gaps);
    assert_eq!(opened > 0, !out.lost.is_empty());
    reader.ask(|db| dead_letters::list(db, None)).unwrap();
    assert!(out.damaged.exists(), "the damaged one is kept");
}

#[derive(Debug, Default)]
struct Tally {
    read: u32,
    refused: u32,
    repaired: u32,
    unreadable: u32,
    saved: u64,
}

async fn try_one(sound: &Sound, from: &Path, harm: Harm, tally: &mut Tally) {
    let folder = copy(from);
    harm.apply(folder.path());
    match look(folder.path()).await {
        Err(e) => {
            tally.refused += 1;
            says_what_to_do(&e);
        }
        Ok((events, cursors)) => {
            tally.read += 1;
            let (had, has) = (sound.events.len() as u64, events.len() as u64);
            assert!(cursors.iter().all(|(sink, seq)| *seq <= sound.cursors[sink]), "{cursors:?}");
            assert_eq!(events, sound.events[..events.len()]);
            match (harm.log, harm.cuts()) {
                (false, _) => assert_eq!(has, had),
                // As after a power failure: what is whole is taken, commit by commit.
                (true, true) => assert_eq!(has % BATCH, 0),
                // Only the last commit can pass for one that was never finished.
                (true, false) => assert!(has + BATCH >= had, "{has}"),
            }
        }
    }
    let folder = copy(from);
    harm.apply(folder.path());
    let found = check(&folder.path().join("journal.db"));
    if found.as_ref().is_ok_and(cdrd::journal::check::Report::is_sound) {
        return;
    }
    if let Err(e) = &found {
        says_what_to_do(e);
    }
    match repaired(folder.path()) {
        Ok(out) => {
            tally.repaired += 1;
            tally.saved += out.events;
            compare_repaired(sound, folder.path(), &out, !harm.log).await;
        }
        Err(e) => {
            tally.unreadable += 1;
            says_what_to_do(&e);
        }
    }
}

#[tokio::test]
async fn a_damaged_journal_is_read_as_it_was_written_or_refused_and_the_rest_can_be_saved() {
    let (tries, seed) = (number("CDRD_DAMAGES", 120), number("CDRD_SEED", 5));
    let sound = Sound::new().await;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::default();
    for n in 0..tries {
        let (from, log) = match n % 3 {
            0 => (sound.closed.path(), false),
            1 => (sound.killed.path(), false),
            _ => (sound.killed.path(), true),
        };
        let harm = Harm::random(&mut random, from, log);
        println!("{n}: {harm:?}");
        try_one(&sound, from, harm, &mut tally).await;
    }
    println!("{tally:?}");
    assert!(tally.refused > 0 && tally.read > 0 && tally.repaired > 0, "{tally:?}");
}
