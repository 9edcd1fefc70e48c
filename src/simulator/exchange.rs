//! The PBX's switchboard: begins calls and hands out their moments in order of
//! time, calls overlapping.
//!
//! Time here is virtual (milliseconds since the office opened); who waits for it
//! is [`super::pace`]. The times that events *show* come from the [`Anchor`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use fastrand::Rng;

use super::call::{Call, Moment};
use super::flows::{self, BAG, Flow};

/// How virtual time becomes the time that events show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Anchor {
    /// Virtual zero is this Unix second.
    Opened(i64),
    /// Every call's record shows the wall clock's second at which it is due, while
    /// a call takes its length divided by this many real seconds. So no time lies
    /// in the future, however fast the office runs, and a call that REST says
    /// ended at a moment was pushed at that moment.
    EndsNow(f64),
}

/// A moment of a call that is due.
#[derive(Debug, Clone)]
pub struct Due {
    /// Virtual milliseconds.
    pub at: u64,
    /// The call.
    pub call: Arc<Call>,
    /// What happens to it.
    pub moment: Moment,
    /// Unix second that the event shows.
    pub shown: i64,
}

struct Live {
    call: Arc<Call>,
    moments: Vec<(u32, Moment)>,
}

/// The switchboard.
pub struct Exchange {
    rng: Rng,
    bag: Vec<Flow>,
    last_id: u64,
    /// Mean virtual time between two calls.
    gap_ms: u64,
    anchor: Anchor,
    /// Ids come from the shown times instead of the wall clock: repeatable runs.
    ids_from_shown: bool,
    now: u64,
    next_call: u64,
    to_begin: u64,
    begun: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    live: HashMap<u64, Live>,
}

/// 2020-01-01 in Unix milliseconds: the zero of the ids' clock.
const ID_EPOCH_MS: i64 = 1_577_836_800_000;
/// Bits of an id below its milliseconds.
const ID_LOW_BITS: u32 = 22;

