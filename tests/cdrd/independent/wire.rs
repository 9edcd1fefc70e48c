//! What goes over the wire after the login: events, fragments, pings, and every end.

use std::future::ready;

use serde_json::{Value, json};

use super::{Bench, USER, cdr_events, event};
use crate::harness::{quarantine, until};

#[tokio::test]
async fn events_arrive_in_order_and_byte_for_byte() {
    let mut bench = Bench::subscribed().await;
    bench.send_some(200).await;
    let connections = bench.finish().await;
    assert_eq!(connections.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_in_a_binary_frame_is_as_good_as_any() {
    let mut bench = Bench::subscribed().await;
    let text = event(0);
    bench.pbx.ask(json!({"do": "send", "text": text, "binary": true})).await;
    bench.sent.push(text);
    bench.send_some(1).await;
    bench.finish().await;
}

#[tokio::test]
async fn an_event_of_a_mebibyte_arrives_byte_for_byte() {
    let mut bench = Bench::subscribed().await;
    bench.send_some(1).await;
    let note = "ü-".repeat((1 << 20) / 3);
    let large = format!(
        "{{\"event_type\":\"call_update_info\",\"session_id\":\"1\",\"user_data\":\"{note}\"}}"
    );
    assert!(large.len() > 1 << 20);
    bench.send(large).await;
    bench.send_some(1).await;
    bench.finish().await;
}

#[tokio::test]
async fn fragments_are_put_together_whatever_comes_between_them() {
    let mut bench = Bench::subscribed().await;
    // Names in several bytes a character, cut within characters by some of the sizes.
    for (n, (size, binary)) in
        [(1, false), (2, false), (7, true), (50, false), (1000, false)].into_iter().enumerate()
    {
        let text = event(n);
        let order = json!({"do": "fragment", "text": text, "size": size, "binary": binary});
        bench.pbx.ask(order).await;
        bench.sent.push(text);
    }
    bench.send_some(3).await;
    let connections = bench.finish().await;
    assert_eq!(connections.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn frames_that_are_no_events_go_to_the_quarantine_and_end_nothing() {
    let mut bench = Bench::subscribed().await;
    bench.send_some(1).await;
    let broken = r#"{"event_type":"call_cdr" "user_data":""}"#;
    bench.pbx.ask(json!({"do": "send", "text": broken})).await;
    let latin = b"{\"event_type\":\"call_cdr\",\"caller_display_name\":\"M\xfcller\"}";
    let hex: String = latin.iter().map(|byte| format!("{byte:02x}")).collect();
    bench.pbx.ask(json!({"do": "send_hex", "data": hex})).await;
    bench.send_some(1).await;
    let journal = bench.directory.path().join("journal.db");
    until("both are kept", || ready(quarantine(&journal).len() == 2)).await;
    let kept: Vec<_> = quarantine(&journal).iter().map(|q| q.data.to_vec()).collect();
    assert_eq!(kept, [broken.as_bytes().to_vec(), latin.to_vec()]);
    let connections = bench.finish().await;
    assert_eq!(connections.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn pings_of_the_server_are_answered_with_their_payload() {
    let mut bench = Bench::subscribed().await;
    for data in ["", "x", &"ü".repeat(62)] {
        bench.pbx.ask(json!({"do": "ping", "data": data})).await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn pings_of_the_daemon_are_answered_and_keep_a_silent_connection() {
    let keys = "ping_interval = \"1s\"\nping_timeout = \"1s\"";
    let mut bench = Bench::start("22", USER, keys).await;
    bench.wait_subscribed(1, 1).await;
    bench.pbx.ask(json!({"do": "pinged", "times": 3})).await;
    bench.send_some(1).await;
    let connections = bench.finish().await;
    assert_eq!(connections.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_close_by_the_server_is_answered_with_its_code_and_followed_by_a_reconnect() {
    let mut bench = Bench::subscribed().await;
    let codes = [1012, 1001, 1000, 1011, 4000];
    for (n, code) in (1..).zip(codes) {
        bench.send_some(3).await;
        bench.pbx.ask(json!({"do": "close", "code": code, "reason": "restart"})).await;
        let ended = bench.ended(n).await;
        assert_eq!(ended["received"], json!([code, "restart"]), "{ended}");
        assert_eq!(ended["client_first"], json!(false));
        bench.wait_subscribed(n + 1, 1).await;
    }
    bench.send_some(3).await;
    let connections = bench.finish().await;
    each_subscribed_once(&connections, codes.len() + 1);
}

fn each_subscribed_once(connections: &Value, count: usize) {
    let connections = connections.as_array().unwrap();
    assert_eq!(connections.len(), count);
    for connection in connections {
        assert_eq!(connection["commands"].as_array().unwrap().len(), 2, "{connection}");
        assert_eq!(connection["commands"][1], cdr_events());
    }
}

#[tokio::test]
async fn the_daemon_takes_its_leave_with_code_1000() {
    let bench = Bench::subscribed().await;
    let connections = bench.finish().await;
    assert_eq!(connections[0]["received"], json!([1000, "client stops"]));
    assert_eq!(connections[0]["sent"][0], json!(1000), "the server's answer");
    assert_eq!(connections[0]["client_first"], json!(true));
}

#[tokio::test]
async fn after_a_reset_the_daemon_connects_and_subscribes_again_once() {
    let mut bench = Bench::subscribed().await;
    for connection in 1..=3 {
        bench.send_some(3).await;
        // What is on its way when a connection is reset is lost; this has arrived.
        bench.settle().await;
        bench.pbx.ask(json!({"do": "abort"})).await;
        bench.wait_subscribed(connection + 1, 1).await;
    }
    bench.send_some(3).await;
    let connections = bench.finish().await;
    each_subscribed_once(&connections, 4);
    assert_eq!(connections[0]["received"], Value::Null);
}

#[tokio::test]
async fn a_server_that_could_compress_is_not_asked_to() {
    let bench = Bench::subscribed().await;
    let connections = bench.finish().await;
    assert_eq!(connections[0]["offered"], Value::Null);
    assert_eq!(connections[0]["extensions"], json!([]));
}
