//! What all parts of one simulator share: lines to the connections, the ledger,
//! the faults, the switchboard, and a signal for whoever waits for a change.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::archive::Archive;
use super::call::Moment;
use super::events::{self, Event, Family};
use super::exchange::{Due, Exchange};
use super::faults::Faults;
use super::flood::{Flood, Records};
use super::ledger::{Ending, Ledger};
use super::notice::{Narrator, Notice};
use super::options::Options;
use super::patience::within;
use super::presence;
use super::rest;
use super::spelling::Spelling;
use super::topics::Subscriptions;
use super::webhook::{self, Webhook};

/// Something to write to one connection, in order.
#[derive(Debug)]
pub enum Job {
    /// An event.
    Event(Event),
    /// A text frame of any bytes.
    Raw(Bytes),
    /// A text message in several frames.
    Pieces(Bytes),
    /// A ping; answers with the number of frames pushed before it.
    Ping(oneshot::Sender<u64>),
    /// Answers once everything before it is on the wire.
    Flush(oneshot::Sender<()>),
}

/// Something to do to one connection, at once.
#[derive(Debug, Clone)]
pub enum Order {
    /// Close with a code and a reason.
    Close(u16, String),
    /// TCP reset.
    Reset,
    /// End TCP without a close frame.
    HangUp,
    /// Write and read nothing any more.
    Silence,
}

/// The way to a running connection.
pub struct Line {
    /// What to write.
    pub jobs: mpsc::Sender<Job>,
    /// What to do.
    pub orders: mpsc::Sender<Order>,
    /// What it is subscribed to.
    pub subscriptions: Subscriptions,
}

/// The shared state.
pub struct Hub {
    /// How the simulator was started.
    pub options: Options,
    /// Ends everything.
    pub stop: CancellationToken,
    /// Owns every task of a connection or of the webhook.
    pub tasks: TaskTracker,
    /// The PBX's own webhook.
    pub webhook: Arc<Webhook>,
    faults: Mutex<Faults>,
    ledger: Mutex<Ledger>,
    lines: Mutex<BTreeMap<u64, Line>>,
    exchange: Mutex<Exchange>,
    changed: watch::Sender<()>,
    calls_finished: AtomicBool,
    archive: Mutex<Archive>,
    rest: Mutex<rest::State>,
    rest_cuts: watch::Sender<()>,
    narrator: Option<Narrator>,
    records: OnceLock<Arc<Records>>,
}

impl Hub {
    /// A hub without connections.
    pub fn new(options: Options, exchange: Exchange, narrator: Option<Narrator>) -> Self {
        let (stop, tasks, changed) =
            (CancellationToken::new(), TaskTracker::new(), watch::Sender::new(()));
        let log = webhook::Log::new(options.record);
        let webhook =
            Webhook::new(stop.clone(), tasks.clone(), narrator.clone(), changed.clone(), log);
        Self {
            faults: Mutex::new(options.faults.clone()),
            options,
            stop,
            tasks,
            webhook: Arc::new(webhook),
            ledger: Mutex::default(),
            lines: Mutex::default(),
            exchange: Mutex::new(exchange),
            changed,
            calls_finished: AtomicBool::new(false),
            archive: Mutex::default(),
            rest: Mutex::default(),
            rest_cuts: watch::Sender::new(()),
            narrator,
            records: OnceLock::new(),
        }
    }

