//! After each fault the daemon is subscribed again, and every event that was sent
//! on a live, subscribed connection is in the file exactly once, in order.

use std::time::Duration;

use cdrd::pbx::state::State;
use cdrd::simulator::{Ending, Options};
use tokio::time::timeout;

use crate::harness::{Bench, PATIENCE, quarantine};

/// Calls, a fault that ends the connection, calls.
async fn survives_a_break(bench: &Bench, fault: impl AsyncFnOnce(&Bench)) -> usize {
    let daemon = bench.daemon();
    bench.subscribed().await;
    bench.push(20).await;
    fault(bench).await;
    bench.subscribed().await;
    assert!(bench.pbx.connections_ever() > 1, "the fault ended no connection");
    bench.push(20).await;
    bench.finish(daemon).await
}

/// Calls, a fault that must not end the connection, calls.
async fn survives_in_place(bench: &Bench, fault: impl AsyncFnOnce(&Bench)) -> usize {
    let daemon = bench.daemon();
    bench.subscribed().await;
    bench.push(20).await;
    fault(bench).await;
    bench.push(20).await;
    assert_eq!(bench.pbx.connections_ever(), 1, "the connection did not survive");
    bench.finish(daemon).await
}

#[tokio::test]
async fn a_close_with_a_code_is_answered_and_followed_by_a_reconnect() {
    let bench = Bench::new().await;
    let delivered =
        survives_a_break(&bench, async |b| b.pbx.close_all(1012, "restart").await).await;
    assert!(delivered > 300, "{delivered}");
    let first = &bench.pbx.connections()[0];
    assert_eq!(first.ending, Some(Ending::ClosedByServer { answered: true }));
}

#[tokio::test]
async fn a_reset_connection_is_made_again() {
    let bench = Bench::new().await;
    survives_a_break(&bench, async |b| b.pbx.reset_all().await).await;
}

#[tokio::test]
async fn a_connection_that_ends_without_goodbye_is_made_again() {
    let bench = Bench::new().await;
    survives_a_break(&bench, async |b| b.pbx.drop_all().await).await;
}

#[tokio::test]
async fn silence_while_tcp_stays_up_is_found_by_pings() {
    let bench = Bench::new().await;
    survives_a_break(&bench, async |b| b.pbx.silence_open().await).await;
}

#[tokio::test]
async fn a_pbx_that_accepts_and_says_nothing_is_tried_again() {
    let bench = Bench::new().await;
    let daemon = bench.daemon();
    bench.subscribed().await;
    bench.push(20).await;
    bench.pbx.silence().await;
    let mute = |state: &State| {
        state.last_error.as_deref().is_some_and(|e| e.contains("no WebSocket upgrade within 2s"))
    };
    let mut state = daemon.states[0].1.clone();
    timeout(PATIENCE, state.wait_for(mute)).await.expect("the silence is noticed").unwrap();
    bench.pbx.unsilence();
    bench.subscribed().await;
    bench.push(20).await;
    drop(state);
    bench.finish(daemon).await;
}

