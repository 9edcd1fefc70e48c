//! Calls that nobody hears: the office goes on, and REST knows of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpStream;

use super::client::{Client, LIMIT, start};
use super::rest_client::Rest;
use crate::simulator::{DownDoor, Options, Rate, Simulator};

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

#[tokio::test]
async fn calls_of_an_outage_are_in_rest_alone() {
    for door in [DownDoor::Refuses, DownDoor::Slams] {
        let simulator = start(Options::default()).await;
        let rest = Rest::logged_in(&simulator).await;
        let client = Client::subscribed(&simulator).await.read_on();
        let before = simulator.push_calls(3).await;
        simulator.settle().await.unwrap();
        simulator.go_down(door).await;
        assert!(simulator.wait_disconnected(LIMIT).await);
        client.await.unwrap();
        let refused = TcpStream::connect(simulator.addr()).await.is_err();
        assert_eq!(refused, door == DownDoor::Refuses);
        assert!(rest.send("/calllogs", &[]).await.is_err());
        let meanwhile = simulator.push_calls(4).await;
        simulator.come_up().await.unwrap();
        assert_eq!(rest.get("/calllogs", &[]).await.0, 401, "tokens are forgotten");
        let rest = Rest::logged_in(&simulator).await;
        let client = Client::subscribed(&simulator).await.read_on();
        let after = simulator.push_calls(2).await;
        let sorted = |mut sessions: Vec<String>| {
            sessions.sort();
            sessions
        };
        let all = sorted([&before[..], &meanwhile, &after].concat());
        assert_eq!(sorted(rest.sessions(&[]).await), all);
        let live = simulator.calls_pushed_live().into_iter().map(|call| call.session_id);
        assert_eq!(sorted(live.collect()), sorted([before, after].concat()));
        let ended = simulator.ended_calls().into_iter().map(|call| call.session_id);
        assert_eq!(sorted(ended.collect()), all);
        simulator.shutdown().await;
        client.await.unwrap();
    }
}

#[tokio::test]
async fn a_record_is_pushed_in_the_second_in_which_its_call_ended() {
    let options = Options { rate: Rate::PerSecond(50.0), calls: Some(100), ..Options::default() };
    let simulator = start(options).await;
    let mut client = Client::subscribed(&simulator).await;
    let mut records = 0;
    while records < 100 {
        let event = client.json().await;
        if event["event_type"] == "call_cdr" {
            let ended: i64 = event["ended_time"].as_str().unwrap().parse().unwrap();
            // A second for its end, and what a busy machine may take.
            assert!((0..=LIMIT.as_secs() as i64).contains(&(now() - ended)), "{ended}");
            records += 1;
        }
    }
    simulator.shutdown().await;
}

#[tokio::test]
async fn calls_can_begin_and_go_on_without_anybody() {
    for rate in [Rate::PerSecond(200.0), Rate::Max] {
        let options = Options { rate, calls: Some(20), unattended: true, ..Options::default() };
        let simulator = start(options).await;
        assert!(simulator.wait_calls_made(LIMIT).await);
        assert!(simulator.wait_ended(20, Duration::ZERO).await);
        assert!(simulator.calls_pushed_live().is_empty());
        simulator.shutdown().await;
    }
}

#[tokio::test]
async fn a_call_can_have_begun_hours_ago() {
    let simulator = start(Options::default()).await;
    let missed = simulator.push_call(-3 * 3600, -2).await;
    assert!(!missed.pushed && (missed.ended - missed.started - 3 * 3600 + 2).abs() <= 1);
    assert!((now() - missed.ended - 2).abs() <= 10);
    let mut client = Client::subscribed(&simulator).await;
    let (heard, events) = tokio::join!(simulator.push_call(-7200, 0), client.until_records(1));
    assert!(heard.pushed);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["session_id"], heard.session_id.as_str());
    assert_eq!(events[0]["start_time"], heard.started.to_string());
    let rest = Rest::logged_in(&simulator).await;
    assert_eq!(rest.sessions(&[]).await, [missed.session_id, heard.session_id]);
    simulator.shutdown().await;
}

#[tokio::test]
async fn ten_thousand_calls_of_the_last_hour_are_made_at_once() {
    let simulator = start(Options::default()).await;
    let calls = simulator.remember_calls(10_000, -3600, 0);
    assert_eq!(calls, simulator.ended_calls());
    assert!(calls.iter().all(|call| (now() - 3610..=now()).contains(&call.ended)));
    let rest = Rest::logged_in(&simulator).await;
    let mut expected: Vec<_> = calls.into_iter().map(|call| call.session_id).collect();
    let mut shown = rest.sessions(&[]).await;
    expected.sort();
    shown.sort();
    assert_eq!(shown, expected);
    simulator.shutdown().await;
}

#[tokio::test]
async fn an_office_that_was_held_up_puts_no_call_into_the_future() {
    let (rate, speed) = (Rate::PerSecond(100.0), Some(20.0));
    let simulator = start(Options { rate, speed, ..Options::default() }).await;
    let mut client = Client::subscribed(&simulator).await;
    // More than all buffers take while nobody reads.
    let stuck = simulator.push_oversized(15 << 20);
    let read = async {
        held_up(&simulator, Duration::from_secs(2)).await;
        let mut records = 0;
        while records < 100 {
            let event = client.json().await;
            if event["event_type"] == "call_cdr" {
                let ended: i64 = event["ended_time"].as_str().unwrap().parse().unwrap();
                assert!(ended <= now(), "{ended} {}", now());
                records += 1;
            }
        }
    };
    tokio::join!(stuck, read);
    simulator.shutdown().await;
}

/// Waits until no call has ended for so long, though some had before.
async fn held_up(simulator: &Simulator, span: Duration) {
    let mut before = 0;
    while before == 0 || simulator.wait_ended(before + 1, span).await {
        before = simulator.ended_calls().len();
        tokio::task::yield_now().await;
    }
}
