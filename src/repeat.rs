//! Keeps a failure that repeats from flooding the log: it is told at once, then
//! every ten minutes with a count.
//!
//! What comes and goes (every fifth request fails) is told no more often than what
//! stays. What stays is told again after a while, even if it came and went before.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How often a failure that goes on is told again.
const SUMMARY_EVERY: Duration = Duration::from_secs(600);
/// A failure that lasts this long without an end in between is worth telling even
/// if it was told, and over, not long ago.
const LASTING: Duration = Duration::from_secs(10);
/// Different failures that are remembered.
const KINDS: usize = 32;

/// Counts the repetitions of failures of one thing.
#[derive(Debug, Default)]
pub struct Repeat {
    /// When each failure was last told, and how often it came since.
    kinds: BTreeMap<String, (Option<Instant>, u64)>,
    /// Since when it fails without an end in between.
    since: Option<Instant>,
    /// Whether that was told.
    told: bool,
}

impl Repeat {
    /// Notes one failure. `Some(n)` means: tell it now, it stands for `n`.
    pub fn note(&mut self, what: &str) -> Option<u64> {
        let now = Instant::now();
        let lasts = now.duration_since(*self.since.get_or_insert(now)) >= LASTING;
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(what) {
            self.kinds.clear();
        }
        let (last, unsaid) = self.kinds.entry(what.to_owned()).or_default();
        *unsaid += 1;
        let rested = last.is_none_or(|last| now.duration_since(last) >= SUMMARY_EVERY);
        if !rested && (self.told || !lasts) {
            return None;
        }
        (*last, self.told) = (Some(now), true);
        Some(std::mem::take(unsaid))
    }

    /// The failure is over; tells whether its beginning was told.
    pub fn over(&mut self) -> bool {
        self.since = None;
        std::mem::take(&mut self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_first_then_as_a_count() {
        let mut repeat = Repeat::default();
        assert_eq!(repeat.note("refused"), Some(1));
        for _ in 0..5 {
            assert_eq!(repeat.note("refused"), None);
        }
        tokio::time::advance(SUMMARY_EVERY).await;
        assert_eq!(repeat.note("refused"), Some(6));
        assert_eq!(repeat.note("reset"), Some(1));
        assert!(repeat.over());
        assert!(!repeat.over());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_and_goes_is_told_once_and_what_then_stays_again() {
        let mut repeat = Repeat::default();
        assert_eq!(repeat.note("refused"), Some(1));
        assert!(repeat.over());
        for _ in 0..100 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(repeat.note("refused"), None);
            assert!(!repeat.over());
        }
        assert_eq!(repeat.note("refused"), None);
        tokio::time::advance(LASTING).await;
        assert_eq!(repeat.note("refused"), Some(102));
        assert!(repeat.over());
    }
}
