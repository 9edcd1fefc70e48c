//! The backfill of one PBX, for ever: gaps that are over, comparisons that were asked
//! for, and those that are due.
//!
//! What there is to do stands in the journal, so that a restart changes nothing. A
//! failure is written down with the span, and the next try waits: for what may pass by
//! itself some seconds, then up to ten minutes; for the operator an hour. Once another
//! comparison shows that REST answers, none of them waits longer.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::sweep::{Books, SweepError, sweep};
use super::window::{CLOCK_ERROR_MS, together};
use crate::clock::Clock;
use crate::config::{Backfill, Pbx};
use crate::journal::gaps::{self, Found, Kind, Listened, Note, Progress, Span};
use crate::journal::{Journal, JournalError, Stopped};
use crate::pbx::lockout::Lockout;
use crate::repeat::Repeat;
use crate::rest::{Rest, RestError, Retry};

/// The first comparison waits so long after a gap: what is just being pushed comes by
/// itself, and tells more than REST does.
const FIRST_PASS_MS: i64 = 2_000;
/// The last one waits so long at least: until then, what seems to have ended just after
/// the gap is left alone.
const LAST_PASS_MS: i64 = CLOCK_ERROR_MS + 1_000;
/// The first wait after a failure that may pass by itself.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest.
const RETRY_LONGEST: Duration = Duration::from_secs(600);
/// The wait for the operator.
const RETRY_OPERATOR: Duration = Duration::from_secs(3600);

/// Why a worker ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The backfill of one PBX.
pub struct Worker {
    settings: Backfill,
    /// There is a session that notes gaps; otherwise only comparisons tell what is missing.
    wsi: bool,
    rest: Rest,
    lockout: Lockout,
    journal: Journal,
    books: Books,
    asked: watch::Receiver<u64>,
    failures: Repeat,
    failed_in_a_row: u32,
    /// REST has answered since the last failure: what failed before need not wait longer.
    answers: bool,
}

/// What to do next.
enum Next {
    /// Compare these, which one question serves.
    Compare(Vec<Span>),
    /// Nothing before then, in Unix milliseconds.
    Wait(i64),
}

impl Worker {
    /// Nothing happens before [`Worker::run`]. Reads the system's CA certificates.
    pub fn new(
        pbx: &Pbx,
        settings: &Backfill,
        journal: &Journal,
        lockout: Lockout,
    ) -> Result<Self, RestError> {
        let rest = Rest::new(pbx, lockout.clone(), Clock::system())?;
        let books = Books {
            pbx: pbx.name.clone(),
            journal: Some(journal.clone()),
            reading: journal.reading(),
            lookback: settings.lookback,
            odd: HashSet::new(),
        };
        Ok(Self {
            settings: settings.clone(),
            wsi: pbx.wsi,
            rest,
            lockout,
            journal: journal.clone(),
            books,
            asked: journal.asked(),
            failures: Repeat::default(),
            failed_in_a_row: 0,
            answers: false,
        })
    }

