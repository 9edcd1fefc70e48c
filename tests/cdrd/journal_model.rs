//! The journal against a model of it: random sequences of what sessions, sinks and
//! crashes do, each step compared with a few vectors in memory.
//!
//! A crash is a copy of database and WAL, taken while the writer still runs: what was
//! acknowledged must be in it, what was only sent may be, batch by batch and in order.
//! `CDRD_MODEL_CASES` says how many sequences are tried.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cdrd::config::{self, Start};
use cdrd::event::decode::{Frame, decode};
use cdrd::event::{Event, Origin, Stored};
use cdrd::journal::dead_letters::{self, DeadLetter};
use cdrd::journal::gaps::{self, Note};
use cdrd::journal::quarantine::{self, Quarantined};
use cdrd::journal::reader::Reader;
use cdrd::journal::thread::WriterThread;
use cdrd::journal::{Commit, Journal};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::harness::{PATIENCE, journal_settings, number};

const SINKS: [&str; 3] = ["archive", "crm", "billing"];
const PBXS: [&str; 2] = ["hq", "branch"];
const HOUR_MS: i64 = 3_600_000;
/// The writer looks for old events at its start and half a minute later. A sequence
/// that a busy machine draws out so long is given up: the model knows of the first only.
const BEFORE_SECOND_RETENTION: Duration = Duration::from_secs(25);

/// An event out of a small world, so that repeats and clashes are common.
#[derive(Debug, Clone, Copy)]
struct Spec {
    pbx: usize,
    kind: u8,
    session: u8,
    variant: u8,
    origin: u8,
    old: bool,
    spaced: bool,
}

