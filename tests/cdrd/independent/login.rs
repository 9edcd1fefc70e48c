//! Every login and every subscription, command for command.

use cdrd::daemon::Ended;
use cdrd::pbx::state::Phase;
use cdrd::simulator::PASSWORD;
use serde_json::{Value, json};

use super::{Bench, Peer, USER, cdr_events, cdr_events_12};
use crate::harness::{Running, parse};

/// Logs in, subscribes to the calls, and hears one; the commands are exactly these.
async fn logs_in(dialect: &str, login: &str, auth: Value, subscribe: Value) {
    let mut bench = Bench::start(dialect, login, "").await;
    bench.wait_subscribed(1, 1).await;
    bench.send_some(1).await;
    let connections = bench.finish().await;
    assert_eq!(connections[0]["commands"], json!([auth, subscribe]));
    assert_eq!(connections[1], Value::Null, "one connection is enough");
}

#[tokio::test]
async fn a_tenants_user_logs_in_at_22_by_name() {
    let auth = json!({"command": "auth", "username": "cdr", "domain": "example.com", "password": PASSWORD});
    logs_in("22", USER, auth, cdr_events()).await;
}

#[tokio::test]
async fn a_tenants_user_logs_in_at_22_by_extension() {
    let auth = json!({"command": "auth", "extension_number": "0101", "domain": "example.com", "password": PASSWORD});
    let login = r#"extension_number = "0101", domain = "example.com""#;
    logs_in("22", login, auth, cdr_events()).await;
}

#[tokio::test]
async fn a_tenants_user_logs_in_at_16() {
    let auth = json!({"command": "auth", "username": "cdr", "domain": "example.com", "password": PASSWORD});
    logs_in("16", USER, auth, cdr_events()).await;
}

#[tokio::test]
async fn an_extension_logs_in_at_12() {
    let auth = json!({"command": "auth", "extension": "101", "domain": "example.com", "password": PASSWORD});
    let login = r#"extension = "101", domain = "example.com""#;
    logs_in("12", login, auth, cdr_events_12()).await;
}

#[tokio::test]
async fn a_tenant_logs_in_at_12() {
    let auth = json!({"command": "auth", "name": "Müller & Co", "password": PASSWORD});
    logs_in("12", r#"name = "Müller & Co""#, auth, cdr_events_12()).await;
}

#[tokio::test]
async fn the_administrator_logs_in_at_22_and_names_tenants_with_every_global_topic() {
    let keys = r#"
        topics = ["global_cdr_events", "global_queue_events", "global_extension_events"]
        tenants = ["744028133476442112", "7"]
    "#;
    let mut bench = Bench::start("22", r#"username = "admin""#, keys).await;
    bench.wait_subscribed(1, 3).await;
    bench.send_some(1).await;
    let connections = bench.finish().await;
    let tenants = json!(["744028133476442112", "7"]);
    let subscribe =
        |topic| json!({"command": "subscribe", "topics": [topic], "tenants": tenants.clone()});
    assert_eq!(
        connections[0]["commands"],
        json!([
            {"command": "auth", "username": "admin", "password": PASSWORD},
            subscribe("global_cdr_events"),
            subscribe("global_queue_events"),
            subscribe("global_extension_events"),
        ])
    );
}

#[tokio::test]
async fn each_topic_of_a_tenant_goes_with_its_own_selector_only() {
    for dialect in ["22", "16"] {
        let keys = r#"
            topics = ["queue_events", "cdr_events", "extension_events"]
            queues = ["8000", "8001"]
            extensions = ["0101"]
        "#;
        let mut bench = Bench::start(dialect, USER, keys).await;
        bench.wait_subscribed(1, 3).await;
        let connections = bench.finish().await;
        assert_eq!(
            connections[0]["commands"].as_array().unwrap()[1..],
            [
                json!({"command": "subscribe", "topics": ["queue_events"], "queues": ["8000", "8001"]}),
                cdr_events(),
                json!({"command": "subscribe", "topics": ["extension_events"], "extensions": ["0101"]}),
            ]
        );
    }
}

#[tokio::test]
async fn at_12_each_topic_is_an_object_that_names_its_events() {
    let keys = "topics = [\"cdr_events\", \"trunk_events\"]";
    let mut bench = Bench::start("12", r#"name = "acme""#, keys).await;
    bench.wait_subscribed(1, 2).await;
    let connections = bench.finish().await;
    let keys = ["trunk_connected", "trunk_disconnected"];
    let trunks =
        json!({"command": "subscribe", "topics": [{"topic": "trunk_events", "keys": keys}]});
    assert_eq!(connections[0]["commands"].as_array().unwrap()[1..], [cdr_events_12(), trunks]);
}

#[tokio::test]
async fn a_refused_login_is_told_in_the_pbxs_words_and_not_tried_again() {
    for (dialect, login) in [("22", USER), ("16", USER), ("12", "name = \"acme\"")] {
        // The PBX expects another password than the one that is configured.
        let (mut pbx, told) = Peer::start("pbx.py", &[dialect, "another"]).await;
        let directory = tempfile::tempdir().unwrap();
        let daemon = Running::start(&parse(&format!(
            "[pbx.hq]\nurl = \"ws://127.0.0.1:{}{}\"\ndialect = \"{dialect}\"\n\
             login = {{ {login}, password = {PASSWORD:?} }}\n\
             reconnect = {{ initial = \"20ms\", max = \"200ms\" }}\n\
             [journal]\npath = {:?}\n[sink.out]\ntype = \"stdout\"\n",
            told["port"],
            if dialect == "22" { "/wsi" } else { "" },
            directory.path().join("journal.db"),
        )));
        daemon.phase(Phase::LoginRefused).await;
        let state = daemon.states[0].1.borrow().clone();
        let words = state.last_error.unwrap();
        assert!(words.contains("refused the login: Invalid user or password;"), "{words}");
        // It takes its leave, as after any session.
        let ended = pbx.ask(json!({"do": "ended", "connection": 1})).await;
        assert_eq!(ended["received"], json!([1000, "client stops"]));
        assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
        let report = pbx.ask(json!({"do": "report"})).await;
        assert_eq!(report["connections"].as_array().unwrap().len(), 1);
        assert_eq!(report["complaints"], json!([]));
    }
}

#[tokio::test]
async fn a_refused_topic_does_not_take_the_others_with_it() {
    let keys = "topics = [\"queue_management_events\", \"cdr_events\"]";
    let refused = [("queue_management_events", "no permission")];
    let mut bench = Bench::refusing("22", USER, keys, &refused).await;
    bench.pbx.ask(json!({"do": "asked", "connection": 1, "commands": 3})).await;
    bench.daemon.phase(Phase::Subscribed).await;
    let state = bench.daemon.states[0].1.borrow().clone();
    let told = [("queue_management_events".to_owned(), "no permission".to_owned())];
    assert_eq!(state.refused_topics, told);
    bench.send_some(3).await;
    bench.finish().await;
}
