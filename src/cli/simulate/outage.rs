//! A simulated PBX with a past, and with a restart now and then.

use std::time::Duration;

use super::pair;
use crate::simulator::{DownDoor, Simulator};

/// Seconds that a past spans where none are named.
const HOUR: u64 = 3600;
/// Seconds that a restart takes where none are named.
const DOWN: u64 = 5;

/// So many calls on record, ended within so many seconds before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    calls: u64,
    seconds: u64,
}

/// Every so many seconds, down for so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarts {
    every: Duration,
    down: Duration,
}

/// `CALLS[:SECONDS]`.
pub fn history(text: &str) -> Result<History, String> {
    let read = pair::<u64, u64>(text, HOUR).filter(|(calls, _)| *calls > 0);
    let (calls, seconds) = read.ok_or("write a number of calls, or CALLS:SECONDS")?;
    Ok(History { calls, seconds })
}

/// `SECONDS[:DOWN]`.
pub fn restarts(text: &str) -> Result<Restarts, String> {
    let read = pair::<u64, u64>(text, DOWN).filter(|(every, _)| *every > 0);
    let (every, down) = read.ok_or("write a number of seconds, or SECONDS:DOWN")?;
    let (every, down) = (Duration::from_secs(every), Duration::from_secs(down));
    Ok(Restarts { every, down })
}

impl History {
    /// Puts the calls on record.
    pub fn remember(self, simulator: &Simulator) {
        let span = i64::try_from(self.seconds).unwrap_or(i64::MAX / 2000);
        simulator.remember_calls(self.calls, -span, 0);
        eprintln!("{} calls of the last {} s are on record", self.calls, self.seconds);
    }
}

impl Restarts {
    /// Restarts it for ever.
    ///
    /// # Errors
    /// Somebody else has taken its address meanwhile.
    pub async fn run(self, simulator: &Simulator) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(self.every).await;
            eprintln!("the PBX restarts, down for {} s", self.down.as_secs());
            simulator.go_down(DownDoor::Refuses).await;
            tokio::time::sleep(self.down).await;
            simulator.come_up().await?;
            eprintln!("the PBX is up again");
        }
    }
}
