//! What nobody heard is fetched back: after outages of every kind, whatever is odd
//! about the PBX's REST interface, the file has every call of the PBX's own list once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use cdrd::journal::block::{self, Packer};
use cdrd::journal::gaps::{self, Span};
use cdrd::journal::reader::Reader;
use cdrd::journal::{blocks, sum};
use cdrd::simulator::{
    DownDoor, Faults, Options, RestFaults, TokenForm, WebhookAuth, WebhookOptions,
};
use fastrand::Rng;
use serde_json::Value;
use tokio::time::Instant;

use crate::crash::{Daemon, terminate};
use crate::harness::{
    Bench, NO_BACKFILL, PATIENCE, Running, envelopes, envelopes_so_far, number, parse, until,
    until_within,
};
use crate::port::Port;
use crate::process::{Process, cdrd};

/// As fast as REST allows, and no long waits.
fn backfill(more: &str) -> String {
    format!("backfill = {{ requests_per_minute = 1000, {more} }}")
}

/// No second sweep for long, and no comparison of its own accord.
const QUICK: &str = "settle = \"500ms\", reconcile_every = \"0s\"";

fn config_text(bench: &Bench, more: &str) -> String {
    bench.config_text(&bench.raw_sink()).replace(NO_BACKFILL, &backfill(more))
}

fn start(bench: &Bench, more: &str) -> Running {
    Running::start(&parse(&config_text(bench, more)))
}

fn spans(bench: &Bench) -> Vec<Span> {
    Reader::open(&bench.path("journal.db")).unwrap().ask(gaps::list).unwrap()
}

/// The CDRs in the file: Call-ID, since not every release has sessions in REST, and id.
fn cdrs(bench: &Bench) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = envelopes_so_far(&bench.path("cdr.jsonl")).into_iter();
    let cdrs = events.filter(|event| event["type"] == "com.portsip.pbx.call_cdr");
    cdrs.map(|event| (text(&event["data"]["call_id"]), text(&event["id"]))).collect()
}

/// How often each call's CDR is in the file.
fn delivered(bench: &Bench) -> BTreeMap<String, usize> {
    let mut delivered = BTreeMap::new();
    for (call, _) in cdrs(bench) {
        *delivered.entry(call).or_default() += 1;
    }
    delivered
}

fn expected(bench: &Bench) -> BTreeMap<String, usize> {
    bench.pbx.ended_calls().into_iter().map(|call| (call.call_id, 1)).collect()
}