impl Spec {
    fn event(self, now_ms: i64) -> Event {
        let origin = [Origin::Live, Origin::Webhook, Origin::Backfill][usize::from(self.origin)];
        let (session, variant) = (self.session, self.variant);
        let space = if self.spaced { "  " } else { "" };
        let text = match self.kind {
            0 => format!(
                r#"{{"event_type":"call_cdr",{space}"session_id":"{session}","call_id":"c","talk_duration":"{variant}"}}"#
            ),
            1 => format!(
                r#"{{"event_type":"call_start","session_id":"{session}",{space}"time":"1","caller":"{variant}"}}"#
            ),
            _ => format!(r#"{{"event_type":"queue_status",{space}"queue_id":"{session}"}}"#),
        };
        let received_ms = now_ms + i64::from(variant) - if self.old { 2 * HOUR_MS } else { 0 };
        match decode(&Arc::from(PBXS[self.pbx]), origin, received_ms, Bytes::from(text)) {
            Ok(Frame::Event(event)) => event,
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Returns once durable.
    Append(Vec<Spec>),
    /// Nobody waits.
    Send(Vec<Spec>),
    /// A sink confirms this share, in 255ths, of what there is.
    Confirm(usize, u8),
    Flush,
    DeadLetter(usize, u8, u8),
    Delivered(u8),
    Quarantine(u8),
    Lost(usize, u8),
    Regained(usize),
    Started(usize),
    /// A sink comes while the daemon runs.
    Register(usize),
    Unregister(usize),
    /// The sinks of the next start, as bits; whether it ended by a crash.
    Restart(u8, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let spec = (0..2_usize, 0..3_u8, 0..4_u8, 0..3_u8, 0..3_u8, any::<bool>(), any::<bool>())
        .prop_map(|(pbx, kind, session, variant, origin, old, spaced)| Spec {
            pbx,
            kind,
            session,
            variant,
            origin,
            old,
            spaced,
        });
    let batch = proptest::collection::vec(spec, 0..6);
    let sink = 0..SINKS.len();
    let step = prop_oneof![
        6 => batch.clone().prop_map(Step::Append),
        4 => batch.prop_map(Step::Send),
        4 => (sink.clone(), any::<u8>()).prop_map(|(sink, share)| Step::Confirm(sink, share)),
        1 => Just(Step::Flush),
        2 => (sink.clone(), any::<u8>(), 0..3_u8).prop_map(|(s, at, why)| Step::DeadLetter(s, at, why)),
        1 => any::<u8>().prop_map(Step::Delivered),
        1 => any::<u8>().prop_map(Step::Quarantine),
        1 => (0..2_usize, any::<u8>()).prop_map(|(pbx, at)| Step::Lost(pbx, at)),
        1 => (0..2_usize).prop_map(Step::Regained),
        1 => (0..2_usize).prop_map(Step::Started),
        1 => sink.clone().prop_map(Step::Register),
        1 => sink.prop_map(Step::Unregister),
        3 => (0..8_u8, any::<bool>()).prop_map(|(sinks, crash)| Step::Restart(sinks, crash)),
    ];
    proptest::collection::vec(step, 1..40)
}

/// A gap as far as it depends on nobody's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    pbx: &'static str,
    why: String,
    over: bool,
}

/// What the journal must hold.
#[derive(Debug, Clone)]
struct Model {
    next_seq: u64,
    events: Vec<Stored>,
    /// What is on disk.
    cursors: BTreeMap<&'static str, u64>,
    letters: Vec<(&'static str, u64, String)>,
    quarantined: Vec<Vec<u8>>,
    /// Whether nobody listens now.
    pbxs: BTreeMap<&'static str, bool>,
    gaps: Vec<Gap>,
}

impl Model {
    fn new() -> Self {
        Self {
            next_seq: 1,
            events: Vec::new(),
            cursors: BTreeMap::new(),
            letters: Vec::new(),
            quarantined: Vec::new(),
            pbxs: BTreeMap::new(),
            gaps: Vec::new(),
        }
    }

    /// How many are new.
    fn append(&mut self, batch: &[Event]) -> usize {
        batch.iter().filter(|event| self.append_one(event)).count()
    }

    fn append_one(&mut self, event: &Event) -> bool {
        let mut event = event.clone();
        let first = event.id;
        for ordinal in 0.. {
            event.id = first.with_ordinal(ordinal);
            let there = self.events.iter().map(|stored| &stored.event);
            match there.into_iter().find(|e| e.pbx == event.pbx && e.id == event.id) {
                None => break,
                Some(there) if is_repeat(there, &event) => return false,
                Some(_) => {}
            }
        }
        self.events.push(Stored { seq: self.next_seq, event });
        self.next_seq += 1;
        true
    }

    /// Retention takes whole blocks, and how events fall into blocks is nobody's promise:
    /// what is left must be the end of what was there, and what is gone must have been old
    /// and everybody's.
    fn retention(&mut self, registered: &[&'static str], before_ms: i64, left: Vec<Stored>) {
        let all_have = registered.iter().map(|sink| self.cursors[sink]).min().unwrap_or(u64::MAX);
        let gone = self.events.len().checked_sub(left.len()).expect("nothing comes by itself");
        assert_eq!(self.events[gone..], left, "retention takes the oldest alone");
        for stored in self.events.drain(..gone) {
            let (old, had) = (stored.event.received_ms < before_ms, stored.seq <= all_have);
            assert!(old && had, "{stored:?} went, old: {old}, everybody's: {had}");
        }
    }

    fn register(&mut self, sink: &'static str, start: Start) {
        let now = if start == Start::Now { self.next_seq - 1 } else { 0 };
        self.cursors.entry(sink).or_insert(now);
    }

    fn lasting(&self, pbx: &str) -> bool {
        self.gaps.iter().any(|gap| gap.pbx == pbx && !gap.over)
    }

    fn open_gap(&mut self, pbx: &'static str, why: &str) {
        if self.pbxs.contains_key(pbx) && !self.lasting(pbx) {
            self.gaps.push(Gap { pbx, why: why.to_owned(), over: false });
        }
    }

    fn started(&mut self, pbx: &'static str) {
        let why = match self.pbxs.insert(pbx, true) {
            None => "cdrd started for the first time",
            Some(false) => "cdrd had ended without a stop",
            Some(true) => "cdrd was not running",
        };
        self.open_gap(pbx, why);
    }

    fn regained(&mut self, pbx: &'static str) {
        if let Some(lost) = self.pbxs.get_mut(pbx) {
            *lost = false;
        }
        for gap in &mut self.gaps {
            gap.over |= self.pbxs.get(gap.pbx) == Some(&false);
        }
    }
}

/// Compared as values; the live and the fetched form of one call count as the same.
fn is_repeat(there: &Event, new: &Event) -> bool {
    let value = |e: &Event| serde_json::from_slice::<serde_json::Value>(&e.raw).unwrap();
    (new.event_type == "call_cdr" && there.origin != new.origin) || value(there) == value(new)
}

fn start_of(sink: &str) -> Start {
    if sink == "archive" { Start::Now } else { Start::Beginning }
}

fn named(bits: u8) -> Vec<&'static str> {
    SINKS.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, sink)| *sink).collect()
}

/// An open journal, and what the model cannot say of it.
struct Open {
    folder: TempDir,
    journal: Journal,
    writer: WriterThread,
    commits: broadcast::Receiver<Commit>,
    registered: Vec<&'static str>,
    /// What each sink has confirmed in memory.
    confirmed: BTreeMap<&'static str, u64>,
    since: Instant,
}

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("journal.db")
}

impl Open {
    /// Opens it; retention has run once when this returns.
    async fn at(
        folder: TempDir,
        registered: Vec<&'static str>,
        model: &mut Model,
        now: i64,
    ) -> Self {
        let sinks: Vec<_> = registered.iter().map(|s| (Arc::from(*s), start_of(s))).collect();
        let settings = config::Journal {
            retention: Duration::from_millis(HOUR_MS as u64),
            ..journal_settings(&database(&folder))
        };
        let (journal, writer) = Journal::open(&settings, &sinks).unwrap_or_else(|e| panic!("{e}"));
        registered.iter().for_each(|sink| model.register(sink, start_of(sink)));
        let confirmed = registered.iter().map(|s| (*s, journal.cursor(s).unwrap().get())).collect();
        let commits = journal.commits();
        // Retention follows the first commit and comes before the second.
        journal.flush().await.unwrap();
        journal.flush().await.unwrap();
        model.retention(&registered, now - HOUR_MS, events_in(&folder));
        Self { folder, journal, writer, commits, registered, confirmed, since: Instant::now() }
    }

