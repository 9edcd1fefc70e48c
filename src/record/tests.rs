use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::call;
use crate::simulator::events::cdr_event;
use crate::simulator::exchange::{Anchor, Exchange};
use crate::simulator::spelling::Spelling;
use crate::simulator::{self, Release};

/// The keys of an element of `targets` in their order.
const TARGET_KEYS: [&str; 17] = [
    "number",
    "destination",
    "caller",
    "call_type",
    "started_at",
    "rang_at",
    "answered_at",
    "ended_at",
    "ring_seconds",
    "talk_seconds",
    "answered",
    "end_reason",
    "status_code",
    "trunk",
    "did",
    "outbound_caller_id",
    "cost",
];

fn record(raw: &[u8]) -> Record {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let context = Context {
        id: "019f3b2a-0000-8000-8000-000000000000",
        pbx: "hq",
        origin: "live",
        received_at: "2026-08-06T07:00:36.5Z".parse().unwrap(),
        zone: &zone,
    };
    Record::new(&context, &call::parse(raw).unwrap())
}

/// The record of a sample as JSON.
fn sample(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name);
    serde_json::to_value(record(&fs::read(path).unwrap())).unwrap()
}

/// Asserts that the record has the members of `expected`, whatever else it has.
fn assert_members(record: &Value, expected: Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&record[key], value, "{key}");
    }
}

/// The keys of a JSON object as text, in the order in which they were written.
fn keys_in_order(json: &str, known: &[&str]) -> Vec<String> {
    let mut found: Vec<(usize, &str)> = known
        .iter()
        .filter_map(|key| json.find(&format!("\"{key}\":")).map(|at| (at, *key)))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, key)| key.to_owned()).collect()
}

