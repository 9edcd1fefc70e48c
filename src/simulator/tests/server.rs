//! Login, subscribe, push, settle.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Client, LIMIT, login, start};
use crate::simulator::{Dialect, Ending, LoginResult, Options, Rate, TENANT_ID};

fn options(dialect: Dialect) -> Options {
    Options { dialect, ..Options::default() }
}

/// Sends one command on a fresh connection and gives the answer.
async fn first_answer(options: Options, command: Value) -> Value {
    let simulator = start(options).await;
    let answer = Client::connect(&simulator).await.ask(command).await;
    simulator.shutdown().await;
    answer
}

#[tokio::test]
async fn every_documented_login_form_is_accepted_in_its_dialect() {
    let password = "cdrd-demo";
    let domain = "example.com";
    let full = json!({"command": "auth", "id": "1", "status": 0});
    let forms = [
        (Dialect::V22, json!({"username": "admin"}), &full),
        (Dialect::V22, json!({"username": "cdr", "domain": domain}), &full),
        (Dialect::V22, json!({"extension_number": "101", "domain": domain}), &full),
        (Dialect::V16, json!({"username": "cdr", "domain": domain}), &json!({"status": 0})),
        (Dialect::V12, json!({"extension": "101", "domain": domain}), &json!({"status": 0})),
        (Dialect::V12, json!({"name": "example"}), &json!({"status": 0})),
    ];
    for (dialect, mut command, expected) in forms {
        command["command"] = "auth".into();
        command["password"] = password.into();
        let answer = first_answer(options(dialect), command.clone()).await;
        assert_eq!(&answer, expected, "{command}");
    }
}

#[tokio::test]
async fn a_login_form_of_another_dialect_is_refused() {
    let command = json!({"command": "auth", "username": "admin", "password": "cdrd-demo"});
    let answer = first_answer(options(Dialect::V16), command.clone()).await;
    assert_eq!(answer, json!({"status": -1, "error": "Invalid parameters."}));
    let answer = first_answer(options(Dialect::V12), command).await;
    assert_eq!(answer["status"], -1);
}

