//! Backfilled events against live ones.

use std::path::Path;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::*;
use crate::record::{Context, Record};

fn sample(name: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    Bytes::from(std::fs::read(folder.join(name)).unwrap())
}

fn read(item: &Value) -> Call {
    Call::read(Bytes::from(item.to_string())).unwrap()
}

fn live(raw: &Value) -> Event {
    match decode(&Arc::from("hq"), Origin::Live, 1, Bytes::from(raw.to_string())) {
        Ok(Frame::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn event(call: &Call) -> Event {
    call.event(&Arc::from("hq"), 1).unwrap()
}

fn data(event: &Event) -> Value {
    serde_json::from_slice(&event.raw).unwrap()
}

/// The normal form, without what tells the way that the event came.
fn record(event: &Event) -> Value {
    let id = event.id.to_string();
    let context = Context {
        id: &id,
        pbx: "hq",
        origin: "any",
        received_at: Timestamp::UNIX_EPOCH,
        zone: &TimeZone::UTC,
    };
    let call = call::parse(&event.raw).unwrap();
    serde_json::to_value(Record::new(&context, &call)).unwrap()
}

#[test]
fn a_sample_of_the_call_logs_becomes_a_cdr_with_the_item_verbatim() {
    let item = sample("22.6-calllogs-item.json");
    let event = event(&Call::read(item.clone()).unwrap());
    assert_eq!((&*event.event_type, event.origin), ("call_cdr", Origin::Backfill));
    assert_eq!(event.session_id.as_deref(), Some("952690852418417620"));
    let text = std::str::from_utf8(&event.raw).unwrap();
    assert!(text.ends_with(&format!("\"rest\":{}}}", std::str::from_utf8(&item).unwrap())));
    let mut data = data(&event);
    data.as_object_mut().unwrap().remove("rest");
    let expected = json!({
        "event_type": "call_cdr",
        "start_time": "1785999600", "ring_time": "1785999602",
        "answered_time": "1785999609", "ended_time": "1785999660",
        "session_id": "952690852418417620", "cdr_id": "NzAwNTUxOTA5NzczMTQ4MTYw",
        "call_id": "r1@test.io",
        "caller": "104", "caller_domain": "test.io", "caller_display_name": "Alan Turing",
        "callee": "+442079460000", "callee_domain": "test.io",
        "direction": "out", "ended_reason": "caller_disconnected", "status_code": "0",
        "ring_duration": "7", "talk_duration": "51", "trunk_name": "Colt London",
        "outbound_caller_id": "+4930987604", "call_targets": [],
    });
    assert_eq!(data, expected);
}

#[test]
fn a_sample_without_a_session_becomes_a_cdr_too() {
    let call = Call::read(sample("22.0-cdrs-item.json")).unwrap();
    assert_eq!(call.ended_ms, Some(call.started_ms + 31_000));
    let data = data(&event(&call));
    assert_eq!(data.get("session_id"), None);
    assert_eq!((&data["direction"], &data["answered_time"]), (&json!("ext"), &json!("0")));
    assert_eq!((&data["cost"], &data["status_code"]), (&json!("0.10"), &json!("408")));
}

/// What the same call looks like over REST, as far as REST tells.
fn over_rest(cdr: &Value) -> Value {
    let time = |name: &str| {
        let seconds = cdr[name].as_str().unwrap_or("0").parse().unwrap_or(0);
        match seconds {
            0 => Value::Null,
            n => json!(Timestamp::from_second(n).unwrap().to_string().replace('Z', ".123456Z")),
        }
    };
    let text = |name: &str| cdr.get(name).cloned().unwrap_or_default();
    let direction = match cdr["direction"].as_str().unwrap() {
        "ext" | "internal" => "EXTENSION_CALL",
        "in" | "inbound" => "INBOUND_CALL",
        "out" | "outbound" => "OUTBOUND_CALL",
        _ => "INBOUND_OUTBOUND_CALL",
    };
    let reason = cdr["ended_reason"].as_str().or(cdr["end_reason"].as_str()).unwrap_or_default();
    json!({
        "id": "700", "session_id": text("session_id"), "call_id": text("call_id"),
        "caller": text("caller"), "caller_domain": text("caller_domain"),
        "caller_display_name": text("caller_display_name"),
        "callee": text("callee"), "callee_domain": text("callee_domain"),
        "callee_display_name": text("callee_display_name"),
        "started_at": time("start_time"), "rang_at": time("ring_time"),
        "answered_at": time("answered_time"), "ended_at": time("ended_time"),
        "direction": direction, "end_reason": reason.to_uppercase(),
        "status_code": text("status_code"), "duration": text("talk_duration"),
        "trunk": text("trunk_name"), "outbound_caller_id": text("outbound_caller_id"),
        "did_cid": cdr.get("did").or(cdr.get("did_cid")).cloned().unwrap_or_default(), "user_data": text("user_data"),
    })
}

/// The targets as `/cdrs/{id}` tells them.
fn details(cdr: &Value) -> Bytes {
    let targets = cdr["call_targets"].as_array().unwrap();
    let items: Vec<Value> = targets
        .iter()
        .map(|target| {
            let mut item =
                over_rest(&json!({ "direction": "in", "start_time": target["start_time"],
                "ring_time": target["ring_time"], "answered_time": target["answered_time"],
                "ended_time": target["ended_time"], "end_reason": target["end_reason"] }));
            for name in [
                "caller",
                "callee",
                "destination",
                "call_type",
                "status_code",
                "did",
                "ring_duration",
                "talk_duration",
                "outbound_caller_id",
                "cost",
            ] {
                item[name] = target.get(name).cloned().unwrap_or_default();
            }
            item["trunk"] = target["trunk_name"].clone();
            item
        })
        .collect();
    Bytes::from(json!({ "items": items, "cost": 0.25 }).to_string())
}

#[test]
fn a_backfilled_call_has_the_id_and_the_record_of_the_live_one() {
    let samples = [
        "12-call_cdr.json",
        "16-call_cdr.json",
        "22.2-call_cdr-cancelled.json",
        "22.2-call_cdr.json",
        "22.3-call_cdr-queue.json",
        "22.3-call_cdr.json",
    ];
    for name in samples {
        let cdr: Value = serde_json::from_slice(&sample(name)).unwrap();
        let call = read(&over_rest(&cdr));
        let (there, back) = (live(&cdr), event(&call));
        assert_eq!(there.id, back.id, "{name}");
        let (mut there, mut back) = (record(&there), record(&back));
        // REST names records, and knows no tenant and no targets.
        for key in ["cdr_id", "tenant_id", "tenant_name", "targets", "queue", "agent", "cost"] {
            there[key] = Value::Null;
            back[key] = Value::Null;
        }
        assert_eq!(there, back, "{name}");
    }
}

#[test]
fn with_details_the_targets_are_those_of_the_live_one() {
    for name in ["22.2-call_cdr.json", "22.3-call_cdr-queue.json", "22.3-call_cdr.json"] {
        let cdr: Value = serde_json::from_slice(&sample(name)).unwrap();
        let call = Call { details: Some(details(&cdr)), ..read(&over_rest(&cdr)) };
        let back = event(&call);
        let (there, record) = (record(&live(&cdr)), record(&back));
        for key in ["targets", "queue", "agent", "outcome", "ring_seconds"] {
            assert_eq!(there[key], record[key], "{name} {key}");
        }
        assert_eq!(record["cost"], "0.25");
        assert!(data(&back)["rest_details"]["items"].is_array());
        assert_eq!(live(&cdr).id, back.id);
    }
}

#[test]
fn ids_that_come_as_numbers_keep_every_digit_and_make_the_same_event_id() {
    let item =
        r#"{"started_at":"2026-08-06T07:00:00Z","session_id":952690852418417620123,"call_id":"a"}"#;
    let back = event(&Call::read(Bytes::from(item)).unwrap());
    let there = live(&json!({"event_type":"call_cdr","start_time":"1785999600",
        "session_id":"952690852418417620123","call_id":"a"}));
    assert_eq!(there.id, back.id);
}

#[test]
fn a_call_without_any_identity_has_the_same_id_at_every_sweep() {
    let call = read(&json!({ "id": "7", "started_at": "2026-08-06T07:00:00Z" }));
    let (first, second) =
        (call.event(&Arc::from("hq"), 5).unwrap(), call.event(&Arc::from("hq"), 6).unwrap());
    assert_eq!(first.id, second.id);
    assert_eq!((first.received_ms, second.received_ms), (5, 6));
}

#[test]
fn texts_that_need_escapes_survive() {
    let name = "A \"B\" \\ \n ü\u{1F600}";
    let call = read(
        &json!({ "started_at": "2026-08-06T07:00:00Z", "session_id": "1", "caller_display_name": name }),
    );
    assert_eq!(data(&event(&call))["caller_display_name"], name);
}

#[test]
fn odd_details_cost_the_targets_and_nothing_else() {
    let call = read(&json!({ "started_at": "2026-08-06T07:00:00Z", "session_id": "1" }));
    for details in [r#"{"items":7}"#, r#"{"items":[7,{"callee":"101"}],"cost":{}}"#] {
        let details = Some(Bytes::from(details));
        let back = event(&Call { details, ..call.clone() });
        assert!(data(&back)["call_targets"].is_array());
        assert_eq!(back.id, event(&call).id);
    }
}

proptest::proptest! {
    #[test]
    fn whatever_is_read_makes_an_event(text: String, id in "[0-9]{0,20}") {
        let item = json!({ "started_at": "2026-08-06T07:00:00Z", "session_id": id, "caller": text, "user_data": text });
        let call = read(&item);
        let details = Some(Bytes::from(json!({ "items": [{ "callee": text }] }).to_string()));
        let event = event(&Call { details, ..call });
        proptest::prop_assert_eq!(data(&event)["rest"].clone(), item);
    }
}
