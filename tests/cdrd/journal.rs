//! The journal's rules, through its public face.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cdrd::config::{self, Start, WhenFull};
use cdrd::daemon::Ended;
use cdrd::event::decode::{Frame, decode};
use cdrd::event::{Event, Origin, Stored};
use cdrd::journal::reader::Reader;
use cdrd::journal::thread::WriterThread;
use cdrd::journal::{Journal, JournalError};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::harness::{
    Bench, PATIENCE, Running, envelopes, journal_settings, noise, parse, quarantine, until,
};
use crate::receiver::{Answer, Receiver};

struct Disk {
    folder: TempDir,
    settings: config::Journal,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = journal_settings(&folder.path().join("journal.db"));
        Self { folder, settings }
    }

    fn open(&self, sinks: &[(&str, Start)]) -> (Journal, WriterThread) {
        let sinks: Vec<_> = sinks.iter().map(|(name, start)| (Arc::from(*name), *start)).collect();
        Journal::open(&self.settings, &sinks).unwrap_or_else(|e| panic!("{e}"))
    }

    fn stored(&self) -> Vec<Stored> {
        Reader::open(&self.settings.path).unwrap().after(0, 1 << 20, usize::MAX).unwrap()
    }
}

async fn close(journal: Journal, writer: WriterThread) {
    drop(journal);
    timeout(PATIENCE, writer.join()).await.expect("the writer ends").unwrap();
}

