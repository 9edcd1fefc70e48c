//! The runner: everything about a sink that is not the sink.
//!
//! It owns the position in the journal, the filter, the batches, the retries and
//! the cursor; a sink only writes a batch and says how it went. Fresh commits come
//! from memory; a sink that lags reads the file, so its lag is on disk and delays
//! nobody else. The cursor moves only after the sink has confirmed.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::filter::Filter;
use super::second_chances::SecondChances;
use super::{Delivered, Failure, Retry, Sink};
use crate::clock::Clock;
use crate::config;
use crate::event::Stored;
use crate::journal::cursor::Cursor;
use crate::journal::dead_letters::DeadLetter;
use crate::journal::reader::{Page, Reading};
use crate::journal::{Commit, Journal, JournalError, Stopped};
use crate::metrics::SinkMetrics;
use crate::repeat::Repeat;

/// Events read from the file at once, by a sink that lags a little.
const READ_EVENTS: usize = 1_000;
/// Or this many bytes.
const READ_BYTES: usize = 1 << 20;
/// So many times as much is read at once by a sink that lags far behind: each write of a
/// file, and each sync, is for more.
const MOST_PAGES: usize = 7;

/// Why a runner ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Up to which `seq` to deliver before ending; `None` while there is no end.
pub type DrainTo = watch::Receiver<Option<u64>>;

/// Delivers the journal to one sink.
pub struct Runner {
    pub(super) name: Arc<str>,
    pub(super) filter: Filter,
    pub(super) sink: Box<dyn Sink>,
    pub(super) retry: Retry,
    pub(super) journal: Journal,
    cursor: Cursor,
    commits: broadcast::Receiver<Commit>,
    drain_to: DrainTo,
    reopen: watch::Receiver<u64>,
    pub(super) reading: Reading,
    /// The last event that was taken up, whether the filter let it through or not.
    seq: u64,
    /// More may be in the file than memory has.
    behind: bool,
    /// How many times [`READ_BYTES`] are read at once.
    pages: usize,
    pub(super) failures: Repeat,
    pub(super) second: SecondChances,
    pub(super) metrics: Arc<SinkMetrics>,
    /// To end as soon as what is in hand is delivered.
    stop: CancellationToken,
}

/// What to do next.
enum Step {
    /// Deliver events: commits, or what was read.
    Live(Vec<Part>),
    /// Send something again.
    Again,
    /// Everything is delivered, and nothing more is to come.
    End,
}

/// Events of a commit, or what was read, from an index on.
struct Part {
    events: Commit,
    from: usize,
}

impl Part {
    fn events(&self) -> &[Stored] {
        &self.events[self.from..]
    }
}

impl Runner {
    /// Of a sink whose cursor the journal knows.
    pub fn new(
        settings: &config::Sink,
        sink: Box<dyn Sink>,
        journal: &Journal,
        cursor: Cursor,
        drain_to: DrainTo,
    ) -> Self {
        Self {
            name: Arc::clone(&settings.name),
            filter: settings.filter.clone(),
            retry: sink.retry(),
            sink,
            journal: journal.clone(),
            seq: cursor.get(),
            cursor,
            commits: journal.commits(),
            drain_to,
            // Nobody asks, unless told otherwise.
            reopen: watch::channel(0).1,
            reading: journal.reading(),
            behind: true,
            pages: 1,
            failures: Repeat::default(),
            second: SecondChances::new(journal.asked()),
            metrics: journal.metrics().sink(&settings.name),
            stop: CancellationToken::new(),
        }
    }

    /// The sink opens files anew whenever this changes.
    pub fn reopening_on(mut self, reopen: watch::Receiver<u64>) -> Self {
        self.reopen = reopen;
        self
    }

    /// Ends early when `stop` says so: with the batch that is in hand, or the wait after
    /// its failure. Its cursor stays where it is.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// Delivers until told to end and everything up to there is delivered.
    pub async fn run(mut self) -> Result<(), RunnerError> {
        loop {
            match self.next().await? {
                Step::End => break,
                Step::Again => self.second_chance().await?,
                Step::Live(parts) => {
                    let all = parts.iter().flat_map(Part::events);
                    let wanted: Vec<&Stored> = all.filter(|e| self.filter.wants(e)).collect();
                    if !self.deliver(&wanted).await? {
                        break;
                    }
                    if let Some(last) = parts.last().and_then(|part| part.events.last()) {
                        self.seq = last.seq;
                        self.cursor.confirm(last.seq);
                    }
                }
            }
        }
        self.sink.close().await;
        debug!(sink = %self.name, seq = self.seq, "sink drained");
        Ok(())
    }

