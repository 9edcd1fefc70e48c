//! Promise 6: every span in which nobody listened is in the journal.

use std::path::Path;

use cdrd::clock::Clock;
use cdrd::journal::gaps::{self, Listened, Span};
use cdrd::journal::reader::Reader;
use cdrd::simulator::Options;

use crate::harness::{Bench, PATIENCE, Running, until};

fn now() -> i64 {
    Clock::system().now_ms()
}

fn spans(journal: &Path) -> Vec<Span> {
    Reader::open(journal).unwrap().ask(gaps::list).unwrap()
}

fn listened(journal: &Path) -> Option<Listened> {
    Reader::open(journal).unwrap().ask(|db| gaps::listened(db, "hq")).unwrap()
}

/// Waits until so many gaps are over.
async fn over(bench: &Bench, gaps: usize) -> Vec<Span> {
    let journal = bench.path("journal.db");
    until("the gaps are over", async || {
        let spans = spans(&journal);
        spans.len() >= gaps && spans.iter().all(|span| span.end_ms.is_some())
    })
    .await;
    spans(&journal)
}

async fn started(bench: &Bench) -> (Running, Span) {
    let before = now();
    let daemon = Running::start(&bench.config(&bench.raw_sink()));
    bench.subscribed().await;
    let spans = over(bench, 1).await;
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert!(spans[0].start_ms >= before && spans[0].end_ms.unwrap() <= now(), "{spans:?}");
    assert_eq!(spans[0].why, "cdrd started for the first time");
    (daemon, spans[0].clone())
}

/// Until the daemon has this last event of the simulator in its journal.
async fn journalled(bench: &Bench) {
    let sent = bench.pbx.log().len();
    until("all is journalled", async || bench.journalled() == sent).await;
}

#[tokio::test]
async fn the_time_from_the_first_start_to_the_subscription_is_a_gap() {
    let bench = Bench::new().await;
    let (daemon, _) = started(&bench).await;
    bench.push(3).await;
    bench.finish(daemon).await;
}