#[tokio::test]
async fn a_pbx_that_is_gone_for_a_while_is_found_again() {
    let bench = Bench::new().await;
    survives_a_break(&bench, async |b| {
        b.pbx.stop_listening().await;
        b.pbx.reset_all().await;
        b.pbx.listen_again().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_connection_dropped_right_after_login_is_made_again() {
    let bench = Bench::new().await;
    survives_a_break(&bench, async |b| {
        b.pbx.drop_after_login(3);
        b.pbx.reset_all().await;
    })
    .await;
    assert!(bench.pbx.connections_ever() >= 5);
}

#[tokio::test]
async fn a_login_that_is_never_answered_is_tried_again() {
    let bench = Bench::new().await;
    survives_a_break(&bench, async |b| {
        b.pbx.answer_auth(false);
        b.pbx.reset_all().await;
        let seen = b.pbx.logins().len();
        assert!(b.pbx.wait_logins(seen + 1, PATIENCE).await);
        b.pbx.answer_auth(true);
    })
    .await;
}

#[tokio::test]
async fn frames_that_are_no_json_go_to_the_quarantine_and_end_nothing() {
    let bench = Bench::new().await;
    // A comma is missing, as in the vendor's own sample.
    let broken = r#"{"event_type":"call_cdr","caller":"+4930123" "user_data":""}"#;
    survives_in_place(&bench, async |b| b.pbx.push_raw(broken).await).await;
    let kept = quarantine(&bench.path("journal.db"));
    assert_eq!(kept.len(), 1);
    assert_eq!((&*kept[0].data, &*kept[0].pbx), (broken.as_bytes(), "hq"));
    assert!(kept[0].reason.contains("not a JSON object"), "{}", kept[0].reason);
}

#[tokio::test]
async fn text_frames_that_are_not_utf8_go_to_the_quarantine_and_end_nothing() {
    let bench = Bench::new().await;
    let bytes = b"{\"event_type\":\"call_cdr\",\"caller_display_name\":\"M\xfcller\"}";
    survives_in_place(&bench, async |b| b.pbx.push_bytes(bytes).await).await;
    let kept = quarantine(&bench.path("journal.db"));
    assert_eq!(kept.len(), 1);
    assert_eq!(&*kept[0].data, bytes);
    assert!(kept[0].reason.contains("not UTF-8"), "{}", kept[0].reason);
}

#[tokio::test]
async fn a_frame_over_the_limit_goes_to_the_quarantine_by_its_start_and_ends_nothing() {
    let bench = Bench::new().await;
    survives_in_place(&bench, async |b| b.pbx.push_oversized(5 << 20).await).await;
    let kept = quarantine(&bench.path("journal.db"));
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].size, kept[0].data.len()), (5 << 20, 4096));
    assert!(kept[0].reason.contains("over max_frame"), "{}", kept[0].reason);
}

#[tokio::test]
async fn fragmented_frames_with_pings_between_are_put_together() {
    let mut options = Options::default();
    options.faults.fragment = true;
    let bench = Bench::with(options).await;
    let delivered = survives_in_place(&bench, async |_| {}).await;
    assert!(delivered > 300, "{delivered}");
}

#[tokio::test]
async fn an_event_before_the_answer_to_a_command_is_kept() {
    let bench = Bench::new().await;
    bench.pbx.event_before_answer(true);
    let daemon = bench.daemon();
    bench.subscribed().await;
    bench.push(5).await;
    bench.finish(daemon).await;
    let text = std::fs::read_to_string(bench.path("raw.jsonl")).unwrap();
    let sent: Vec<_> = bench.pbx.log().into_iter().take(2).collect();
    assert_eq!(sent.len(), 2, "one before each answer");
    for event in sent {
        assert!(text.contains(std::str::from_utf8(&event.bytes).unwrap()));
    }
}

#[tokio::test]
async fn a_subscribe_that_is_never_answered_counts_as_accepted() {
    let bench = Bench::new().await;
    bench.pbx.answer_subscribe(false);
    let delivered = survives_in_place(&bench, async |_| {}).await;
    assert!(delivered > 300, "{delivered}");
    assert_eq!(bench.pbx.subscribes().len(), 1);
}

#[tokio::test]
async fn each_connection_subscribes_exactly_once() {
    let bench = Bench::new().await;
    let daemon = bench.daemon();
    for _ in 0..5 {
        bench.subscribed().await;
        bench.push(2).await;
        bench.pbx.reset_all().await;
    }
    bench.subscribed().await;
    bench.finish(daemon).await;
    let mut connections: Vec<_> = bench.pbx.subscribes().iter().map(|s| s.connection).collect();
    let asked = connections.len();
    connections.dedup();
    assert_eq!(asked, connections.len(), "a connection subscribed twice");
    assert!(asked >= 6);
}

#[tokio::test]
async fn faults_at_random_moments_under_load_lose_nothing_that_was_read() {
    let bench = Bench::new().await;
    let daemon = bench.daemon();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..12 {
        bench.subscribed().await;
        let calls = bench.pbx.push_calls(random.u64(1..40));
        let fault = async {
            tokio::time::sleep(Duration::from_millis(random.u64(0..15))).await;
            match random.u8(0..4) {
                0 => bench.pbx.close_all(1001, "").await,
                1 => bench.pbx.reset_all().await,
                2 => bench.pbx.drop_all().await,
                _ => bench.pbx.push_oversized(5 << 20).await,
            }
        };
        tokio::join!(calls, fault);
    }
    bench.subscribed().await;
    bench.push(10).await;
    bench.finish(daemon).await;
}
