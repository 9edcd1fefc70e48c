//! So many requests a minute, and no more within any minute.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A minute, and a little for requests that take differently long to arrive.
const WINDOW: Duration = Duration::from_secs(61);

/// Remembers when the last requests went out. A few may go at once, so that a small
/// question is answered at once; then they wait.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    sent: VecDeque<Instant>,
}

impl Pace {
    /// At most `per_minute` within any minute.
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            most: usize::try_from(per_minute).unwrap_or(usize::MAX).max(1),
            sent: VecDeque::new(),
        }
    }

    /// Returns once a request may go out, which then counts. Cancel-safe.
    pub(super) async fn ready(&mut self) {
        if self.sent.len() >= self.most
            && let Some(oldest) = self.sent.front()
        {
            sleep_until(*oldest + WINDOW).await;
            self.sent.pop_front();
        }
        self.sent.push_back(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_minute_sees_more_than_allowed_and_the_rate_is_used() {
        let mut pace = Pace::new(60);
        let mut random = fastrand::Rng::with_seed(7);
        let (start, mut sent) = (Instant::now(), Vec::new());
        while start.elapsed() < Duration::from_secs(600) {
            if random.u32(0..10) == 0 {
                tokio::time::sleep(Duration::from_millis(random.u64(0..20_000))).await;
            }
            pace.ready().await;
            sent.push(Instant::now());
        }
        let minute = Duration::from_secs(60);
        for (i, first) in sent.iter().enumerate() {
            let within = sent[i..].iter().take_while(|at| **at <= *first + minute).count();
            assert!(within <= 60, "{within} in a minute");
        }
        assert!(sent.len() > 300, "{}", sent.len());
    }
}
