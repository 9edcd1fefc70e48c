//! Events as lines to somebody who may answer in lines: what the sinks `exec` and
//! `socket` have in common. Described for people in `docs/plugins.md`.
//!
//! One event a line goes out. With `confirm = "line"` answers come back, in any
//! order: `ID` says that this event is safe, `!ID REASON` that it never will be. The
//! cursor moves over the events at the front that are judged; what is judged out of
//! order is remembered ([`judged`]) even if the connection is lost meanwhile, so
//! that it is not sent again while the daemon lives.

mod answer;
mod incoming;
mod judged;
mod talk;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

pub use incoming::{Incoming, harmless};
pub use judged::Judged;
pub use talk::{Broken, Talk};

use super::Retry;
use super::format::{Encoder, Format};
use crate::config::Section;

/// Events sent and not confirmed, at most.
const WINDOW: u64 = 256;
/// What `window` may be set to.
const WINDOWS: RangeInclusive<u64> = 1..=10_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Bounds of the waits; tests go down to milliseconds.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

/// What confirms an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// That it was written.
    Write,
    /// An answer with its id.
    Line,
}

const CONFIRMS: &[(&str, Confirm)] = &[("write", Confirm::Write), ("line", Confirm::Line)];

/// The keys that both types have.
#[derive(Debug, Clone)]
pub struct LineSettings {
    /// The sink's name, for the log.
    pub sink: Arc<str>,
    /// What confirms an event.
    pub confirm: Confirm,
    /// How long nothing may be taken or confirmed while something could be.
    pub timeout: Duration,
    /// Events sent and not confirmed, at most.
    pub window: usize,
    /// Waits between tries.
    pub retry: Retry,
    /// The form of each line.
    pub encoder: Encoder,
}

impl LineSettings {
    /// Reads the keys that both types have.
    pub fn read(section: &mut Section) -> Self {
        let settings = Self {
            sink: Arc::from(section.name()),
            confirm: section.choice("confirm", Confirm::Write, CONFIRMS),
            timeout: section.duration("timeout", Duration::from_secs(30), WAITS),
            window: usize::try_from(section.integer("window", WINDOW, WINDOWS)).unwrap_or(1),
            retry: section.table("retry", read_retry),
            encoder: Encoder::read(section, Format::CloudEvents),
        };
        if settings.confirm == Confirm::Line && settings.encoder.format() == Format::Raw {
            section.problem(
                "confirm",
                "\"confirm\" = \"line\" needs the event's id on its line, and \"format\" = \"raw\" has none; use \"cloudevents\" or \"record\"",
            );
        }
        settings
    }
}

/// Reads `retry` of those whose receiver's absence is no event's fault: without
/// `give_up_after`, events wait for ever.
pub(super) fn read_retry(section: &mut Section) -> Retry {
    let max = section.duration("max", Retry::LOCAL.max, WAITS);
    let initial = section.duration("initial", Retry::LOCAL.initial.min(max), WAITS);
    if initial > max && !section.has_faults() {
        section.problem("initial", "\"initial\" must not be longer than \"max\"; raise max");
    }
    let given_up = section.has("give_up_after");
    let longest = 3650 * DAY;
    let limit = section.duration("give_up_after", DAY, *WAITS.start()..=longest);
    Retry { initial, max, give_up_after: given_up.then_some(limit) }
}
