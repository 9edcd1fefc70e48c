//! Every call of a span, once, whatever the PBX makes of the question; or an error.

use std::collections::BTreeMap;

use cdrd::rest::{Page, Quirk, Rest, RestError};

use super::fake::{Fake, Reply};
use super::office::{Count, Office, One, Ordering, Skip, Ways};

const START: i64 = 1_785_999_600_000;
const HOUR: i64 = 3_600_000;

/// Calls all around an hour, of all lengths, some at the same time.
fn busy(calls: u64, seed: u64) -> Vec<One> {
    let mut random = fastrand::Rng::with_seed(seed);
    (1..=calls)
        .map(|number| {
            let start = START - HOUR + random.i64(0..3 * HOUR);
            let start = if random.u8(0..4) == 0 { start / 60_000 * 60_000 } else { start };
            One { number, start, end: start + random.i64(0..2 * HOUR) }
        })
        .collect()
}

/// Everything that comes; checks what every page promises.
async fn read(rest: &mut Rest, from: i64, to: i64) -> Result<Vec<Page>, RestError> {
    let mut calls = rest.calls(from, to);
    let mut pages: Vec<Page> = Vec::new();
    while let Some(page) = calls.next().await? {
        assert!((from..=to).contains(&page.reached_ms));
        pages.push(page);
        assert!(pages.len() < 2000, "it never ends");
    }
    assert!(matches!(calls.next().await, Ok(None)));
    assert_eq!(pages.last().map(|page| page.reached_ms), Some(to));
    Ok(pages)
}

/// How often each call came.
fn found(pages: &[Page]) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for call in pages.iter().flat_map(|page| &page.calls) {
        let number = call.session_id.as_ref().unwrap().parse().unwrap();
        *found.entry(number).or_default() += 1;
    }
    found
}

fn expected(calls: &[One], from: i64, to: i64) -> BTreeMap<u64, usize> {
    let within = calls.iter().filter(|call| (from..to).contains(&call.start));
    within.map(|call| (call.number, 1)).collect()
}

async fn start(office: &Office) -> (Fake, Rest) {
    let served = office.clone();
    let fake = Fake::start(move |request| served.reply(request)).await;
    let rest = fake.rest();
    (fake, rest)
}

/// Reads the hour from a PBX with these ways.
async fn outcome(calls: &[One], ways: Ways) -> (Result<bool, String>, Vec<Quirk>, usize) {
    let office = Office::new(calls.to_vec(), ways);
    let (fake, mut rest) = start(&office).await;
    let (from, to) = (START + 123, START + HOUR + 456);
    let outcome = match read(&mut rest, from, to).await {
        Ok(pages) => Ok(found(&pages) == expected(calls, from, to)),
        Err(RestError::Invalid { words }) => Err(words),
        Err(other) => panic!("{ways:?}: {other}"),
    };
    (outcome, rest.quirks().collect(), fake.count("GET /api/calllogs"))
}

#[tokio::test]
async fn an_obedient_pbx_is_asked_no_more_than_needed() {
    let calls = busy(3600, 1);
    let (outcome, quirks, asked) = outcome(&calls, Ways::default()).await;
    assert_eq!(outcome, Ok(true));
    assert_eq!(quirks, []);
    assert!((3..=4).contains(&asked), "{asked} requests for about 1200 calls");
}