    /// What to do next. What is sent again and what is new take turns.
    async fn next(&mut self) -> Result<Step, RunnerError> {
        if self.stop.is_cancelled() {
            return Ok(Step::End);
        }
        // An error is a daemon that ends, or none: nobody will ask.
        if self.reopen.has_changed().unwrap_or(false) {
            self.reopen.mark_unchanged();
            self.sink.reopen();
        }
        if self.second.takes_turn() {
            return Ok(Step::Again);
        }
        loop {
            if self.behind {
                let events = self.read().await?;
                if !events.is_empty() {
                    return Ok(Step::Live(vec![Part { events: Arc::new(events), from: 0 }]));
                }
            }
            if self.drain_to.borrow().is_some_and(|end| self.seq >= end) {
                return Ok(Step::End);
            }
            tokio::select! {
                biased;
                commit = self.commits.recv() => match self.fresh(commit, self.seq) {
                    ControlFlow::Break(None) => return Ok(Step::End),
                    ControlFlow::Break(Some(part)) => return Ok(Step::Live(self.gather(part))),
                    ControlFlow::Continue(()) => {}
                },
                // The sender is dropped only with the daemon; then there is an end, too.
                changed = self.drain_to.changed() => if changed.is_err() { return Ok(Step::End) },
                () = self.second.wanted() => return Ok(Step::Again),
                Ok(()) = self.reopen.changed() => self.sink.reopen(),
                () = due(self.sink.next_wake()) => self.sink.wake().await,
                () = self.stop.cancelled() => return Ok(Step::End),
            }
        }
    }

    /// What the file has next. While it is delivered, what follows it is read, unless it is
    /// the first, which may be all that a sink that is down ever takes; where there was no
    /// more, what comes then comes from memory.
    async fn read(&mut self) -> Result<Vec<Stored>, JournalError> {
        let bounds = |pages| (pages * READ_EVENTS, pages * READ_BYTES);
        let (most_events, most_bytes) = bounds(self.pages);
        let Page { events, more } = self.reading.page(self.seq, most_events, most_bytes).await?;
        let is_first = self.pages == 1;
        self.behind = more;
        self.pages = if more { (2 * self.pages).min(MOST_PAGES) } else { 1 };
        if let (true, false, Some(last)) = (more, is_first, events.last()) {
            let (most_events, most_bytes) = bounds(self.pages);
            self.reading.read_ahead(last.seq, most_events, most_bytes);
        }
        Ok(events)
    }