    /// Until the stop; fails only if the journal does.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), WorkerError> {
        if !self.wsi {
            let pbx = self.books.pbx.clone();
            self.journal.intake().note(Note::WebhookOnly { pbx }).await?;
        }
        let result = loop {
            // Whatever is under way when the stop comes goes on where it was.
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                stepped = self.step() => match stepped {
                    Ok(()) => {}
                    Err(e) => break Err(e),
                },
            }
        };
        self.rest.close().await;
        result
    }

    /// Compares one span that somebody asked for, and ends.
    pub async fn once(mut self, n: i64, stop: &CancellationToken) -> Result<(), WorkerError> {
        let asked = self.books.reading.with(move |reader| reader.ask(|db| gaps::get(db, n)));
        let asked = asked.await?;
        let compared = tokio::select! {
            compared = self.compare(asked.into_iter().collect()) => compared,
            () = stop.cancelled() => Ok(()),
        };
        self.rest.close().await;
        compared
    }

    async fn step(&mut self) -> Result<(), WorkerError> {
        match self.next().await? {
            Next::Compare(spans) => self.compare(spans).await,
            Next::Wait(until_ms) => {
                let wait = until_ms.saturating_sub(Clock::system().now_ms());
                let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
                tokio::select! {
                    () = tokio::time::sleep(wait) => Ok(()),
                    changed = self.asked.changed() => Ok(changed.map_err(|_| Stopped)?),
                }
            }
        }
    }

    /// Gaps first, then what somebody waits for, then what is due.
    async fn next(&mut self) -> Result<Next, WorkerError> {
        self.asked.mark_unchanged();
        let pbx = self.books.pbx.clone();
        let (spans, listened, reach_ms) = self
            .books
            .reading
            .with(move |reader| {
                let (spans, listened) = reader
                    .ask(|db| Ok((gaps::to_compare(db, &pbx)?, gaps::listened(db, &pbx)?)))?;
                Ok((spans, listened, reader.reach_ms()?))
            })
            .await?;
        let now = Clock::system().now_ms();
        let (due, later): (Vec<Span>, Vec<Span>) =
            spans.into_iter().partition(|span| self.due_ms(span) <= now);
        let waits = later.iter().map(|span| self.due_ms(span)).min().unwrap_or(i64::MAX);
        let (mut wanted, others): (Vec<Span>, Vec<Span>) =
            due.into_iter().partition(|span| span.kind == Kind::Gap);
        if wanted.is_empty() {
            let asked = others.iter().find(|span| span.kind == Kind::Asked);
            wanted.extend(asked.or(others.first()).cloned());
        }
        if let Some(spans) = together(wanted, self.settings.lookback).into_iter().next() {
            return Ok(Next::Compare(spans));
        }
        let Some(listened) = listened else { return Ok(Next::Wait(waits)) };
        // What the journal has given up already cannot be compared any more.
        let start = listened.reconciled_ms.unwrap_or(listened.first_ms).max(reach_ms.unwrap_or(0));
        self.reconcile(listened, start, !later.is_empty(), waits).await
    }

    /// A gap is looked at for the first time a little after its end.
    fn due_ms(&self, span: &Span) -> i64 {
        let wait = match self.settings.settle.is_zero() {
            true => LAST_PASS_MS,
            false => FIRST_PASS_MS,
        };
        match (span.kind, span.passes, span.end_ms) {
            _ if self.answers && span.error.is_some() => 0,
            (Kind::Gap, 0, Some(end)) => span.due_ms.max(end.saturating_add(wait)),
            _ => span.due_ms,
        }
    }

    /// Begins a comparison of everything since the last one, if it is time.
    async fn reconcile(
        &mut self,
        listened: Listened,
        start: i64,
        unfinished: bool,
        waits: i64,
    ) -> Result<Next, WorkerError> {
        let every = i64::try_from(self.settings.reconcile_every.as_millis()).unwrap_or(i64::MAX);
        // What is not finished comes first: it may find the same.
        if every == 0 || unfinished {
            return Ok(Next::Wait(waits));
        }
        let settle = i64::try_from(self.settings.settle.as_millis()).unwrap_or(i64::MAX);
        let now = Clock::system().now_ms();
        let end = listened.open_since_ms.map_or(now, |open| open.min(now)) - settle;
        if end - start < every {
            return Ok(Next::Wait(waits.min(start.saturating_add(every).saturating_add(settle))));
        }
        let (pbx, kind) = (self.books.pbx.clone(), Kind::Reconcile);
        self.journal.compared(Progress::Begun { pbx, kind, span: (start, end) }).await?;
        Ok(Next::Wait(0))
    }

    async fn compare(&mut self, spans: Vec<Span>) -> Result<(), WorkerError> {
        match sweep(&mut self.rest, &mut self.books, &spans).await {
            Ok(found) => self.passed(spans, found).await,
            Err(SweepError::Stopped(e)) => Err(e.into()),
            Err(SweepError::Journal(e)) => Err(e.into()),
            Err(SweepError::Rest(RestError::Stopped)) => Err(Stopped.into()),
            Err(e) => self.failed(spans, e).await,
        }
    }

    async fn passed(&mut self, spans: Vec<Span>, found: Found) -> Result<(), WorkerError> {
        (self.failed_in_a_row, self.answers) = (0, true);
        self.failures.over();
        let pbx = &self.books.pbx;
        let settle = i64::try_from(self.settings.settle.as_millis()).unwrap_or(i64::MAX);
        let again = Clock::system().now_ms().saturating_add(settle);
        for span in spans {
            let last = span.end_ms.unwrap_or_default().saturating_add(LAST_PASS_MS);
            let twice = span.kind == Kind::Gap && span.passes == 0 && settle > 0;
            let again_at_ms = twice.then_some(again.max(last));
            self.journal.compared(Progress::Passed { n: span.n, again_at_ms }).await?;
            let seconds = (span.end_ms.unwrap_or(span.start_ms) - span.start_ms) / 1000;
            match (span.kind, again_at_ms) {
                (Kind::Gap, None) => info!(%pbx, gap = span.n, seconds, "gap closed"),
                (Kind::Reconcile, _) if found.added > 0 => {
                    self.journal.metrics().pbx(pbx).reconcile_missing.increment(found.added);
                    warn!(%pbx, missing = found.added, seconds, "calls were missing although cdrd listened; they were fetched over REST");
                }
                _ => {}
            }
        }
        if found.added > 0 {
            info!(%pbx, found = found.found, present = found.present, added = found.added, "backfilled");
        }
        Ok(())
    }

    async fn failed(&mut self, spans: Vec<Span>, error: SweepError) -> Result<(), WorkerError> {
        let wait = self.wait_after(&error);
        (self.failed_in_a_row, self.answers) = (self.failed_in_a_row + 1, false);
        let words = error.to_string();
        if let Some(times) = self.failures.note(&words) {
            warn!(pbx = %self.books.pbx, error = words, times, next_try_in = ?wait, "backfill failed");
        }
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let again = Clock::system().now_ms().saturating_add(wait);
        for span in spans {
            // Whoever asked is told, and may ask again.
            let again_at_ms = (span.kind != Kind::Asked).then_some(again);
            let error = words.clone();
            self.journal.compared(Progress::Failed { n: span.n, error, again_at_ms }).await?;
        }
        Ok(())
    }

    fn wait_after(&self, error: &SweepError) -> Duration {
        let growing = RETRY_FIRST * 2_u32.saturating_pow(self.failed_in_a_row.min(8));
        let growing = growing.min(RETRY_LONGEST);
        match error {
            // Calls came faster than they could be read, or the PBX was just starting.
            SweepError::Rest(RestError::Invalid { .. } | RestError::Denied { .. }) => growing,
            SweepError::Rest(e) => match e.retry() {
                Retry::Later(after) => growing.max(after.unwrap_or_default()),
                Retry::Locked(wait) => self.lockout.duration(wait),
                Retry::Operator | Retry::Never => RETRY_OPERATOR,
            },
            // Rows may have been late.
            _ => growing,
        }
    }
}
