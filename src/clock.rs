//! Wall-clock time in Unix milliseconds, from the system or, for simulated hours,
//! from the runtime's own clock.

use tokio::time::Instant;

/// Where the time of day comes from.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Set for simulated time: a wall-clock time and the instant it belongs to.
    anchor: Option<(i64, Instant)>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { anchor: None }
    }

    /// A clock that shows `now_ms` now and goes on with the runtime's clock, which
    /// tests may pause and advance.
    pub fn simulated(now_ms: i64) -> Self {
        Self { anchor: Some((now_ms, Instant::now())) }
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        match self.anchor {
            None => jiff::Timestamp::now().as_millisecond(),
            Some((wall, instant)) => {
                let elapsed = instant.elapsed().as_millis();
                wall.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX))
            }
        }
    }
}