    /// With a commit those that came after it meanwhile, up to a batch of the sink: the
    /// slower the sink, the more at once.
    fn gather(&mut self, first: Part) -> Vec<Part> {
        let mut events = first.events().len();
        let mut parts = vec![first];
        while !self.behind && events < self.sink.max_batch() {
            let Some(last) = parts.last().and_then(|part| part.events.last()) else { break };
            let commit = match self.commits.try_recv() {
                Ok(commit) => Ok(commit),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                // Should it be closed, the next look tells.
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
            if let ControlFlow::Break(Some(part)) = self.fresh(commit, last.seq) {
                events += part.events().len();
                parts.push(part);
            }
        }
        parts
    }

    /// What a commit from memory is good for, with everything up to `seq` in hand; none
    /// are to come any more with `Break(None)`.
    fn fresh(&mut self, commit: Result<Commit, RecvError>, seq: u64) -> ControlFlow<Option<Part>> {
        let commit = match commit {
            Ok(commit) => commit,
            // The next one tells whether those that are missed were read from the file.
            Err(RecvError::Lagged(_)) => return ControlFlow::Continue(()),
            Err(RecvError::Closed) => return ControlFlow::Break(None),
        };
        let from = commit.partition_point(|event| event.seq <= seq);
        match commit.get(from) {
            // All of it was read from the file already.
            None => ControlFlow::Continue(()),
            Some(first) if first.seq == seq + 1 => {
                ControlFlow::Break(Some(Part { events: commit, from }))
            }
            // There is a hole before it, which only the file can fill.
            Some(_) => {
                self.behind = true;
                ControlFlow::Continue(())
            }
        }
    }

    /// Delivers events in order, however long it takes; `false` if it was told to end
    /// before it was through.
    async fn deliver(&mut self, mut events: &[&Stored]) -> Result<bool, RunnerError> {
        let mut wait = Waits::new(self.retry);
        while !events.is_empty() {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let now = &events[..events.len().min(self.sink.max_batch())];
            let Delivered { confirmed, failure } = self.sink.deliver(now).await;
            self.metrics.delivered(confirmed.min(now.len()));
            self.count(failure.as_ref());
            if let Some(last) = confirmed.checked_sub(1).and_then(|last| now.get(last)) {
                self.cursor.confirm(last.seq);
                wait = Waits::new(self.retry);
                if failure.is_none() && self.failures.over() {
                    info!(sink = %self.name, "sink works again");
                }
            }
            events = &events[confirmed.min(events.len())..];
            let (Some(failure), Some(first)) = (failure, events.first()) else { continue };
            if self.failed(first, failure, &mut wait).await? {
                self.cursor.confirm(first.seq);
                events = &events[1..];
                wait = Waits::new(self.retry);
            }
        }
        Ok(true)
    }

    /// Counts a failure, if there is one.
    pub(super) fn count(&self, failure: Option<&Failure>) {
        let (for_good, reason) = match failure {
            None => return,
            Some(Failure::Retry { reason, .. }) => (false, reason),
            Some(Failure::Refused { reason }) => (true, reason),
        };
        self.metrics.failed(for_good, Clock::system().now_ms(), reason);
    }

    /// Waits before another try (`false`), or gives the event up (`true`).
    async fn failed(
        &mut self,
        event: &Stored,
        failure: Failure,
        wait: &mut Waits,
    ) -> Result<bool, RunnerError> {
        let (reason, after) = match failure {
            Failure::Refused { reason } => (reason, None),
            Failure::Retry { reason, after } if !wait.is_over() => {
                let pause = after.unwrap_or_default().max(wait.next());
                if let Some(times) = self.failures.note(&reason) {
                    warn!(sink = %self.name, error = reason, times, next_try_in = ?pause, "delivery failed; the event waits in the journal");
                }
                (reason, Some(pause))
            }
            Failure::Retry { reason, .. } => {
                let limit = self.retry.give_up_after.unwrap_or_default();
                (format!("given up after {limit:?}: {reason}"), None)
            }
        };
        if let Some(pause) = after {
            self.reading.forget().await;
            self.pages = 1;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
            return Ok(false);
        }
        self.bury(event, reason).await?;
        Ok(true)
    }

    /// The event becomes a dead letter.
    pub(super) async fn bury(&mut self, event: &Stored, reason: String) -> Result<(), RunnerError> {
        error!(sink = %self.name, id = %event.event.id, seq = event.seq, reason, "event is now a dead letter");
        let at_ms = Clock::system().now_ms();
        let sink = Arc::clone(&self.name);
        self.journal.dead_letter(DeadLetter { sink, at_ms, reason, event: event.clone() }).await?;
        Ok(())
    }
}

/// Resolves when a sink wants to be woken.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The waits between the tries of one event.
struct Waits {
    retry: Retry,
    since: Option<Instant>,
    bound: Duration,
}

impl Waits {
    fn new(retry: Retry) -> Self {
        Self { retry, since: None, bound: retry.initial }
    }

    /// Doubles up to the maximum, each drawn from the upper half, so that many
    /// senders do not come back at the same instant.
    fn next(&mut self) -> Duration {
        self.since.get_or_insert_with(Instant::now);
        let wait = self.bound.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.bound = (self.bound * 2).min(self.retry.max);
        wait
    }

    fn is_over(&self) -> bool {
        match (self.since, self.retry.give_up_after) {
            (Some(since), Some(limit)) => since.elapsed() >= limit,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_double_and_end_when_given_up() {
        let retry = Retry {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(8),
            give_up_after: Some(Duration::from_secs(60)),
        };
        let mut waits = Waits::new(retry);
        for bound in [1, 2, 4, 8, 8, 8] {
            let (wait, bound) = (waits.next(), Duration::from_secs(bound));
            assert!(wait >= bound / 2 && wait <= bound, "{wait:?} of {bound:?}");
        }
        assert!(!waits.is_over());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(waits.is_over());
    }
}
