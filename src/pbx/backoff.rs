//! How long to wait before the next connect: exponential, full jitter.
//!
//! The only file that knows the `backoff` crate, which the project's owner chose
//! and nobody maintains any more: behind this type it can be replaced in an hour.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

use crate::config::Reconnect;

/// Waits that grow, each drawn between zero and a bound that doubles up to a maximum.
pub struct Backoff {
    inner: ExponentialBackoff,
}

impl Backoff {
    /// Full jitter: the crate draws between 0 and twice its interval when its
    /// randomization factor is 1, so its interval is half our bound.
    pub fn new(reconnect: Reconnect) -> Self {
        let initial = reconnect.initial / 2;
        let inner = ExponentialBackoff {
            current_interval: initial,
            initial_interval: initial,
            randomization_factor: 1.0,
            multiplier: 2.0,
            max_interval: reconnect.max / 2,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { inner }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let bound = self.inner.max_interval * 2;
        self.inner.next_backoff().map_or(bound, |wait| wait.min(bound))
    }

    /// Starts again at the first bound. Only after a session that lasted: a PBX that
    /// accepts and drops at once must not be hammered.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_drawn_below_a_bound_that_doubles_up_to_the_maximum() {
        let (initial, max) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut longest = [Duration::ZERO; 10];
        for _ in 0..500 {
            let mut backoff = Backoff::new(Reconnect { initial, max });
            for (attempt, longest) in longest.iter_mut().enumerate() {
                let bound = (initial * (1 << attempt)).min(max);
                let wait = backoff.next_wait();
                assert!(wait <= bound, "attempt {attempt}: {wait:?} > {bound:?}");
                *longest = wait.max(*longest);
            }
        }
        assert!(longest[0] > initial / 2 && longest[9] > max / 2, "{longest:?}");
    }

    #[test]
    fn a_reset_starts_again_and_the_waits_never_end() {
        let initial = Duration::from_millis(10);
        let mut backoff = Backoff::new(Reconnect { initial, max: Duration::from_secs(60) });
        for _ in 0..1000 {
            assert!(backoff.next_wait() <= Duration::from_secs(60));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= initial);
    }
}
