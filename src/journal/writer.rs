//! The writing thread: commits whatever has queued up, then tells those who wait.
//!
//! It has a thread and a small runtime of its own, so that a disk sync never
//! stops a session. How it meets trouble:
//! - a full disk: nothing is dropped; the ballast is released, what everybody has
//!   is deleted, and the commit is tried again until there is room;
//! - a journal over `max_size`: see [`config::WhenFull`];
//! - any other failure ends the thread: after a failed write or sync nobody knows
//!   what is on disk, and the honest way on is a restart, which recovers it.

mod checkpoint;
mod room;

use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{broadcast, mpsc, watch};
use tracing::{debug, error, info};

use self::room::is_full_disk;
use super::append::{self, Place};
use super::cursor::Cursors;
use super::{
    Commit, Control, Handed, JournalError, Request, cursor, dead_letters, gaps, quarantine,
    refusals, replays, state,
};
use crate::clock::Clock;
use crate::config;
use crate::event::{Event, Origin, Stored};
use crate::metrics::{JournalState, Metrics, Tally};
use crate::repeat::Repeat;

/// Requests of each kind taken into one commit.
const REQUESTS_IN_COMMIT: usize = 64;
/// The writer comes by this often, unless its disk is stuck. Longer than any commit on a
/// healthy disk, and short against systemd's watchdog.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// How long a cursor may wait for a commit to ride on.
const CURSOR_IDLE: Duration = Duration::from_millis(250);

/// The state of the writing thread.
pub(crate) struct Writer {
    pub(super) path: std::path::PathBuf,
    settings: config::Journal,
    connection: Connection,
    /// Pages in the write-ahead log after the last commit.
    log_pages: Arc<AtomicI32>,
    cursors: Arc<Cursors>,
    commits: broadcast::Sender<Commit>,
    /// The next event's number; advances only after COMMIT.
    next_seq: u64,
    unchecked_bytes: u64,
    /// Over `max_size` with nothing to delete: no events are taken.
    paused: bool,
    /// The daemon stops: there is no pausing any more.
    finishing: bool,
    retention_due: tokio::time::Instant,
    full_disk: Repeat,
    /// The disk is full since then, in Unix milliseconds.
    full_since: Option<i64>,
    /// The journal is over `max_size` by what no sink can take away.
    overfull: Repeat,
    /// Tells that another process has written to the journal.
    asked: watch::Sender<u64>,
    /// SQLite's count of changes by others, as last seen.
    data_version: i64,
    metrics: Arc<Metrics>,
    tally: Tally,
}

/// What one commit will tell, once it is durable.
struct Placed {
    next_seq: u64,
    places: Vec<Place>,
    moved: Vec<(Arc<str>, u64)>,
    /// Sinks that came while the daemon runs, with their cursors.
    registered: Vec<(Arc<str>, u64)>,
    ended_gaps: Vec<gaps::EndedGap>,
}