/// Waits until every gap is closed.
async fn closed(bench: &Bench) {
    let deadline = Instant::now() + PATIENCE;
    let open = loop {
        let spans = spans(bench);
        let known = !spans.is_empty();
        let open: Vec<_> = spans.into_iter().filter(|span| span.closed_ms.is_none()).collect();
        if (known && open.is_empty()) || Instant::now() > deadline {
            break open;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(open.is_empty(), "open: {open:#?}");
}

/// Waits until every gap is closed, and then for the file.
async fn complete(bench: &Bench) {
    closed(bench).await;
    let wanted = expected(bench);
    let last = Reader::open(&bench.path("journal.db")).unwrap().last_seq().unwrap();
    until("the file has the journal", async || {
        let file = envelopes_so_far(&bench.path("cdr.jsonl"));
        file.last().map_or(0, |event| event["seq"].as_u64().unwrap()) >= last
    })
    .await;
    let got = delivered(bench);
    let missing: Vec<_> =
        bench.pbx.ended_calls().into_iter().filter(|c| !got.contains_key(&c.call_id)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}; {:#?}", spans(bench));
    assert!(
        got == wanted,
        "doubled: {:?}",
        got.iter().filter(|(_, n)| **n > 1).collect::<Vec<_>>()
    );
}

/// The ways in which nobody listens.
#[derive(Debug, Clone, Copy)]
enum Outage {
    Reset,
    Silence,
    /// With REST, whose tokens are forgotten.
    Refused,
    Slammed,
}

const EVERY_OUTAGE: &[Outage] = &[Outage::Reset, Outage::Refused, Outage::Slammed, Outage::Silence];

async fn outage(bench: &Bench, kind: Outage, random: &mut Rng, calls: u64) {
    match kind {
        Outage::Reset => {
            let push = bench.pbx.push_calls(calls);
            let moment = Duration::from_millis(random.u64(0..20));
            let cut = async {
                tokio::time::sleep(moment).await;
                bench.pbx.reset_all().await;
            };
            tokio::join!(push, cut);
        }
        Outage::Refused => {
            bench.pbx.go_down(DownDoor::Refuses).await;
            bench.pbx.push_calls(calls).await;
            bench.pbx.come_up().await.unwrap();
        }
        Outage::Slammed => {
            bench.pbx.go_down(DownDoor::Slams).await;
            bench.pbx.push_calls(calls).await;
            bench.pbx.come_up().await.unwrap();
        }
        Outage::Silence => {
            bench.pbx.silence_open().await;
            bench.pbx.push_calls(calls).await;
            assert!(bench.pbx.wait_disconnected(PATIENCE).await);
        }
    }
    bench.subscribed().await;
}

/// A thousand calls with outages at thirty moments.
async fn a_bad_day(bench: &Bench, seed: u64, outages: &[Outage]) {
    let mut random = Rng::with_seed(seed);
    for _ in 0..30 {
        let calls = random.u64(1..34);
        bench.pbx.push_calls(calls).await;
        let kind = outages[random.usize(0..outages.len())];
        outage(bench, kind, &mut random, 34 - calls).await;
    }
    assert!(expected(bench).len() >= 1_000);
}

/// The PBX posts its events here, too.
fn webhook(port: &Port) -> String {
    format!(
        "[pbx.hq.webhook]\nlisten = \"{}\"\npath = \"/portsip/hq\"\nauth = {{ bearer = \"t0ken\" }}\n",
        port.address
    )
}

/// Has the simulated PBX post, with few and quick tries.
async fn posts(bench: &Bench, port: &Port) {
    let url = format!("http://{}/portsip/hq", port.address);
    let auth = WebhookAuth::Bearer("t0ken".to_owned());
    let retries = vec![Duration::from_millis(100); 2];
    let options = WebhookOptions { auth, retries, ..WebhookOptions::to(url) };
    bench.pbx.set_webhook(Some(options)).await.unwrap();
}

async fn nothing_is_lost_with(seed: u64, faults: impl FnOnce(&mut RestFaults)) -> Bench {
    nothing_is_lost(seed, QUICK, EVERY_OUTAGE, |all| faults(&mut all.rest)).await
}

async fn nothing_is_lost(
    seed: u64,
    more: &str,
    outages: &[Outage],
    faults: impl FnOnce(&mut Faults),
) -> Bench {
    let bench = Bench::with(Options { seed, ..Options::default() }).await;
    bench.pbx.set_faults(faults);
    let daemon = start(&bench, more);
    bench.subscribed().await;
    a_bad_day(&bench, seed, outages).await;
    complete(&bench).await;
    let lost = bench.pbx.ended_calls().iter().filter(|call| !call.pushed).count();
    assert!(lost > 100, "the outages lost only {lost}");
    daemon.stop().await.unwrap();
    bench
}

#[tokio::test]
async fn every_call_of_an_outage_is_fetched_back_once() {
    nothing_is_lost_with(1, |_| {}).await;
}

#[tokio::test]
async fn a_pbx_without_call_logs_is_asked_for_its_cdrs() {
    let bench = nothing_is_lost_with(2, |rest| rest.no_calllogs = true).await;
    assert!(bench.pbx.rest_count("/cdrs") > 0);
}

#[tokio::test]
async fn a_pbx_that_ignores_the_filter_is_read_all_the_same() {
    nothing_is_lost_with(3, |rest| rest.ignore_filter = true).await;
}

#[tokio::test]
async fn a_pbx_that_ignores_the_order_is_read_all_the_same() {
    nothing_is_lost_with(4, |rest| rest.ignore_orderby = true).await;
}

#[tokio::test]
async fn a_pbx_that_gives_few_calls_at_once_is_asked_more_often() {
    nothing_is_lost_with(5, |rest| rest.page_cap = Some(50)).await;
}

#[tokio::test]
async fn it_does_not_matter_from_where_skip_counts() {
    let faults = |rest: &mut RestFaults| {
        (rest.one_based_skip, rest.ignore_filter, rest.page_cap) = (true, true, Some(50));
    };
    nothing_is_lost_with(6, faults).await;
}

#[tokio::test]
async fn a_pbx_that_answers_429_now_and_then_is_given_time() {
    nothing_is_lost_with(7, |rest| rest.too_many = Some((3, 1))).await;
}

#[tokio::test]
async fn a_token_that_is_revoked_in_the_middle_is_replaced() {
    let bench = nothing_is_lost_with(8, |rest| rest.revoke_after = Some(2)).await;
    assert!(bench.pbx.rest_logins().len() > 1);
}

#[tokio::test]
async fn slow_answers_are_waited_for() {
    // Outages that leave REST alone: three logins in a row that they cut off would count as
    // refused, and rightly.
    let outages = &[Outage::Reset, Outage::Silence];
    let slow = Duration::from_millis(300);
    nothing_is_lost(9, QUICK, outages, |all| all.rest.slow = slow).await;
}

#[tokio::test]
async fn the_second_form_of_login_serves_where_the_first_is_missing() {
    nothing_is_lost_with(10, |rest| rest.no_token_form = Some((TokenForm::OAuth, 405))).await;
}

#[tokio::test]
async fn a_pbx_whose_clock_is_three_minutes_off_is_asked_in_its_own_time() {
    for (seed, seconds) in [(11, 180), (12, -180)] {
        nothing_is_lost(seed, QUICK, EVERY_OUTAGE, |all| all.clock_off = seconds).await;
    }
}

#[tokio::test]
async fn rows_that_appear_late_are_found_by_the_second_sweep() {
    let settle = "settle = \"4s\", reconcile_every = \"0s\"";
    let late = Duration::from_secs(5);
    // Later than the first sweep, which comes two seconds after a gap, and sooner than the second.
    nothing_is_lost(13, settle, EVERY_OUTAGE, |all| all.rest.late = late).await;
}

#[tokio::test]
async fn answers_that_make_no_sense_or_break_off_are_asked_for_again() {
    let faults = |rest: &mut RestFaults| {
        (rest.unavailable, rest.reset_in_body) = (2, 1);
    };
    nothing_is_lost_with(14, faults).await;
}

#[tokio::test]
async fn a_call_that_began_three_hours_before_the_outage_and_ended_in_it_is_found() {
    let bench = Bench::new().await;
    let daemon = start(&bench, QUICK);
    bench.subscribed().await;
    bench.push(3).await;
    bench.pbx.go_down(DownDoor::Refuses).await;
    let long = bench.pbx.push_call(-3 * 3600, 0).await;
    assert!(!long.pushed);
    bench.pbx.come_up().await.unwrap();
    bench.subscribed().await;
    complete(&bench).await;
    assert_eq!(delivered(&bench)[&long.call_id], 1);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_backfilled_call_says_so_and_has_the_id_that_the_live_one_would_have_had() {
    let bench = Bench::new().await;
    let daemon = start(&bench, QUICK);
    bench.subscribed().await;
    bench.pbx.go_down(DownDoor::Refuses).await;
    bench.pbx.push_calls(1).await;
    bench.pbx.come_up().await.unwrap();
    bench.subscribed().await;
    complete(&bench).await;
    daemon.stop().await.unwrap();
    let events = envelopes(&bench.path("cdr.jsonl"));
    let fetched: Vec<_> = events.iter().filter(|event| event["origin"] == "backfill").collect();
    assert_eq!(fetched.len(), 1, "{events:?}");
    let data = &fetched[0]["data"];
    assert_eq!(data["event_type"], "call_cdr");
    assert_eq!(data["rest"]["session_id"], fetched[0]["subject"]);
    let call = format!(
        r#"{{"event_type":"call_cdr","session_id":{},"call_id":{},"start_time":"1"}}"#,
        data["session_id"], data["call_id"]
    );
    let raw = bytes::Bytes::from(call);
    let live = cdrd::event::decode::decode(&"hq".into(), cdrd::event::Origin::Live, 1, raw);
    let Ok(cdrd::event::decode::Frame::Event(live)) = live else { panic!("no event") };
    assert_eq!(fetched[0]["id"], live.id.to_string());
}

#[tokio::test]
async fn while_rest_refuses_the_login_the_gap_stays_open_and_says_why() {
    let bench = Bench::new().await;
    bench.pbx.set_faults(|all| all.rest.refuse_logins = Some((1, "no such user".to_owned())));
    let daemon = start(&bench, QUICK);
    bench.subscribed().await;
    until("the refusal is written down", async || {
        spans(&bench).iter().any(|span| span.error.is_some())
    })
    .await;
    let gap = spans(&bench).pop().unwrap();
    assert!(gap.error.as_ref().unwrap().contains("no such user"), "{gap:?}");
    assert_eq!(gap.closed_ms, None);
    bench.push(5).await;
    assert_eq!(daemon.stop().await.unwrap(), cdrd::daemon::Ended::Clean);
    assert_eq!(bench.pbx.rest_logins().len(), 1, "asked once, then patient");
}

#[tokio::test]
async fn without_backfill_a_gap_stays_open_and_says_why() {
    let bench = Bench::new().await;
    let daemon = Running::start(&bench.config(&bench.raw_sink()));
    bench.subscribed().await;
    until("the gap is over", async || spans(&bench).iter().any(|span| span.end_ms.is_some())).await;
    daemon.stop().await.unwrap();
    let gap = spans(&bench).remove(0);
    assert_eq!(gap.closed_ms, None);
    assert!(gap.error.as_ref().unwrap().contains("switched off"), "{gap:?}");
}

#[tokio::test]
async fn a_user_who_sees_only_own_calls_closes_no_gap() {
    let bench = Bench::new().await;
    bench.pbx.set_faults(|all| all.rest.own_calls_only = true);
    // What came long enough ago to be on record for certain: calls of an hour ago.
    let daemon = start(&bench, QUICK);
    bench.subscribed().await;
    until("the first gap is closed", async || {
        spans(&bench).iter().all(|span| span.closed_ms.is_some()) && !spans(&bench).is_empty()
    })
    .await;
    bench.push(40).await;
    let journalled = bench.pbx.log().len();
    until("all is journalled", async || bench.journalled() == journalled).await;
    daemon.stop().await.unwrap();
    // As if they had come two minutes ago.
    received_earlier(&bench.path("journal.db"), 120_000);
    let daemon = start(&bench, QUICK);
    bench.subscribed().await;
    // On a busy machine more gaps may follow, of which nothing is known yet.
    let mut doubt = None;
    until("the doubt is written down", async || {
        doubt = spans(&bench).into_iter().find_map(|span| span.error);
        doubt.is_some()
    })
    .await;
    let doubt = doubt.unwrap();
    assert!(doubt.contains("give it a role"), "{doubt}");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_missed_without_any_gap_is_found_by_the_comparison_that_is_due() {
    let bench = Bench::new().await;
    let due = "settle = \"500ms\", reconcile_every = \"3s\"";
    let daemon = start(&bench, due);
    bench.subscribed().await;
    bench.push(5).await;
    // On record, and never pushed.
    let silent = bench.pbx.remember_calls(3, -1, 0);
    assert_eq!(silent.len(), 3);
    until("they are found", async || delivered(&bench).len() == expected(&bench).len()).await;
    complete(&bench).await;
    let journal = bench.path("journal.db");
    let last = silent.iter().map(|call| call.ended * 1000).max().unwrap();
    until("the record is complete beyond them", async || {
        let listened = Reader::open(&journal).unwrap().ask(|db| gaps::listened(db, "hq")).unwrap();
        listened.unwrap().complete_ms().is_some_and(|complete| complete > last)
    })
    .await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_the_session_at_the_rest_interface_too() {
    let bench = Bench::new().await;
    let daemon = start(&bench, QUICK);
    bench.subscribed().await;
    complete(&bench).await;
    assert_eq!(bench.pbx.rest_tokens_alive(), 1);
    daemon.stop().await.unwrap();
    assert_eq!(bench.pbx.rest_tokens_alive(), 0);
}

#[tokio::test]
async fn a_backfill_that_a_stop_interrupts_goes_on_where_it_was() {
    let bench = Bench::new().await;
    let daemon = start(&bench, QUICK);
    bench.subscribed().await;
    complete(&bench).await;
    daemon.stop().await.unwrap();
    let calls = bench.pbx.remember_calls(3_000, -5, 0);
    // Each answer has few of them, and takes a while: the stop comes in between.
    bench.pbx.set_faults(|all| {
        (all.rest.page_cap, all.rest.slow) = (Some(100), Duration::from_millis(400));
    });
    let daemon = start(&bench, QUICK);
    bench.subscribed().await;
    until("it has begun", async || delivered(&bench).len() > 200).await;
    daemon.stop().await.unwrap();
    let reached = spans(&bench).iter().filter_map(|span| span.reached_ms).max();
    assert!(reached.is_some(), "{:?}", spans(&bench));
    assert!(delivered(&bench).len() < calls.len());
    bench.pbx.set_faults(|all| (all.rest.page_cap, all.rest.slow) = (None, Duration::ZERO));
    let daemon = start(&bench, QUICK);
    bench.subscribed().await;
    complete(&bench).await;
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_to_thirty_kills_with_calls_before_during_and_after() {
    let bench = Bench::with(Options { seed: 15, ..Options::default() }).await;
    std::fs::write(bench.path("config.toml"), config_text(&bench, QUICK)).unwrap();
    let mut random = Rng::with_seed(15);
    for _ in 0..30 {
        let daemon = Daemon::start(&bench);
        bench.subscribed().await;
        let push = bench.pbx.push_calls(17);
        let life = Duration::from_millis(random.u64(1..2_500));
        let kill = async {
            tokio::time::sleep(life).await;
            daemon.kill();
        };
        tokio::join!(push, kill);
        assert!(bench.pbx.wait_disconnected(PATIENCE).await);
        bench.pbx.push_calls(17).await;
    }
    let daemon = Daemon::start(&bench);
    bench.subscribed().await;
    closed(&bench).await;
    terminate(daemon).await;
    // After a kill a line may come again, with its id; a call has never two ids.
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (call, id) in cdrs(&bench) {
        ids.entry(call).or_default().insert(id);
    }
    let wanted = expected(&bench);
    assert!(wanted.len() >= 1_000);
    let missing: Vec<_> = wanted.keys().filter(|call| !ids.contains_key(*call)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}; {:#?}", spans(&bench));
    assert!(ids.len() == wanted.len() && ids.values().all(|ids| ids.len() == 1));
    let kills = spans(&bench).iter().filter(|span| span.why.contains("without a stop")).count();
    assert!(kills > 20, "{kills} of 30 kills left a gap of their own");
}

#[tokio::test]
async fn with_all_three_ways_in_at_once_every_call_is_there_once() {
    let bench = Bench::with(Options { seed: 16, ..Options::default() }).await;
    let port = Port::reserve();
    let text = format!("{}{}", config_text(&bench, QUICK), webhook(&port));
    let daemon = Running::start(&parse(&text));
    posts(&bench, &port).await;
    bench.subscribed().await;
    a_bad_day(&bench, 16, EVERY_OUTAGE).await;
    complete(&bench).await;
    daemon.stop().await.unwrap();
    let events = envelopes(&bench.path("cdr.jsonl"));
    let ways: BTreeSet<_> = events.iter().map(|event| event["origin"].to_string()).collect();
    assert!(ways.len() >= 2, "{ways:?}");
}

#[tokio::test]
async fn with_the_webhook_alone_what_the_pbx_gave_up_is_found_by_the_comparison_that_is_due() {
    let bench = Bench::with(Options { seed: 17, ..Options::default() }).await;
    let port = Port::reserve();
    let due = "settle = \"500ms\", reconcile_every = \"2s\"";
    let text = config_text(&bench, due).replace("[pbx.hq]\n", "[pbx.hq]\nwsi = false\n");
    let config = parse(&format!("{text}{}", webhook(&port)));
    posts(&bench, &port).await;
    let mut random = Rng::with_seed(17);
    for _ in 0..5 {
        let daemon = Running::start(&config);
        bench.pbx.push_calls(random.u64(1..34)).await;
        daemon.stop().await.unwrap();
        // Nobody listens, and the PBX gives up.
        let before = bench.pbx.webhook_tally().failed;
        bench.pbx.push_calls(10).await;
        until("the PBX has given up", async || {
            let tally = bench.pbx.webhook_tally();
            tally.failed > before && tally.waiting == 0
        })
        .await;
    }
    let daemon = Running::start(&config);
    let wanted = expected(&bench);
    until("every call is in the file", async || delivered(&bench).len() >= wanted.len()).await;
    daemon.stop().await.unwrap();
    assert_eq!(delivered(&bench), wanted);
    assert_eq!(spans(&bench), [], "no session, no gaps");
}

/// For the figures of docs/backfill.md: `CDRD_GAP_CALLS` in the hour of the gap, and
/// `CDRD_CALLS_BEFORE` in the six hours before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_of_an_hour_is_closed_whole() {
    let (calls, before) = (number("CDRD_GAP_CALLS", 1_000), number("CDRD_CALLS_BEFORE", 1_000));
    let bench = Bench::new().await;
    let settings = config_text(&bench, "reconcile_every = \"0s\"")
        .replace("requests_per_minute = 1000", "requests_per_minute = 60");
    let daemon = Running::start(&parse(&settings));
    bench.subscribed().await;
    until("it has begun", async || !spans(&bench).is_empty()).await;
    daemon.stop().await.unwrap();
    bench.pbx.remember_calls(before, -7 * 3600, -3660);
    let in_gap = bench.pbx.remember_calls(calls, -3590, -1);
    let journal = rusqlite::Connection::open(bench.path("journal.db")).unwrap();
    journal.execute("DELETE FROM gap WHERE end_ms IS NOT NULL", []).unwrap();
    journal.execute("UPDATE gap SET start_ms = start_ms - 3600000", []).unwrap();
    drop(journal);
    let begun = Instant::now();
    let daemon = Running::start(&parse(&settings));
    let long = Duration::from_secs(1200);
    until_within(long, "every call is in the journal", async || bench.journalled() as u64 >= calls)
        .await;
    let fetched = begun.elapsed();
    until_within(long, "the gap is closed", async || {
        spans(&bench).iter().all(|span| span.closed_ms.is_some())
    })
    .await;
    let closed = begun.elapsed();
    daemon.stop().await.unwrap();
    let got = delivered(&bench);
    assert!(in_gap.iter().all(|call| got[&call.call_id] == 1));
    let requests = bench.pbx.rest_count("/calllogs");
    println!(
        "{calls} calls in the gap, {before} before: fetched after {fetched:.1?}, closed after {closed:.1?}, {requests} requests"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_backfill_tells_how_far_it_is_and_delays_no_live_call() {
    let bench = Bench::new().await;
    let config = bench.path("config.toml");
    std::fs::write(&config, config_text(&bench, QUICK)).unwrap();
    let daemon = Daemon::start(&bench);
    bench.subscribed().await;
    closed(&bench).await;
    terminate(daemon).await;
    let calls = bench.pbx.remember_calls(2_000, -5, 0);
    bench.pbx.set_faults(|all| {
        (all.rest.page_cap, all.rest.slow) = (Some(40), Duration::from_millis(400));
    });
    let mut daemon =
        Process::start(cdrd(["run", "-c", config.to_str().unwrap()]).env("CDRD_LOG", "info"));
    bench.subscribed().await;
    daemon.logs("comparing with REST").await;
    let live = bench.pbx.push_calls(5).await;
    let there = |session: &String| {
        let events = envelopes_so_far(&bench.path("cdr.jsonl"));
        events.iter().any(|e| e["origin"] == "live" && e["data"]["session_id"] == **session)
    };
    until("the live calls are in the file", async || live.iter().all(there)).await;
    assert!(delivered(&bench).len() < calls.len(), "the backfill was over by then");
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

/// Rewrites a journal as if everything in it had come earlier.
fn received_earlier(journal: &Path, by_ms: i64) {
    let db = rusqlite::Connection::open(journal).unwrap();
    let mut packer = Packer::new().unwrap();
    let mut blocks = Vec::new();
    let mut statement =
        db.prepare("SELECT first_seq, last_seq, first_ms, latest_ms, data FROM block").unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let span = blocks::Span {
            first_seq: row.get::<_, i64>(0).unwrap() as u64,
            last_seq: row.get::<_, i64>(1).unwrap() as u64,
            first_ms: row.get::<_, i64>(2).unwrap() - by_ms,
            latest_ms: row.get::<_, i64>(3).unwrap() - by_ms,
        };
        let data: Vec<u8> = row.get(4).unwrap();
        let mut stored = block::unpack(&data, span.first_seq).unwrap();
        stored.iter_mut().for_each(|stored| stored.event.received_ms -= by_ms);
        let events: Vec<_> = stored.iter().map(|stored| (stored.event.id, &stored.event)).collect();
        blocks.push((span, packer.pack(&events).unwrap()));
    }
    assert!(!blocks.is_empty());
    for (span, data) in blocks {
        db.execute(
            "UPDATE block SET first_ms = ?2, latest_ms = ?3, data = ?4, sum = ?5 WHERE last_seq = ?1",
            (
                span.last_seq as i64,
                span.first_ms,
                span.latest_ms,
                &data,
                sum::of_block(&span, Some(&data)),
            ),
        )
        .unwrap();
    }
}
