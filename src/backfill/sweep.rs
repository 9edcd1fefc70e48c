//! One comparison: what REST tells of some spans, against what the journal has.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::known::{self, Unnamed};
use super::window::Window;
use crate::clock::Clock;
use crate::event::{Event, Origin};
use crate::journal::gaps::{Found, Progress, Span};
use crate::journal::quarantine::Quarantined;
use crate::journal::reader::Reading;
use crate::journal::{Journal, JournalError, Stopped};
use crate::rest::{Call, Calls, Odd, Page, Rest, RestError};

/// Events given to the journal at once: live ones wait for no more than these.
const BATCH: usize = 64;
/// A comparison that takes longer than this says how far it is, again and again.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Calls whose targets are asked for in one comparison, each with a request of its own;
/// at 60 requests a minute that is some minutes. Calls beyond it are added without.
const DETAILS: u64 = 300;
/// Fewer than this share of the calls that came live: REST does not show all of them.
const EXPECTED_SHARE: u64 = 2;

/// CDRs that came so long before a span are looked through for a call without session:
/// the clocks differ, and a CDR may be pushed late.
const KNOWN_BEFORE_MS: i64 = 10 * 60_000;
/// REST may show a call so long after its end.
const LATE_ROWS_MS: i64 = 60_000;

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// REST cannot be asked.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// REST tells too little to believe that it tells everything.
    #[error(
        "REST shows {shown} of the {heard} calls that were heard live: its user sees only some; give it a role that sees the call logs of the whole tenant, or set login in [pbx.NAME.backfill]"
    )]
    Blind {
        /// Calls that REST told.
        shown: u64,
        /// Calls that came live in the same time.
        heard: u64,
    },
}

/// Compares `spans`, which are over, with REST; what was found, all together.
pub async fn sweep(
    rest: &mut Rest,
    books: &mut Books,
    spans: &[Span],
) -> Result<Found, SweepError> {
    let offset_ms = offset_ms(rest).await?;
    let mut sweep = Sweep::new(books, spans, offset_ms);
    let Some((from, to)) = sweep.range() else { return Ok(Found::default()) };
    let mut calls = rest.calls(from, to);
    while let Some(page) = calls.next().await? {
        let reached = page.reached_ms;
        sweep.page(page, &mut calls).await?;
        sweep.reached(reached).await?;
        sweep.tell(reached, to);
    }
    if spans.iter().all(|span| span.reached_ms.is_none()) {
        sweep.believe(from - offset_ms, to - offset_ms).await?;
    }
    Ok(sweep.total)
}

/// The PBX's clock minus ours. Before the first answer, a question that nothing answers
/// to is asked for its date.
async fn offset_ms(rest: &mut Rest) -> Result<i64, SweepError> {
    if rest.clock_offset_ms().is_none() {
        let now = Clock::system().now_ms();
        rest.calls(now, now + 1).next().await?;
    }
    Ok(rest.clock_offset_ms().unwrap_or(0))
}

/// Our side of a comparison.
pub struct Books {
    /// NAME of `[pbx.NAME]`.
    pub pbx: Arc<str>,
    /// Where calls go, and how far it has come; `None` only counts what is missing.
    pub journal: Option<Journal>,
    /// Where calls are looked up.
    pub reading: Reading,
    /// How long a call may last and still be found.
    pub lookback: Duration,
    /// Items without sense that are in the quarantine already.
    pub odd: HashSet<bytes::Bytes>,
}

/// Calls without session, and the `seq` up to which they were read.
type UnnamedSince = (HashSet<Unnamed>, u64);

/// A call that belongs to a span.
struct Meant {
    /// Which of the spans.
    at: usize,
    call: Call,
    event: Event,
    known: bool,
}

