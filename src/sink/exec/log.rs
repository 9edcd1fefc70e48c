//! What a child writes to its standard error goes to the log, at level info: it is
//! the program's own text, for whoever runs it. Bounded in length and number, and
//! without control over the terminal that shows it.

use std::sync::Arc;
use std::time::Duration;

use tokio::process::ChildStderr;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::sink::lines::{Incoming, harmless};

/// Bytes of a line that are logged.
const LONGEST_LINE: usize = 1024;
/// Lines that are logged within a while; a child in trouble can write millions.
const LINES: u64 = 100;
/// The while.
const WHILE: Duration = Duration::from_secs(10);

/// Copies until the last holder of the other end has closed it.
pub async fn copy(sink: Arc<str>, stderr: ChildStderr) {
    let mut lines = Incoming::new(stderr, LONGEST_LINE);
    let mut budget = Budget::new();
    while let Ok(Some(line)) = lines.line().await {
        if let Some(left_out) = budget.take() {
            tell(&sink, left_out);
            info!(sink = %sink, cut = line.cut.then_some(true), "command: {}", harmless(&line.bytes));
        }
    }
    tell(&sink, budget.left_out);
}

fn tell(sink: &str, left_out: u64) {
    if left_out > 0 {
        warn!(sink = %sink, lines = left_out, "command writes too much to standard error; these lines were left out");
    }
}

/// How many lines may still be logged.
struct Budget {
    since: Instant,
    used: u64,
    left_out: u64,
}

impl Budget {
    fn new() -> Self {
        Self { since: Instant::now(), used: 0, left_out: 0 }
    }

    /// `Some(n)`: this line may be logged, and n before it were not.
    fn take(&mut self) -> Option<u64> {
        if self.since.elapsed() >= WHILE {
            (self.since, self.used) = (Instant::now(), 0);
        }
        self.used += 1;
        if self.used > LINES {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_instead_of_logged() {
        let mut budget = Budget::new();
        for _ in 0..LINES {
            assert_eq!(budget.take(), Some(0));
        }
        assert_eq!((budget.take(), budget.take()), (None, None));
        tokio::time::advance(WHILE).await;
        assert_eq!((budget.take(), budget.take()), (Some(2), Some(0)));
    }
}