#[tokio::test]
async fn a_stop_begins_a_gap_that_the_next_start_ends() {
    let bench = Bench::new().await;
    let (daemon, _) = started(&bench).await;
    bench.push(3).await;
    let stopped = now();
    bench.finish(daemon).await;
    let down = spans(&bench.path("journal.db")).pop().unwrap();
    assert_eq!((down.end_ms, &*down.why), (None, "cdrd was stopped"));
    assert!(down.start_ms <= now() && down.start_ms >= stopped - 10_000);
    let daemon = bench.daemon();
    bench.subscribed().await;
    let all = over(&bench, 2).await;
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!((all[1].n, all[1].start_ms), (down.n, down.start_ms), "the same one");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_reset_begins_a_gap_at_the_last_thing_that_was_heard() {
    let bench = Bench::new().await;
    let (daemon, first) = started(&bench).await;
    bench.push(3).await;
    journalled(&bench).await;
    bench.pbx.reset_all().await;
    assert!(bench.pbx.wait_disconnected(PATIENCE).await);
    let broken = now();
    bench.subscribed().await;
    let all = over(&bench, 2).await;
    let gap = &all[1];
    assert!(gap.start_ms >= first.end_ms.unwrap() && gap.start_ms <= broken, "{gap:?}");
    assert!(gap.end_ms.unwrap() >= gap.start_ms, "{gap:?}");
    assert!(gap.why.contains("connection lost"), "{gap:?}");
    bench.finish(daemon).await;
}

#[tokio::test]
async fn a_half_open_connection_is_a_gap_from_the_last_sign_of_life_not_from_when_it_was_noticed() {
    let bench = Bench::new().await;
    let (daemon, _) = started(&bench).await;
    bench.push(3).await;
    journalled(&bench).await;
    bench.pbx.silence_open().await;
    let silent = now();
    let journal = bench.path("journal.db");
    until("the silence is noticed", async || spans(&journal).len() == 2).await;
    let gap = spans(&journal).pop().unwrap();
    assert!(gap.why.contains("silent"), "{gap:?}");
    assert!(gap.start_ms <= silent, "{} ms after the last sign", gap.start_ms - silent);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_process_leaves_a_gap_from_its_last_durable_event() {
    let bench = Bench::new().await;
    let (daemon, _) = started(&bench).await;
    bench.push(3).await;
    journalled(&bench).await;
    let journal = bench.path("journal.db");
    let last = Reader::open(&journal).unwrap().after(0, 10_000, usize::MAX).unwrap().pop().unwrap();
    let alive = listened(&journal).unwrap().alive_ms;
    assert!(alive >= last.event.received_ms, "{alive}");
    // As a kill leaves it: no note of an end.
    let copy = bench.path("copy");
    std::fs::create_dir(&copy).unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("journal.db{suffix}");
        std::fs::copy(bench.path(&name), copy.join(&name)).unwrap();
    }
    daemon.stop().await.unwrap();
    let text = bench.config_text(&bench.raw_sink());
    let text = text.replace(&format!("{journal:?}"), &format!("{:?}", copy.join("journal.db")));
    let daemon = Running::start(&crate::harness::parse(&text));
    bench.subscribed().await;
    let copied = copy.join("journal.db");
    until("the gap is over", async || {
        spans(&copied).last().is_some_and(|span| span.n > 1 && span.end_ms.is_some())
    })
    .await;
    let gap = spans(&copied).pop().unwrap();
    assert_eq!((gap.start_ms, &*gap.why), (alive, "cdrd had ended without a stop"));
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_cdr_topic_is_a_gap_however_well_the_others_are_heard() {
    let bench = Bench::with(Options::default()).await;
    bench.pbx.refuse_topic("cdr_events", None, "no permission");
    let text = bench.config_text(&bench.raw_sink()).replace(
        "[pbx.hq]\n",
        "[pbx.hq]\ntopics = [\"cdr_events\", \"queue_events\"]\nqueues = [\"8000\"]\n",
    );
    let daemon = Running::start(&crate::harness::parse(&text));
    daemon.phase(cdrd::pbx::state::Phase::Subscribed).await;
    let journal = bench.path("journal.db");
    until("the gap is there", async || !spans(&journal).is_empty()).await;
    daemon.stop().await.unwrap();
    let all = spans(&journal);
    assert_eq!((all.len(), all[0].end_ms), (1, None), "{all:?}");
}

#[tokio::test]
async fn a_pbx_without_cdr_topic_has_no_gaps() {
    let bench = Bench::new().await;
    let text = bench
        .config_text(&bench.raw_sink())
        .replace("[pbx.hq]\n", "[pbx.hq]\ntopics = [\"queue_events\"]\nqueues = [\"8000\"]\n");
    let daemon = Running::start(&crate::harness::parse(&text));
    daemon.phase(cdrd::pbx::state::Phase::Subscribed).await;
    daemon.stop().await.unwrap();
    assert_eq!(spans(&bench.path("journal.db")), []);
    assert_eq!(listened(&bench.path("journal.db")), None);
}

#[tokio::test]
async fn reading_that_pauses_because_the_journal_is_full_is_a_gap() {
    let bench = Bench::new().await;
    let port = crate::port::Port::reserve();
    let sink = format!(
        "[sink.crm]\ntype = \"http\"\nurl = \"http://{}/x\"\nstart = \"beginning\"\n\
         retry = {{ initial = \"10ms\", max = \"50ms\" }}\n",
        port.address
    );
    let text = bench.config_text(&sink).replace("[journal]\n", "[journal]\nmax_size = \"1MiB\"\n");
    let daemon = Running::start(&crate::harness::parse(&text));
    bench.subscribed().await;
    over(&bench, 1).await;
    let journal = bench.path("journal.db");
    let mut pushed = 0;
    while spans(&journal).len() < 2 && pushed < 3_000 {
        pushed += 50;
        bench.push(50).await;
    }
    let gap = spans(&journal).pop().unwrap();
    assert_eq!((gap.end_ms, &*gap.why), (None, "the journal was full (when_full)"));
    let receiver = crate::receiver::Receiver::on(port.address).await;
    let all = over(&bench, 2).await;
    assert!(all[1].end_ms.unwrap() >= gap.start_ms);
    daemon.stop().await.unwrap();
    drop(receiver);
}