/// A comparison under way.
struct Sweep<'a> {
    books: &'a mut Books,
    windows: Vec<(Window, Span)>,
    /// CDRs of the journal by Call-ID, once they are needed.
    unnamed: Option<UnnamedSince>,
    /// Ended calls that REST told, in a span or not.
    shown: u64,
    /// The PBX's clock minus ours.
    offset_ms: i64,
    /// Found since it was written down last, for each span.
    found: Vec<Found>,
    total: Found,
    details: u64,
    started: Instant,
    told: Instant,
}

impl<'a> Sweep<'a> {
    fn new(books: &'a mut Books, spans: &[Span], offset_ms: i64) -> Self {
        let window =
            |span: &Span| Some((Window::of(span, books.lookback, offset_ms)?, span.clone()));
        let windows: Vec<_> = spans.iter().filter_map(window).collect();
        let now = Instant::now();
        Self {
            books,
            found: vec![Found::default(); windows.len()],
            windows,
            unnamed: None,
            offset_ms,
            shown: 0,
            total: Found::default(),
            details: 0,
            started: now,
            told: now,
        }
    }

    /// Starts of calls to ask for, in Unix milliseconds of the PBX's clock.
    fn range(&self) -> Option<(i64, i64)> {
        let from = self.windows.iter().map(|(window, span)| window.resumed(span.reached_ms)).min();
        let to = self.windows.iter().map(|(window, _)| window.to_ms).max();
        from.zip(to)
    }

    async fn page(&mut self, page: Page, calls: &mut Calls<'_>) -> Result<(), SweepError> {
        self.quarantine(page.odd).await?;
        let now_ms = Clock::system().now_ms();
        let pbx_now_ms = now_ms + self.offset_ms;
        let mut meant = Vec::new();
        for call in page.calls {
            let Some(ended_ms) = call.ended_ms else { continue };
            self.shown += 1;
            let mut windows = self.windows.iter();
            let Some(at) = windows.position(|(window, _)| window.means(ended_ms, pbx_now_ms))
            else {
                continue;
            };
            match call.event(&self.books.pbx, now_ms) {
                Ok(event) => meant.push(Meant { at, call, event, known: false }),
                Err(e) => {
                    let reason = e.to_string();
                    self.quarantine(vec![Odd { reason, item: call.item.clone() }]).await?;
                }
            }
        }
        let mut missing = Vec::new();
        for meant in self.look_up(meant).await? {
            let found = &mut self.found[meant.at];
            found.found += 1;
            match meant.known {
                true => found.present += 1,
                false => missing.push(meant),
            }
        }
        self.add(missing, calls).await
    }

    /// Which of the calls the journal has by now.
    async fn look_up(&mut self, mut calls: Vec<Meant>) -> Result<Vec<Meant>, SweepError> {
        let needs_unnamed = calls.iter().any(|meant| meant.call.session_id.is_none());
        let pbx = Arc::clone(&self.books.pbx);
        let since = self.windows.iter().map(|(_, span)| span.start_ms).min().unwrap_or(0);
        let mut unnamed = self.unnamed.take();
        let looked_up = self.books.reading.with(move |reader| {
            if needs_unnamed {
                let seq = match &unnamed {
                    Some((_, seq)) => *seq,
                    None => reader.seq_before(since - KNOWN_BEFORE_MS)?,
                };
                let last = reader.last_seq()?;
                let new = reader.ask(|db| known::unnamed_after(db, &pbx, seq))?;
                let (known, seq) = unnamed.get_or_insert_default();
                known.extend(new);
                *seq = last;
            }
            reader.ask(|db| {
                for Meant { call, event, known, .. } in &mut calls {
                    let call_id = call.call_id.as_deref();
                    *known = match (&call.session_id, call_id, &unnamed) {
                        (Some(_), _, _) => known::has_session(db, event, call_id)?,
                        (None, Some(id), Some((unnamed, _))) => {
                            known::has_unnamed(unnamed, id, call.started_ms)
                        }
                        (None, _, _) => false,
                    };
                }
                Ok((calls, unnamed))
            })
        });
        let (calls, unnamed) = looked_up.await?;
        self.unnamed = unnamed;
        Ok(calls)
    }

