//! The simulated PBX, as a client that is not ours sees it.

use cdrd::simulator::{Dialect, Ending, Options, PASSWORD, Simulator};
use serde_json::json;

use super::{Peer, cdr_events, cdr_events_12};
use crate::harness::PATIENCE;

/// A simulated PBX and a client that is not ours, logged in and subscribed.
async fn client_at(pbx: &Simulator) -> Peer {
    let (mut client, _) = Peer::start("client.py", &[]).await;
    let order = json!({"do": "connect", "url": pbx.url(), "ca": pbx.certificate_pem()});
    let connected = client.ask(order).await;
    assert_eq!(connected["extensions"], json!([]), "offered, and left alone");
    let auth = json!({"command": "auth", "username": "cdr", "domain": "example.com", "password": PASSWORD});
    let answer = client.ask(json!({"do": "ask", "command": auth})).await;
    assert_eq!(answer, json!({"command": "auth", "id": answer["id"], "status": 0}));
    let answer = client.ask(json!({"do": "ask", "command": cdr_events()})).await;
    assert_eq!(answer, json!({"command": "subscribe", "id": answer["id"], "status": 0}));
    client
}

/// Pushes calls and compares what the client got.
async fn hears_calls(pbx: &Simulator, client: &mut Peer) {
    let before = pbx.log().len();
    pbx.push_calls(10).await;
    let pushed = pbx.log().split_off(before);
    assert!(pushed.len() > 50, "{}", pushed.len());
    let received = client.ask(json!({"do": "receive", "count": pushed.len()})).await;
    let received = received["messages"].as_array().unwrap();
    for (got, pushed) in received.iter().zip(pushed) {
        assert_eq!(got.as_str().unwrap().as_bytes(), pushed.bytes);
    }
    client.ask(json!({"do": "ping", "data": "are you there?"})).await;
}

#[tokio::test]
async fn a_client_that_is_not_ours_hears_the_simulated_calls() {
    let pbx = Simulator::start(Options::default()).await.unwrap();
    let mut client = client_at(&pbx).await;
    hears_calls(&pbx, &mut client).await;
    // It answers pings, too.
    pbx.settle().await.unwrap();
    assert!(pbx.log().iter().all(|pushed| pushed.confirmed));
    let closed = client.ask(json!({"do": "close", "code": 1000, "reason": "enough"})).await;
    assert_eq!(closed["received"][0], json!(1000));
    assert!(pbx.wait_disconnected(PATIENCE).await);
    assert_eq!(pbx.connections()[0].ending, Some(Ending::ClosedByClient(Some(1000))));
}

#[tokio::test]
async fn a_client_that_is_not_ours_puts_simulated_fragments_together() {
    let mut options = Options::default();
    options.faults.fragment = true;
    let pbx = Simulator::start(options).await.unwrap();
    let mut client = client_at(&pbx).await;
    hears_calls(&pbx, &mut client).await;
}

#[tokio::test]
async fn a_client_that_is_not_ours_trusts_the_simulated_certificate() {
    let pbx = Simulator::start(Options { tls: true, ..Options::default() }).await.unwrap();
    let mut client = client_at(&pbx).await;
    hears_calls(&pbx, &mut client).await;
}

#[tokio::test]
async fn a_client_that_is_not_ours_answers_the_simulated_close() {
    let pbx = Simulator::start(Options::default()).await.unwrap();
    let mut client = client_at(&pbx).await;
    pbx.close_all(1012, "restart").await;
    let closed = client.ask(json!({"do": "closed"})).await;
    assert_eq!(closed["received"], json!([1012, "restart"]));
    assert_eq!(pbx.connections()[0].ending, Some(Ending::ClosedByServer { answered: true }));
}

#[tokio::test]
async fn the_simulated_pbx_answers_as_each_dialect_does() {
    let user = json!({"username": "cdr", "domain": "example.com"});
    let ok = json!({"status": 0});
    for (dialect, who, subscribe, says_which) in [
        (Dialect::V16, user, cdr_events(), false),
        (Dialect::V12, json!({"name": "example"}), cdr_events_12(), false),
        (
            Dialect::V12,
            json!({"extension": "101", "domain": "example.com"}),
            cdr_events_12(),
            false,
        ),
        (
            Dialect::V22,
            json!({"extension_number": "101", "domain": "example.com"}),
            cdr_events(),
            true,
        ),
    ] {
        let pbx = Simulator::start(Options { dialect, ..Options::default() }).await.unwrap();
        let (mut client, _) = Peer::start("client.py", &[]).await;
        client.ask(json!({"do": "connect", "url": pbx.url()})).await;
        let mut auth = who;
        auth["command"] = json!("auth");
        auth["password"] = json!("wrong");
        let refused = client.ask(json!({"do": "ask", "command": auth})).await;
        assert_eq!(refused["status"], json!(-1), "{refused}");
        assert!(refused["error"].is_string(), "{refused}");
        client.ask(json!({"do": "connect", "url": pbx.url()})).await;
        auth["password"] = json!(PASSWORD);
        for command in [&auth, &subscribe] {
            let answer = client.ask(json!({"do": "ask", "command": command})).await;
            match says_which {
                false => assert_eq!(answer, ok),
                true => assert_eq!(answer["command"], command["command"]),
            }
        }
    }
}
