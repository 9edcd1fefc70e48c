use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::event::call::parse;
use crate::record::Context;

/// A day at the office, one event each.
const CALLS: [&str; 14] = [
    r#"{"start_time":"1785999600","ring_time":"1785999600","answered_time":"1785999607","ended_time":"1785999808","direction":"ext","caller":"101","caller_display_name":"Ada Lovelace","callee":"102","callee_display_name":"Grace Hopper","ended_reason":"callee_disconnect"}"#,
    r#"{"start_time":"1785999660","ring_time":"1785999662","answered_time":"1785999671","ended_time":"1786003975","direction":"in","caller":"+493012345678","callee":"102","trunk_name":"AudioCodes:7352","did":"+49309876"}"#,
    r#"{"start_time":"1785999720","ring_time":"1785999720","answered_time":"1785999720","ended_time":"1785999900","direction":"in","caller":"+4915112345678","callee":"5000","trunk_name":"AudioCodes:7352","call_targets":[{"call_type":"queue_call","callee":"8000","destination":"sip:103@10.0.0.3:5066","answered_time":"1785999752"}]}"#,
    r#"{"start_time":"1785999780","ring_time":"1785999780","ended_time":"1785999840","direction":"in","caller":"0301234567","caller_display_name":"Müller & Söhne Maschinenbau GmbH & Co. KG","callee":"8000","status_code":"487","call_targets":[{"call_type":"queue_call","callee":"8000","destination":"sip:103@10.0.0.3:5066"}]}"#,
    r#"{"start_time":"1785999840","ring_time":"1785999841","ended_time":"1785999861","direction":"out","caller":"104","caller_display_name":"Alan Turing","callee":"+442079460000","trunk_name":"Colt London","status_code":"486"}"#,
    r#"{"start_time":"1785999900","ended_time":"1785999901","direction":"out","caller":"104","caller_display_name":"Alan Turing","callee":"0049999","trunk_name":"Colt London","status_code":404,"call_status":"fail"}"#,
    r#"{"start_time":"1785999960","ring_time":"1785999961","ended_time":"1785999991","direction":"in","caller":"anonymous","callee":"102","trunk_name":"AudioCodes","call_status":"noanswer"}"#,
    r#"{"started_at":"2026-08-06T07:07:00.5Z","rang_at":"2026-08-06T07:07:01Z","answered_at":"2026-08-06T07:07:03Z","ended_at":"2026-08-06T19:10:00Z","duration":43377,"direction":"INBOUND_OUTBOUND_CALL","caller":"+4940555","callee":"+4317777","trunk":"a trunk with a rather long name"}"#,
    r#"{"start_time":"1786000080","ring_time":"1786000080","answered_time":"1786000085","ended_time":"1786000140","direction":"in","caller":"+81312345678","caller_display_name":"株式会社サンプル商事東京本社","callee":"102","callee_display_name":"Grace Hopper","trunk_name":"AudioCodes"}"#,
    r#"{"start_time":"1786000140","ring_time":"1786000140","ended_time":"1786000150","direction":"in","caller":"666","caller_display_name":"\u001b[2J\u001b[31mEvil\u202egnp\r\nroot","callee":"102","trunk_name":"\u009b31mX","status_code":"603"}"#,
    r#"{"start_time":"1786000200","direction":"Conference","caller":"101","callee":"*97"}"#,
    r#"{"event_type":"call_start","time":"1786000260","direction":"in","caller":"sip:+33123456789@carrier.example","callee":"sip:102@test.io"}"#,
    r#"{"event_type":"cdr_target_noanswer","time":"1786000261","direction":"in","caller":"101","destiantion":"sip:102@192.168.0.18:5066"}"#,
    r#"{}"#,
];

fn shown(width: usize, colour: bool) -> String {
    let timezone = TimeZone::get("Europe/Berlin").unwrap();
    let style = Style { width, colour, timezone: timezone.clone() };
    let lines = CALLS.iter().map(|json| line(&record(json), &style));
    std::iter::once(header(&style)).chain(lines).collect::<Vec<_>>().join("\n")
}

fn record(json: &str) -> Record {
    let context = Context {
        id: "0198f000-0000-8000-8000-000000000000",
        pbx: "hq",
        origin: "live",
        received_at: "2026-08-06T08:00:00Z".parse().unwrap(),
        zone: &TimeZone::UTC,
    };
    Record::new(&context, &parse(json.as_bytes()).unwrap())
}

