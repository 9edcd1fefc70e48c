//! All calls of a span, page by page, whatever the PBX ignores of what it is asked.
//!
//! | file | reads | when |
//! |---|---|---|
//! | `ascending` | from each page's last call on | at first |
//! | `windows` | pieces of time, each small enough for one answer | the PBX ignores `orderby` |
//! | `skipping` | the next so many, with an overlap | it ignores `filter`, or one second holds more than an answer |
//!
//! `skip` is the last resort: whether it counts from zero or from one is not
//! documented, and what comes or goes meanwhile moves everything.
//!
//! What all three promise: each step gets further, or ends, or fails. No call is
//! passed over silently: an answer is the whole of what was asked for, or it is known
//! where the rest begins, or there is an error.

mod ascending;
mod skipping;
mod windows;

use std::collections::HashSet;
use std::fmt;

use super::answer::{Batch, Entry};
use super::error::RestError;
use super::item::{Call, Key, Odd};
use super::query::{Question, TOP};
use super::quirks::Quirk;
use super::session::Session;
use ascending::Ascending;
use skipping::Skipping;
use windows::Windows;

/// Answers of fewer items than this are not taken for ones that the PBX cut short, if
/// its own count agrees.
const SUSPICIOUS: usize = 10;

/// Some calls, and how far that is.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Calls that no page before had.
    pub calls: Vec<Call>,
    /// Items that are no calls, for the quarantine.
    pub odd: Vec<Odd>,
    /// Every call of the span that started before this has been on this page or one
    /// before it (Unix milliseconds). A new [`Calls`] may begin here.
    pub reached_ms: i64,
    /// How many calls there are in all, as the PBX says; about.
    pub total: Option<u64>,
}

/// The calls of a span. Dropping it, or a future of [`Calls::next`], loses nothing
/// but what was not returned yet.
pub struct Calls<'a> {
    reading: Reading<'a>,
    mode: Mode,
}

impl fmt::Debug for Calls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calls({:?})", self.mode)
    }
}

#[derive(Debug)]
enum Mode {
    Ascending(Ascending),
    Windows(Windows),
    /// Through one second, then on with the other.
    Crowd(Skipping, Box<Mode>),
    Skipping(Skipping),
    Done,
}

/// What a step came to.
enum Step {
    /// A page, and more to come.
    Page(Page),
    /// A page, and no more to come.
    Last(Page),
    /// Nothing yet.
    Again,
    /// Another way must be taken, after this page.
    Turn(Option<Page>, Mode),
}

impl<'a> Calls<'a> {
    pub(super) fn new(session: &'a mut Session, from_ms: i64, to_ms: i64) -> Self {
        let span = Span {
            from_ms,
            to_ms,
            from_s: from_ms.div_euclid(1000),
            to_s: to_ms.saturating_add(999).div_euclid(1000),
        };
        let reading = Reading { session, span, seen: HashSet::new(), met: 0, total: None };
        let mode = match from_ms < to_ms {
            true => Mode::Ascending(Ascending::new(&span)),
            false => Mode::Done,
        };
        Self { reading, mode }
    }

    /// The call with its targets, as [`super::Rest::details`] has it, between two pages.
    pub async fn details(&mut self, call: &Call) -> Result<Call, RestError> {
        self.reading.session.with_details(call).await
    }

