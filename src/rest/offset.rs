//! The PBX's clock against ours, from `Date` headers.
//!
//! The header has whole seconds, cut off: the PBX's clock showed something from it to
//! a second later, at some time between our question and its answer. Of several
//! answers the one that leaves the least room counts.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A bound older than this gives way to a wider one: clocks drift and are set.
const OLD: Duration = Duration::from_secs(3600);

/// What is known of the difference, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Bound {
    least: i64,
    most: i64,
    at: Instant,
}

/// The best bound so far.
#[derive(Debug, Default)]
pub(super) struct Offset(Option<Bound>);

impl Offset {
    /// An answer with this `Date` came at `received_ms` of our clock, `took` after
    /// the question.
    pub(super) fn learn(&mut self, date: Timestamp, received_ms: i64, took: Duration) {
        let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let least = date.as_millisecond().saturating_sub(received_ms);
        let most = least.saturating_add(took).saturating_add(1000);
        let new = Bound { least, most, at: Instant::now() };
        let keeps = self.0.is_some_and(|old| {
            let agrees = old.least <= new.most && new.least <= old.most;
            agrees && old.at.elapsed() < OLD && old.most - old.least <= new.most - new.least
        });
        if !keeps {
            self.0 = Some(new);
        }
    }

    /// The middle of the bound.
    pub(super) fn ms(&self) -> Option<i64> {
        self.0.map(|bound| bound.least + (bound.most - bound.least) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_tightest_answer_counts_until_one_disagrees() {
        let mut offset = Offset::default();
        assert_eq!(offset.ms(), None);
        offset.learn(at(1_000), 820_000, Duration::from_secs(4));
        assert_eq!(offset.ms(), Some(182_500));
        offset.learn(at(1_010), 830_050, Duration::from_millis(100));
        assert_eq!(offset.ms(), Some(180_500));
        offset.learn(at(1_020), 840_000, Duration::from_secs(9));
        assert_eq!(offset.ms(), Some(180_500), "a slow answer says less");
        offset.learn(at(1_030), 1_030_500, Duration::from_secs(9));
        assert_eq!(offset.ms(), Some(4_500), "the clock was set");
    }
}