/// No combination loses a call silently, doubles one, or goes on for ever; and those
/// that can be read are read.
#[tokio::test]
async fn whatever_the_pbx_ignores_no_call_is_missing_without_an_error() {
    let calls = busy(400, 2);
    let (mut read, mut failed) = (0, 0);
    let orderings = [
        Ordering::Obeyed,
        Ordering::AlwaysRising,
        Ordering::AlwaysFalling,
        Ordering::ByEnd,
        Ordering::Shuffled,
    ];
    for filter in [true, false] {
        for ordering in orderings {
            for skip in [Skip::FromZero, Skip::FromOne, Skip::Ignored] {
                for count in [Count::All, Count::OnPage, Count::Nothing, Count::Everything] {
                    for (cap, top) in [(None, true), (None, false), (Some(25), true)] {
                        let ways = Ways { filter, ordering, skip, count, cap, top };
                        let (outcome, quirks, _) = outcome(&calls, ways).await;
                        assert_ne!(outcome, Ok(false), "{ways:?} {quirks:?}");
                        let sorted = !matches!(ordering, Ordering::ByEnd | Ordering::Shuffled);
                        let can_skip = skip != Skip::Ignored;
                        let whole = cap.is_none();
                        let readable = match (filter, sorted) {
                            (true, _) => whole || sorted || can_skip,
                            (false, true) => whole || can_skip,
                            (false, false) => whole && can_skip,
                        };
                        if readable {
                            // One order is wrong without looking wrong on every page.
                            let blind = ordering == Ordering::ByEnd && count != Count::All;
                            assert!(outcome.is_ok() || blind, "{ways:?}: {outcome:?}");
                        }
                        if outcome.is_ok() {
                            read += 1
                        } else {
                            failed += 1
                        }
                        assert_eq!(quirks.contains(&Quirk::IgnoresFilter), !filter, "{ways:?}");
                    }
                }
            }
        }
    }
    assert!(read > 200 && failed > 20, "{read} {failed}");
}

#[tokio::test]
async fn one_second_may_hold_more_calls_than_a_page() {
    let crowd = |n| (1..=n).map(|number| One { number, start: START + 5000, end: START + 9000 });
    for (skip, count) in [
        (Skip::FromZero, Count::All),
        (Skip::FromOne, Count::All),
        (Skip::FromOne, Count::Nothing),
        (Skip::FromZero, Count::OnPage),
        (Skip::FromOne, Count::Everything),
    ] {
        for n in [499, 500, 501, 997, 998, 999, 1000, 1700] {
            let mut calls: Vec<One> = crowd(n).collect();
            calls.extend(
                busy(300, n).iter().map(|call| One { number: call.number + 10_000, ..*call }),
            );
            let (outcome, quirks, _) =
                outcome(&calls, Ways { skip, count, ..Ways::default() }).await;
            assert_eq!(outcome, Ok(true), "{n} {skip:?} {count:?} {quirks:?}");
        }
    }
    let calls: Vec<One> = crowd(800).collect();
    let (outcome, ..) = outcome(&calls, Ways { skip: Skip::Ignored, ..Ways::default() }).await;
    assert!(outcome.unwrap_err().contains("skip"));
}

#[tokio::test]
async fn calls_of_one_second_that_change_places_are_found_or_there_is_an_error() {
    let mut errors = 0;
    for n in [300, 505, 700, 1200, 1300] {
        let start = START + 5000;
        let calls: Vec<One> = (1..=n).map(|number| One { number, start, end: start }).collect();
        for skip in [Skip::FromZero, Skip::FromOne] {
            let ways = Ways { ordering: Ordering::Restless, skip, ..Ways::default() };
            match outcome(&calls, ways).await.0 {
                Ok(complete) => assert!(complete, "{n}"),
                Err(_) => errors += 1,
            }
        }
    }
    assert!(errors > 0, "it is not restless");
}

#[tokio::test]
async fn calls_that_come_meanwhile_move_nothing() {
    for ways in [
        Ways::default(),
        Ways { filter: false, ..Ways::default() },
        Ways { ordering: Ordering::Shuffled, ..Ways::default() },
        Ways { cap: Some(30), ..Ways::default() },
    ] {
        let before = busy(1500, 3);
        let office = Office::new(before.clone(), ways);
        let served = office.clone();
        let fake = Fake::start(move |request| {
            let mut random = fastrand::Rng::with_seed(request.query.len() as u64);
            let mut calls = served.calls.lock().unwrap();
            for _ in 0..3 {
                let (number, start) =
                    (10_000 + calls.len() as u64, START + random.i64(0..2 * HOUR));
                calls.push(One { number, start, end: start });
            }
            drop(calls);
            served.reply(request)
        })
        .await;
        let mut rest = fake.rest();
        let found = found(&read(&mut rest, START, START + HOUR).await.unwrap());
        assert!(found.values().all(|times| *times == 1));
        for number in expected(&before, START, START + HOUR).keys() {
            assert!(found.contains_key(number), "{ways:?}: {number} is missing");
        }
    }
}

