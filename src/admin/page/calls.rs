//! The calls that the page shows: the last ones, and how many there were in each
//! minute of the last hour, by direction.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Watchers;
use crate::clock::Clock;
use crate::event::Stored;
use crate::journal::reader::Reader;
use crate::journal::{Commit, JournalError};
use crate::record::{Record, call_of};
use crate::status::At;

/// Calls that are shown.
const SHOWN: usize = 50;
/// Minutes that are counted.
const MINUTES: usize = 60;
const MINUTE_MS: i64 = 60_000;
/// Events read at once from the file.
const PIECE_EVENTS: usize = 1_000;
/// Or this many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Events before the newest that are looked through when a page is opened, at most: at the
/// busiest PBX an hour is less, and it takes a second or two.
const LOOK_BACK: u64 = 200_000;
/// Digits that are left of a number unless numbers are shown.
const LEFT: usize = 3;

/// The chart's parts, in its order.
const DIRECTIONS: [&str; 4] = ["inbound", "outbound", "internal", "other"];

/// What is known of calls.
pub(super) struct Calls {
    show_numbers: bool,
    kept: Mutex<Kept>,
    /// Whether everything that was committed has been looked at.
    is_caught_up: watch::Sender<bool>,
}

#[derive(Default)]
struct Kept {
    last: VecDeque<Call>,
    /// Minute since 1970, and calls by direction; in order, the newest last.
    minutes: VecDeque<(i64, [u32; DIRECTIONS.len()])>,
    /// The last event that was looked at.
    seq: u64,
}

/// One call, as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Call {
    ended: At,
    pbx: String,
    direction: String,
    caller: String,
    callee: String,
    outcome: String,
    talk_seconds: Option<u32>,
}

/// What the page gets.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    directions: [&'static str; DIRECTIONS.len()],
    /// Calls in each minute, the oldest first, by direction.
    minutes: Vec<[u32; DIRECTIONS.len()]>,
    /// The newest first.
    last: Vec<Call>,
}

impl Calls {
    pub(super) fn new(show_numbers: bool) -> Self {
        Self { show_numbers, kept: Mutex::default(), is_caught_up: watch::Sender::new(false) }
    }

