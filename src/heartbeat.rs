//! Proof of progress, for the watchdog: whoever works says by when it will be back.
//!
//! A loop that does not come back by then is stuck, and the daemon no longer tells
//! systemd that it is alive. Waiting for what is rightly slow (a refused login, a
//! paused journal) is said as such and is no fault.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Not the runtime's clock, which tests stop.
static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// No promise.
const OPEN: u64 = u64::MAX;

/// When one loop said that it will be back.
#[derive(Debug)]
pub struct Heartbeat(AtomicU64);

impl Default for Heartbeat {
    /// Nothing is promised yet.
    fn default() -> Self {
        Self(AtomicU64::new(OPEN))
    }
}

impl Heartbeat {
    /// Will be back within this time.
    pub fn within(&self, time: Duration) {
        self.0.store(now_ms().saturating_add(ms(time)), Ordering::Relaxed);
    }

    /// Waits for something that may take any time, or has ended.
    pub fn open(&self) {
        self.0.store(OPEN, Ordering::Relaxed);
    }

    /// Whether it should have been back.
    pub fn is_late(&self) -> bool {
        now_ms() > self.0.load(Ordering::Relaxed)
    }
}

fn now_ms() -> u64 {
    ms(BASE.elapsed())
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_promised_and_did_not_come_back_is_late() {
        let beat = Heartbeat::default();
        assert!(!beat.is_late());
        beat.within(Duration::from_secs(3600));
        assert!(!beat.is_late());
        beat.within(Duration::ZERO);
        while !beat.is_late() {
            std::thread::yield_now();
        }
        beat.open();
        assert!(!beat.is_late());
    }
}