#[tokio::test]
async fn a_run_that_was_dropped_goes_on_from_where_it_was() {
    let calls = busy(9000, 4);
    let office = Office::new(calls.clone(), Ways::default());
    let (_fake, mut rest) = start(&office).await;
    let (mut from, to) = (START, START + HOUR);
    let (mut pages, mut runs) = (Vec::new(), 0);
    while from < to {
        let page = rest.calls(from, to).next().await.unwrap().unwrap();
        assert!(page.reached_ms > from, "it gets on");
        from = page.reached_ms;
        pages.push(page);
        runs += 1;
    }
    assert!(runs > 5, "{runs}");
    let found: Vec<u64> = found(&pages).into_keys().collect();
    let expected: Vec<u64> = expected(&calls, START, to).into_keys().collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_empty_span_is_one_question_and_no_span_none() {
    let office = Office::new(Vec::new(), Ways::default());
    let (fake, mut rest) = start(&office).await;
    let pages = read(&mut rest, START, START + HOUR).await.unwrap();
    assert_eq!((pages.len(), pages[0].calls.len()), (1, 0));
    assert!(matches!(rest.calls(START, START).next().await, Ok(None)));
    assert!(matches!(rest.calls(START, START - 1).next().await, Ok(None)));
    assert_eq!(fake.count("GET /api/calllogs"), 1);
}

#[tokio::test]
async fn a_count_of_something_else_is_noticed_and_believed_no_more() {
    let calls = busy(3000, 6);
    let ways = Ways { count: Count::Everything, ..Ways::default() };
    let (outcome, quirks, asked) = outcome(&calls, ways).await;
    assert_eq!((outcome, &*quirks), (Ok(true), &[Quirk::Miscounts][..]));
    assert!(asked < 10, "{asked} requests");
    let (fake, mut rest) = start(&Office::new(calls, ways)).await;
    let long_ago = START - 1000 * HOUR;
    for _ in 0..3 {
        assert_eq!(read(&mut rest, long_ago, long_ago + HOUR).await.unwrap().len(), 1);
    }
    assert_eq!(fake.count("GET /api/calllogs"), 3);
}

#[tokio::test]
async fn items_that_are_no_calls_are_handed_on_once() {
    let fake = Fake::start(|request| match &*request.line {
        "GET /api/calllogs" => Reply::ok(
            r#"{"count":4,"items":[{"session_id":"1","started_at":"2026-08-06T07:00:01Z"},7,{"session_id":"2"},
               {"session_id":"3","started_at":"2026-08-06T07:00:02Z"}]}"#,
        ),
        "POST /api/login/oauth/token" => Reply::token("t", 3600),
        _ => Reply::status(404),
    })
    .await;
    let mut rest = fake.rest();
    let pages = read(&mut rest, START, START + HOUR).await.unwrap();
    let odd: Vec<_> = pages.iter().flat_map(|page| &page.odd).map(|odd| odd.item.clone()).collect();
    assert_eq!(odd, ["7", r#"{"session_id":"2"}"#]);
    assert_eq!(found(&pages).len(), 2);
}

#[tokio::test]
async fn without_call_logs_the_cdrs_are_read_and_said_to_be_poorer() {
    let office = Office::new(busy(50, 5), Ways::default());
    let fake = Fake::start(move |request| match &*request.line {
        "GET /api/calllogs" => Reply::status(404),
        "GET /api/cdrs" => office.reply(&super::fake::Request {
            line: "GET /api/calllogs".to_owned(),
            ..request.clone()
        }),
        _ => office.reply(request),
    })
    .await;
    let mut rest = fake.rest();
    for _ in 0..2 {
        read(&mut rest, START, START + HOUR).await.unwrap();
    }
    assert_eq!(rest.quirks().collect::<Vec<_>>(), [Quirk::NoCallLogs]);
    assert_eq!(fake.count("GET /api/calllogs"), 1);
}