    /// Follows the journal from an hour ago on, until the stop, while somebody watches: to
    /// look into every call costs half as much again as all the rest of its way. What it
    /// cannot read it does not show; nothing else depends on it.
    pub(super) async fn follow(
        &self,
        path: PathBuf,
        mut commits: broadcast::Receiver<Commit>,
        watchers: &Watchers,
        stop: &CancellationToken,
    ) {
        let is_caught_up = || *self.is_caught_up.borrow();
        let set_caught_up = |now| {
            self.is_caught_up.send_if_modified(|known| std::mem::replace(known, now) != now);
        };
        loop {
            if watchers.are_there() && !is_caught_up() {
                self.catch_up(&path, stop).await;
                set_caught_up(true);
            }
            tokio::select! {
                commit = commits.recv() => match commit {
                    Ok(commit) => set_caught_up(
                        is_caught_up() && watchers.are_there() && self.take(&commit),
                    ),
                    Err(RecvError::Lagged(_)) => set_caught_up(false),
                    Err(RecvError::Closed) => return,
                },
                () = watchers.one_came() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Waits until everything that was committed before has been looked at.
    pub(super) async fn caught_up(&self) {
        // The sender is there as long as this is.
        _ = self.is_caught_up.subscribe().wait_for(|caught_up| *caught_up).await;
    }

    async fn catch_up(&self, path: &std::path::Path, stop: &CancellationToken) {
        let mut reading = None;
        while !stop.is_cancelled() {
            let (path, seen) = (path.to_owned(), self.kept().seq);
            let read = tokio::task::spawn_blocking(move || {
                let (mut reader, from) = match reading {
                    Some(reader) => (reader, seen),
                    None => {
                        let reader = Reader::open(&path)?;
                        let from = start(&reader)?.max(seen);
                        (reader, from)
                    }
                };
                let events = reader.after(from, PIECE_EVENTS, PIECE_BYTES)?;
                Ok::<_, JournalError>((reader, events))
            });
            match read.await.expect("reading the journal does not panic") {
                Ok((_, events)) if events.is_empty() => return,
                Ok((reader, events)) => {
                    self.note(&events);
                    reading = Some(reader);
                }
                Err(e) => {
                    debug!(error = %e, "the page cannot read the journal");
                    return;
                }
            }
        }
    }

    /// Takes a fresh commit; `false` if there is something before it.
    fn take(&self, commit: &[Stored]) -> bool {
        let seq = self.kept().seq;
        let from = commit.partition_point(|event| event.seq <= seq);
        let follows = commit.get(from).is_none_or(|first| first.seq == seq + 1);
        if follows {
            self.note(&commit[from..]);
        }
        follows
    }

    fn note(&self, events: &[Stored]) {
        let calls: Vec<_> = events.iter().filter_map(|event| self.call(event)).collect();
        let mut kept = self.kept();
        for call in calls {
            kept.add(call);
        }
        if let Some(last) = events.last() {
            kept.seq = kept.seq.max(last.seq);
        }
    }

    fn call(&self, stored: &Stored) -> Option<Call> {
        if stored.event.event_type != "call_cdr" {
            return None;
        }
        let event = &stored.event;
        let record = Record::of(event, &call_of(event), &jiff::tz::TimeZone::UTC);
        let number = |number: Option<String>| match number {
            Some(number) if self.show_numbers => number,
            Some(number) => masked(&number),
            None => String::new(),
        };
        Some(Call {
            ended: At(stored.event.received_ms),
            pbx: record.pbx,
            direction: record.direction.unwrap_or_default(),
            caller: number(record.caller),
            callee: number(record.callee),
            outcome: record.outcome.map(|o| o.as_str().replace('_', " ")).unwrap_or_default(),
            talk_seconds: record.talk_seconds,
        })
    }

    /// As of now.
    pub(super) fn shown(&self, now_ms: i64) -> Shown {
        let kept = self.kept();
        let this_minute = now_ms.div_euclid(MINUTE_MS);
        let first = this_minute - MINUTES as i64 + 1;
        let mut minutes = vec![[0; DIRECTIONS.len()]; MINUTES];
        for (minute, counts) in &kept.minutes {
            let place = usize::try_from(minute - first).ok().and_then(|at| minutes.get_mut(at));
            if let Some(place) = place {
                *place = *counts;
            }
        }
        Shown { directions: DIRECTIONS, minutes, last: kept.last.iter().cloned().collect() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, call: Call) {
        let minute = call.ended.0.div_euclid(MINUTE_MS);
        let at = DIRECTIONS.iter().position(|known| *known == call.direction);
        let at = at.unwrap_or(DIRECTIONS.len() - 1);
        match self.minutes.iter_mut().rev().find(|(known, _)| *known == minute) {
            Some((_, counts)) => counts[at] += 1,
            None => {
                let mut counts = [0; DIRECTIONS.len()];
                counts[at] = 1;
                self.minutes.push_back((minute, counts));
            }
        }
        while self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
        self.last.push_front(call);
        self.last.truncate(SHOWN);
    }
}

/// The event after which to begin: that of an hour ago, but not further back than
/// [`LOOK_BACK`].
fn start(reader: &Reader) -> Result<u64, JournalError> {
    let last = reader.last_seq()?;
    let hour_ago = Clock::system().now_ms() - MINUTES as i64 * MINUTE_MS;
    // On a quiet day, the last calls are older than an hour.
    let some = last.saturating_sub(SHOWN as u64 * 20);
    Ok(reader.seq_before(hour_ago)?.min(some).max(last.saturating_sub(LOOK_BACK)))
}

/// The last digits. Short numbers are extensions, and stay as short as they are.
fn masked(number: &str) -> String {
    let length = number.chars().count();
    let hidden = length.saturating_sub(LEFT.min(length / 2));
    let dots = std::iter::repeat_n('•', hidden.min(6));
    dots.chain(number.chars().skip(hidden)).collect()
}