    /// The faults.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        guard(&self.faults)
    }

    /// The ledger.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        guard(&self.ledger)
    }

    /// The connections that run.
    pub fn lines(&self) -> MutexGuard<'_, BTreeMap<u64, Line>> {
        guard(&self.lines)
    }

    /// The switchboard.
    pub fn exchange(&self) -> MutexGuard<'_, Exchange> {
        guard(&self.exchange)
    }

    /// How events are spelled.
    pub fn spelling(&self) -> Spelling {
        Spelling { release: self.options.spelling() }
    }

    /// The load for one connection, if there is to be any.
    pub fn flood(&self) -> Option<Flood> {
        let load = self.options.flood?;
        let compose = || Arc::new(Records::compose(self.spelling(), self.options.seed));
        Some(Flood::new(Arc::clone(self.records.get_or_init(compose)), load))
    }

    /// The calls that have ended.
    pub fn archive(&self) -> MutexGuard<'_, Archive> {
        guard(&self.archive)
    }

    /// The REST side's tokens and counts.
    pub fn rest(&self) -> MutexGuard<'_, rest::State> {
        guard(&self.rest)
    }

    /// Wakes at the next [`Hub::cut_rest`].
    pub fn rest_cuts(&self) -> watch::Receiver<()> {
        self.rest_cuts.subscribe()
    }

    /// Ends every connection of the REST side.
    pub fn cut_rest(&self) {
        self.rest_cuts.send_replace(());
    }

    /// The PBX's clock in Unix milliseconds: the one on the wall, unless a fault
    /// has put it wrong.
    pub fn now_ms(&self) -> i64 {
        wall_ms() + self.faults().clock_off * 1000
    }

    /// Tells the watcher.
    pub fn tell(&self, notice: Notice) {
        if let Some(narrator) = &self.narrator {
            narrator(&notice);
        }
    }

    /// Notes that the wanted calls have all been made and are on the wire.
    pub fn finish_calls(&self) {
        self.calls_finished.store(true, Ordering::Release);
        self.touch();
    }

    /// Whether they have.
    pub fn calls_finished(&self) -> bool {
        self.calls_finished.load(Ordering::Acquire)
    }

    /// Wakes everybody who waits for a change.
    pub fn touch(&self) {
        self.changed.send_replace(());
    }

    /// Waits until the condition holds; false if the limit passes first.
    pub async fn wait_until(&self, limit: Duration, holds: impl FnMut() -> bool) -> bool {
        within(limit, self.wait_for(holds)).await.is_some()
    }

    /// Waits until the condition holds. Network waits take [`Hub::wait_until`].
    pub async fn wait_for(&self, mut holds: impl FnMut() -> bool) {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            if holds() {
                return;
            }
            // The sender lives as long as the hub that is borrowed here.
            let _ = changes.changed().await;
        }
    }

    /// Takes a new connection in and gives it its number.
    pub fn open(&self, target: &str, line: Line) -> u64 {
        let number = self.ledger().open(target);
        self.lines().insert(number, line);
        self.tell(Notice::Connected(number, target.into()));
        self.touch();
        number
    }

    /// Takes a connection out.
    pub fn close(&self, number: u64, ending: Ending) {
        self.lines().remove(&number);
        if let Some(record) = self.ledger().connections.get_mut(&number) {
            record.ending = Some(ending.clone());
        }
        self.tell(Notice::Ended(number, ending));
        self.touch();
    }

    /// Connections that are open, not silent, and subscribed.
    pub fn subscribed(&self) -> usize {
        let ledger = self.ledger();
        ledger.connections.values().filter(|c| c.subscribed()).count()
    }

    /// Pushes everything that a moment of a call makes the PBX say.
    pub async fn push_due(&self, due: &Due) {
        // With nobody to push to there is no other await: let others run too.
        tokio::task::consume_budget().await;
        if due.moment == Moment::Record {
            self.archive().file(Arc::clone(&due.call));
            self.touch();
        }
        let spelling = self.spelling();
        if (self.hears(Family::Cdr) || self.webhook.is_on())
            && let Some(event) = events::cdr_event(spelling, due)
        {
            self.webhook.send(&event);
            self.push(event).await;
        }
        if self.hears(Family::Extension) || self.hears(Family::Queue) {
            for event in presence::side_events(spelling, due) {
                self.push(event).await;
            }
        }
    }

    /// Hands an event to every connection that is subscribed to it.
    pub async fn push(&self, event: Event) {
        let wanting = self.senders(|line| line.subscriptions.wants(&event));
        for jobs in wanting {
            // A connection that has just ended takes nothing; the ledger shows it.
            let _ = jobs.send(Job::Event(event.clone())).await;
        }
    }

    /// Hands a job to every subscribed connection.
    pub async fn push_to_all(&self, job: impl Fn() -> Job) {
        for jobs in self.senders(|line| !line.subscriptions.is_empty()) {
            // As above.
            let _ = jobs.send(job()).await;
        }
    }

    /// Waits until every subscribed connection has everything on the wire, or has ended.
    pub async fn flush(&self) {
        let mut done = Vec::new();
        for jobs in self.senders(|line| !line.subscriptions.is_empty()) {
            let (tell, told) = oneshot::channel();
            if jobs.send(Job::Flush(tell)).await.is_ok() {
                done.push(told);
            }
        }
        for told in done {
            // An error means that the connection ended, so nothing waits any more.
            let _ = told.await;
        }
    }

    fn hears(&self, family: Family) -> bool {
        self.lines().values().any(|line| line.subscriptions.hears(family))
    }

    fn senders(&self, wanted: impl Fn(&Line) -> bool) -> Vec<mpsc::Sender<Job>> {
        let lines = self.lines();
        let wanted = lines.values().filter(|line| wanted(line));
        wanted.map(|line| line.jobs.clone()).collect()
    }
}

/// The clock on the wall in Unix milliseconds.
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// A panicking holder leaves these plain values whole, so poison is not passed on.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