#[test]
fn all_keys_are_there_in_the_order_of_the_contract() {
    let written = serde_json::to_string(&record(b"{}")).unwrap();
    assert_eq!(keys_in_order(&written, &KEYS), KEYS);
    let value: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(value.as_object().unwrap().len(), KEYS.len());
    let written = serde_json::to_string(&record(br#"{"event_type":"call_start"}"#)).unwrap();
    assert!(written.ends_with(r#""targets":[],"event_type":"call_start"}"#), "{written}");
    let written = serde_json::to_string(&Target::default()).unwrap();
    assert_eq!(keys_in_order(&written, &TARGET_KEYS), TARGET_KEYS);
}

#[test]
fn what_the_pbx_did_not_say_is_null() {
    let value = serde_json::to_value(record(b"{}")).unwrap();
    for key in KEYS {
        let known = ["schema", "id", "pbx", "origin", "received_at", "targets"].contains(&key);
        assert_eq!(value[key].is_null(), !known, "{key}");
    }
    assert_members(
        &value,
        json!({"schema": "cdr/1", "targets": [], "received_at": "2026-08-06T09:00:36.500+02:00"}),
    );
}

#[test]
fn the_same_call_gives_the_same_record_in_every_release() {
    let newest = sample("22.3-call_cdr.json");
    for older in ["12-call_cdr.json", "16-call_cdr.json", "22.2-call_cdr.json"] {
        assert_eq!(sample(older), newest, "{older}");
    }
    assert_members(
        &newest,
        json!({
            "session_id": "952690852418417594", "tenant_id": "690833127458734080", "cdr_id": null,
            "direction": "inbound", "caller": "+493012345678", "caller_name": "Müller & Söhne",
            "callee": "5000", "did": "+4930987600", "outbound_caller_id": null,
            "trunk": "AudioCodes", "started_at": "2026-08-06T09:00:00+02:00",
            "ended_at": "2026-08-06T09:00:35+02:00", "ring_seconds": 0, "talk_seconds": 16,
            "duration_seconds": 35, "answered": true, "outcome": "answered",
            "end_reason": "callee_disconnected", "status_code": 0, "queue": null, "agent": null,
            "user_data": null, "cost": null,
        }),
    );
    let target = &newest["targets"][1];
    assert_members(
        target,
        json!({
            "number": "102", "destination": "sip:102@192.168.0.16:9070", "answered_at": null,
            "answered": false, "ring_seconds": 12, "talk_seconds": 0, "end_reason": null,
            "status_code": 487, "call_type": "normal_call", "cost": null,
        }),
    );
}

#[test]
fn a_call_through_a_queue_tells_queue_agent_and_cost() {
    let record = sample("22.3-call_cdr-queue.json");
    assert_members(
        &record,
        json!({
            "queue": "8000", "agent": "103", "cost": "0.120", "cdr_id": "952690852418417601",
            "talk_seconds": 100, "trunk": "AudioCodes", "caller": "0301234567",
        }),
    );
}

#[test]
fn an_unanswered_call_was_not_talked_in() {
    let record = sample("22.2-call_cdr-cancelled.json");
    assert_members(
        &record,
        json!({
            "outcome": "cancelled", "answered": false, "talk_seconds": 0, "ring_seconds": 18,
            "answered_at": null, "status_code": 487, "direction": "outbound",
            "callee": "0049301234567", "trunk": "Colt: London",
        }),
    );
}

#[test]
fn a_call_from_rest_reads_like_one_that_was_heard_live() {
    let record = sample("22.6-calllogs-item.json");
    assert_members(
        &record,
        json!({
            "session_id": "952690852418417620", "cdr_id": "NzAwNTUxOTA5NzczMTQ4MTYw",
            "direction": "outbound", "started_at": "2026-08-06T09:00:00.25+02:00",
            "rang_at": "2026-08-06T09:00:02+02:00", "ring_seconds": 7, "talk_seconds": 51,
            "duration_seconds": 60, "end_reason": "caller_disconnected", "status_code": 200,
            "outcome": "answered", "trunk": "Colt London", "did": null, "callee_name": null,
        }),
    );
    let record = sample("22.0-cdrs-item.json");
    assert_members(
        &record,
        json!({
            "outcome": "no_answer", "answered": false, "cost": "0.10", "direction": "internal",
            "ring_seconds": 30, "talk_seconds": 0, "session_id": null, "end_reason": null,
        }),
    );
}

#[test]
fn other_events_carry_what_they_have_and_their_type() {
    assert_members(
        &sample("22.3-call_start.json"),
        json!({
            "event_type": "call_start", "caller": "101", "caller_domain": "test.io",
            "caller_name": "Ada Lovelace", "callee": "102", "direction": "internal",
            "started_at": "2026-08-06T09:00:00+02:00", "answered": null, "outcome": null,
            "talk_seconds": null, "cdr_id": "952690852418417595", "user_data": "ticket 17",
        }),
    );
    assert_members(
        &sample("22.3-call_update_info.json"),
        json!({
            "event_type": "call_update_info", "caller": "101", "caller_name": "Ada Lovelace",
            "callee": "103", "callee_domain": "test.io", "started_at": null, "targets": [],
        }),
    );
}

#[test]
fn a_call_target_event_has_its_target() {
    let record = sample("22.2-cdr_target_answer.json");
    assert_members(
        &record,
        json!({"event_type": "cdr_target_answer", "callee": "+442079460000", "callee_domain": null}),
    );
    assert_members(
        &record["targets"][0],
        json!({
            "number": "+442079460000", "answered_at": "2026-08-06T09:00:07+02:00",
            "answered": true, "outbound_caller_id": "+4930987604", "started_at": null,
        }),
    );
    let record = sample("16-target_ended.json");
    assert_members(&record, json!({"callee": "102", "caller": "+493012345678", "outcome": null}));
    assert_members(
        &record["targets"][0],
        json!({"ended_at": "2026-08-06T09:00:35+02:00", "answered": null, "talk_seconds": null}),
    );
}

#[test]
fn durations_of_the_pbx_stand_before_computed_ones() {
    let times = r#""start_time":10,"ring_time":12,"answered_time":20,"ended_time":50"#;
    let told = record(format!(r#"{{{times},"ring_duration":"9","talk_duration":0}}"#).as_bytes());
    assert_eq!((told.ring_seconds, told.talk_seconds), (Some(9), Some(0)));
    let computed = record(format!("{{{times}}}").as_bytes());
    assert_eq!((computed.ring_seconds, computed.talk_seconds), (Some(8), Some(30)));
    assert_eq!(computed.duration_seconds, Some(40));
    let wrong = record(br#"{"start_time":50,"ended_time":10}"#);
    assert_eq!(wrong.duration_seconds, None);
}

/// A small JSON Schema check: as much of it as `docs/record.schema.json` uses.
fn check(schema: &Value, root: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").unwrap();
        return check(&root["$defs"][name], root, value, at);
    }
    if let Some(expected) = schema.get("const") {
        assert_eq!(value, expected, "{at}");
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value}");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        single => single.as_str().into_iter().collect(),
    };
    assert!(types.iter().any(|name| is_of_type(value, name)), "{at}: {value} is none of {types:?}");
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], root, item, &format!("{at}[{n}]"));
    }
    let Some(members) = value.as_object() else { return };
    for key in schema["required"].as_array().unwrap() {
        assert!(members.contains_key(key.as_str().unwrap()), "{at} lacks {key}");
    }
    for (key, member) in members {
        let known = schema["properties"].get(key);
        check(known.unwrap_or_else(|| panic!("{at}.{key}")), root, member, &format!("{at}.{key}"));
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other}"),
    }
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/record.schema.json")).unwrap()
}

#[test]
fn the_schema_requires_exactly_the_keys_of_the_contract() {
    let schema = schema();
    assert_eq!(schema["required"], json!(KEYS.as_slice()));
    assert_eq!(schema["$defs"]["target"]["required"], json!(TARGET_KEYS.as_slice()));
    let properties = |of: &Value| of["properties"].as_object().unwrap().len();
    assert_eq!(properties(&schema), KEYS.len() + 1);
    assert_eq!(properties(&schema["$defs"]["target"]), TARGET_KEYS.len());
}

#[test]
fn every_sample_gives_a_record_that_fits_the_schema() {
    let schema = schema();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let value = sample(&name);
        check(&schema, &schema, &value, &name);
        assert!(!value["call_id"].is_null() || !value["session_id"].is_null(), "{name}");
        found += 1;
    }
    assert!(found >= 12, "{found} samples");
}