    /// Everything sent so far is durable.
    async fn settle(&self, model: &mut Model, pending: &mut Vec<Vec<Event>>) {
        self.journal.intake().events_durably(Vec::new()).await.unwrap();
        for batch in pending.drain(..) {
            model.append(&batch);
        }
    }

    async fn note(&self, note: Note) {
        self.journal.intake().note(note).await.unwrap();
        self.journal.intake().events_durably(Vec::new()).await.unwrap();
    }

    async fn close(self) -> TempDir {
        drop((self.journal, self.commits));
        timeout(PATIENCE, self.writer.join()).await.expect("the writer ends").unwrap();
        self.folder
    }

    /// What a kill at this moment leaves behind.
    async fn crash(self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for name in ["journal.db", "journal.db-wal"] {
            std::fs::copy(self.folder.path().join(name), copy.path().join(name)).unwrap();
        }
        self.close().await;
        copy
    }

    /// Commits that sinks were handed since the last look.
    fn handed(&mut self) -> Vec<Stored> {
        let mut all = Vec::new();
        while let Ok(commit) = self.commits.try_recv() {
            all.extend(commit.iter().cloned());
        }
        all
    }
}

fn events_in(folder: &TempDir) -> Vec<Stored> {
    Reader::open(&database(folder)).unwrap().after(0, 1 << 20, usize::MAX).unwrap()
}

/// All but events and cursors.
fn compare_the_rest(folder: &TempDir, model: &Model) {
    let reader = Reader::open(&database(folder)).unwrap();
    assert_eq!(reader.last_seq().unwrap() + 1, model.next_seq);
    let letters = reader.ask(|db| dead_letters::list(db, None)).unwrap();
    let letters: Vec<_> = letters
        .into_iter()
        .map(|n| (n.letter.sink.to_string(), n.letter.event.seq, n.letter.reason))
        .collect();
    let expected: Vec<_> = model
        .letters
        .iter()
        .map(|(sink, seq, why)| (sink.to_string(), *seq, why.clone()))
        .collect();
    assert_eq!(letters, expected, "dead letters");
    let kept = reader.ask(quarantine::list).unwrap();
    let kept: Vec<_> = kept.into_iter().map(|n| n.entry.data.to_vec()).collect();
    assert_eq!(kept, model.quarantined, "quarantine");
    let spans = reader.ask(gaps::list).unwrap();
    let spans: Vec<_> = spans.iter().map(|s| (&*s.pbx, &*s.why, s.end_ms.is_some())).collect();
    let expected: Vec<_> = model.gaps.iter().map(|g| (g.pbx, &*g.why, g.over)).collect();
    assert_eq!(spans, expected, "gaps");
}

async fn play(steps: Vec<Step>) {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut model = Model::new();
    let mut pending: Vec<Vec<Event>> = Vec::new();
    let mut open = Open::at(tempfile::tempdir().unwrap(), named(7), &mut model, now).await;
    for step in steps {
        if open.since.elapsed() > BEFORE_SECOND_RETENTION {
            break;
        }
        let is_send = matches!(step, Step::Send(_));
        let restart = matches!(step, Step::Restart(..));
        if !is_send && !restart {
            open.settle(&mut model, &mut pending).await;
            // What sinks are handed is on disk by then.
            let on_disk = events_in(&open.folder);
            assert_eq!(on_disk, model.events);
            assert!(open.handed().iter().all(|stored| on_disk.contains(stored)));
        }
        open = match step {
            Step::Restart(sinks, crash) => {
                restarted(open, &mut model, &mut pending, named(sinks), crash, now).await
            }
            step => {
                apply(&mut open, &mut model, &mut pending, step, now).await;
                open
            }
        };
        if pending.is_empty() {
            compare_the_rest(&open.folder, &model);
        }
    }
    open.settle(&mut model, &mut pending).await;
    let folder = open.close().await;
    assert_eq!(events_in(&folder), model.events);
    compare_the_rest(&folder, &model);
    let seqs: Vec<u64> = model.events.iter().map(|stored| stored.seq).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]));
}