impl Exchange {
    /// An office with a call about every `gap_seconds`. With `fixed`, ids follow
    /// the shown times alone, so that the same seed repeats them.
    pub fn new(seed: u64, gap_seconds: f64, anchor: Anchor, fixed: bool) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            bag: Vec::new(),
            last_id: 0,
            gap_ms: (gap_seconds * 1000.0).max(1.0) as u64,
            anchor,
            ids_from_shown: fixed,
            now: 0,
            next_call: 0,
            to_begin: 0,
            begun: 0,
            queue: BinaryHeap::new(),
            live: HashMap::new(),
        }
    }

    /// Lets `calls` more calls begin.
    pub fn admit(&mut self, calls: u64) {
        self.to_begin = self.to_begin.saturating_add(calls);
        self.next_call = self.next_call.max(self.now);
    }

    /// When the next moment is due, in virtual milliseconds; `None` when all is said.
    pub fn due_at(&self) -> Option<u64> {
        let call = (self.to_begin > 0).then_some(self.next_call);
        let moment = self.queue.peek().map(|Reverse((at, ..))| *at);
        [call, moment].into_iter().flatten().min()
    }

    /// The next moment. `wall_ms` is the clock on the wall, in Unix milliseconds.
    pub fn next_due(&mut self, wall_ms: i64) -> Option<Due> {
        let head = self.queue.peek().map(|Reverse((at, ..))| *at);
        if self.to_begin > 0 && head.is_none_or(|head| self.next_call <= head) {
            self.begin_next(wall_ms);
        }
        let Reverse((at, order, index)) = self.queue.pop()?;
        self.now = self.now.max(at);
        Some(self.take(at, order, index))
    }

    /// Queues one short call whose moments are all due at once: something to
    /// look at in the first second.
    pub fn open_with_short_call(&mut self, wall_ms: i64) {
        let mut call = flows::compose(Flow::Internal, &mut self.rng);
        let end = match self.anchor {
            Anchor::Opened(second) => second,
            Anchor::EndsNow(_) => wall_ms / 1000,
        };
        end_at(&mut call, end * 1000 + wall_ms.rem_euclid(1000));
        self.number(&mut call, wall_ms);
        self.to_begin = self.to_begin.saturating_sub(1);
        self.enter(call, |_| 0);
    }

    /// A finished call out of the order, for events that come when none should.
    pub fn stray(&mut self, wall_ms: i64) -> Due {
        let mut call = flows::compose(Flow::Internal, &mut self.rng);
        self.place(&mut call, wall_ms);
        self.number(&mut call, wall_ms);
        Due {
            at: self.now,
            shown: call.started + i64::from(call.length),
            call: Arc::new(call),
            moment: Moment::Record,
        }
    }

    fn begin_next(&mut self, wall_ms: i64) {
        let flow = self.draw_flow();
        let mut call = flows::compose(flow, &mut self.rng);
        self.place(&mut call, wall_ms);
        self.number(&mut call, wall_ms);
        let begin = self.next_call;
        self.enter(call, |offset| begin + u64::from(offset) * 1000);
        self.to_begin -= 1;
        self.next_call += self.rng.u64(self.gap_ms / 2..=self.gap_ms * 3 / 2);
    }

    fn draw_flow(&mut self) -> Flow {
        if self.bag.is_empty() {
            self.bag = BAG.to_vec();
            self.rng.shuffle(&mut self.bag);
        }
        self.bag.pop().unwrap_or(Flow::Internal)
    }

    fn place(&self, call: &mut Call, wall_ms: i64) {
        match self.anchor {
            Anchor::Opened(second) => call.started = second + (self.next_call / 1000) as i64,
            Anchor::EndsNow(speed) => {
                let real = (f64::from(call.length) * 1000.0 / speed) as i64;
                end_at(call, wall_ms + real);
            }
        }
    }

    /// A call that lasted from one moment to another in the past, in Unix
    /// milliseconds. Its ids are those of its start, as on a PBX.
    pub fn past_call(&mut self, started_ms: i64, ended_ms: i64) -> Call {
        let seconds = (ended_ms.div_euclid(1000) - started_ms.div_euclid(1000)).max(0);
        let mut call = flows::compose_lasting(seconds as u32, &mut self.rng);
        end_at(&mut call, ended_ms);
        self.number_by_start(&mut call);
        call
    }

    /// Calls of every kind whose ends are spread evenly over a span in the past,
    /// both ends of it in Unix milliseconds.
    pub fn past_calls(&mut self, calls: u64, from_ms: i64, until_ms: i64) -> Vec<Call> {
        let span = i128::from((until_ms - from_ms).max(0));
        let end = |index: u64| from_ms + (span * i128::from(index) / i128::from(calls)) as i64;
        let one = |index| {
            let flow = self.draw_flow();
            let mut call = flows::compose(flow, &mut self.rng);
            end_at(&mut call, end(index));
            self.number_by_start(&mut call);
            call
        };
        (0..calls).map(one).collect()
    }

    fn number_by_start(&mut self, call: &mut Call) {
        let millis = call.started * 1000 + i64::from(call.millis) - ID_EPOCH_MS;
        // Two that start in the same thousandth are told apart by chance: 22 bits.
        call.session_id =
            ((millis.max(1) as u64) << ID_LOW_BITS) + self.rng.u64(..1 << ID_LOW_BITS);
        call.cdr_id = call.session_id + self.rng.u64(1..500);
    }

    /// Ids rise from call to call and never repeat, like the PBX's: milliseconds
    /// above, chance below.
    fn number(&mut self, call: &mut Call, wall_ms: i64) {
        let clock = if self.ids_from_shown { call.started * 1000 } else { wall_ms };
        let millis = (clock - ID_EPOCH_MS).max(1 << 32) as u64;
        let fresh = (millis << ID_LOW_BITS) + self.rng.u64(..1 << ID_LOW_BITS);
        let step = self.rng.u64(1..500);
        call.session_id = fresh.max(self.last_id + step);
        call.cdr_id = call.session_id + self.rng.u64(1..500);
        self.last_id = call.cdr_id;
        if self.ids_from_shown {
            call.millis = (call.session_id % 1000) as u16;
        }
    }

    fn enter(&mut self, call: Call, due: impl Fn(u32) -> u64) {
        let moments = call.moments();
        let order = self.begun;
        self.begun += 1;
        for (index, (offset, _)) in moments.iter().enumerate() {
            self.queue.push(Reverse((due(*offset), order, index)));
        }
        let call = Arc::new(call);
        self.live.insert(order, Live { call, moments });
    }

    fn take(&mut self, at: u64, order: u64, index: usize) -> Due {
        let live = &self.live[&order];
        let (offset, moment) = live.moments[index];
        let call = Arc::clone(&live.call);
        if index + 1 == live.moments.len() {
            self.live.remove(&order);
        }
        let shown = call.started + i64::from(offset);
        Due { at, call, moment, shown }
    }
}

fn end_at(call: &mut Call, ended_ms: i64) {
    call.started = ended_ms.div_euclid(1000) - i64::from(call.length);
    call.millis = ended_ms.rem_euclid(1000) as u16;
}