    /// The next page; `None` after the last, whose `reached_ms` is the span's end. Pages
    /// may be empty. After an error that passes by itself it may be called again.
    ///
    /// # Errors
    /// [`RestError::Invalid`]: the PBX's answers cannot be relied on to be complete.
    pub async fn next(&mut self) -> Result<Option<Page>, RestError> {
        loop {
            let step = match &mut self.mode {
                Mode::Done => return Ok(None),
                Mode::Ascending(mode) => mode.step(&mut self.reading).await?,
                Mode::Windows(mode) => mode.step(&mut self.reading).await?,
                Mode::Skipping(mode) | Mode::Crowd(mode, _) => mode.step(&mut self.reading).await?,
            };
            match step {
                Step::Again => {}
                Step::Turn(page, mode) => {
                    self.mode = mode;
                    if page.is_some() {
                        return Ok(page);
                    }
                }
                Step::Page(page) => return Ok(Some(page)),
                Step::Last(page) => {
                    self.mode = match std::mem::replace(&mut self.mode, Mode::Done) {
                        Mode::Crowd(_, after) => *after,
                        _ => Mode::Done,
                    };
                    return Ok(Some(page));
                }
            }
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Span {
    from_ms: i64,
    to_ms: i64,
    /// The same in the seconds that hold it: the PBX is asked for whole ones.
    from_s: i64,
    to_s: i64,
}

/// What the ways of reading have in common.
struct Reading<'a> {
    session: &'a mut Session,
    span: Span,
    /// Items that were met, in the span or not.
    seen: HashSet<Key>,
    /// Those of them in the span's seconds, and the odd ones.
    met: u64,
    /// The PBX's count of them, when it was first asked.
    total: Option<u64>,
}

impl Reading<'_> {
    async fn ask(&mut self, question: Question) -> Result<Batch, RestError> {
        let mut batch = Batch::read(self.session.list(&question).await?)?;
        let nothing = batch.entries.is_empty() && question.skip == 0;
        if nothing && batch.count.is_some_and(|count| count > 0) {
            self.miscounted();
        }
        if self.session.miscounts {
            batch.count = None;
        }
        let items = batch.entries.len();
        if batch.mended {
            self.session.note(Quirk::NotUtf8);
        }
        if items > TOP {
            self.session.note(Quirk::IgnoresTop);
        }
        let cut_alike = items == self.session.largest;
        self.session.largest = self.session.largest.max(items);
        if batch.count.is_some_and(|count| count > items as u64 + question.skip) {
            self.session.counts_all = true;
            // Twice the same length is no chance.
            if cut_alike && (1..TOP).contains(&items) {
                self.session.note(Quirk::CapsTop);
            }
        }
        Ok(batch)
    }

    /// From now on the PBX's count says nothing.
    fn miscounted(&mut self) {
        self.session.miscounts = true;
        self.session.note(Quirk::Miscounts);
        self.total = None;
    }

    /// Whether there may be more of what was asked for than has come, of which there are
    /// `known` with this answer.
    fn may_hide(&self, batch: &Batch, known: usize) -> bool {
        let items = batch.entries.len();
        let full = items >= self.session.largest || items == TOP;
        match batch.count {
            _ if items == 0 => false,
            Some(count) if count > known as u64 => true,
            // A count of what is on the page, as some interfaces have it, says nothing.
            Some(_) => full && items >= SUSPICIOUS && !self.session.counts_all,
            None => full,
        }
    }

    /// Whether something came that was not asked for.
    fn check_filter(&mut self, batch: &Batch, from_s: i64, to_s: i64) -> Filter {
        let (mut before, mut after) = (false, false);
        for second in batch.starts() {
            before |= second < from_s;
            after |= second >= to_s;
        }
        if before || after {
            self.session.note(Quirk::IgnoresFilter);
        }
        Filter { before, after }
    }

    /// Sorts out what was seen before, and what is not in the span.
    fn take(&mut self, batch: Batch, reached_ms: i64) -> Page {
        let Span { from_ms, to_ms, from_s, to_s } = self.span;
        let mut page = Page { reached_ms, total: self.total, ..Page::default() };
        for entry in batch.entries {
            if !self.seen.insert(entry.key()) {
                continue;
            }
            let second = entry.started_s();
            self.met += u64::from(second.is_none_or(|s| (from_s..to_s).contains(&s)));
            match entry {
                Entry::Odd(odd) => page.odd.push(odd),
                Entry::Call(call) if (from_ms..to_ms).contains(&call.started_ms) => {
                    page.calls.push(call);
                }
                Entry::Call(_) => {}
            }
        }
        page
    }

    /// What `reached_ms` may be if everything before this second is there.
    fn reached(&self, second: i64) -> i64 {
        second.saturating_mul(1000).clamp(self.span.from_ms, self.span.to_ms)
    }
}

/// Calls outside of what was asked for.
struct Filter {
    before: bool,
    after: bool,
}
