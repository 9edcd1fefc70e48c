//! The client against the simulated PBX, whose own list is what must be found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cdrd::clock::Clock;
use cdrd::event::Event;
use cdrd::pbx::lockout::{Lockout, Memory};
use cdrd::record::{Context, Record};
use cdrd::rest::{Page, Rest, RestError};
use cdrd::simulator::{DOMAIN, Options, PASSWORD, Release, RestFaults, Simulator, TokenForm};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::harness;

async fn started(options: Options) -> (Simulator, Rest) {
    let pbx = Simulator::start(options).await.unwrap();
    let text = format!(
        "[pbx.hq]\nurl = {:?}\nlogin = {{ username = \"cdr\", domain = {DOMAIN:?}, password = {PASSWORD:?} }}\n\
         [pbx.hq.backfill]\nrequests_per_minute = 1000\n[sink.out]\ntype = \"stdout\"\n",
        pbx.url()
    );
    let config = harness::parse(&text).pbxs.remove(0);
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    let rest = Rest::new(&config, lockout, Clock::system()).unwrap();
    (pbx, rest)
}

async fn read(rest: &mut Rest, from_s: i64, to_s: i64) -> Result<Vec<Page>, RestError> {
    let mut calls = rest.calls(from_s * 1000, to_s * 1000);
    let mut pages = Vec::new();
    while let Some(page) = calls.next().await? {
        pages.push(page);
    }
    Ok(pages)
}

#[tokio::test]
async fn every_call_is_found_with_each_fault_of_the_interface() {
    let none = RestFaults::default;
    let faults = [
        none(),
        RestFaults { no_calllogs: true, ..none() },
        RestFaults { no_token_form: Some((TokenForm::OAuth, 404)), ..none() },
        RestFaults { no_token_form: Some((TokenForm::OAuth, 405)), ..none() },
        RestFaults { ignore_filter: true, ..none() },
        RestFaults { ignore_orderby: true, ..none() },
        RestFaults { ignore_filter: true, ignore_orderby: true, ..none() },
        RestFaults { ignore_filter: true, one_based_skip: true, page_cap: Some(20), ..none() },
        RestFaults { page_cap: Some(20), ..none() },
        RestFaults { page_cap: Some(20), ignore_orderby: true, ..none() },
        RestFaults { too_many: Some((2, 1)), ..none() },
        RestFaults { unavailable: 2, ..none() },
        RestFaults { revoke_after: Some(2), page_cap: Some(50), ..none() },
        RestFaults { reset_in_body: 1, ..none() },
        RestFaults { slow: Duration::from_millis(50), ..none() },
    ];
    for faults in faults {
        let (pbx, mut rest) = started(Options::default()).await;
        pbx.set_faults(|all| all.rest = faults.clone());
        pbx.remember_calls(300, -20_000, -1000);
        let now = Timestamp::now().as_second();
        let (from, to) = (now - 14_000, now - 7000);
        let expected: Vec<_> = pbx.ended_calls();
        let mut expected: Vec<String> = expected
            .into_iter()
            .filter(|call| (from..to).contains(&call.started))
            .map(|call| call.call_id)
            .collect();
        expected.sort();
        assert!(expected.len() > 50, "{}", expected.len());
        let pages = read(&mut rest, from, to).await.unwrap_or_else(|e| panic!("{faults:?}: {e}"));
        let calls = pages.iter().flat_map(|page| &page.calls);
        let mut found: Vec<String> = calls.map(|call| call.call_id.clone().unwrap()).collect();
        found.sort();
        assert_eq!(found, expected, "{faults:?} {:?}", rest.quirks().collect::<Vec<_>>());
        rest.close().await;
        assert_eq!(pbx.rest_tokens_alive(), 0, "{faults:?}");
    }
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_login_is_told() {
    for (faults, words) in [
        (RestFaults { two_factor: true, ..RestFaults::default() }, "second factor"),
        (RestFaults { password_force_reset: true, ..RestFaults::default() }, "change the password"),
        (
            RestFaults { refuse_logins: Some((9, "no such user".into())), ..RestFaults::default() },
            "no such user",
        ),
    ] {
        let (pbx, mut rest) = started(Options::default()).await;
        pbx.set_faults(|all| all.rest = faults);
        for _ in 0..3 {
            let error = read(&mut rest, 0, 100).await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

fn record(event: &Event) -> Value {
    let id = event.id.to_string();
    let context = Context {
        id: &id,
        pbx: "hq",
        origin: "any",
        received_at: Timestamp::UNIX_EPOCH,
        zone: &TimeZone::UTC,
    };
    let call = cdrd::event::call::parse(&event.raw).unwrap();
    serde_json::to_value(Record::new(&context, &call)).unwrap()
}

/// The normal form of every call, live and backfilled, for each spelling of 22.x.
#[tokio::test]
async fn a_backfilled_call_reads_as_the_live_one_but_for_what_rest_does_not_tell() {
    for release in [Release::R22_2, Release::R22_3] {
        let options = Options { release: Some(release), ..Options::default() };
        let (pbx, mut rest) = started(options).await;
        let bench = harness::Bench { pbx, directory: tempfile::tempdir().unwrap() };
        let daemon = bench.daemon();
        bench.subscribed().await;
        bench.push(100).await;
        daemon.stop().await.unwrap();
        let reader = cdrd::journal::reader::Reader::open(&bench.path("journal.db"));
        let events = reader.unwrap().after(0, 100_000, usize::MAX).unwrap();
        let live: BTreeMap<String, Event> = events
            .into_iter()
            .filter(|stored| stored.event.event_type == "call_cdr")
            .map(|stored| (stored.event.session_id.as_deref().unwrap().to_owned(), stored.event))
            .collect();
        let now = Timestamp::now().as_second();
        let pages = read(&mut rest, now - 86_400, now + 86_400).await.unwrap();
        let mut compared = 0;
        for call in pages.iter().flat_map(|page| &page.calls) {
            let Some(there) = live.get(call.session_id.as_ref().unwrap()) else { continue };
            let back = rest.details(call).await.unwrap().event(&Arc::from("hq"), 1).unwrap();
            assert_eq!(there.id, back.id);
            let (mut there, mut back) = (record(there), record(&back));
            for key in ["tenant_id", "tenant_name", "cdr_id", "queue", "agent", "targets"] {
                there[key] = Value::Null;
                back[key] = Value::Null;
            }
            // REST tells some that the live one does not: the callee's name, a DID.
            for (key, value) in there.as_object().unwrap() {
                assert!(value.is_null() || *value == back[key], "{key}: {value} {}", back[key]);
            }
            compared += 1;
        }
        assert_eq!(compared, 100);
    }
}

/// Not a test of speed: it tells what the documentation quotes.
#[tokio::test]
#[ignore = "measures"]
async fn how_long_ten_thousand_calls_of_an_hour_take() {
    let (pbx, mut rest) = started(Options::default()).await;
    pbx.remember_calls(10_000, -3600, 0);
    let from = Timestamp::now().as_second() - 3 * 3600;
    let start = std::time::Instant::now();
    let pages = read(&mut rest, from, from + 4 * 3600).await.unwrap();
    let events: usize = pages
        .iter()
        .flat_map(|page| &page.calls)
        .map(|call| call.event(&Arc::from("hq"), 1).unwrap().raw.len())
        .sum();
    let calls: usize = pages.iter().map(|page| page.calls.len()).sum();
    println!(
        "{calls} calls, {events} bytes, {} requests, {:?}",
        pbx.rest_count("/calllogs"),
        start.elapsed()
    );
}
