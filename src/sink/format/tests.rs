use super::*;
use crate::config::{Config, Environment};
use crate::event::Origin;
use crate::event::decode::{Frame, decode};
use crate::record::KEYS;
use crate::sink::Settings;

fn stored(raw: &str) -> Stored {
    let raw = bytes::Bytes::from(raw.to_owned());
    match decode(&"hq".into(), Origin::Live, 1_782_864_000_123, raw) {
        Ok(Frame::Event(event)) => Stored { seq: 7, event },
        other => panic!("not an event: {other:?}"),
    }
}

fn encoder(format: Format) -> Encoder {
    Encoder { format, ..Encoder::cloudevents() }
}

/// The encoder of a file sink with these lines.
fn configured(lines: &str) -> Encoder {
    let text = format!(
        "[pbx.hq]\nurl = \"wss://h/wsi\"\nlogin = {{ username = \"u\", password = \"p\" }}\n\
         [sink.out]\ntype = \"stdout\"\n{lines}\n"
    );
    let config = Config::parse("c", &text, &Environment::empty()).unwrap_or_else(|e| panic!("{e}"));
    match config.sinks.into_iter().next().unwrap().settings {
        Settings::Stdout(settings) => settings.encoder,
        other => panic!("{other:?}"),
    }
}

fn line(format: Format, raw: &str) -> String {
    let mut out = Vec::new();
    encoder(format).write_line(&stored(raw), &mut out);
    String::from_utf8(out).unwrap()
}

const CDR: &str =
    r#"{ "event_type":"call_cdr", "session_id":"849508362977513472","caller":"101" }"#;

#[test]
fn raw_is_byte_for_byte() {
    assert_eq!(line(Format::Raw, CDR), CDR);
}

#[test]
fn cloudevents_is_an_envelope_around_the_same_bytes() {
    let id = stored(CDR).event.id;
    assert_eq!(
        line(Format::CloudEvents, CDR),
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/pbx/hq","type":"com.portsip.pbx.call_cdr","time":"2026-07-01T00:00:00.123Z","subject":"849508362977513472","datacontenttype":"application/json","origin":"live","seq":7,"data":{CDR}}}"#
        )
    );
}

