//! How fast calls come by themselves, and the task that lets them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::exchange::{Anchor, Due, Exchange};
use super::hub::Hub;
use super::notice::Notice;
use super::options::Options;

/// Mean seconds between two calls of the simulated office: an office of a dozen
/// people with about four calls at a time.
const OFFICE_GAP: f64 = 20.0;

/// Calls in real time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// None; `Simulator::push_calls` makes them.
    Manual,
    /// So many a second.
    PerSecond(f64),
    /// As fast as the clients read.
    Max,
}

impl FromStr for Rate {
    type Err = String;

    /// `N/s`, `N/m`, `N/h` or `max`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        let wrong = || format!("{text:?} is no rate: write for example 1/s, 30/m, 100/h or max");
        let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        if !(number.is_finite() && number > 0.0) {
            return Err(wrong());
        }
        Ok(Rate::PerSecond(number / seconds))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Manual => write!(f, "on demand"),
            Rate::Max => write!(f, "as fast as they are read"),
            Rate::PerSecond(n) if *n >= 1.0 => write!(f, "{n}/s"),
            Rate::PerSecond(n) if n * 60.0 >= 1.0 => write!(f, "{}/m", n * 60.0),
            Rate::PerSecond(n) => write!(f, "{}/h", n * 3600.0),
        }
    }
}

/// Office seconds in one real second: as many as make the office's own gap fit
/// the rate, and never less than one.
fn speed(options: &Options) -> f64 {
    match options.rate {
        Rate::PerSecond(rate) => options.speed.unwrap_or((rate * OFFICE_GAP).max(1.0)),
        Rate::Manual | Rate::Max => f64::INFINITY,
    }
}

/// The switchboard that suits the options.
pub fn exchange(options: &Options) -> Exchange {
    let speed = speed(options);
    let gap = match options.rate {
        Rate::PerSecond(rate) => speed / rate,
        Rate::Manual | Rate::Max => OFFICE_GAP,
    };
    let anchor = match options.start_time {
        Some(second) => Anchor::Opened(second),
        None => Anchor::EndsNow(speed),
    };
    Exchange::new(options.seed, gap, anchor, options.start_time.is_some())
}

/// Lets calls come until all are made or the simulator stops.
///
/// Nothing happens before the first subscription: a demo's calls are for its
/// client. After that a timed office goes on whether anybody listens or not, as
/// a PBX does; at full speed it waits for a listener. `Options::unattended` takes
/// both waits away.
pub async fn run(hub: Arc<Hub>) {
    let stop = hub.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = work(&hub) => {}
    }
}

async fn work(hub: &Hub) {
    let calls = hub.options.calls.unwrap_or(u64::MAX);
    if !hub.options.unattended {
        listener(hub).await;
    }
    hub.exchange().admit(calls);
    match hub.options.rate {
        Rate::Manual => return,
        Rate::Max => at_full_speed(hub).await,
        Rate::PerSecond(_) => in_time(hub).await,
    }
    hub.flush().await;
    hub.finish_calls();
    hub.tell(Notice::AllCallsMade(calls));
}

async fn listener(hub: &Hub) {
    hub.wait_for(|| hub.subscribed() > 0).await;
}

async fn at_full_speed(hub: &Hub) {
    while let Some(due) = next(hub, Duration::ZERO) {
        if !hub.options.unattended && hub.subscribed() == 0 {
            listener(hub).await;
        }
        hub.push_due(&due).await;
    }
}

async fn in_time(hub: &Hub) {
    let (speed, begin) = (speed(&hub.options), Instant::now());
    let now = hub.now_ms();
    hub.exchange().open_with_short_call(now);
    loop {
        let Some(at) = hub.exchange().due_at() else {
            return;
        };
        let due = begin + Duration::from_secs_f64(at as f64 / 1000.0 / speed);
        sleep_until(due).await;
        // A client that does not read holds the office up. A call that so begins late
        // has the times that it should have had: counted from now its record, which is
        // in time again, would show an end in the future.
        if let Some(due) = next(hub, due.elapsed()) {
            hub.push_due(&due).await;
        }
    }
}

fn next(hub: &Hub, late: Duration) -> Option<Due> {
    // Rounded so that no time is ahead by a thousandth.
    let now = hub.now_ms() - late.as_micros().div_ceil(1000) as i64;
    hub.exchange().next_due(now)
}
