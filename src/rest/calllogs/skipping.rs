//! The next so many, by `skip`: for a second that holds more calls than one answer, and
//! for a PBX that ignores `filter`.
//!
//! Whether `skip` counts from zero or from one is not documented, and calls that come
//! meanwhile move those behind them. Hence the overlap: an answer that does not begin
//! with what is known has passed something over.

use std::collections::HashSet;

use super::{Batch, Mode, Reading, Span, Step};
use crate::rest::error::RestError;
use crate::rest::item::Key;
use crate::rest::query::{Order, Question};
use crate::rest::quirks::Quirk;

/// Items that come again, whichever way `skip` counts.
const OVERLAP: usize = 2;

#[derive(Debug)]
pub(super) struct Skipping {
    from_s: i64,
    to_s: i64,
    what: What,
    skip: u64,
    passed: HashSet<Key>,
    /// Answers in a row that had nothing new.
    stalls: u32,
    /// The last answer was too short for an overlap: the next begins where it ended.
    abrupt: bool,
    /// How items stand, once it is known.
    stands: Option<Stands>,
    /// The PBX's count in its first answer.
    first_count: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// One second, in any order.
    Second,
    /// All that the PBX has, newest first, until before the span.
    Everything,
}

/// The order in which items stand, whatever was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Falling,
    Rising,
    Anyhow,
}

impl Skipping {
    pub(super) fn second(span: Span, second: i64) -> Self {
        debug_assert!((span.from_s..span.to_s).contains(&second));
        Self::new(second, second + 1, What::Second)
    }

    pub(super) fn everything(span: Span) -> Self {
        Self::new(span.from_s, span.to_s, What::Everything)
    }

    fn new(from_s: i64, to_s: i64, what: What) -> Self {
        let (skip, passed, stalls) = (0, HashSet::new(), 0);
        let (abrupt, stands, first_count) = (false, None, None);
        Self { from_s, to_s, what, skip, passed, stalls, abrupt, stands, first_count }
    }

    pub(super) async fn step(&mut self, reading: &mut Reading<'_>) -> Result<Step, RestError> {
        let order = match self.what {
            What::Second => Order::Ascending,
            What::Everything => Order::Descending,
        };
        let (from_s, to_s, skip) = (self.from_s, self.to_s, self.skip);
        let batch = reading.ask(Question { from_s, to_s, order, skip }).await?;
        let filter = reading.check_filter(&batch, from_s, to_s);
        if self.what == What::Second && (filter.before || filter.after) {
            let everything = Self::everything(reading.span);
            return Ok(Step::Turn(None, Mode::Skipping(everything)));
        }
        self.check_overlap(&batch)?;
        let before = self.passed.len();
        self.passed.extend(batch.entries.iter().map(|entry| entry.key()));
        let hides = reading.may_hide(&batch, self.passed.len() + self.came_meanwhile(&batch));
        let stuck = self.passed.len() == before;
        let ends = self.miscounts(reading, &batch, stuck)?
            || self.ends(reading, &batch, (hides, !stuck))?;
        if !ends {
            self.advance(batch.entries.len(), stuck)?;
        }
        let (now, then) = match self.what {
            What::Second => (reading.reached(from_s), reading.reached(to_s)),
            What::Everything => (reading.span.from_ms, reading.span.to_ms),
        };
        Ok(match ends {
            true => Step::Last(reading.take(batch, then)),
            false => Step::Page(reading.take(batch, now)),
        })
    }

    /// How many calls the PBX got while it was read. They stand before what is read now,
    /// or are met there: they are no sign that it hides something.
    fn came_meanwhile(&mut self, batch: &Batch) -> usize {
        let Some(count) = batch.count else { return 0 };
        let first = *self.first_count.get_or_insert(count);
        usize::try_from(count.saturating_sub(first)).unwrap_or(usize::MAX)
    }

    fn check_overlap(&self, batch: &Batch) -> Result<(), RestError> {
        let known = batch.entries.first().is_some_and(|e| self.passed.contains(&e.key()));
        if self.skip > 0 && !known && !self.abrupt {
            return Err(RestError::invalid(
                "the PBX's \"skip\" passes over calls: an answer does not go on where the last one ended",
            ));
        }
        Ok(())
    }

    /// What it means that nothing new came although the PBX counts more. Either it counts
    /// what was not asked for (`true`: this is the end), or the order of calls is another
    /// in each answer, so that some are never shown.
    fn miscounts(
        &self,
        reading: &mut Reading<'_>,
        batch: &Batch,
        stuck: bool,
    ) -> Result<bool, RestError> {
        let (items, passed) = (batch.entries.len(), self.passed.len() as u64);
        let asked_on = self.what == What::Second && self.skip > 0;
        let Some(count) = batch.count.filter(|count| asked_on && stuck && *count > passed) else {
            return Ok(false);
        };
        if self.skip + items as u64 >= count {
            return Err(RestError::invalid(
                "the PBX ignores \"skip\", or shows calls of one second in another order each time, so that some never come",
            ));
        }
        let full = items >= reading.session.largest;
        if !full {
            reading.miscounted();
        }
        Ok(!full)
    }

    /// Whether nothing more of the span can come.
    fn ends(
        &mut self,
        reading: &mut Reading<'_>,
        batch: &Batch,
        (hides, fresh): (bool, bool),
    ) -> Result<bool, RestError> {
        if !hides {
            return Ok(true);
        }
        if self.what == What::Second {
            return Ok(false);
        }
        let (up, down) = (batch.ascends(), batch.descends());
        let last = batch.starts().next_back();
        let stands = *self.stands.get_or_insert(match (down, up) {
            (true, _) => Stands::Falling,
            (_, true) => Stands::Rising,
            _ => Stands::Anyhow,
        });
        if stands != Stands::Falling {
            reading.session.note(Quirk::IgnoresOrder);
        }
        let more = batch.count.is_some_and(|count| count > self.passed.len() as u64);
        match stands {
            Stands::Falling if down => Ok(last.is_some_and(|last| last < self.from_s)),
            Stands::Rising if up => Ok(last.is_some_and(|last| last >= self.to_s)),
            // Looks whole. The next answer, which then has nothing new, will tell.
            Stands::Anyhow if !more && (self.skip == 0 || !fresh) => Ok(false),
            _ => Err(RestError::invalid(
                "the PBX ignores \"filter\" and \"orderby\", and has more calls than it gives at once",
            )),
        }
    }

    fn advance(&mut self, items: usize, stuck: bool) -> Result<(), RestError> {
        self.stalls = if stuck { self.stalls + 1 } else { 0 };
        // Once, since many calls may have come meanwhile.
        if self.stalls > 1 {
            return Err(RestError::invalid(
                "the PBX counts more calls than it shows, whatever it is told to \"skip\"",
            ));
        }
        self.abrupt = items <= OVERLAP;
        self.skip += if self.abrupt { items } else { items - OVERLAP } as u64;
        Ok(())
    }
}
