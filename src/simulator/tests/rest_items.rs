//! REST and WSI say the same of a call: every item of `/calllogs`, `/cdrs` and
//! `/cdrs/{id}` against the `call_cdr` of the same session, over seeds and releases.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::client::Client;
use super::rest_client::Rest;
use crate::simulator::{Options, Release, Simulator};

const FIELDS: [&str; 23] = [
    "id",
    "caller",
    "caller_domain",
    "caller_display_name",
    "callee",
    "callee_domain",
    "callee_display_name",
    "started_at",
    "rang_at",
    "answered_at",
    "ended_at",
    "call_id",
    "direction",
    "end_reason",
    "reroute_reason",
    "status_code",
    "destination",
    "outbound_caller_id",
    "did_cid",
    "trunk",
    "duration",
    "service_number",
    "user_data",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn every_item_fits_the_record_of_its_session(
        seed in any::<u64>(),
        release in prop_oneof![Just(Release::R22_2), Just(Release::R22_3), Just(Release::R16)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(seed, release));
    }
}

async fn compare(seed: u64, release: Release) {
    let options = Options { seed, release: Some(release), ..Options::default() };
    let simulator = Simulator::start(options).await.unwrap();
    let mut client = Client::subscribed(&simulator).await;
    let (_, events) = tokio::join!(simulator.push_calls(48), client.until_records(48));
    let records: HashMap<String, Value> = events
        .into_iter()
        .filter(|event| event["event_type"] == "call_cdr")
        .map(|event| (event["session_id"].as_str().unwrap().to_string(), event))
        .collect();
    let rest = Rest::logged_in(&simulator).await;
    let everything = [("top", "1000"), ("orderby", "started_at asc")];
    let (logs, cdrs) =
        (rest.items("/calllogs", &everything).await, rest.items("/cdrs", &everything).await);
    assert_eq!((logs.len(), cdrs.len(), records.len()), (48, 48, 48));
    for (log, cdr) in logs.iter().zip(&cdrs) {
        let record = &records[log["session_id"].as_str().unwrap()];
        check_fields(log, cdr);
        check_call(log, record);
        let path = format!("/cdrs/{}", cdr["id"].as_str().unwrap());
        let details = rest.items(&path, &[]).await;
        check_targets(&details, record["call_targets"].as_array().unwrap());
    }
    drop(client);
    simulator.shutdown().await;
}

fn check_fields(log: &Value, cdr: &Value) {
    let names = |item: &Value| item.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let mut expected: BTreeSet<_> = FIELDS.into_iter().map(String::from).collect();
    assert_eq!(names(cdr), expected);
    expected.insert("session_id".into());
    assert_eq!(names(log), expected);
    let mut without = log.clone();
    without.as_object_mut().unwrap().remove("session_id");
    assert_eq!(&without, cdr);
}

fn check_call(item: &Value, record: &Value) {
    let same = [
        ("caller", "caller"),
        ("caller_domain", "caller_domain"),
        ("caller_display_name", "caller_display_name"),
        ("callee", "callee"),
        ("callee_domain", "callee_domain"),
        ("call_id", "call_id"),
        ("outbound_caller_id", "outbound_caller_id"),
        ("trunk", "trunk_name"),
    ];
    for (rest, wsi) in same {
        assert_eq!(item[rest], record[wsi], "{rest}");
    }
    let times = [
        ("started_at", "start_time"),
        ("rang_at", "ring_time"),
        ("answered_at", "answered_time"),
        ("ended_at", "ended_time"),
    ];
    for (rest, wsi) in times {
        assert_eq!(second(&item[rest]), number(&record[wsi]), "{rest}");
    }
    assert_eq!(number(&item["duration"]), number(&record["talk_duration"]));
    assert_eq!(number(&item["status_code"]), number(&record["status_code"]));
    assert_eq!(item["direction"], direction(record["direction"].as_str().unwrap()));
    let reason = record.get("ended_reason").unwrap_or(&record["end_reason"]);
    assert_eq!(item["end_reason"], reason.as_str().unwrap().to_uppercase());
    assert_eq!(item["user_data"], record["user_data"].as_str().unwrap_or_default());
    let targets = record["call_targets"].as_array().unwrap();
    let did = targets[0].get("did").unwrap_or(&targets[0]["did_cid"]);
    assert_eq!(&item["did_cid"], did);
    assert!(targets.iter().any(|target| target["destination"] == item["destination"]));
}

fn check_targets(items: &[Value], targets: &[Value]) {
    assert_eq!(items.len(), targets.len());
    for (item, target) in items.iter().zip(targets) {
        assert_eq!(item["destination"], target["destination"]);
        assert_eq!(second(&item["started_at"]), number(&target["start_time"]));
        assert_eq!(second(&item["rang_at"]), number(&target["ring_time"]));
        assert_eq!(second(&item["answered_at"]), number(&target["answered_time"]));
        assert_eq!(second(&item["ended_at"]), number(&target["ended_time"]));
        assert_eq!(number(&item["duration"]), number(&target["talk_duration"]));
        assert_eq!(item["status_code"], target["status_code"]);
        assert_eq!(item["trunk"], target["trunk_name"]);
        assert_eq!(item["cost"], target["cost"]);
        let reason = target["end_reason"].as_str().unwrap().to_uppercase();
        assert_eq!(item["end_reason"], reason);
    }
}

/// Whole Unix seconds; 0 for what did not happen. Anything but UTC with a fraction
/// is wrong.
fn second(time: &Value) -> i64 {
    match time.as_str() {
        None => {
            assert!(time.is_null(), "{time}");
            0
        }
        Some("") => 0,
        Some(text) => {
            assert!(text.ends_with('Z') && text.contains('.'), "{text}");
            text.parse::<Timestamp>().unwrap().as_second()
        }
    }
}

fn number(value: &Value) -> i64 {
    match value.as_str() {
        Some("") => 0,
        Some(text) => text.parse().unwrap(),
        None => value.as_i64().unwrap(),
    }
}

fn direction(word: &str) -> &'static str {
    match word {
        "ext" | "internal" => "EXTENSION_CALL",
        "in" | "inbound" => "INBOUND_CALL",
        "out" | "outbound" => "OUTBOUND_CALL",
        "in2out" | "inbound_outbound" => "INBOUND_OUTBOUND_CALL",
        other => panic!("direction {other}"),
    }
}
