//! Each release's spellings, and whole samples.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::simulator::Release;
use crate::simulator::call::Moment;
use crate::simulator::events::{Family, cdr_event};
use crate::simulator::exchange::{Anchor, Due, Exchange};
use crate::simulator::flows::Flow;
use crate::simulator::presence::{initial_state, side_events};
use crate::simulator::spelling::Spelling;

const OPENED: i64 = 1_767_600_000;

fn day() -> Vec<Due> {
    let mut exchange = Exchange::new(1, 20.0, Anchor::Opened(OPENED), true);
    exchange.admit(64);
    std::iter::from_fn(|| exchange.next_due(0)).collect()
}

fn events(release: Release) -> Vec<Value> {
    let spelling = Spelling { release };
    let events = day().into_iter().filter_map(|due| cdr_event(spelling, &due));
    events.map(|event| serde_json::from_slice(&event.json).unwrap()).collect()
}

fn kinds(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["event_type"].as_str().unwrap()).collect()
}

fn words<'a>(events: &'a [Value], key: &str) -> BTreeSet<&'a str> {
    events.iter().filter_map(|event| event[key].as_str()).collect()
}

fn records(events: &[Value]) -> Vec<Value> {
    let records = events.iter().filter(|event| event["event_type"] == "call_cdr");
    records.cloned().collect()
}

#[test]
fn event_types_have_their_prefix_since_22() {
    let new = [
        "call_cdr",
        "call_start",
        "call_update_info",
        "cdr_target_add",
        "cdr_target_answer",
        "cdr_target_end",
        "cdr_target_fail",
        "cdr_target_noanswer",
        "cdr_target_ringing",
    ];
    assert!(kinds(&events(Release::R22_3)).iter().eq(new.iter()));
    let old: BTreeSet<_> = new
        .iter()
        .map(|name| name.strip_prefix("cdr_").unwrap_or(name))
        .map(|name| if name == "target_end" { "target_ended" } else { name })
        .collect();
    assert_eq!(kinds(&events(Release::R16)), old);
    assert_eq!(kinds(&events(Release::R12)), ["call_cdr"].into());
}

#[test]
fn words_differ_between_releases() {
    let (newest, old) = (events(Release::R22_3), events(Release::R16));
    let long = ["inbound", "inbound_outbound", "internal", "outbound"];
    assert_eq!(words(&newest, "direction"), long.into());
    assert_eq!(words(&old, "direction"), ["ext", "in", "in2out", "out"].into());
    assert!(words(&newest, "ended_reason").contains("callee_disconnected"));
    assert!(words(&old, "end_reason").contains("callee_disconnect"));
    assert!(words(&old, "ended_reason").is_empty());
}

#[test]
fn numbers_and_ids_are_strings_or_not() {
    let all = |release, check: fn(&Value) -> bool| records(&events(release)).iter().all(check);
    assert!(all(Release::R12, |cdr| cdr["session_id"].is_u64() && cdr["tenant_id"].is_u64()));
    assert!(all(Release::R16, |cdr| cdr["session_id"].is_string()));
    assert!(all(Release::R16, |cdr| cdr["status_code"].is_u64()));
    assert!(all(Release::R22_2, |cdr| cdr["status_code"].is_string()));
    assert!(all(Release::R22_2, |cdr| cdr["talk_duration"].is_u64()));
    assert!(all(Release::R22_2, |cdr| { cdr["call_targets"][0]["talk_duration"].is_string() }));
    assert!(all(Release::R22_3, |cdr| cdr["talk_duration"].is_string()));
    assert!(all(Release::R22_3, |cdr| { cdr["call_targets"][0]["status_code"].is_u64() }));
}

#[test]
fn keys_and_forms_differ_between_releases() {
    let (newest, middle) = (events(Release::R22_3), events(Release::R22_2));
    let misspelt = middle.iter().filter(|event| event.get("destiantion").is_some());
    assert!(misspelt.count() > 100);
    assert!(newest.iter().all(|event| event.get("destiantion").is_none()));
    assert!(newest.iter().any(|event| event.get("did").is_some()));
    assert!(middle.iter().any(|event| event.get("did_cid").is_some()));
    let caller = newest[0]["caller"].as_str().unwrap();
    assert!(caller.starts_with("sip:") && caller.contains('@'), "{caller}");
    assert!(!middle[0]["caller"].as_str().unwrap().contains('@'));
    assert!(words(&newest, "trunk_name").iter().any(|trunk| trunk.contains(':')));
    assert!(words(&middle, "trunk_name").contains("carrier-one"));
    assert!(words(&middle, "answered_time").contains(""));
    assert!(words(&newest, "answered_time").contains("0"));
}

#[test]
fn durations_agree_with_the_times() {
    for cdr in records(&events(Release::R22_3)) {
        let number = |key: &str| cdr[key].as_str().unwrap().parse::<i64>().unwrap();
        let talked = if number("answered_time") == 0 {
            0
        } else {
            number("ended_time") - number("answered_time")
        };
        assert_eq!(number("talk_duration"), talked);
        assert!(number("start_time") <= number("ended_time"));
    }
}

#[test]
fn some_names_are_not_ascii_and_some_calls_carry_user_data() {
    let records = records(&events(Release::R22_3));
    let exotic = |cdr: &&Value| !cdr["caller_display_name"].as_str().unwrap().is_ascii();
    assert!(records.iter().filter(exotic).count() > 5);
    let with = records.iter().filter(|cdr| cdr.get("user_data").is_some()).count();
    assert!(with > 5 && with < records.len());
}

#[test]
fn every_side_event_and_state_is_json() {
    let spelling = Spelling { release: Release::R22_3 };
    let mut seen = 0;
    let states = [Family::Extension, Family::Queue, Family::Trunk];
    let mut all: Vec<_> = day().iter().flat_map(|due| side_events(spelling, due)).collect();
    all.extend(states.into_iter().flat_map(|family| initial_state(spelling, family, OPENED)));
    for event in all {
        let value: Value = serde_json::from_slice(&event.json).unwrap();
        assert_eq!(value["event_type"], event.event_type);
        seen += 1;
    }
    assert!(seen > 300);
}

#[test]
fn a_transferred_call_reads_as_it_should_in_22_3() {
    insta::assert_snapshot!(story(Release::R22_3, Flow::BlindTransfer));
}

#[test]
fn a_busy_call_reads_as_it_should_in_16() {
    insta::assert_snapshot!(story(Release::R16, Flow::Busy));
}

/// All events of the first call of a kind, one a line.
fn story(release: Release, flow: Flow) -> String {
    let day = day();
    let call = day.iter().find(|due| due.call.flow == flow && due.moment == Moment::Start);
    let session = call.unwrap().call.session_id;
    let own = day.iter().filter(|due| due.call.session_id == session);
    let events = own.filter_map(|due| cdr_event(Spelling { release }, due));
    let lines: Vec<_> = events.map(|e| String::from_utf8(e.json.to_vec()).unwrap()).collect();
    lines.join("\n")
}