#[test]
fn at_60_columns_names_are_short_and_trunk_and_ring_time_gone() {
    insta::assert_snapshot!(shown(60, false), @r#"
    STARTED      CALLER         CALLEE           TALK  OUTCOME
    09:00:00  ⇄  Ada Lovelace → Grace Hopper     3:21  answered
    09:01:00  ↓  +4930123456… → 102           1:11:44  answered
    09:02:00  ↓  +4915112345… → 5000             3:00  answered
    09:03:00  ↓  Müller & Sö… → 8000                –  cancelled
    09:04:00  ↑  Alan Turing  → +442079460000       –  busy
    09:05:00  ↑  Alan Turing  → 0049999             –  failed
    09:06:00  ↓  anonymous    → 102                 –  no answer
    09:07:00  ⇅  +4940555     → +4317777        12h02  answered
    09:08:00  ↓  株式会社サ…  → Grace Hopper     0:55  answered
    09:09:00  ↓  ␛[2J␛[31mEv… → 102                 –  busy
    09:10:00  ·  101          → *97                 –  –
    09:11:00  ↓  +33123456789 → 102                 –  start
    10:00:00  ↓  101          → 102                 –  noanswer
    10:00:00  ·  –            → –                   –  –
    "#);
}

#[test]
fn at_80_columns_only_the_ring_time_is_gone() {
    insta::assert_snapshot!(shown(80, false), @r#"
    STARTED   DIR   CALLER           CALLEE           VIA            TALK  OUTCOME
    09:00:00  int   Ada Lovelace   → Grace Hopper                    3:21  answered
    09:01:00  in    +493012345678  → 102              AudioCodes  1:11:44  answered
    09:02:00  in    +4915112345678 → 5000             8000 › 103     3:00  answered
    09:03:00  in    Müller & Söhn… → 8000             queue 8000        –  cancelled
    09:04:00  out   Alan Turing    → +442079460000    Colt London       –  busy
    09:05:00  out   Alan Turing    → 0049999          Colt London       –  failed
    09:06:00  in    anonymous      → 102              AudioCodes        –  no answer
    09:07:00  thru  +4940555       → +4317777         a trunk wi…   12h02  answered
    09:08:00  in    株式会社サン…  → Grace Hopper     AudioCodes     0:55  answered
    09:09:00  in    ␛[2J␛[31mEvil… → 102              �31mX             –  busy
    09:10:00  Con…  101            → *97                                –  –
    09:11:00  in    +33123456789   → 102                                –  start
    10:00:00  in    101            → 102                                –  noanswer
    10:00:00        –              → –                                  –  –
    "#);
}

#[test]
fn at_120_columns_everything_is_there() {
    insta::assert_snapshot!(shown(120, false), @r#"
    STARTED   DIR     CALLER                      CALLEE                      VIA                   RING     TALK  OUTCOME
    09:00:00  ⇄ int   Ada Lovelace              → Grace Hopper                                      0:07     3:21  answered
    09:01:00  ↓ in    +493012345678             → 102                         AudioCodes            0:09  1:11:44  answered
    09:02:00  ↓ in    +4915112345678            → 5000                        queue 8000 › 103      0:00     3:00  answered
    09:03:00  ↓ in    Müller & Söhne Maschinen… → 8000                        queue 8000            1:00        –  cancelled
    09:04:00  ↑ out   Alan Turing               → +442079460000               Colt London           0:20        –  busy
    09:05:00  ↑ out   Alan Turing               → 0049999                     Colt London              –        –  failed
    09:06:00  ↓ in    anonymous                 → 102                         AudioCodes            0:30        –  no answer
    09:07:00  ⇅ thru  +4940555                  → +4317777                    a trunk with a r…     0:02    12h02  answered
    09:08:00  ↓ in    株式会社サンプル商事東京… → Grace Hopper                AudioCodes            0:05     0:55  answered
    09:09:00  ↓ in    ␛[2J␛[31mEvilgnp␍␊root    → 102                         �31mX                 0:10        –  busy
    09:10:00  · Con…  101                       → *97                                                  –        –  –
    09:11:00  ↓ in    +33123456789              → 102                                                  –        –  start
    10:00:00  ↓ in    101                       → 102                                                  –        –  noanswer
    10:00:00  ·       –                         → –                                                    –        –  –
    "#);
}

#[test]
fn colour_follows_the_outcome_and_nothing_of_the_callers_gets_through() {
    let escaped = shown(80, true).escape_debug().to_string().replace("\\n", "\n");
    insta::assert_snapshot!(escaped, @r#"
    \u{1b}[1mSTARTED   DIR   CALLER           CALLEE           VIA            TALK  OUTCOME\u{1b}[0m
    \u{1b}[2m09:00:00\u{1b}[0m  \u{1b}[2mint \u{1b}[0m  Ada Lovelace   \u{1b}[2m→\u{1b}[0m Grace Hopper                    3:21  \u{1b}[32manswered\u{1b}[0m
    \u{1b}[2m09:01:00\u{1b}[0m  \u{1b}[2min  \u{1b}[0m  +493012345678  \u{1b}[2m→\u{1b}[0m 102              \u{1b}[2mAudioCodes \u{1b}[0m 1:11:44  \u{1b}[32manswered\u{1b}[0m
    \u{1b}[2m09:02:00\u{1b}[0m  \u{1b}[2min  \u{1b}[0m  +4915112345678 \u{1b}[2m→\u{1b}[0m 5000             \u{1b}[2m8000 › 103 \u{1b}[0m    3:00  \u{1b}[32manswered\u{1b}[0m
    \u{1b}[2m09:03:00\u{1b}[0m  \u{1b}[2min  \u{1b}[0m  Müller & Söhn… \u{1b}[2m→\u{1b}[0m 8000             \u{1b}[2mqueue 8000 \u{1b}[0m       –  \u{1b}[2mcancelled\u{1b}[0m
    \u{1b}[2m09:04:00\u{1b}[0m  \u{1b}[2mout \u{1b}[0m  Alan Turing    \u{1b}[2m→\u{1b}[0m +442079460000    \u{1b}[2mColt London\u{1b}[0m       –  \u{1b}[31mbusy\u{1b}[0m
    \u{1b}[2m09:05:00\u{1b}[0m  \u{1b}[2mout \u{1b}[0m  Alan Turing    \u{1b}[2m→\u{1b}[0m 0049999          \u{1b}[2mColt London\u{1b}[0m       –  \u{1b}[31mfailed\u{1b}[0m
    \u{1b}[2m09:06:00\u{1b}[0m  \u{1b}[2min  \u{1b}[0m  anonymous      \u{1b}[2m→\u{1b}[0m 102              \u{1b}[2mAudioCodes \u{1b}[0m       –  \u{1b}[33mno answer\u{1b}[0m
    \u{1b}[2m09:07:00\u{1b}[0m  \u{1b}[2mthru\u{1b}[0m  +4940555       \u{1b}[2m→\u{1b}[0m +4317777         \u{1b}[2ma trunk wi…\u{1b}[0m   12h02  \u{1b}[32manswered\u{1b}[0m
    \u{1b}[2m09:08:00\u{1b}[0m  \u{1b}[2min  \u{1b}[0m  株式会社サン…  \u{1b}[2m→\u{1b}[0m Grace Hopper     \u{1b}[2mAudioCodes \u{1b}[0m    0:55  \u{1b}[32manswered\u{1b}[0m
    \u{1b}[2m09:09:00\u{1b}[0m  \u{1b}[2min  \u{1b}[0m  ␛[2J␛[31mEvil… \u{1b}[2m→\u{1b}[0m 102              \u{1b}[2m�31mX      \u{1b}[0m       –  \u{1b}[31mbusy\u{1b}[0m
    \u{1b}[2m09:10:00\u{1b}[0m  \u{1b}[2mCon…\u{1b}[0m  101            \u{1b}[2m→\u{1b}[0m *97                                –  \u{1b}[2m–\u{1b}[0m
    \u{1b}[2m09:11:00\u{1b}[0m  \u{1b}[2min  \u{1b}[0m  +33123456789   \u{1b}[2m→\u{1b}[0m 102                                –  \u{1b}[2mstart\u{1b}[0m
    \u{1b}[2m10:00:00\u{1b}[0m  \u{1b}[2min  \u{1b}[0m  101            \u{1b}[2m→\u{1b}[0m 102                                –  \u{1b}[2mnoanswer\u{1b}[0m
    \u{1b}[2m10:00:00\u{1b}[0m        –              \u{1b}[2m→\u{1b}[0m –                                  –  \u{1b}[2m–\u{1b}[0m
    "#);
}

#[test]
fn long_durations_fit_their_column() {
    let shown = [0, 59, 60, 3599, 3600, 35_999, 36_000, 359_999].map(|s| duration(Some(s)));
    assert_eq!(shown, ["0:00", "0:59", "1:00", "59:59", "1:00:00", "9:59:59", "10h00", "99h59"]);
}

/// What a caller can put into a text, mixed with what breaks terminals and widths.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\u{0}-\u{ff}\u{200b}-\u{202e}\u{1f1e6}-\u{1f1ff}日本لا\u{301}👩🏽]{0,40}"
    ]
}

proptest! {
    #[test]
    fn no_line_is_wider_than_the_terminal_or_carries_controls(
        text in hostile(),
        width in 0usize..300,
        seconds in any::<u32>(),
    ) {
        let mut record = record("{}");
        record.caller_name = Some(text.clone());
        record.callee = Some(text.clone());
        record.trunk = Some(text.clone());
        record.direction = Some(text.clone());
        record.event_type = Some(text);
        record.talk_seconds = Some(seconds);
        let style = Style { width, colour: false, timezone: TimeZone::UTC };
        let plain = line(&record, &style);
        prop_assert!(plain.width() <= width.clamp(60, 200), "{plain:?}");
        prop_assert!(!plain.chars().any(char::is_control), "{plain:?}");
        let painted = line(&record, &Style { colour: true, ..style });
        prop_assert_eq!(painted.replace("\x1b[0m", "").replace("\x1b[2m", ""), plain);
    }
}