impl Writer {
    pub(super) fn new(
        settings: &config::Journal,
        mut connection: Connection,
        cursors: Arc<Cursors>,
        commits: broadcast::Sender<Commit>,
        asked: watch::Sender<u64>,
        metrics: Arc<Metrics>,
    ) -> rusqlite::Result<Self> {
        let next_seq = append::next_seq(&connection)?;
        let log_pages = checkpoint::pages_of_log(&mut connection)?;
        Ok(Self {
            log_pages,
            path: settings.path.clone(),
            settings: settings.clone(),
            connection,
            cursors,
            commits,
            next_seq,
            unchecked_bytes: 0,
            paused: false,
            finishing: false,
            retention_due: tokio::time::Instant::now(),
            full_disk: Repeat::default(),
            full_since: None,
            overfull: Repeat::default(),
            asked,
            // Not any version yet: what was asked for before the start is found at once.
            data_version: -1,
            tally: Tally::new(Arc::clone(&metrics)),
            metrics,
        })
    }

    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<Request<Handed>>,
        mut control: mpsc::Receiver<Request<Control>>,
    ) -> Result<(), JournalError> {
        let result = self.serve(&mut events, &mut control).await;
        if let Err(e) = &result {
            error!(error = %e, "journal stopped");
        }
        result
    }

    async fn serve(
        &mut self,
        events: &mut mpsc::Receiver<Request<Handed>>,
        control: &mut mpsc::Receiver<Request<Control>>,
    ) -> Result<(), JournalError> {
        self.fill_ballast();
        let (mut batches, mut requests) = (Vec::new(), Vec::new());
        let (mut events_open, mut control_open) = (true, true);
        while events_open || control_open {
            self.alive();
            tokio::select! {
                n = events.recv_many(&mut batches, REQUESTS_IN_COMMIT),
                    if events_open && !self.paused => events_open = n > 0,
                n = control.recv_many(&mut requests, REQUESTS_IN_COMMIT),
                    if control_open => control_open = n > 0,
                () = tokio::time::sleep(CURSOR_IDLE) => {}
            }
            self.commit(&mut batches, &mut requests).await?;
            self.maintain().await?;
            self.look_for_requests().await?;
            self.tell_state();
            // A pause ends with the sinks: when they are gone, so is its reason.
            self.paused &= control_open;
        }
        self.close()
    }

    /// Waiting for room or for sinks is progress: the loop that waits comes by here.
    fn alive(&self) {
        self.metrics.journal().beat.within(BACK_WITHIN);
    }

    fn tell_state(&self) {
        let state = if self.paused { JournalState::Paused } else { JournalState::Ok };
        self.metrics.journal().set_state(state);
    }

    /// Commits everything given, however long the disk stays full.
    async fn commit(
        &mut self,
        batches: &mut Vec<Request<Handed>>,
        requests: &mut Vec<Request<Control>>,
    ) -> Result<(), JournalError> {
        let moved = self.cursors.moved();
        if batches.is_empty() && requests.is_empty() && moved.is_empty() {
            return Ok(());
        }
        let mut started = Instant::now();
        let placed = loop {
            match self.try_commit(batches, requests, moved.clone()) {
                Ok(placed) => break placed,
                Err(e) if is_full_disk(&e) => {
                    self.wait_for_room().await;
                    started = Instant::now();
                }
                Err(e) => return Err(self.sqlite(e)),
            }
        };
        self.metrics.journal().committed(started.elapsed());
        if self.full_disk.over() {
            info!(path = %self.path.display(), "journal has room again");
            self.fill_ballast();
        }
        if let Some(since_ms) = self.full_since.take() {
            self.paused_from(since_ms, "the disk with the journal was full").await?;
            self.resume().await?;
        }
        self.publish(batches, requests, placed);
        self.carry_over()
    }

    fn try_commit(
        &mut self,
        batches: &[Request<Handed>],
        requests: &[Request<Control>],
        moved: Vec<(Arc<str>, u64)>,
    ) -> rusqlite::Result<Placed> {
        let now_ms = Clock::system().now_ms();
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut registered = Vec::new();
        for request in requests {
            match &request.what {
                Control::Quarantine(entry) => quarantine::insert(&transaction, entry)?,
                Control::DeadLetter(letter) => dead_letters::insert(&transaction, letter)?,
                Control::Login(note) => refusals::apply(&transaction, note)?,
                Control::Delivered(n) => dead_letters::delivered(&transaction, *n)?,
                Control::Replayed { n, next_seq } => replays::advance(&transaction, *n, *next_seq)?,
                Control::Retried(retried) => quarantine::settle(&transaction, retried)?,
                Control::Compared(progress) => gaps::progress(&transaction, progress, now_ms)?,
                Control::State(json) => state::save(&transaction, json)?,
                Control::Register(sinks) => {
                    registered.extend(cursor::load_all(&transaction, sinks, self.next_seq - 1)?);
                }
                Control::Flush | Control::Finish => {}
            }
        }
        let events = batches.iter().flat_map(|batch| &batch.what.events);
        let (next_seq, places) = match batches {
            [] => (self.next_seq, Vec::new()),
            _ => append::insert(&transaction, self.next_seq, events)?,
        };
        let mut ended_gaps = Vec::new();
        for Request { what: Handed { events, note }, .. } in batches {
            if let Some(last) = events.last().filter(|last| last.origin == Origin::Live) {
                gaps::heard(&transaction, &last.pbx, last.received_ms)?;
            }
            if let Some(note) = note {
                ended_gaps.extend(gaps::note(&transaction, note, now_ms)?);
            }
        }
        Cursors::save(&transaction, &moved, now_ms)?;
        transaction.commit()?;
        Ok(Placed { next_seq, places, moved, registered, ended_gaps })
    }

    /// The commit is durable: hands it to the sinks and tells those who wait.
    fn publish(
        &mut self,
        batches: &mut Vec<Request<Handed>>,
        requests: &mut Vec<Request<Control>>,
        placed: Placed,
    ) {
        self.next_seq = placed.next_seq;
        self.cursors.saved(&placed.moved);
        self.cursors.add(placed.registered);
        for request in requests.iter() {
            if let Control::Quarantine(entry) = &request.what {
                self.tally.pbx(&entry.pbx).quarantined();
            }
        }
        if requests.iter().any(|request| matches!(request.what, Control::Finish)) {
            (self.finishing, self.paused) = (true, false);
        }
        let spans = requests.iter().any(|request| matches!(request.what, Control::Compared(_)))
            || batches.iter().any(|batch| batch.what.note.is_some());
        let mut waiting: Vec<_> =
            requests.drain(..).filter_map(|request| Some((request.done?, 0))).collect();
        let mut stored = Vec::with_capacity(placed.places.len());
        let mut places = placed.places.into_iter();
        for batch in batches.drain(..) {
            let before = stored.len();
            for (mut event, place) in batch.what.events.into_iter().zip(&mut places) {
                self.count(&event, place.is_some());
                if let Some((seq, id)) = place {
                    event.id = id;
                    self.unchecked_bytes += event.raw.len() as u64;
                    stored.push(Stored { seq, event });
                } else {
                    debug!(pbx = %event.pbx, id = %event.id, "repeat of a known event, dropped");
                }
            }
            waiting.extend(batch.done.map(|done| (done, stored.len() - before)));
        }
        if !stored.is_empty() {
            // No receiver means that no sink runs; they will read the file.
            let _ = self.commits.send(Arc::new(stored));
        }
        for (done, new) in waiting {
            // Whoever asked may have been cancelled; the commit stands.
            let _ = done.send(new);
        }
        self.count_gaps(placed.ended_gaps);
        if spans {
            self.asked.send_modify(|n| *n += 1);
        }
    }

    /// What backfill finds again is no repeat: it looks at more than was missing.
    fn count(&mut self, event: &Event, added: bool) {
        let backfilled = event.origin == Origin::Backfill;
        if !backfilled {
            self.tally.received(&event.pbx, &event.event_type, event.received_ms);
        }
        match (backfilled, added) {
            (true, true) => self.tally.pbx(&event.pbx).backfilled.increment(1),
            (false, false) => self.tally.pbx(&event.pbx).duplicate(),
            _ => {}
        }
    }

    fn count_gaps(&mut self, ended: Vec<gaps::EndedGap>) {
        for (pbx, ms) in ended {
            let seconds = u64::try_from((ms + 500) / 1000).unwrap_or(0);
            self.tally.pbx(&Arc::from(pbx)).gap_seconds.increment(seconds);
        }
    }

    /// Other processes (`cdrd dead-letters retry` and the like) ask by writing.
    async fn look_for_requests(&mut self) -> Result<(), JournalError> {
        let version = self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(|e| self.sqlite(e))?;
        if version == self.data_version {
            return Ok(());
        }
        self.data_version = version;
        self.asked.send_modify(|n| *n += 1);
        loop {
            let retried = quarantine::retry_some(&self.connection).map_err(|e| self.sqlite(e))?;
            if retried.is_empty() {
                return Ok(());
            }
            let events = retried.iter().filter_map(|r| r.outcome.as_ref().ok().cloned()).collect();
            let settle = |r| Request { what: Control::Retried(r), done: None };
            let mut batches = vec![Request { what: Handed { events, note: None }, done: None }];
            let mut requests = retried.into_iter().map(settle).collect();
            self.commit(&mut batches, &mut requests).await?;
        }
    }

    fn close(&mut self) -> Result<(), JournalError> {
        self.metrics.journal().beat.open();
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|e| self.sqlite(e))
    }

    fn sqlite(&self, cause: rusqlite::Error) -> JournalError {
        JournalError::Sqlite { path: self.path.clone(), cause }
    }
}