fn event_of(pbx: &str, origin: Origin, received_ms: i64, text: &str) -> Event {
    match decode(&Arc::from(pbx), origin, received_ms, Bytes::from(text.to_owned())) {
        Ok(Frame::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn event(text: &str) -> Event {
    event_of("hq", Origin::Live, 1_790_000_000_000, text)
}

fn call(session: u64, more: &str) -> String {
    format!(r#"{{"event_type":"call_cdr","session_id":"{session}","call_id":"c{session}"{more}}}"#)
}

#[tokio::test]
async fn places_are_numbered_from_one_without_holes_and_survive_a_restart() {
    let disk = Disk::new();
    for round in 0..3 {
        let (journal, writer) = disk.open(&[]);
        for n in 0..10 {
            // A repeat between any two must not burn a number.
            let events = vec![event(&call(round * 100 + n, "")), event(&call(1, ""))];
            journal.intake().events_durably(events).await.unwrap();
        }
        close(journal, writer).await;
    }
    let seqs: Vec<u64> = disk.stored().iter().map(|stored| stored.seq).collect();
    assert_eq!(seqs, (1..=30).collect::<Vec<_>>());
}

/// A page may end within a block, and the rest of the block be all that the next one begins
/// with: only `more` tells that nothing follows, not the length of a page.
#[tokio::test]
async fn pages_tell_whether_more_follows_and_are_the_same_when_read_ahead() {
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[]);
    for first in [0, 600, 1_200] {
        let events = (first..first + 600).map(|n| event(&call(n, ""))).collect();
        journal.intake().events_durably(events).await.unwrap();
    }
    for page in [7, 100, 599, 600, 601, 1_000] {
        let mut reading = journal.reading();
        let (mut seqs, mut more) = (Vec::new(), true);
        while more {
            let seq = seqs.last().copied().unwrap_or(0);
            let found = reading.page(seq, page, usize::MAX).await.unwrap();
            assert!(found.events.len() == page || !found.more, "{} of {page}", found.events.len());
            seqs.extend(found.events.iter().map(|stored| stored.seq));
            more = found.more;
            // What is read ahead is right or, every other time, not what is asked for next,
            // and other questions come in between.
            let guess = seqs.len() as u64 - seqs.len() as u64 / page as u64 % 2;
            reading.read_ahead(guess, page, usize::MAX);
            let last = reading.with(|reader| reader.last_seq()).await.unwrap();
            assert_eq!(last, 1_800);
        }
        assert_eq!(seqs, (1..=1_800).collect::<Vec<_>>(), "pages of {page}");
    }
    close(journal, writer).await;
}

#[tokio::test]
async fn a_repeat_is_dropped_and_a_different_event_with_the_same_identity_is_a_second_one() {
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[]);
    let first = r#"{"event_type":"call_cdr","session_id":"1","call_id":"c1","talk_duration":"7"}"#;
    let spaced =
        r#"{ "call_id":"c1", "session_id":"1", "talk_duration":"7", "event_type":"call_cdr" }"#;
    let second = call(1, r#","talk_duration":"8""#);
    let third = call(1, r#","talk_duration":"9""#);
    for text in [first, spaced, &second, first, &third, &second] {
        journal.intake().events_durably(vec![event(text)]).await.unwrap();
    }
    // All at once gives the same.
    journal.intake().events_durably([first, &second, &third].map(event).to_vec()).await.unwrap();
    close(journal, writer).await;
    let stored = disk.stored();
    let texts: Vec<_> = stored.iter().map(|s| String::from_utf8_lossy(&s.event.raw)).collect();
    assert_eq!(texts, [first, &second, &third]);
    let id = event(first).id;
    let ids: Vec<_> = stored.iter().map(|s| s.event.id).collect();
    assert_eq!(ids, [id, id.with_ordinal(1), id.with_ordinal(2)]);
}

#[tokio::test]
async fn the_live_webhook_and_backfilled_forms_of_one_call_are_one_event() {
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[]);
    let live = event(&call(1, ""));
    let backfilled = event_of("hq", Origin::Backfill, 5, &call(1, r#","rest":{"duration":7}"#));
    let other_pbx = event_of("branch", Origin::Live, 5, &call(1, ""));
    journal.intake().events_durably(vec![live.clone(), backfilled, other_pbx]).await.unwrap();
    close(journal, writer).await;
    let stored = disk.stored();
    let from: Vec<_> = stored.iter().map(|s| (&*s.event.pbx, s.event.origin)).collect();
    assert_eq!(from, [("hq", Origin::Live), ("branch", Origin::Live)]);
    assert_eq!(stored[0].event.id, stored[1].event.id, "the same call has the same id everywhere");
}

#[tokio::test]
async fn the_same_presence_event_may_rightly_come_twice() {
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[]);
    let status =
        |ms| event_of("hq", Origin::Live, ms, r#"{"event_type":"queue_status","queue_id":"1"}"#);
    journal.intake().events_durably(vec![status(1), status(2)]).await.unwrap();
    close(journal, writer).await;
    assert_eq!(disk.stored().len(), 2);
}

#[tokio::test]
async fn a_sink_sees_an_event_only_after_it_is_on_disk() {
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[]);
    let mut commits = journal.commits();
    for n in 0..50 {
        journal.intake().events(&mut vec![event(&call(n, ""))]).await.unwrap();
        let commit = timeout(PATIENCE, commits.recv()).await.unwrap().unwrap();
        let on_disk = disk.stored();
        assert_eq!(commit.last(), on_disk.last());
    }
    close(journal, writer).await;
}

#[tokio::test]
async fn cursors_are_saved_and_a_new_sink_starts_where_it_is_told() {
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[("old", Start::Now)]);
    let events = (0..10).map(|n| event(&call(n, ""))).collect();
    journal.intake().events_durably(events).await.unwrap();
    let cursor = journal.cursor("old").unwrap();
    assert_eq!(cursor.get(), 0);
    cursor.confirm(7);
    cursor.confirm(3);
    journal.flush().await.unwrap();
    close(journal, writer).await;

    let sinks = [("old", Start::Now), ("new", Start::Now), ("all", Start::Beginning)];
    let (journal, writer) = disk.open(&sinks);
    let at = |sink| journal.cursor(sink).unwrap().get();
    assert_eq!((at("old"), at("new"), at("all")), (7, 10, 0));
    journal.intake().events_durably(vec![event(&call(99, ""))]).await.unwrap();
    close(journal, writer).await;
    // The start was recorded when the sink was first seen; it does not move.
    let (journal, writer) = disk.open(&sinks);
    assert_eq!(journal.cursor("new").unwrap().get(), 10);
    close(journal, writer).await;
}

#[tokio::test]
async fn an_idle_journal_saves_cursors_by_itself() {
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[("crm", Start::Beginning)]);
    journal.intake().events_durably(vec![event(&call(1, ""))]).await.unwrap();
    journal.cursor("crm").unwrap().confirm(1);
    let reader = Reader::open(&disk.settings.path).unwrap();
    until("the cursor is on disk", async || {
        let seq =
            reader.ask(|db| db.query_row("SELECT seq FROM cursor", [], |row| row.get::<_, i64>(0)));
        seq.unwrap() == 1
    })
    .await;
    drop(reader);
    close(journal, writer).await;
}

#[tokio::test]
async fn retention_deletes_old_events_that_every_sink_has_and_no_others() {
    let mut disk = Disk::new();
    disk.settings.retention = Duration::from_secs(3600);
    let (journal, writer) = disk.open(&[("fast", Start::Beginning), ("slow", Start::Beginning)]);
    let now = jiff::Timestamp::now().as_millisecond();
    let old = |n| event_of("hq", Origin::Live, now - 7_200_000, &call(n, ""));
    let young = event_of("hq", Origin::Live, now, &call(2000, ""));
    // What came in one commit goes together.
    for first in (0..1500).step_by(100) {
        let events = (first..first + 100).map(old).collect();
        journal.intake().events_durably(events).await.unwrap();
    }
    journal.intake().events_durably(vec![young]).await.unwrap();
    journal.cursor("fast").unwrap().confirm(1501);
    journal.cursor("slow").unwrap().confirm(1450);
    journal.flush().await.unwrap();
    close(journal, writer).await;

    // At the next start it looks through them at once, in chunks.
    let (journal, writer) = disk.open(&[("fast", Start::Now), ("slow", Start::Now)]);
    let left = || disk.stored().iter().map(|stored| stored.seq).collect::<Vec<_>>();
    until("what everybody has is gone", async || left().first() == Some(&1401)).await;
    assert_eq!(left(), (1401..=1501).collect::<Vec<_>>());
    journal.intake().events_durably(vec![event(&call(3000, ""))]).await.unwrap();
    assert_eq!(left().last(), Some(&1502), "numbers are never used twice");
    close(journal, writer).await;
}

#[tokio::test]
async fn a_full_journal_pauses_and_goes_on_once_sinks_have_caught_up() {
    let mut disk = Disk::new();
    disk.settings.max_size = 1 << 20;
    let (journal, writer) = disk.open(&[("slow", Start::Beginning)]);
    let padding = format!(r#","x":"{}""#, noise(1, 10_000));
    let intake = journal.intake();
    let mut appended = 0;
    // Far more than fits, until the intake takes no more.
    loop {
        let mut batch = vec![event(&call(appended, &padding))];
        if timeout(Duration::from_millis(500), intake.events(&mut batch)).await.is_err() {
            break;
        }
        appended += 1;
        assert!(appended < 2_000, "it never pauses");
    }
    let size = std::fs::metadata(&disk.settings.path).unwrap().len();
    assert!(size < 4 << 20, "{size}");
    let kept = disk.stored();
    assert_eq!(kept[0].seq, 1, "nothing undelivered is dropped");
    journal.cursor("slow").unwrap().confirm(kept.last().unwrap().seq);
    let mut batch = vec![event(&call(appended, &padding))];
    timeout(PATIENCE, intake.events(&mut batch)).await.expect("it goes on").unwrap();
    drop(intake);
    close(journal, writer).await;
    assert_eq!(disk.stored().last().unwrap().seq, appended + 1);
}

#[tokio::test]
async fn a_full_journal_that_may_drop_drops_the_oldest() {
    let mut disk = Disk::new();
    disk.settings.max_size = 1 << 20;
    disk.settings.when_full = WhenFull::DropOldest;
    let (journal, writer) = disk.open(&[("slow", Start::Beginning)]);
    let padding = format!(r#","x":"{}""#, noise(1, 10_000));
    for n in 0..3_000 {
        journal.intake().events_durably(vec![event(&call(n, &padding))]).await.unwrap();
    }
    close(journal, writer).await;
    let stored = disk.stored();
    assert_eq!(stored.last().unwrap().seq, 3_000);
    assert!(stored[0].seq > 1_000 && stored.len() < 1_200, "{} {}", stored[0].seq, stored.len());
}

#[tokio::test]
async fn a_second_daemon_on_the_same_journal_is_refused_with_the_process_that_has_it() {
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[]);
    let refused = Journal::open(&disk.settings, &[]).err().unwrap();
    assert!(matches!(refused, JournalError::Locked { .. }));
    let words = refused.to_string();
    assert!(words.contains(&format!("(process {})", std::process::id())), "{words}");
    assert!(words.contains("own [journal] path"), "{words}");
    close(journal, writer).await;
    let (journal, writer) = disk.open(&[]);
    close(journal, writer).await;
}

#[tokio::test]
async fn everything_on_disk_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[]);
    journal.intake().events_durably(vec![event(&call(1, ""))]).await.unwrap();
    let mut names = Vec::new();
    for file in std::fs::read_dir(disk.folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(
        names,
        ["journal.db", "journal.db-shm", "journal.db-wal", "journal.db.ballast", "journal.db.lock"]
    );
    close(journal, writer).await;
}

#[tokio::test]
async fn since_a_time_is_found_without_reading_everything() {
    let disk = Disk::new();
    let (journal, writer) = disk.open(&[]);
    let reader = journal.reader().unwrap();
    assert_eq!(reader.seq_before(5).unwrap(), 0, "of an empty journal");
    let events =
        (1..=100).map(|n| event_of("hq", Origin::Live, n * 10, &call(n as u64, ""))).collect();
    journal.intake().events_durably(events).await.unwrap();
    for (ms, before) in [(0, 0), (10, 0), (11, 1), (500, 49), (1000, 99), (1001, 100)] {
        assert_eq!(reader.seq_before(ms).unwrap(), before, "{ms}");
    }
    drop(reader);
    close(journal, writer).await;
}

#[tokio::test]
async fn a_sink_that_lags_reads_the_file_and_misses_nothing() {
    let bench = Bench::new().await;
    // The first daemon has no such sink; the second finds a long journal before it.
    let daemon = bench.daemon();
    bench.subscribed().await;
    bench.push(300).await;
    daemon.stop().await.unwrap();
    let file = bench.path("late.jsonl");
    let late = format!("[sink.late]\ntype = \"file\"\npath = {file:?}\nstart = \"beginning\"\n");
    let daemon = Running::start(&parse(&bench.config_text(&format!("{}{late}", bench.raw_sink()))));
    bench.subscribed().await;
    bench.push(300).await;
    let sent = bench.pbx.log().len();
    bench.finish(daemon).await;
    let seqs: Vec<_> = envelopes(&file).iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert!(sent > 4_000, "{sent}");
    assert_eq!(seqs, (1..=sent as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stop_while_the_journal_pauses_loses_nothing_and_comes_in_time() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    receiver.answer(Answer::Status(503));
    let small = bench.journal_table() + "max_size = \"1MiB\"\n";
    let crm = format!(
        "[sink.crm]\ntype = \"http\"\nurl = {:?}\nretry = {{ initial = \"10ms\", max = \"50ms\" }}\n",
        receiver.url()
    );
    let config = parse(&format!("{}{small}{crm}", bench.pbx_table()));
    let daemon = Running::start(&config);
    bench.subscribed().await;
    // Until the daemon reads no more and the PBX gets no further.
    let padding = format!(r#"{{"event_type":"call_cdr","x":"{}","session_id":"#, noise(1, 50_000));
    let mut pushed = 0;
    loop {
        let event = format!("{padding}\"{pushed}\"}}");
        if timeout(Duration::from_millis(700), bench.pbx.push_raw(&event)).await.is_err() {
            break;
        }
        pushed += 1;
        assert!(pushed < 5_000, "it never pauses");
    }
    daemon.stop.now.cancel();
    assert_eq!(daemon.stop().await.unwrap(), Ended::AtDeadline);

    let kept = Reader::open(&bench.path("journal.db")).unwrap().last_seq().unwrap();
    receiver.answer(Answer::Status(200));
    let daemon = Running::start(&config);
    until("everything is delivered", async || receiver.accepted().len() as u64 >= kept).await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_quarantine_over_the_limit_does_not_stop_what_can_be_delivered() {
    let bench = Bench::new().await;
    let small = bench.journal_table() + "max_size = \"1MiB\"\n";
    let daemon =
        Running::start(&parse(&format!("{}{small}{}", bench.pbx_table(), bench.raw_sink())));
    bench.subscribed().await;
    for n in 0..60 {
        bench.pbx.push_raw(&format!("{n} is no event {}", "z".repeat(50_000))).await;
    }
    bench.push(300).await;
    assert!(bench.finish(daemon).await > 2_000);
    assert_eq!(quarantine(&bench.path("journal.db")).len(), 60);
}

#[test]
fn somebody_who_only_looks_does_not_keep_a_daemon_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    drop(cdrd::journal::lock::acquire(&path).unwrap());
    let looking = std::fs::File::open(folder.path().join("journal.db.lock")).unwrap();
    looking.try_lock_shared().unwrap();
    let look_away = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        drop(looking);
    });
    assert!(cdrd::journal::lock::acquire(&path).is_ok());
    look_away.join().unwrap();
}
