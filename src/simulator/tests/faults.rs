//! Each fault, seen from a client.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::client::{Client, LIMIT, login, start};
use crate::simulator::{Ending, Faults, LoginResult, Options, Simulator};

/// Long enough to see that nothing comes; the only wait that must run out.
const QUIET: Duration = Duration::from_millis(50);

async fn with(faults: Faults) -> (Simulator, Client) {
    let simulator = start(Options { faults, ..Options::default() }).await;
    let client = Client::subscribed(&simulator).await;
    (simulator, client)
}

fn close_code(messages: &[Message]) -> Option<CloseCode> {
    messages.iter().find_map(|message| match message {
        Message::Close(Some(frame)) => Some(frame.code),
        _ => None,
    })
}

#[tokio::test]
async fn logins_are_refused_so_many_times_in_the_given_words() {
    let simulator = start(Options::default()).await;
    simulator.refuse_logins(2, "Go away.");
    let mut client = Client::connect(&simulator).await;
    for _ in 0..2 {
        assert_eq!(client.ask(login("cdr")).await["error"], "Go away.");
    }
    client.log_in().await;
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_muted_login_gets_no_answer() {
    let simulator = start(Options::default()).await;
    simulator.answer_auth(false);
    let mut client = Client::connect(&simulator).await;
    client.send(login("cdr")).await;
    assert!(simulator.wait_logins(1, LIMIT).await);
    assert_eq!(simulator.logins()[0].result, LoginResult::Unanswered);
    assert!(timeout(QUIET, client.socket.next()).await.is_err());
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_muted_subscription_counts_without_an_answer() {
    let simulator = start(Options::default()).await;
    simulator.answer_subscribe(false);
    let mut client = Client::connect(&simulator).await;
    client.log_in().await;
    client.send(json!({"command": "subscribe", "topics": ["cdr_events"]})).await;
    assert!(simulator.wait_topics(1, LIMIT).await);
    assert!(simulator.wait_subscribed(1, LIMIT).await);
    simulator.push_calls(1).await;
    assert_eq!(client.json().await["event_type"], "call_start");
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn an_event_can_come_before_the_answers() {
    let simulator = start(Options::default()).await;
    simulator.event_before_answer(true);
    let mut client = Client::connect(&simulator).await;
    assert_eq!(client.ask(login("cdr")).await["event_type"], "call_cdr");
    assert_eq!(client.json().await["command"], "auth");
    let subscribe = json!({"command": "subscribe", "topics": ["cdr_events"]});
    assert_eq!(client.ask(subscribe).await["event_type"], "call_cdr");
    assert_eq!(client.json().await["command"], "subscribe");
    assert_eq!(simulator.log().len(), 2);
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_topic_is_refused_so_many_times() {
    let simulator = start(Options::default()).await;
    simulator.refuse_topic("cdr_events", Some(1), "Not today.");
    let mut client = Client::connect(&simulator).await;
    client.log_in().await;
    let command = json!({"command": "subscribe", "topics": ["cdr_events"]});
    assert_eq!(client.ask(command.clone()).await["error"], "Not today.");
    assert_eq!(client.ask(command).await["status"], 0);
    let accepted: Vec<_> = simulator.subscribes().iter().map(|s| s.accepted).collect();
    assert_eq!(accepted, [false, true]);
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_login_can_be_dropped_at_once() {
    let simulator = start(Options::default()).await;
    simulator.drop_after_login(1);
    let mut client = Client::connect(&simulator).await;
    client.log_in().await;
    assert!(matches!(client.message().await, Some(Err(_)) | None));
    assert!(simulator.wait_disconnected(LIMIT).await);
    Client::subscribed(&simulator).await;
    simulator.shutdown().await;
}

#[tokio::test]
async fn connections_close_on_demand_with_the_code() {
    let (simulator, client) = with(Faults::default()).await;
    let reader = client.read_on();
    simulator.close_all(1012, "restart").await;
    let (messages, error) = reader.await.unwrap();
    assert_eq!(close_code(&messages), Some(CloseCode::Restart));
    assert!(error.is_none());
    assert_eq!(simulator.subscribed(), 0);
    simulator.shutdown().await;
}

#[tokio::test]
async fn connections_close_after_so_many_events() {
    let faults = Faults { close_after: Some((5, 1011)), ..Faults::default() };
    let (simulator, client) = with(faults).await;
    let reader = client.read_on();
    simulator.push_calls(3).await;
    let (messages, _) = reader.await.unwrap();
    let texts = messages.iter().filter(|message| message.is_text()).count();
    assert_eq!((texts, close_code(&messages)), (5, Some(CloseCode::Error)));
    simulator.shutdown().await;
}

async fn is_reset(client: Client) {
    let (_, error) = client.read_on().await.unwrap();
    match error {
        Some(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        Some(Error::Protocol(_)) => {} // tungstenite's word for a reset it has seen as an end
        other => panic!("expected a reset, got {other:?}"),
    }
}

#[tokio::test]
async fn connections_are_reset_on_demand_and_after_so_many_events() {
    for tls in [false, true] {
        let simulator = start(Options { tls, ..Options::default() }).await;
        let client = Client::subscribed(&simulator).await;
        simulator.reset_all().await;
        is_reset(client).await;
        simulator.set_faults(|faults| faults.reset_after = Some(2));
        let client = Client::subscribed(&simulator).await;
        simulator.push_calls(1).await;
        is_reset(client).await;
        let endings = simulator.connections().into_iter().map(|c| c.ending);
        assert!(endings.eq([Some(Ending::Cut), Some(Ending::Cut)]));
        simulator.shutdown().await;
    }
}

#[tokio::test]
async fn silence_leaves_tcp_open_and_answers_nothing() {
    let (simulator, mut client) = with(Faults::default()).await;
    simulator.silence_open().await;
    assert_eq!(simulator.subscribed(), 0);
    futures_util::SinkExt::send(&mut client.socket, Message::Ping("?".into())).await.unwrap();
    simulator.push_calls(1).await;
    assert!(timeout(QUIET, client.socket.next()).await.is_err());
    assert!(simulator.connections()[0].silent);
    Client::subscribed(&simulator).await;
    simulator.shutdown().await;
}

#[tokio::test]
async fn silence_at_the_door_ends_with_unsilence() {
    let simulator = start(Options::default()).await;
    simulator.silence().await;
    assert!(timeout(QUIET, Client::connect(&simulator)).await.is_err());
    simulator.unsilence();
    Client::subscribed(&simulator).await;
    simulator.shutdown().await;
}

#[tokio::test]
async fn silence_falls_after_so_many_events() {
    let faults = Faults { silent_after: Some(3), ..Faults::default() };
    let (simulator, mut client) = with(faults).await;
    simulator.push_calls(2).await;
    for _ in 0..3 {
        client.json().await;
    }
    assert!(timeout(QUIET, client.socket.next()).await.is_err());
    simulator.shutdown().await;
}

#[tokio::test]
async fn malformed_and_oversized_frames_come_between_whole_events() {
    let faults = Faults { malformed_every: Some(2), oversize_every: Some(3), ..Faults::default() };
    let (simulator, client) = with(faults).await;
    let reader = client.read_on();
    simulator.push_calls(4).await;
    simulator.settle().await.unwrap();
    simulator.shutdown().await;
    let (messages, _) = reader.await.unwrap();
    let texts: Vec<_> = messages.iter().filter_map(|message| message.to_text().ok()).collect();
    let whole = |text: &&&str| serde_json::from_str::<serde_json::Value>(text).is_ok();
    assert!(texts.iter().any(|text| text.len() == 5 << 20));
    let broken = texts.iter().filter(|text| text.starts_with('{') && !whole(text)).count();
    let events = simulator.log().iter().filter(|frame| frame.event_type.is_some()).count();
    assert_eq!(broken, events / 2);
}

#[tokio::test]
async fn text_that_is_not_utf8_reaches_the_client_as_such() {
    let (simulator, mut client) = with(Faults::default()).await;
    simulator.push_bytes(b"\xff\xfe").await;
    assert!(matches!(client.message().await, Some(Err(Error::Utf8(_)))));
    simulator.set_faults(|faults| faults.non_utf8_every = Some(1));
    let mut client = Client::subscribed(&simulator).await;
    simulator.push_calls(1).await;
    client.json().await;
    assert!(matches!(client.message().await, Some(Err(Error::Utf8(_)))));
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn events_in_pieces_arrive_whole_with_pings_between() {
    let faults = Faults { fragment: true, ..Faults::default() };
    let (simulator, mut client) = with(faults).await;
    let (_, events) = tokio::join!(simulator.push_calls(2), client.until_records(2));
    assert!(events.len() > 6);
    simulator.push_fragmented("{\"ü\":1}").await;
    assert!(matches!(client.message().await, Some(Ok(Message::Ping(_)))));
    assert_eq!(client.json().await, json!({"ü": 1}));
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn an_oversized_event_has_the_wanted_size() {
    let (simulator, mut client) = with(Faults::default()).await;
    let (_, message) = tokio::join!(simulator.push_oversized(300_000), client.message());
    assert_eq!(message.unwrap().unwrap().len(), 300_000);
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn listening_stops_and_comes_back_on_the_same_port() {
    let (simulator, client) = with(Faults::default()).await;
    simulator.stop_listening().await;
    let refused = TcpStream::connect(simulator.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let reader = client.read_on();
    simulator.push_calls(1).await;
    simulator.settle().await.unwrap();
    simulator.drop_all().await;
    reader.await.unwrap();
    simulator.listen_again().await.unwrap();
    Client::subscribed(&simulator).await;
    simulator.shutdown().await;
}
