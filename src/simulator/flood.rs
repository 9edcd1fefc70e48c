//! Ready-made records for load tests: faster than any client reads.
//!
//! Records of calls with several targets, about 2 kB each, are composed and spelled once.
//! What is pushed is a copy with digits of its own in `session_id`: nanoseconds of the Unix
//! clock at the moment of pushing, so that ids are distinct and rise, and whoever reads
//! them knows when each was sent. These calls are of the wire alone: REST does not know
//! them, and the ledger counts them without keeping them.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use tokio::time::{Duration, Instant};

use super::call::{Call, Moment};
use super::events::{self, Event};
use super::exchange::{Anchor, Due, Exchange};
use super::frame;
use super::spelling::Spelling;

/// Different calls: more than stand in any block that a client may compress as one.
const DIFFERENT: usize = 1024;
/// Bytes of a record that is taken: calls with two to four targets have so many.
const SIZES: RangeInclusive<usize> = 1_600..=2_400;
/// Calls that are composed at once to choose from.
const DRAWN: u64 = 512;
/// Digits of the Unix clock in nanoseconds, from 2001 until 2286.
const DIGITS: usize = 19;

/// How much is pushed to each connection that subscribes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Records.
    pub events: u64,
    /// Records a second; `None` is as fast as the client reads.
    pub rate: Option<f64>,
}

/// `EVENTS` or `EVENTS:RATE`.
impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (events, rate) = match text.split_once(':') {
            Some((events, rate)) => (events, Some(rate)),
            None => (text, None),
        };
        let events = events.parse().map_err(|_| "write EVENTS, or EVENTS:RATE".to_owned())?;
        let rate = rate.map(|rate| rate.parse::<f64>().map_err(|_| "the rate is no number"));
        match rate.transpose()? {
            Some(rate) if !(rate.is_finite() && rate > 0.0) => {
                Err("the rate must be above 0".into())
            }
            rate => Ok(Self { events, rate }),
        }
    }
}

/// The ready-made records, shared by all connections.
#[derive(Debug)]
pub struct Records(Vec<Record>);

#[derive(Debug)]
struct Record {
    /// The frame with its header.
    frame: Vec<u8>,
    /// Where the JSON begins.
    json: usize,
    /// Where the digits of `session_id` begin.
    session: usize,
}

impl Records {
    /// Composes and spells them.
    pub fn compose(spelling: Spelling, seed: u64) -> Self {
        let now_ms = nanos() as i64 / 1_000_000;
        let mut exchange = Exchange::new(seed, 1.0, Anchor::EndsNow(1.0), false);
        let mut records = Vec::with_capacity(DIFFERENT);
        while records.len() < DIFFERENT {
            let calls = exchange.past_calls(DRAWN, now_ms - 3_600_000, now_ms);
            records.extend(calls.into_iter().filter_map(|call| Record::of(spelling, call)));
        }
        records.truncate(DIFFERENT);
        Self(records)
    }
}

impl Record {
    fn of(spelling: Spelling, mut call: Call) -> Option<Self> {
        // As many digits as will be written over it.
        call.session_id = nanos();
        let (digits, shown) = (call.session_id.to_string(), call.ended());
        let due = Due { at: 0, call: Arc::new(call), moment: Moment::Record, shown };
        let Event { json, .. } = events::cdr_event(spelling, &due)?;
        if !SIZES.contains(&json.len()) {
            return None;
        }
        let frame = frame::text(&json);
        let session = frame.windows(DIGITS).position(|text| text == digits.as_bytes())?;
        Some(Self { json: frame.len() - json.len(), frame, session })
    }
}

/// What one connection still gets.
#[derive(Debug)]
pub struct Flood {
    records: Arc<Records>,
    load: Load,
    started: Instant,
    sent: u64,
    last_session: u64,
}

impl Flood {
    /// From now on.
    pub fn new(records: Arc<Records>, load: Load) -> Self {
        let started = Instant::now();
        Self { records, load, started, sent: 0, last_session: 0 }
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.sent >= self.load.events
    }

    /// When the next record is to be pushed.
    pub fn due(&self) -> Instant {
        match self.load.rate {
            Some(rate) => self.started + Duration::from_secs_f64(self.sent as f64 / rate),
            None => self.started,
        }
    }

    /// The next record, as a frame behind what is in `out`; where its JSON begins.
    pub fn pour(&mut self, out: &mut BytesMut) -> usize {
        let record = &self.records.0[self.sent as usize % DIFFERENT];
        self.sent += 1;
        self.last_session = nanos().max(self.last_session + 1);
        let start = out.len();
        out.extend_from_slice(&record.frame);
        let (session, mut left) = (start + record.session, self.last_session);
        for digit in out[session..session + DIGITS].iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        start + record.json
    }

    /// The JSON of the next record.
    pub fn text(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        let json = self.pour(&mut out);
        out.freeze().slice(json..)
    }
}

/// The clock on the wall in Unix nanoseconds.
fn nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Release;

    #[test]
    fn each_record_is_json_of_about_2_kb_with_a_session_of_its_own() {
        let spelling = Spelling { release: Release::R22_3 };
        let records = Arc::new(Records::compose(spelling, 1));
        let mut flood = Flood::new(records, Load { events: 2000, rate: None });
        let (mut sessions, mut bytes) = (std::collections::BTreeSet::new(), 0);
        while !flood.is_over() {
            let text = flood.text();
            bytes += text.len();
            let object: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(object["event_type"], "call_cdr");
            let session = object["session_id"].to_string();
            let session = session.trim_matches('"').parse::<u64>().unwrap();
            assert!(sessions.last().is_none_or(|last| *last < session));
            sessions.insert(session);
        }
        assert_eq!(sessions.len(), 2000);
        assert!((1500..2500).contains(&(bytes / 2000)), "{} bytes a record", bytes / 2000);
    }

    #[test]
    fn a_load_is_events_and_perhaps_a_rate() {
        assert_eq!("10".parse(), Ok(Load { events: 10, rate: None }));
        assert_eq!("10:2000".parse(), Ok(Load { events: 10, rate: Some(2000.0) }));
        assert!("x".parse::<Load>().is_err() && "10:0".parse::<Load>().is_err());
    }
}