async fn apply(
    open: &mut Open,
    model: &mut Model,
    pending: &mut Vec<Vec<Event>>,
    step: Step,
    now: i64,
) {
    let events = |specs: Vec<Spec>| specs.into_iter().map(|s| s.event(now)).collect::<Vec<_>>();
    let pick = |n: u8, of: usize| usize::from(n) % of;
    match step {
        Step::Append(specs) => {
            let batch = events(specs);
            let new = open.journal.intake().events_durably(batch.clone()).await.unwrap();
            assert_eq!(new, model.append(&batch));
        }
        Step::Send(specs) => {
            let batch = events(specs);
            pending.push(batch.clone());
            open.journal.intake().events(&mut batch.clone()).await.unwrap();
        }
        Step::Confirm(sink, share) => {
            let sink = SINKS[sink];
            let seq = (model.next_seq - 1) * u64::from(share) / 255;
            if let Some(confirmed) = open.confirmed.get_mut(sink) {
                open.journal.cursor(sink).unwrap().confirm(seq);
                *confirmed = seq.max(*confirmed);
            }
        }
        Step::Flush => {
            open.journal.flush().await.unwrap();
            model.cursors.extend(&open.confirmed);
        }
        Step::DeadLetter(sink, at, why) => {
            if model.events.is_empty() {
                return;
            }
            let event = model.events[pick(at, model.events.len())].clone();
            let (sink, reason, seq) = (SINKS[sink], format!("no {why}"), event.seq);
            let letter =
                DeadLetter { sink: Arc::from(sink), at_ms: now, reason: reason.clone(), event };
            open.journal.dead_letter(letter).await.unwrap();
            match model.letters.iter_mut().find(|(s, n, _)| *s == sink && *n == seq) {
                Some(known) => known.2 = reason,
                None => model.letters.push((sink, seq, reason)),
            }
        }
        Step::Delivered(at) => {
            if model.letters.is_empty() {
                return;
            }
            let at = pick(at, model.letters.len());
            let list = open.journal.reader().unwrap().ask(|db| dead_letters::list(db, None));
            open.journal.delivered(list.unwrap()[at].n).await.unwrap();
            model.letters.remove(at);
        }
        Step::Quarantine(byte) => {
            let entry = Quarantined {
                pbx: Arc::from("hq"),
                origin: Origin::Live,
                received_ms: now,
                reason: "odd".to_owned(),
                size: 1,
                data: Bytes::from(vec![byte]),
            };
            open.journal.intake().suspect_durably(entry).await.unwrap();
            model.quarantined.push(vec![byte]);
        }
        Step::Lost(pbx, at) => {
            let (pbx, why) = (PBXS[pbx], format!("lost {at}"));
            let since_ms = now - i64::from(at);
            open.note(Note::Lost { pbx: Arc::from(pbx), since_ms, why: why.clone() }).await;
            if let Some(lost) = model.pbxs.get_mut(pbx) {
                *lost = true;
            }
            model.open_gap(pbx, &why);
        }
        Step::Regained(pbx) => {
            open.note(Note::Regained { pbx: Arc::from(PBXS[pbx]) }).await;
            model.regained(PBXS[pbx]);
        }
        Step::Started(pbx) => {
            open.note(Note::Started { pbx: Arc::from(PBXS[pbx]), no_backfill: None }).await;
            model.started(PBXS[pbx]);
        }
        Step::Register(sink) => {
            let sink = SINKS[sink];
            open.journal.register(vec![(Arc::from(sink), start_of(sink))]).await.unwrap();
            model.cursors.extend(&open.confirmed);
            model.register(sink, start_of(sink));
            if !open.registered.contains(&sink) {
                open.registered.push(sink);
                assert_eq!(open.journal.cursor(sink).unwrap().get(), model.cursors[sink]);
                open.confirmed.insert(sink, model.cursors[sink]);
            }
        }
        Step::Unregister(sink) => {
            let sink = SINKS[sink];
            open.journal.unregister(sink).await.unwrap();
            model.cursors.extend(&open.confirmed);
            open.registered.retain(|known| *known != sink);
            open.confirmed.remove(sink);
        }
        Step::Restart(..) => unreachable!("a restart needs the journal itself"),
    }
}

