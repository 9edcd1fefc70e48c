//! Fuzzing on stable Rust: inputs made by changing samples at random, for whatever reads
//! what strangers wrote. `CDRD_FUZZ_SECONDS` says how long each target runs, `CDRD_SEED`
//! where it begins; a failure prints the input.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cdrd::config::{Config, Environment};
use cdrd::event::decode::{Frame, decode};
use cdrd::event::{Origin, Stored};
use cdrd::rest::Call;
use cdrd::sink::format::{Encoder, Format};
use jiff::tz::TimeZone;
use serde::de::IgnoredAny;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Pieces that parsers have stumbled over.
const PIECES: &[&str] = &[
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "-0",
    "1e999",
    "0.1e-7",
    "\\ud800",
    "\\u0000",
    "\u{0}",
    "\u{202e}",
    "\u{fffd}",
    "9223372036854775808",
    "18446744073709551616",
    "-1",
    "\"\"",
    "\"0\"",
    "sip:1@x",
    "<sip:",
    "=1+1",
    "\r\n",
    "\n",
    "'",
    "#",
    "[[",
    "]]",
    " = ",
    "2026-02-30T25:61:61Z",
    "9999-12-31T23:59:59.999999999Z",
    "-9999-01-01T00:00:00Z",
    "99999999999d",
    "\"session_id\":",
    "\"event_type\":",
    "\"call_targets\":",
    "\"started_at\":",
];

fn corpus(folders: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for folder in folders {
        for file in std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            found.push(std::fs::read(file.unwrap().path()).unwrap());
        }
    }
    assert!(found.len() > 5, "there are samples");
    found
}

fn span(random: &mut fastrand::Rng, length: usize) -> std::ops::Range<usize> {
    let from = random.usize(0..=length);
    from..(from + random.usize(0..=40)).min(length)
}

fn changed(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.usize(0..corpus.len())].clone();
    for _ in 0..random.usize(1..8) {
        let place = span(random, input.len());
        match random.u8(0..6) {
            0 => {
                input.iter_mut().skip(place.start).take(1).for_each(|b| *b ^= 1 << random.u8(0..8))
            }
            1 => drop(input.drain(place)),
            2 => {
                let piece = input[place.clone()].to_vec();
                input.splice(place.start..place.start, piece.repeat(random.usize(1..4)));
            }
            3 | 4 => {
                let piece = PIECES[random.usize(0..PIECES.len())];
                let place = if random.bool() { place.start..place.start } else { place };
                input.splice(place, piece.bytes());
            }
            _ => {
                let other = &corpus[random.usize(0..corpus.len())];
                let piece = other[span(random, other.len())].to_vec();
                input.splice(place, piece);
            }
        }
    }
    input
}

fn run(name: &str, folders: &[&str], target: impl Fn(&[u8]) -> bool) {
    let read = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let seconds = read("CDRD_FUZZ_SECONDS").unwrap_or(2);
    let mut random = fastrand::Rng::with_seed(read("CDRD_SEED").unwrap_or(7));
    let (corpus, end) = (corpus(folders), Instant::now() + Duration::from_secs(seconds));
    let (mut runs, mut taken) = (0_u64, 0_u64);
    while Instant::now() < end {
        let input = changed(&mut random, &corpus);
        match catch_unwind(AssertUnwindSafe(|| target(&input))) {
            Ok(accepted) => taken += u64::from(accepted),
            Err(_) => panic!("{name}, input {runs}: {:?}", String::from_utf8_lossy(&input)),
        }
        runs += 1;
    }
    println!("{name}: {runs} inputs, {taken} of them taken");
    assert!(taken > 0 && taken < runs, "{name}: {taken} of {runs}");
}

/// What is taken comes out of every format whole, on one line, and always the same.
fn frame(raw: &[u8]) -> bool {
    let pbx: Arc<str> = Arc::from("hq");
    let read = || decode(&pbx, Origin::Live, 1_700_000_000_000, Bytes::copy_from_slice(raw));
    let event = match read() {
        Ok(Frame::Event(event)) => event,
        Ok(Frame::Answer(_)) => return false,
        Err((_, back)) => {
            assert_eq!(back, raw, "what goes to the quarantine is what came");
            return false;
        }
    };
    assert_eq!(event.raw, raw);
    assert!(matches!(read(), Ok(Frame::Event(again)) if again.id == event.id));
    let stored = Stored { seq: 1, event };
    for format in [Format::CloudEvents, Format::Raw, Format::Record, Format::Csv] {
        let mut line = Vec::new();
        Encoder::plain(format, TimeZone::UTC, &[]).write_line(&stored, &mut line);
        if format == Format::Csv {
            assert!(std::str::from_utf8(&line).is_ok());
        } else {
            assert!(!line.contains(&b'\n'));
            serde_json::from_slice::<IgnoredAny>(&line).expect("JSON");
        }
    }
    true
}

/// A call of REST that is taken becomes an event that decodes to itself.
fn item(raw: &[u8]) -> bool {
    let pbx: Arc<str> = Arc::from("hq");
    let Ok(call) = Call::read(Bytes::copy_from_slice(raw)) else { return false };
    let Ok(event) = call.event(&pbx, 1_700_000_000_000) else { return false };
    let again = decode(&pbx, Origin::Backfill, 1_700_000_000_000, event.raw.clone());
    let Ok(Frame::Event(again)) = again else { panic!("no event") };
    // One that nothing names gets its id from its start.
    let named = call.session_id.is_some() || call.call_id.is_some();
    assert!(again.raw == event.raw && (again.id == event.id || !named));
    true
}

fn config(raw: &[u8]) -> bool {
    let text = String::from_utf8_lossy(raw);
    match Config::parse("fuzz.toml", &text, &Environment::of_process()) {
        Ok(_) => true,
        Err(e) => {
            let words = e.to_string();
            assert!(words.contains("fuzz.toml"), "{words}");
            false
        }
    }
}

#[test]
fn frames_changed_at_random_are_events_or_go_to_the_quarantine_whole() {
    run("frames", &["tests/samples"], frame);
}

#[test]
fn items_of_rest_changed_at_random_are_calls_or_odd() {
    run("items", &["tests/samples"], item);
}

#[test]
fn configurations_changed_at_random_are_read_or_refused_with_the_name_of_the_file() {
    // The samples name files that are not here: the sections alone are tried as well.
    run("configurations", &["tests/config/valid", "tests/config/invalid"], config);
}