    /// Puts what is missing into the journal, a few at a time.
    async fn add(&mut self, missing: Vec<Meant>, calls: &mut Calls<'_>) -> Result<(), SweepError> {
        let Some(journal) = self.books.journal.clone() else { return Ok(()) };
        let mut by_span: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
        for Meant { at, call, event, .. } in missing {
            let event = self.with_targets(call, event, calls).await?;
            by_span.entry(at).or_default().push(event);
        }
        for (at, events) in by_span {
            for batch in events.chunks(BATCH) {
                let new = journal.intake().events_durably(batch.to_vec()).await?;
                // What came meanwhile by itself was no gain.
                self.found[at].added += new as u64;
                self.found[at].present += (batch.len() - new) as u64;
            }
        }
        Ok(())
    }

    /// Releases without call logs tell of targets only when asked for one call.
    async fn with_targets(
        &mut self,
        call: Call,
        event: Event,
        calls: &mut Calls<'_>,
    ) -> Result<Event, SweepError> {
        if call.session_id.is_some() || self.details >= DETAILS {
            return Ok(event);
        }
        self.details += 1;
        let full = calls.details(&call).await?.event(&self.books.pbx, event.received_ms);
        Ok(full.unwrap_or(event))
    }

    async fn quarantine(&mut self, odd: Vec<Odd>) -> Result<(), SweepError> {
        let Some(journal) = &self.books.journal else { return Ok(()) };
        let mut entries = Vec::new();
        for Odd { reason, item } in odd {
            if !self.books.odd.insert(item.clone()) {
                continue;
            }
            warn!(pbx = %self.books.pbx, reason, size = item.len(),
                "an item of REST makes no sense; it is kept in the quarantine");
            entries.push(Quarantined {
                pbx: Arc::clone(&self.books.pbx),
                origin: Origin::Backfill,
                received_ms: Clock::system().now_ms(),
                reason,
                size: item.len() as u64,
                data: item,
            });
        }
        Ok(journal.intake().suspects(&mut entries).await?)
    }

    /// Writes down how far it has come.
    async fn reached(&mut self, reached_ms: i64) -> Result<(), SweepError> {
        for ((_, span), found) in self.windows.iter().zip(&mut self.found) {
            let found = std::mem::take(found);
            self.total += found;
            if let Some(journal) = &self.books.journal {
                journal.compared(Progress::Reached { n: span.n, reached_ms, found }).await?;
            }
        }
        Ok(())
    }

    /// A REST user with the wrong role sees nothing, or little, of what was heard live.
    async fn believe(&mut self, from: i64, to: i64) -> Result<(), SweepError> {
        let (shown, pbx) = (self.shown, Arc::clone(&self.books.pbx));
        // Calls that came in the second half of the lookback surely began in it.
        let half = i64::try_from(self.books.lookback.as_millis() / 2).unwrap_or(i64::MAX);
        let from = from.saturating_add(half);
        let to = to.min(Clock::system().now_ms() - LATE_ROWS_MS);
        let heard = self.books.reading.with(move |reader| {
            let (after, up_to) = (reader.seq_before(from)?, reader.seq_before(to)?);
            reader.ask(|db| known::heard_live(db, &pbx, after, up_to))
        });
        let heard = heard.await?;
        if shown < heard.div_ceil(EXPECTED_SHARE) {
            return Err(SweepError::Blind { shown, heard });
        }
        Ok(())
    }

    fn tell(&mut self, reached_ms: i64, to_ms: i64) {
        if self.started.elapsed() < TELL_EVERY || self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let Found { found, added, .. } = self.total;
        info!(pbx = %self.books.pbx, found, added, left_seconds = (to_ms - reached_ms) / 1000,
            "comparing with REST");
    }
}