async fn restarted(
    open: Open,
    model: &mut Model,
    pending: &mut Vec<Vec<Event>>,
    sinks: Vec<&'static str>,
    crash: bool,
    now: i64,
) -> Open {
    let confirmed = open.confirmed.clone();
    let folder = if crash { open.crash().await } else { open.close().await };
    let found = events_in(&folder);
    let mut committed = model.clone();
    let mut sent = pending.drain(..);
    // Batches are there in order, each whole or not at all.
    while !crash || committed.events != found {
        match sent.next() {
            Some(batch) => drop(committed.append(&batch)),
            None => break,
        }
    }
    assert_eq!(found, committed.events, "crash: {crash}");
    // A batch of repeats alone changes nothing; the rest of them was not committed.
    let reader = Reader::open(&database(&folder)).unwrap();
    for (sink, confirmed) in confirmed {
        let saved: i64 = reader
            .ask(|db| db.query_row("SELECT seq FROM cursor WHERE sink = ?1", [sink], |r| r.get(0)))
            .unwrap();
        let (saved, before) = (saved as u64, committed.cursors[sink]);
        assert!(saved <= confirmed && saved >= before, "{sink}: {before} {saved} {confirmed}");
        assert!(crash || saved == confirmed, "a stop saves cursors: {saved} {confirmed}");
        committed.cursors.insert(sink, saved);
    }
    drop(reader);
    *model = committed;
    Open::at(folder, sinks, model, now).await
}

#[test]
fn random_sequences_leave_the_journal_as_the_model_says() {
    let cases = number("CDRD_MODEL_CASES", 40) as u32;
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(play(steps));
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
}
