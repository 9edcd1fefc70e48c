//! Oldest first: each page begins at the start of the last call of the page before.
//!
//! The overlap of a second, and no `skip`: calls that come meanwhile move nothing.

use super::skipping::Skipping;
use super::windows::Windows;
use super::{Batch, Mode, Page, Reading, Span, Step};
use crate::rest::error::RestError;
use crate::rest::query::{Order, Question};
use crate::rest::quirks::Quirk;

#[derive(Debug)]
pub(super) struct Ascending {
    /// Everything before this second has been read.
    at_s: i64,
}

impl Ascending {
    pub(super) fn new(span: &Span) -> Self {
        Self { at_s: span.from_s }
    }

    pub(super) async fn step(&mut self, reading: &mut Reading<'_>) -> Result<Step, RestError> {
        let (at_s, to_s) = (self.at_s, reading.span.to_s);
        if at_s >= to_s {
            return Ok(Step::Last(Page { reached_ms: reading.span.to_ms, ..Page::default() }));
        }
        let question = Question { from_s: at_s, to_s, order: Order::Ascending, skip: 0 };
        let batch = reading.ask(question).await?;
        let filter = reading.check_filter(&batch, at_s, to_s);
        let ascends = batch.ascends();
        if !ascends {
            reading.session.note(Quirk::IgnoresOrder);
        }
        let (items, count) = (batch.entries.len(), batch.count);
        if reading.total.is_none() && !filter.before && !filter.after {
            reading.total = count.filter(|count| *count >= items as u64);
        }
        if !reading.may_hide(&batch, items) {
            return Ok(self.rest(reading, batch));
        }
        if filter.before {
            return Ok(Step::Turn(None, Mode::Skipping(Skipping::everything(reading.span))));
        }
        if !ascends {
            return Ok(Step::Turn(None, Mode::Windows(Windows::new(at_s, to_s))));
        }
        if filter.after {
            // In order, so that what follows is not in the span either.
            let end = reading.span.to_ms;
            return Ok(Step::Last(reading.take(batch, end)));
        }
        let last = batch.starts().next_back();
        match last {
            None => Err(RestError::invalid(
                "the PBX fills a whole answer with calls that have no started_at",
            )),
            Some(last) if last > at_s => {
                self.at_s = last;
                let reached = reading.reached(last);
                Ok(Step::Page(reading.take(batch, reached)))
            }
            // Asking from this second on would show the same again.
            Some(_) => {
                let crowd = Skipping::second(reading.span, at_s);
                let after = Mode::Ascending(Self { at_s: at_s + 1 });
                Ok(Step::Turn(None, Mode::Crowd(crowd, Box::new(after))))
            }
        }
    }

    /// The answer is all that is left, in whatever order, with whatever else. Unless the
    /// PBX counted more at first: then its order was none, and something was passed over.
    fn rest(&self, reading: &mut Reading<'_>, batch: Batch) -> Step {
        let end = reading.span.to_ms;
        let mut page = reading.take(batch, end);
        if reading.total.is_none_or(|total| reading.met >= total) {
            return Step::Last(page);
        }
        reading.session.note(Quirk::IgnoresOrder);
        page.reached_ms = reading.span.from_ms;
        let windows = Windows::new(reading.span.from_s, reading.span.to_s);
        Step::Turn(Some(page), Mode::Windows(windows))
    }
}