#[tokio::test]
async fn a_refused_login_says_why() {
    let mut wrong_password = login("cdr");
    wrong_password["password"] = "guess".into();
    let mut wrong_domain = login("cdr");
    wrong_domain["domain"] = "other.example".into();
    let cases = [
        (wrong_password, "Invalid username or password."),
        (wrong_domain, "The domain does not exist."),
        (login("twofactor"), "Two-factor authentication is enabled for this user."),
        (login("admin"), "Invalid username or password."),
    ];
    for (command, words) in cases {
        let answer = first_answer(Options::default(), command).await;
        let expected = json!({"command": "auth", "id": "1", "status": -1, "error": words});
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn status_can_come_as_a_string() {
    let options = Options { status_as_string: true, ..Options::default() };
    assert_eq!(first_answer(options, login("cdr")).await["status"], "0");
}

#[tokio::test]
async fn commands_before_the_login_are_refused() {
    let command = json!({"command": "subscribe", "topics": ["cdr_events"]});
    let answer = first_answer(Options::default(), command).await;
    assert_eq!(answer["error"], "Not authenticated.");
    assert_eq!(answer["command"], "subscribe");
}

#[tokio::test]
async fn topics_are_refused_without_permission_selector_or_knowledge() {
    let cases = [
        ("cdr", json!({"topics": ["global_cdr_events"], "tenants": [TENANT_ID]}), "Permission"),
        ("nobody", json!({"topics": ["cdr_events"]}), "Permission"),
        ("cdr", json!({"topics": ["extension_events"]}), "needs the array extensions"),
        ("cdr", json!({"topics": ["queue_events"], "queues": [8001]}), "must hold strings"),
        ("cdr", json!({"topics": ["trunk_events"]}), "Unknown topic"),
        ("cdr", json!({"topics": ["cdr_events", "weather"]}), "Unknown topic weather"),
        ("cdr", json!({"topics": []}), "topics array is missing"),
        ("cdr", json!({"topics": [{"topic": "cdr_events"}]}), "must be a string"),
    ];
    let simulator = start(Options::default()).await;
    for (user, mut command, words) in cases {
        let mut client = Client::connect(&simulator).await;
        assert_eq!(client.ask(login(user)).await["status"], 0);
        command["command"] = "subscribe".into();
        let answer = client.ask(command).await;
        assert_eq!(answer["status"], -1);
        assert!(answer["error"].as_str().unwrap().contains(words), "{answer}");
    }
    assert_eq!(simulator.subscribed(), 0);
    simulator.shutdown().await;
}

#[tokio::test]
async fn the_administrator_gets_global_topics_and_no_others() {
    let simulator = start(Options::default()).await;
    let mut client = Client::connect(&simulator).await;
    let auth = json!({"command": "auth", "username": "admin", "password": "cdrd-demo"});
    assert_eq!(client.ask(auth).await["status"], 0);
    let tenant = json!({"command": "subscribe", "topics": ["cdr_events"]});
    assert_eq!(client.ask(tenant).await["status"], -1);
    let elsewhere =
        json!({"command": "subscribe", "topics": ["global_cdr_events"], "tenants": ["1"]});
    assert_eq!(client.ask(elsewhere).await["error"], "The tenant does not exist.");
    let global =
        json!({"command": "subscribe", "topics": ["global_cdr_events"], "tenants": [TENANT_ID]});
    assert_eq!(client.ask(global).await["status"], 0);
    let (sessions, events) = tokio::join!(simulator.push_calls(1), client.until_records(1));
    assert_eq!(events.last().unwrap()["session_id"], sessions[0].as_str());
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn dialect_12_takes_topics_as_objects_and_pushes_the_record_alone() {
    let simulator = start(options(Dialect::V12)).await;
    let mut client = Client::connect_to(&simulator, "/").await.unwrap();
    let auth = json!({"command": "auth", "name": "example", "password": "cdrd-demo"});
    assert_eq!(client.ask(auth).await, json!({"status": 0}));
    let plain = json!({"command": "subscribe", "topics": ["cdr_events"]});
    assert_eq!(client.ask(plain).await["status"], -1);
    let topic = json!({"topic": "cdr_events", "keys": ["call_cdr"]});
    let object = json!({"command": "subscribe", "topics": [topic]});
    assert_eq!(client.ask(object).await, json!({"status": 0}));
    let (_, events) = tokio::join!(simulator.push_calls(3), client.until_records(3));
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event["session_id"].is_u64()));
    let trunks = json!({"command": "subscribe", "topics": [{"topic": "trunk_events"}]});
    assert_eq!(client.ask(trunks).await["status"], 0);
    assert_eq!(client.json().await["event_type"], "trunk_connected");
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn the_current_state_follows_a_subscription_and_selectors_choose() {
    let simulator = start(Options::default()).await;
    let mut client = Client::connect(&simulator).await;
    client.log_in().await;
    let extensions =
        json!({"command": "subscribe", "topics": ["extension_events"], "extensions": ["104"]});
    assert_eq!(client.ask(extensions).await["status"], 0);
    let state = client.json().await;
    assert_eq!(state["event_type"], "extension_status");
    assert_eq!(state["status"][0]["extension"], "104");
    let queues = json!({"command": "subscribe", "topics": ["queue_events"], "queues": ["8002"]});
    assert_eq!(client.ask(queues).await["status"], 0);
    assert_eq!(client.json().await["queue_number"], "8002");
    let reader = client.read_on();
    simulator.push_calls(40).await;
    simulator.settle().await.unwrap();
    simulator.shutdown().await;
    let (messages, _) = reader.await.unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for text in messages.iter().filter(|m| m.is_text()) {
        let event: Value = serde_json::from_str(text.to_text().unwrap()).unwrap();
        kinds.insert(event["event_type"].as_str().unwrap().to_string());
        match event["event_type"].as_str().unwrap() {
            "extension_status" => assert_eq!(event["status"][0]["extension"], "104"),
            _ => assert_eq!(event["queue_number"], "8002"),
        }
    }
    let expected = ["extension_status", "queue_caller_status", "queue_status"];
    assert!(kinds.iter().eq(expected.iter()), "{kinds:?}");
}

#[tokio::test]
async fn unsubscribing_ends_the_events() {
    let simulator = start(Options::default()).await;
    let mut client = Client::subscribed(&simulator).await;
    let command = json!({"command": "unsubscribe", "topics": ["cdr_events"]});
    assert_eq!(client.ask(command).await["status"], 0);
    assert_eq!(simulator.subscribed(), 0);
    let sessions = simulator.push_calls(2).await;
    assert!(simulator.log().is_empty());
    let finished = simulator.finished_calls();
    let numbers = finished.iter().map(|call| call.session_id.to_string());
    assert!(numbers.eq(sessions));
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn settle_confirms_what_was_pushed() {
    let simulator = start(Options::default()).await;
    let first = Client::subscribed(&simulator).await.read_on();
    let second = Client::subscribed(&simulator).await.read_on();
    assert!(simulator.wait_subscribed(2, LIMIT).await);
    let sessions = simulator.push_calls(50).await;
    assert_eq!(sessions.len(), 50);
    simulator.settle().await.unwrap();
    let log = simulator.log();
    assert!(log.iter().all(|frame| frame.confirmed));
    let records = log.iter().filter(|frame| frame.event_type == Some("call_cdr"));
    assert_eq!(records.count(), 100);
    simulator.shutdown().await;
    let (messages, _) = first.await.unwrap();
    let texts = messages.iter().filter(|message| message.is_text()).count();
    assert_eq!(texts * 2, log.len());
    second.await.unwrap();
    let endings: Vec<_> = simulator.connections().into_iter().map(|c| c.ending).collect();
    assert_eq!(endings, vec![Some(Ending::ClosedByServer { answered: true }); 2]);
}

#[tokio::test]
async fn what_nobody_reads_stays_unconfirmed() {
    let simulator = start(Options::default()).await;
    let client = Client::subscribed(&simulator).await;
    simulator.push_calls(1).await;
    assert!(simulator.log().iter().all(|frame| !frame.confirmed));
    drop(client);
    assert!(simulator.wait_disconnected(LIMIT).await);
    simulator.settle().await.unwrap();
    assert!(simulator.log().iter().all(|frame| !frame.confirmed));
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_client_that_closes_is_noted_with_its_code() {
    let simulator = start(Options::default()).await;
    let mut client = Client::subscribed(&simulator).await;
    client.socket.close(None).await.unwrap();
    let (_, error) = client.read_on().await.unwrap();
    assert!(error.is_none());
    assert!(simulator.wait_disconnected(LIMIT).await);
    let ending = simulator.connections()[0].ending.clone();
    assert_eq!(ending, Some(Ending::ClosedByClient(None)));
    simulator.shutdown().await;
}

#[tokio::test]
async fn tls_shows_the_certificate_that_the_handle_names() {
    let simulator = start(Options { tls: true, ..Options::default() }).await;
    assert!(simulator.url().starts_with("wss://127.0.0.1:"));
    assert_eq!(simulator.fingerprint().unwrap().len(), 64);
    let mut client = Client::subscribed(&simulator).await;
    let (_, events) = tokio::join!(simulator.push_calls(5), client.until_records(5));
    assert!(events.len() > 25);
    drop(client);
    simulator.shutdown().await;
}

#[tokio::test]
async fn paths_other_than_wsi_are_not_found() {
    let simulator = start(Options::default()).await;
    for path in ["/", "/api/cdrs"] {
        assert!(Client::connect_to(&simulator, path).await.is_err());
    }
    let mut tcp = TcpStream::connect(simulator.addr()).await.unwrap();
    tcp.write_all(b"POST /api/login HTTP/1.1\r\nHost: pbx\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["errors"][0]["code"], "NOT_FOUND");
    assert_eq!(simulator.connections_ever(), 0);
    simulator.shutdown().await;
}

#[tokio::test]
async fn calls_by_rate_begin_with_a_finished_one_and_stop_at_the_number() {
    let options = Options { rate: Rate::PerSecond(40.0), calls: Some(12), ..Options::default() };
    let simulator = start(options).await;
    let mut client = Client::subscribed(&simulator).await;
    let begun = tokio::time::Instant::now();
    let first = client.until_records(1).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    let session = &first[0]["session_id"];
    assert!(first.iter().all(|event| &event["session_id"] == session));
    let reader = client.read_on();
    assert!(simulator.wait_calls_made(LIMIT).await);
    simulator.settle().await.unwrap();
    let log = simulator.log();
    let count = |kind| log.iter().filter(|frame| frame.event_type == Some(kind)).count();
    assert_eq!((count("call_start"), count("call_cdr")), (12, 12));
    simulator.shutdown().await;
    reader.await.unwrap();
}

#[tokio::test]
async fn at_full_speed_the_office_waits_for_a_listener() {
    let options = Options { rate: Rate::Max, calls: Some(200), ..Options::default() };
    let simulator = start(options).await;
    let reader = Client::subscribed(&simulator).await.read_on();
    assert!(simulator.wait_calls_made(LIMIT).await);
    simulator.settle().await.unwrap();
    let log = simulator.log();
    let records = log.iter().filter(|frame| frame.event_type == Some("call_cdr"));
    assert_eq!(records.count(), 200);
    simulator.shutdown().await;
    reader.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn paused_time_does_not_end_any_wait() {
    let simulator = start(Options::default()).await;
    let mut client = Client::subscribed(&simulator).await;
    assert!(simulator.wait_subscribed(1, LIMIT).await);
    let (_, events) = tokio::join!(simulator.push_calls(3), client.until_records(3));
    assert!(events.len() > 9);
    let reader = client.read_on();
    simulator.settle().await.unwrap();
    simulator.close_all(1012, "restart").await;
    reader.await.unwrap();
    let ending = simulator.connections()[0].ending.clone();
    assert_eq!(ending, Some(Ending::ClosedByServer { answered: true }));
    simulator.shutdown().await;
}

#[tokio::test]
async fn logins_and_subscriptions_are_recorded() {
    let simulator = start(Options::default()).await;
    let mut client = Client::connect(&simulator).await;
    client.ask(login("stranger")).await;
    client.log_in().await;
    let queues = json!({"command": "subscribe", "topics": ["queue_events"], "queues": ["8001"]});
    client.ask(queues).await;
    let refused = LoginResult::Refused("Invalid username or password.".into());
    let results: Vec<_> = simulator.logins().into_iter().map(|l| (l.who, l.result)).collect();
    let stranger = ("stranger@example.com".to_string(), refused);
    let known = ("cdr@example.com".to_string(), LoginResult::Accepted);
    assert_eq!(results, [stranger, known]);
    let subscribes = simulator.subscribes();
    assert_eq!(subscribes.len(), 1);
    assert_eq!(subscribes[0].topic, "queue_events");
    assert_eq!(subscribes[0].selector, ["8001"]);
    assert!(subscribes[0].accepted);
    drop(client);
    simulator.shutdown().await;
}
