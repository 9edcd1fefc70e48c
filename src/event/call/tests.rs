use proptest::prelude::*;

use super::*;

fn text(value: &Option<Cow<'_, str>>) -> String {
    value.as_deref().unwrap_or("-").to_owned()
}

#[test]
fn every_spelling_of_a_field_is_read() {
    type Reader = fn(&Call<'_>) -> String;
    let table: [(&[&str], &str, Reader); 9] = [
        (&["destination", "destiantion"], r#""sip:1@x""#, |call| text(&call.destination)),
        (&["did", "did_cid"], r#""+49""#, |call| text(&call.did)),
        (&["ended_reason", "end_reason"], r#""referred""#, |call| text(&call.end_reason)),
        (&["trunk_name", "trunk"], r#""T:1""#, |call| text(&call.trunk)),
        (&["start_time", "started_at"], r#""1785999600""#, |call| format!("{:?}", call.started_at)),
        (&["ring_time", "rang_at"], r#""2026-08-06T07:00:00Z""#, |call| {
            format!("{:?}", call.rang_at)
        }),
        (&["answered_time", "answered_at"], "1785999600", |call| format!("{:?}", call.answered_at)),
        (&["ended_time", "ended_at"], r#""1785999600.0""#, |call| format!("{:?}", call.ended_at)),
        (&["talk_duration", "duration"], r#""7""#, |call| format!("{:?}", call.talk_seconds)),
    ];
    for (spellings, value, read) in table {
        for spelling in spellings {
            let json = format!(r#"{{"{spelling}":{value}}}"#);
            let found = read(&parse(json.as_bytes()).unwrap());
            assert!(!["-", "None"].contains(&found.as_str()), "{json}");
        }
        let [first, second] = spellings else { panic!("two spellings each") };
        let json = format!(r#"{{"{first}":"","{second}":{value}}}"#);
        assert_ne!(read(&parse(json.as_bytes()).unwrap()), read(&Call::default()), "{json}");
    }
}

#[test]
fn scalars_come_as_strings_or_numbers() {
    let strings = br#"{"status_code":"486","talk_duration":"7","caller":"101","session_id":"690852418417594368"}"#;
    let numbers =
        br#"{"status_code":486,"talk_duration":7,"caller":101,"session_id":690852418417594368}"#;
    assert_eq!(parse(strings).unwrap(), parse(numbers).unwrap());
    assert_eq!(parse(numbers).unwrap().session_id.as_deref(), Some("690852418417594368"));
}

#[test]
fn what_is_surprising_costs_only_itself() {
    let json = br#"{"caller":{"n":1},"callee":["x"],"status_code":{},"start_time":[],"call_targets":{"a":1},"did":"1"}"#;
    assert_eq!(parse(json).unwrap(), Call { did: Some("1".into()), ..Call::default() });
    let json = br#"{"call_targets":[null,7,"x",[],{"callee":"102","caller":{}}]}"#;
    let target = Target { callee: Some("102".into()), ..Target::default() };
    assert_eq!(parse(json).unwrap().targets, [target]);
}

#[test]
fn what_is_not_one_object_is_an_error() {
    for raw in ["", "[]", "7", "null", "{", r#"{"a":1}x"#, r#"{"a" 1}"#] {
        assert!(parse(raw.as_bytes()).is_err(), "{raw}");
    }
    assert!(parse(b"{\"a\":\"\xff\"}").is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&raw);
    }
}
