//! The PBX's own webhook (protocol page, 3): the same JSON objects, POSTed to one
//! URL, in no order.
//!
//! It wants a 200, comes again by a schedule, and stops for good at a 404. Written
//! from the page alone; which events of a call it sends the page leaves open, here
//! it is all of `cdr_events`.
//!
//! | where | what |
//! |---|---|
//! | `target`, `digest`, `trust` | where to, who we are, whom we trust |
//! | `delivery` | one event's way, with its retries |
//! | `log` | what became of each |

mod delivery;
mod digest;
mod log;
mod target;
mod trust;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use self::log::Log;
use self::target::Target;
use super::events::Event;
use super::notice::{Narrator, Notice};

pub use self::log::{Delivery, Fate, WebhookTally};
pub use self::target::{WebhookAuth, WebhookError, WebhookOptions};

/// Requests under way at once; with more than one the order is chance.
const AT_ONCE: usize = 8;
/// Events that may wait for their turn or their next try. Beyond that they are lost,
/// as they would be on a PBX: its calls do not wait for a receiver.
const WAITING: usize = 100_000;

/// The webhook of one simulator.
pub struct Webhook {
    stop: CancellationToken,
    tasks: TaskTracker,
    narrator: Option<Narrator>,
    changed: watch::Sender<()>,
    turns: Semaphore,
    target: Mutex<Option<Arc<Target>>>,
    log: Mutex<Log>,
}

impl Webhook {
    /// One without a target. Its tasks are the simulator's own.
    pub fn new(
        stop: CancellationToken,
        tasks: TaskTracker,
        narrator: Option<Narrator>,
        changed: watch::Sender<()>,
        log: Log,
    ) -> Self {
        Self {
            stop,
            tasks,
            narrator,
            changed,
            turns: Semaphore::new(AT_ONCE),
            target: Mutex::default(),
            log: Mutex::new(log),
        }
    }

    /// Sends from here on to this target, or to none. What is on its way goes on to
    /// where it was going.
    pub async fn set(&self, options: Option<WebhookOptions>) -> Result<(), WebhookError> {
        let target = match options {
            Some(options) => Some(Arc::new(Target::new(options).await?)),
            None => None,
        };
        *guard(&self.target) = target;
        Ok(())
    }

    /// What became of the events.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        guard(&self.log)
    }

    /// Whether events are wanted now.
    pub fn is_on(&self) -> bool {
        guard(&self.target).as_ref().is_some_and(|target| !target.has_ended())
    }

    /// Whether a 404 has ended it for good.
    pub fn has_ended(&self) -> bool {
        guard(&self.target).as_ref().is_some_and(|target| target.has_ended())
    }

    /// Takes an event that is to be sent.
    pub fn send(self: &Arc<Self>, event: &Event) {
        let target = guard(&self.target).clone();
        let Some(target) = target.filter(|target| !target.has_ended()) else {
            return;
        };
        let mut log = self.log();
        let number = log.open(event);
        if log.tally().waiting > WAITING {
            log.close(number, Fate::Failed("too many were waiting".into()));
            return;
        }
        drop(log);
        let (webhook, event) = (Arc::clone(self), event.clone());
        self.tasks.spawn(async move {
            let stop = webhook.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = delivery::run(&webhook, &target, number, &event) => {}
            }
        });
    }

    fn conclude(&self, number: u64, fate: Fate) {
        self.log().close(number, fate);
        self.changed.send_replace(());
    }

    fn tell(&self, what: String) {
        if let Some(narrator) = &self.narrator {
            narrator(&Notice::Webhook(what));
        }
    }
}

/// A panicking holder leaves these plain values whole, so poison is not passed on.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