#[test]
fn the_documentation_names_every_key() {
    let text = include_str!("../../docs/record.md");
    for key in KEYS.iter().chain(&TARGET_KEYS) {
        assert!(text.contains(&format!("| `{key}` |")), "{key}");
    }
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9.eE+-]{0,24}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "(sips?:|<|%|@|;|:|\\[|[0-9a-f]){0,12}".prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((known_key(), inner), 0..12)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn known_key() -> impl Strategy<Value = String> {
    let keys = "event_type time session_id cdr_id id call_id tenant_id direction caller callee \
        caller_domain destination destiantion did did_cid trunk_name trunk start_time started_at \
        ring_time answered_time ended_time ring_duration talk_duration duration call_status status \
        ended_reason end_reason status_code user_data cost call_targets call_type x";
    prop::sample::select(keys.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn any_object_gives_a_record_with_all_keys(
        members in proptest::collection::vec((known_key(), arbitrary_json()), 0..24),
    ) {
        let object = Value::Object(members.into_iter().collect());
        let value = serde_json::to_value(record(object.to_string().as_bytes())).unwrap();
        let schema = schema();
        check(&schema, &schema, &value, "record");
    }
}

/// The records of all events of so many simulated calls, with what each event is about.
fn simulated(release: Release, seed: u64, calls: u64) -> Vec<((String, String), Value)> {
    let mut exchange = Exchange::new(seed, 20.0, Anchor::Opened(1_767_600_000), true);
    exchange.admit(calls);
    let dues = std::iter::from_fn(|| exchange.next_due(0));
    let events = dues.filter_map(|due| {
        let about = format!("{} {:?}", due.call.session_id, due.moment);
        Some((about, cdr_event(Spelling { release }, &due)?))
    });
    let read = |(about, event): (String, simulator::events::Event)| {
        ((about, event.event_type.to_owned()), serde_json::to_value(record(&event.json)).unwrap())
    };
    events.map(read).collect()
}

/// Takes out of a record what not every release carries:
/// - the kind of event, of which only the spelling differs;
/// - the record's own id, which is in the CDR of 22.3 only;
/// - domains, which `call_start` and `call_update_info` of 22.3 have in their SIP URIs.
fn without_what_releases_differ_in(mut record: Value, event_type: &str) -> Value {
    record["event_type"].take();
    if event_type == "call_cdr" {
        record["cdr_id"].take();
    } else {
        record["caller_domain"].take();
        record["callee_domain"].take();
    }
    record
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_release_gives_the_same_records_of_the_same_calls(seed: u64) {
        let newest = simulated(Release::R22_3, seed, 32);
        assert!(newest.len() > 32 * 5);
        let schema = schema();
        for older in [Release::R12, Release::R16, Release::R22_2] {
            let older_events = simulated(older, seed, 32);
            // 12 pushes the CDR alone.
            let carried = newest.iter().filter(|((_, kind), _)| older > Release::R12 || kind == "call_cdr");
            let carried: Vec<_> = carried.collect();
            prop_assert_eq!(older_events.len(), carried.len());
            for (((about, kind), record), ((other, newer_kind), newer)) in older_events.iter().zip(carried) {
                prop_assert_eq!(about, other);
                check(&schema, &schema, record, about);
                prop_assert_eq!(
                    without_what_releases_differ_in(record.clone(), kind),
                    without_what_releases_differ_in(newer.clone(), newer_kind),
                    "{:?} {} {}", older, about, kind
                );
            }
        }
    }
}
