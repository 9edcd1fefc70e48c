//! Pieces of time, each so small that one answer holds it: needs no order.

use super::skipping::Skipping;
use super::{Mode, Page, Reading, Step};
use crate::rest::error::RestError;
use crate::rest::query::{Order, Question};

#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    /// Everything before this second has been read.
    at_s: i64,
    to_s: i64,
    /// Seconds that are asked for at once.
    width: i64,
}

impl Windows {
    pub(super) fn new(at_s: i64, to_s: i64) -> Self {
        Self { at_s, to_s, width: (to_s - at_s).max(1) }
    }

    pub(super) async fn step(&mut self, reading: &mut Reading<'_>) -> Result<Step, RestError> {
        let (from_s, to_s) = (self.at_s, self.at_s.saturating_add(self.width).min(self.to_s));
        if from_s >= to_s {
            let end = reading.span.to_ms;
            return Ok(Step::Last(Page { reached_ms: end, ..Page::default() }));
        }
        let question = Question { from_s, to_s, order: Order::Ascending, skip: 0 };
        let batch = reading.ask(question).await?;
        let filter = reading.check_filter(&batch, from_s, to_s);
        let items = batch.entries.len();
        let hides = reading.may_hide(&batch, items);
        if filter.before || filter.after {
            return Ok(Step::Turn(None, Mode::Skipping(Skipping::everything(reading.span))));
        }
        if hides {
            return Ok(self.narrow(reading, items, batch.count));
        }
        if items.saturating_mul(3) < reading.session.largest {
            self.width = self.width.saturating_mul(2);
        }
        self.at_s = to_s;
        let reached = reading.reached(to_s);
        let page = reading.take(batch, reached);
        Ok(if to_s >= self.to_s { Step::Last(page) } else { Step::Page(page) })
    }

    /// Less time at once; from a single second on, `skip` has to help.
    fn narrow(&mut self, reading: &Reading<'_>, items: usize, count: Option<u64>) -> Step {
        let width = self.width.min(self.to_s - self.at_s);
        if width <= 1 {
            let crowd = Skipping::second(reading.span, self.at_s);
            let after = Self { at_s: self.at_s + 1, to_s: self.to_s, width: 2 };
            return Step::Turn(None, Mode::Crowd(crowd, Box::new(Mode::Windows(after))));
        }
        // Two thirds of what fits, as far as calls are spread evenly.
        let fitting = count.and_then(|count| {
            let share = i64::try_from(items).ok()?.saturating_mul(width).saturating_mul(2);
            Some(share / i64::try_from(count).ok()?.saturating_mul(3).max(1))
        });
        self.width = (width / 2).min(fitting.unwrap_or(width)).max(1);
        Step::Again
    }
}
