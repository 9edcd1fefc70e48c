//! Whether the other end still lives. Pure: told the time, it says what to do.
//!
//! The vendor documents no heartbeat, so pings are ours. Silence alone is never a
//! fault (a night without calls is normal); silence after a ping is.

use std::time::Duration;

use tokio::time::Instant;

/// When to ping, and when to give up.
#[derive(Debug)]
pub struct Keepalive {
    interval: Duration,
    timeout: Duration,
    next_ping: Instant,
    /// A ping is out since this instant.
    pinged: Option<Instant>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Send a ping.
    Ping,
    /// Neither pong nor frame came in time: the connection is dead.
    Dead,
    /// Nothing; ask again at [`Keepalive::due`].
    Nothing,
}

impl Keepalive {
    /// The first ping is due one `interval` after `now`.
    pub fn new(now: Instant, interval: Duration, timeout: Duration) -> Self {
        Self { interval, timeout, next_ping: now + interval, pinged: None }
    }

    /// When to call [`Keepalive::check`] next.
    pub fn due(&self) -> Instant {
        self.pinged.map_or(self.next_ping, |pinged| pinged + self.timeout)
    }

    /// `heard` is when the last frame of any kind came. `reading` is false while we
    /// ourselves do not read: then silence says nothing about the other end.
    pub fn check(&mut self, now: Instant, heard: Instant, reading: bool) -> Due {
        if now < self.due() {
            return Due::Nothing;
        }
        match self.pinged {
            None => {
                self.pinged = Some(now);
                Due::Ping
            }
            Some(pinged) if heard >= pinged => {
                self.pinged = None;
                self.next_ping = (pinged + self.interval).max(now);
                Due::Nothing
            }
            Some(_) if !reading => {
                self.pinged = Some(now);
                Due::Nothing
            }
            Some(_) => Due::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn started() -> (Instant, Keepalive) {
        let start = Instant::now();
        (start, Keepalive::new(start, INTERVAL, TIMEOUT))
    }

    #[test]
    fn silence_after_a_ping_is_death() {
        let (start, mut keepalive) = started();
        assert_eq!(keepalive.check(start, start, true), Due::Nothing);
        assert_eq!(keepalive.check(start + INTERVAL, start, true), Due::Ping);
        assert_eq!(keepalive.due(), start + INTERVAL + TIMEOUT);
        assert_eq!(keepalive.check(start + INTERVAL + TIMEOUT, start, true), Due::Dead);
    }

    #[test]
    fn any_frame_after_the_ping_is_life() {
        let (start, mut keepalive) = started();
        let ping = start + INTERVAL;
        assert_eq!(keepalive.check(ping, start, true), Due::Ping);
        let heard = ping + Duration::from_secs(1);
        assert_eq!(keepalive.check(ping + TIMEOUT, heard, true), Due::Nothing);
        assert_eq!(keepalive.due(), ping + INTERVAL);
        assert_eq!(keepalive.check(ping + INTERVAL, heard, true), Due::Ping);
    }

    #[test]
    fn while_we_do_not_read_nobody_dies() {
        let (start, mut keepalive) = started();
        let ping = start + INTERVAL;
        assert_eq!(keepalive.check(ping, start, false), Due::Ping);
        assert_eq!(keepalive.check(ping + TIMEOUT, start, false), Due::Nothing);
        assert_eq!(keepalive.check(ping + TIMEOUT * 2, start, true), Due::Dead);
    }
}
