use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::event::decode::{Frame, decode};
use crate::event::{Event, Origin};
use crate::record::{call_of, csv};

const KEY: &str = "sixteen letters.";

fn mask(rules: Rules) -> Mask {
    Mask { rules, key: Secret::new(KEY) }
}

fn all(action: Action) -> Rules {
    let on = Some(action);
    Rules {
        caller: on,
        caller_name: on,
        callee: on,
        callee_name: on,
        did: on,
        outbound_caller_id: on,
        user_data: on,
    }
}

fn caller(action: Action) -> Rules {
    Rules { caller: Some(action), ..Rules::default() }
}

fn caller_name(action: Action) -> Rules {
    Rules { caller_name: Some(action), ..Rules::default() }
}

fn rewritten(rules: Rules, json: &str) -> String {
    String::from_utf8(mask(rules).rewrite(json.as_bytes()).expect("JSON")).unwrap()
}

fn event(raw: &str) -> Event {
    let raw = bytes::Bytes::from(raw.to_owned());
    match decode(&"hq".into(), Origin::Live, 1_782_864_000_123, raw) {
        Ok(Frame::Event(event)) => event,
        other => panic!("not an event: {other:?}"),
    }
}

fn record(rules: Rules, raw: &str) -> Record {
    // Not decoded: a mask must withstand more than comes through the decoder.
    let mut event = event(r#"{"event_type":"call_cdr"}"#);
    event.raw = bytes::Bytes::from(raw.to_owned());
    let call = call_of(&event);
    let mut record = Record::of(&event, &call, &TimeZone::UTC);
    mask(rules).hide(&mut record, &call);
    record
}

#[test]
fn the_last_four_digits_stay_and_of_a_short_number_nothing() {
    for (number, shown) in [
        ("+493012345678", "*********5678"),
        ("12345", "*2345"),
        ("8000", "****"),
        ("101", "***"),
        ("anonymous", "*********"),
        ("*97#", "****"),
        ("1-2345-6", "***345*6"),
        ("٠١٢٣٤٥٦", "*******"),
        ("", ""),
    ] {
        assert_eq!(last_digits(number), shown);
    }
}

#[test]
fn every_spelling_of_a_number_has_the_same_pseudonym() {
    let mask = mask(caller(Action::Hash));
    let pseudonym = |text: &str| mask.text(Role::Caller, text);
    let expected = pseudonym("+493012345678");
    for spelling in [
        "sip:+493012345678@trunk.example",
        "SIPS:%2B493012345678@10.0.0.1:5061;user=phone",
        "\"Ann\" <sip:+493012345678@trunk.example>;tag=1",
        "tel:+49-30-123-456-78",
        " +49 30 / 123.456-78 ",
        "+49(30)12345678",
    ] {
        assert_eq!(pseudonym(spelling), expected, "{spelling}");
    }
    assert_ne!(pseudonym("493012345678"), expected);
    assert_ne!(pseudonym("+493012345679"), expected);
    let other = Mask { key: Secret::new("another sixteen."), ..mask.clone() };
    assert_ne!(other.text(Role::Caller, "+493012345678"), expected);
}

#[test]
fn a_pseudonym_is_an_hmac_that_begins_with_a_letter() {
    // printf 101 | openssl dgst -sha256 -hmac "sixteen letters.", 0x43 become a letter.
    let mask = mask(caller(Action::Hash));
    assert_eq!(mask.pseudonym("101"), "e3d6575a9b76bc06");
    for n in 0..2_000 {
        let pseudonym = mask.pseudonym(&n.to_string());
        assert_eq!(pseudonym.len(), 16);
        assert!(('a'..='f').contains(&pseudonym.chars().next().unwrap()), "{pseudonym}");
        assert!(pseudonym.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    }
}

#[test]
fn all_other_bytes_stay() {
    let json = "{ \"event_type\":\"call_cdr\",\r\n\"caller\" : \"+493012345678\" ,\"x\":[1.50,\n1e400,\"caller\"],\"caller\":4930123456789,\"big\":123456789012345678901234567890,\"call_targets\":[{\"caller\":\"sip:101@h\"},7]}";
    assert_eq!(
        rewritten(caller(Action::Last4), json),
        "{ \"event_type\":\"call_cdr\",\r\n\"caller\" : \"*********5678\" ,\"x\":[1.50,\n1e400,\"caller\"],\"caller\":\"*********6789\",\"big\":123456789012345678901234567890,\"call_targets\":[{\"caller\":\"***\"},7]}"
    );
    assert_eq!(
        rewritten(caller(Action::Drop), r#"{"callee":"1","caller":"2"}"#),
        r#"{"callee":"1","caller":null}"#
    );
}

#[test]
fn every_spelling_of_a_member_is_found() {
    for member in ["caller", "c\\u0061ller", "\\u0063\\u0061\\u006cler", "Caller", "CALLER"] {
        let json = format!(r#"{{"a\"":"caller","{member}":"+493012345678"}}"#);
        assert_eq!(
            rewritten(caller(Action::Last4), &json),
            format!(r#"{{"a\"":"caller","{member}":"*********5678"}}"#)
        );
    }
    for (member, rule) in [
        ("caller_display_name", caller_name(Action::Drop)),
        ("callee", Rules { callee: Some(Action::Drop), ..Rules::default() }),
        ("destination", Rules { callee: Some(Action::Drop), ..Rules::default() }),
        ("destiantion", Rules { callee: Some(Action::Drop), ..Rules::default() }),
        ("extension", Rules { callee: Some(Action::Drop), ..Rules::default() }),
        ("callee_display_name", Rules { callee_name: Some(Action::Drop), ..Rules::default() }),
        ("did", Rules { did: Some(Action::Drop), ..Rules::default() }),
        ("did_cid", Rules { did: Some(Action::Drop), ..Rules::default() }),
        (
            "outbound_caller_id",
            Rules { outbound_caller_id: Some(Action::Drop), ..Rules::default() },
        ),
        ("user_data", Rules { user_data: Some(Action::Drop), ..Rules::default() }),
    ] {
        let json = format!(r#"[[{{"{member}":"x y"}}]]"#);
        assert_eq!(rewritten(rule, &json), format!(r#"[[{{"{member}":null}}]]"#));
        assert_eq!(rewritten(caller(Action::Drop), &json), json);
    }
}

#[test]
fn what_is_no_scalar_or_no_text_is_left_out_whole() {
    for value in [
        r#"{"number":"+49301234567","x":[{"}":"]"}]}"#,
        r#"["+49301234567",["\"]"]]"#,
        r#""+49301234567\ud800""#,
    ] {
        let json = format!(r#"{{"caller":{value},"x":1}}"#);
        assert_eq!(rewritten(caller(Action::Last4), &json), r#"{"caller":null,"x":1}"#);
    }
    for value in ["null", "true", "false", r#""""#] {
        let json = format!(r#"{{"caller":{value}}}"#);
        assert_eq!(rewritten(caller(Action::Last4), &json), json);
    }
}

#[test]
fn what_is_no_json_is_not_rewritten() {
    for json in ["", "{", r#"{"caller":"1"}x"#, r#"{"caller" "1"}"#, r#"{"caller":[}]}"#] {
        assert_eq!(mask(all(Action::Drop)).rewrite(json.as_bytes()), None, "{json}");
    }
    assert_eq!(mask(all(Action::Drop)).rewrite(b"{\"x\":\"\xff\"}"), None);
}

#[test]
fn nesting_of_any_depth_is_rewritten() {
    let (open, close) = ("{\"x\":[".repeat(100_000), "]}".repeat(100_000));
    let json = format!("{open}{{\"caller\":\"+493012345678\"}}{close}");
    let expected = format!("{open}{{\"caller\":\"*********5678\"}}{close}");
    assert!(rewritten(caller(Action::Last4), &json) == expected);
    let json = format!("{{\"caller\":{open}1{close},\"x\":1}}");
    assert_eq!(rewritten(caller(Action::Last4), &json), r#"{"caller":null,"x":1}"#);
}

#[test]
fn a_display_name_that_is_a_number_falls_under_the_rule_of_the_number() {
    let name = |rules, name: &str| mask(rules).text(Role::CallerName, name);
    let stars = Masked::Text("*********5678".into());
    assert_eq!(name(caller(Action::Last4), "+49 30 1234-5678"), stars);
    assert_eq!(name(caller(Action::Last4), "101"), Masked::Text("***".into()));
    assert_eq!(name(caller(Action::Drop), "Ann +493012345678"), Masked::Gone);
    for words in ["Ann", "Desk 102", "Studio 54"] {
        assert_eq!(name(caller(Action::Drop), words), Masked::Same, "{words}");
        assert_eq!(name(caller_name(Action::Drop), words), Masked::Gone, "{words}");
    }
    let both = Rules { caller: Some(Action::Drop), ..caller_name(Action::Last4) };
    assert_eq!(name(both, "+493012345678"), stars);
    let hash = mask(all(Action::Hash));
    assert_eq!(hash.text(Role::CallerName, "+49 30 1"), hash.text(Role::Caller, "sip:+49301@h"));
}

#[test]
fn a_display_name_before_a_number_is_hidden_with_names() {
    let number = |number: &str| mask(caller_name(Action::Drop)).text(Role::Caller, number);
    let shown = Masked::Text("sip:101@h".into());
    assert_eq!(number("\"Ann\" <sip:101@h>;tag=1"), shown);
    assert_eq!(number("\"A <n> \\\" n\" <sip:101@h>"), shown);
    assert_eq!(number("\"Ann <sip:101@h>"), shown);
    assert_eq!(number("sip:101@h"), Masked::Same);
    assert_eq!(number("0049 30 1"), Masked::Same);
    for doubtful in ["\"Ann\" sip:101@h", "Ann sip:101@h", "Ann <<sip:1@h>>"] {
        assert_eq!(number(doubtful), Masked::Gone, "{doubtful}");
    }
}

const CALL: &str = r#"{"event_type":"call_cdr","caller":"\"Ann\" <sip:+493012345678@c.example>",
    "callee":"sip:8000@c.example","direction":"inbound","did":"+4930987600","user_data":"vip",
    "outbound_caller_id":"+4930987601","answered_time":"100","ended_time":"160","call_targets":[
    {"call_type":"queue_call","callee":"8000","destination":"sip:10123@1.2.3.4","caller":"+493012345678",
    "did":"+4930987600","outbound_caller_id":"","answered_time":"100"}]}"#;

#[test]
fn a_record_shows_what_the_rewritten_event_shows() {
    for action in [Action::Last4, Action::Hash, Action::Drop] {
        let (raw, record) = (rewritten(all(action), CALL), record(all(action), CALL));
        let raw: Value = serde_json::from_str(&raw).unwrap();
        let shown = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        assert_eq!(raw["caller"], shown(&record.caller), "{action:?}");
        assert_eq!(raw["callee"], shown(&record.callee));
        assert_eq!(raw["callee"], shown(&record.queue));
        assert_eq!(raw["did"], shown(&record.did));
        assert_eq!(raw["outbound_caller_id"], shown(&record.outbound_caller_id));
        assert_eq!(raw["user_data"], shown(&record.user_data));
        let (raw, target) = (&raw["call_targets"][0], &record.targets[0]);
        assert_eq!(raw["caller"], shown(&target.caller));
        assert_eq!(raw["destination"], shown(&target.number));
        assert_eq!(raw["destination"], shown(&target.destination));
        assert_eq!(raw["destination"], shown(&record.agent));
        // These were taken out of what is hidden.
        assert_eq!((record.caller_name, record.caller_domain), (None, None));
        assert_eq!((record.callee_name, record.callee_domain), (None, None));
    }
}

#[test]
fn what_has_no_rule_stays_in_the_record() {
    let masked = record(caller(Action::Drop), CALL);
    let plain = record(Rules::default(), CALL);
    assert_eq!(plain.caller_name.as_deref(), Some("Ann"));
    assert_eq!((masked.caller, masked.caller_name, masked.caller_domain), (None, None, None));
    assert_eq!(masked.targets[0].caller, None);
    assert_eq!(
        (masked.callee, masked.queue, masked.agent),
        (plain.callee, plain.queue, plain.agent)
    );
    assert_eq!((masked.did, masked.user_data), (plain.did, plain.user_data));
    assert_eq!(masked.targets[0].destination.as_deref(), Some("sip:10123@1.2.3.4"));
    let without_names = record(caller_name(Action::Drop), CALL);
    assert_eq!(without_names.caller.as_deref(), Some("+493012345678"));
    assert_eq!(without_names.caller_name, None);
}

/// A piece of JSON text: one that must stay, or the value of a masked member.
#[derive(Debug, Clone)]
enum Piece {
    Same(String),
    Value(String),
}

const DIGITS: &str = "4930718293645";
const SPACED: &str = "49 30 7182 93645";

/// The number in the ways in which a PBX, or somebody hostile, might write it.
fn planted() -> impl Strategy<Value = String> {
    let escaped: String = DIGITS.bytes().map(|b| format!("\\u{b:04x}")).collect();
    prop::sample::select(vec![
        format!("\"+{DIGITS}\""),
        format!("\"{SPACED}\""),
        format!("\"sip:+{DIGITS}@trunk.example:5060;user=phone\""),
        format!("\"sip:102@{DIGITS}.example\""),
        format!("\"sip:;x={DIGITS}@h?y={DIGITS}\""),
        format!("\"\\\"+{DIGITS}\\\" <sip:%2B{DIGITS}@h>;tag={DIGITS}\""),
        format!("\"\\\"x <\\\" <tel:{DIGITS}>\""),
        format!("\"<<{DIGITS}\""),
        format!("\"{escaped}\""),
        format!("\"sip:{escaped}\\u0040h\""),
        format!("\"{DIGITS}\\ud800\""),
        format!("\"call {DIGITS} back\""),
        DIGITS.to_owned(),
        format!("-{DIGITS}"),
        format!("{DIGITS}.0"),
        format!("{{\"number\":\"{DIGITS}\",\"x\":[\"]}}{DIGITS}\"]}}"),
        format!("[{{\"a\":\"\\\"{DIGITS}\"}},{DIGITS}]"),
        "null".to_owned(),
        "\"\"".to_owned(),
    ])
}

fn masked_member() -> impl Strategy<Value = Vec<Piece>> {
    let names = "caller callee caller_display_name callee_display_name did did_cid destination \
        destiantion outbound_caller_id user_data extension c\\u0061ller CALLER \\u0064id";
    let names: Vec<_> = names.split_whitespace().collect();
    (prop::sample::select(names), "[ \t\r\n]{0,2}", planted()).prop_map(|(name, blank, value)| {
        vec![Piece::Same(format!("\"{name}\"{blank}:{blank}")), Piece::Value(value)]
    })
}

fn other_member() -> impl Strategy<Value = Vec<Piece>> {
    let members = [
        r#""trunk":"a:1""#,
        r#""x\"y":"caller""#,
        r#""":"\"caller\":\"1\"""#,
        r#""\ud800":1.50e+400"#,
        r#""call_id":"a{b[c""#,
        r#""session_id":123456789012345678901234567890"#,
        r#""status_code":"486""#,
        r#""answered_time":1785999600"#,
        r#""direction":"out""#,
        r#""caller_domain":"h.example""#,
    ];
    prop::sample::select(members.to_vec()).prop_map(|member| vec![Piece::Same(member.to_owned())])
}

/// Members of an object, some of them arrays of objects.
fn members() -> impl Strategy<Value = Vec<Piece>> {
    let member = prop_oneof![3 => masked_member(), 2 => other_member()];
    let object = |member| {
        prop::collection::vec(member, 0..6).prop_map(|members: Vec<Vec<Piece>>| {
            let comma = || vec![Piece::Same(",".to_owned())];
            let joined = members.into_iter().flat_map(|member| [member, comma()]);
            joined.flatten().chain([Piece::Same("\"end\":0".to_owned())]).collect::<Vec<_>>()
        })
    };
    object(member.boxed()).boxed().prop_recursive(3, 24, 4, move |inner| {
        let names = ["call_targets", "status", "x"].map(str::to_owned).to_vec();
        let nested = (prop::sample::select(names), inner).prop_map(|(name, inner)| {
            let open = Piece::Same(format!("\"{name}\":[{{"));
            [open].into_iter().chain(inner).chain([Piece::Same("}, null]".to_owned())]).collect()
        });
        object(prop_oneof![2 => nested, 3 => masked_member(), 1 => other_member()].boxed())
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let action = || prop::sample::select(vec![Action::Last4, Action::Hash, Action::Drop]);
    prop::collection::vec(action().prop_map(Some), 7).prop_map(|of| Rules {
        caller: of[0],
        caller_name: of[1],
        callee: of[2],
        callee_name: of[3],
        did: of[4],
        outbound_caller_id: of[5],
        user_data: of[6],
    })
}

/// Every text in the value, unescaped.
fn texts(value: &Value, out: &mut String) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| texts(value, out)),
        Value::Object(members) => members.values().for_each(|value| texts(value, out)),
        Value::String(text) => *out += &format!("{text}\n"),
        other => *out += &format!("{other}\n"),
    }
}

fn assert_hidden(text: &str) {
    assert!(!text.contains(DIGITS) && !text.contains(SPACED), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_masked_number_gets_out_and_every_other_byte_does(
        rules in rules(), kind in prop::sample::select(vec!["call_cdr", "call_start", "cdr_target_answer", "queue_status"]),
        members in members(),
    ) {
        let start = format!("{{\"event_type\":\"{kind}\",");
        let pieces: Vec<_> = [Piece::Same(start)].into_iter().chain(members).chain([Piece::Same("}".to_owned())]).collect();
        let json: String = pieces.iter().map(|p| match p { Piece::Same(t) | Piece::Value(t) => t.as_str() }).collect();

        let rewritten = rewritten(rules, &json);
        assert_hidden(&rewritten);
        let mut rest = rewritten.as_str();
        for piece in &pieces {
            rest = match piece {
                Piece::Same(same) => rest.strip_prefix(same.as_str()).unwrap_or_else(|| panic!("{same} in {rest}")),
                Piece::Value(_) => {
                    let mut value = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                    let mut text = String::new();
                    texts(&value.next().unwrap().unwrap(), &mut text);
                    assert_hidden(&text);
                    &rest[value.byte_offset()..]
                }
            };
        }
        prop_assert_eq!(rest, "");

        let record = record(rules, &json);
        assert_hidden(&serde_json::to_string(&record).unwrap());
        let mut row = csv::header(true);
        record.write_csv(true, &mut row);
        assert_hidden(&String::from_utf8(row).unwrap());
    }

    #[test]
    fn no_text_makes_it_panic(text: String, rules in rules()) {
        let mask = mask(rules);
        for role in [Role::Caller, Role::CallerName, Role::Did, Role::UserData] {
            let _ = mask.text(role, &text);
        }
        let names = self::mask(caller_name(Action::Drop));
        let _ = (names.text(Role::Caller, &text), mask.rewrite(text.as_bytes()));
    }
}