#[test]
fn an_event_on_several_lines_stays_one_line_and_the_same_value() {
    let raw = "{\r\n  \"event_type\": \"queue_status\",\n  \"x\": \"a\\nb\"\n}";
    for format in [Format::Raw, Format::CloudEvents] {
        let line = line(format, raw);
        assert!(!line.contains('\n') && !line.contains('\r'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let data = if format == Format::Raw { &value } else { &value["data"] };
        assert_eq!(data["x"], "a\nb");
    }
}

#[test]
fn without_a_session_there_is_no_subject() {
    let line = line(Format::CloudEvents, r#"{"event_type":"queue_\"status"}"#);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value.get("subject"), None);
    assert_eq!(value["type"], "com.portsip.pbx.queue_\"status");
}

const CALL: &str = r#"{"event_type":"call_cdr","start_time":"1792888200","answered_time":"1792891800",
    "ended_time":"1792895400","caller":"sip:+493012345678@h","user_data":"a, \"b\"\r\nc","call_targets":[{},{}]}"#;

#[test]
fn without_a_mask_the_bytes_are_handed_on_by_reference() {
    let stored = stored(CALL);
    let body = encoder(Format::Raw).body(&stored);
    assert_eq!(body, CALL);
    assert_eq!(body.as_ptr(), stored.event.raw.as_ptr());
}

#[test]
fn a_record_is_one_object_in_the_time_zone_of_the_sink() {
    let encoder = configured("format = \"record\"\ntimezone = \"Europe/Berlin\"");
    let body = encoder.body(&stored(CALL));
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
    // Germany leaves summer time on 2026-10-25 at 01:00 UTC, in the middle of this call.
    assert_eq!(value["started_at"], "2026-10-25T02:30:00+02:00");
    assert_eq!(value["answered_at"], "2026-10-25T02:30:00+01:00");
    assert_eq!(value["ended_at"], "2026-10-25T03:30:00+01:00");
    assert_eq!((&value["ring_seconds"], &value["talk_seconds"]), (&().into(), &3600.into()));
    assert_eq!(value["received_at"], "2026-07-01T02:00:00.123+02:00");
    assert_eq!((encoder.content_type(), encoder.line_end()), ("application/json", &b"\n"[..]));
    assert!(!body.contains(&b'\n'));
}

/// The cells of rows, read by the book.
fn cells(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted && rest.next_if_eq(&'\n').is_some() => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(!quoted && row.is_empty() && cell.is_empty(), "{text}");
    rows
}

#[test]
fn a_row_has_the_values_of_the_record_in_its_order() {
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut seen = 0;
    for file in std::fs::read_dir(samples).unwrap() {
        let raw = std::fs::read_to_string(file.unwrap().path()).unwrap();
        // REST items have no type and come as CDRs.
        let raw = match raw.contains("\"event_type\"") {
            true => raw,
            false => raw.replacen('{', "{\"event_type\":\"call_cdr\",", 1),
        };
        let stored = stored(&raw);
        let csv = encoder(Format::Csv);
        let mut text = [csv.header_line().unwrap(), csv.line_end().to_vec()].concat();
        csv.write_line(&stored, &mut text);
        text.extend_from_slice(csv.line_end());
        let rows = cells(std::str::from_utf8(&text).unwrap());
        let record = encoder(Format::Record).body(&stored);
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(rows[0][..KEYS.len()], KEYS);
        assert_eq!((rows.len(), rows[0][KEYS.len()].as_str()), (2, "event_type"));
        for (name, cell) in rows[0].iter().zip(&rows[1]) {
            let value = match record.get(name).unwrap_or(&serde_json::Value::Null) {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(targets) => targets.len().to_string(),
                other => other.to_string(),
            };
            assert_eq!(*cell, value, "{name}");
        }
        seen += 1;
    }
    assert!(seen >= 12, "{seen}");
}

#[test]
fn a_file_of_cdrs_alone_has_no_column_for_the_type() {
    let header =
        |lines: &str| configured(lines).header_line().map(|h| String::from_utf8(h).unwrap());
    let cdrs = KEYS.join(",");
    assert_eq!(header("format = \"csv\"\nevents = [\"call_cdr\"]").as_deref(), Some(&*cdrs));
    let all = format!("{cdrs},event_type");
    for events in ["", "events = [\"call_*\"]", "events = [\"call_cdr\", \"call_start\"]"] {
        assert_eq!(header(&format!("format = \"csv\"\n{events}")).as_deref(), Some(&*all));
    }
    for format in ["raw", "cloudevents", "record"] {
        assert_eq!(header(&format!("format = \"{format}\"")), None);
    }
}

#[test]
fn a_mask_is_applied_in_every_format() {
    let whole = "mask = { caller = \"last4\", user_data = \"drop\" }";
    for format in ["raw", "cloudevents", "record", "csv"] {
        let encoder = configured(&format!("format = \"{format}\"\n{whole}"));
        let mut line = Vec::new();
        encoder.write_line(&stored(CALL), &mut line);
        for bytes in [&line[..], &encoder.body(&stored(CALL))] {
            let text = std::str::from_utf8(bytes).unwrap();
            assert!(text.contains("*********5678") && !text.contains("+4930"), "{text}");
            assert!(!text.contains("\"b"), "{text}");
        }
    }
}

#[test]
fn data_that_is_no_json_is_never_shown_through_a_mask() {
    let mut damaged = stored(CALL);
    damaged.event.raw = Bytes::from_static(b"{\"caller\":\"+493012345678\"");
    for format in ["raw", "cloudevents", "record", "csv"] {
        let encoder = configured(&format!("format = \"{format}\"\nmask = {{ did = \"drop\" }}"));
        let body = encoder.body(&damaged);
        assert!(!String::from_utf8_lossy(&body).contains("4930"), "{body:?}");
        if format == "raw" {
            assert_eq!(body, r#"{"event_type":"call_cdr"}"#);
        }
    }
}
