//! The journal: what the PBX said, on disk before anybody else hears of it.
//!
//! Promises kept here: a sink sees an event only after its commit is durable; a
//! cursor is saved only after its sink confirmed; nothing received is lost to a
//! crash. One thread ([`writer`]) writes; it commits whatever has queued up, so
//! that one disk sync serves many events. Sinks get fresh commits from memory
//! and read the file ([`reader`]) only when they lag.
//!
//! | file | holds |
//! |---|---|
//! | [`schema`] | tables, versions, migration, opening with the right pragmas |
//! | `legacy` | events of format 1, brought into blocks |
//! | [`intake`] | the way in, for sessions |
//! | [`lock`] | one daemon per journal |
//! | [`writer`] | the one who writes: group commit, full disk, poison |
//! | [`thread`], `checkpoint` | the thread that it runs on; carrying the log over, beside it |
//! | [`append`] | placing events: `seq`, duplicates, ordinals |
//! | [`block`], [`blocks`] | the events of a commit, packed; their table |
//! | [`reader`] | reading events back |
//! | [`cursor`] | how far each sink has come |
//! | [`quarantine`] | what could not be decoded |
//! | [`gaps`] | when nobody listened, and how far that was compared with REST |
//! | [`dead_letters`] | what a sink refused for good |
//! | [`replays`] | what somebody asked to send again |
//! | [`refusals`] | refused logins, counted across restarts |
//! | [`retention`] | deleting what everybody has |
//! | [`sum`], `wal` | what tells damage from data |
//! | [`check`], [`repair`] | what is damaged; saving the rest |
//! | [`state`] | what the daemon says of itself, for `cdrd status` |

pub mod append;
pub mod block;
pub mod blocks;
pub mod check;
mod checkpoint;
pub mod cursor;
pub mod dead_letters;
pub mod gaps;
pub mod intake;
mod legacy;
pub mod lock;
pub mod quarantine;
pub mod reader;
pub mod refusals;
pub mod repair;
pub mod replays;
pub mod retention;
pub mod schema;
pub mod state;
pub mod sum;
pub mod thread;
mod wal;
pub mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::config;
use crate::event::{Event, Stored};
use crate::metrics::Metrics;
use cursor::{Cursor, Cursors};
use dead_letters::DeadLetter;
use intake::Intake;
use quarantine::Quarantined;
use reader::{Reader, Reading};
use refusals::LoginNote;
use thread::WriterThread;

/// Requests of events (each a small batch) that may wait for the writer. Past it
/// the sessions stop reading, and TCP tells the PBX.
const EVENT_QUEUE: usize = 12;
/// Requests of other kinds that may wait.
const CONTROL_QUEUE: usize = 64;
/// Commits kept in memory for sinks, each of at most what the queue of events holds
/// (3 MiB); a sink that is further behind reads the file.
const COMMITS_IN_MEMORY: usize = 2;

/// What to do about a damaged journal.
const ADVICE: &str = "; `cdrd journal check` tells what is damaged, and `cdrd journal repair`, \
                      with the daemon stopped, saves what is readable";

fn advice(cause: &rusqlite::Error) -> &'static str {
    if sum::is_damage(cause) { ADVICE } else { "" }
}

/// What can go wrong with the journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process holds it.
    #[error(
        "journal {path} is in use by another cdrd{}; stop that one, or give this one its own [journal] path",
        holder.as_deref().map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The database.
        path: PathBuf,
        /// Process id of the holder, if it wrote one.
        holder: Option<String>,
    },
    /// The operating system refused.
    #[error(
        "journal {path}: cannot {action}: {cause}; check that the directory exists, belongs to this user and has room"
    )]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// SQLite refused.
    #[error("journal {path}: {}{}", sum::told(cause), advice(cause))]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// SQLite's answer.
        cause: rusqlite::Error,
    },
    /// It is not what cdrd wrote.
    #[error("journal {path} is damaged: {what}{ADVICE}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Not even a repair can read it.
    #[error(
        "nothing in {path} can be read as a journal, so there is nothing to repair; move it away, and its -wal with it: the daemon then begins a new one"
    )]
    Unreadable {
        /// The database.
        path: PathBuf,
    },
    /// There is none.
    #[error(
        "no journal at {path}; has a daemon ever run with this configuration, and may you look there?"
    )]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// A file that cdrd did not write.
    #[error("{path} is a database, but not a journal of cdrd; set [journal] path to another file")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// A file that an earlier cdrd wrote, and that only a daemon migrates.
    #[error(
        "journal {path} has the older format {found}; start the daemon of this version once, which brings it to format {known}"
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// A file that a later cdrd wrote.
    #[error(
        "journal {path} has format {found}, this cdrd knows formats up to {known}; install the newer cdrd again, or set [journal] path to a new file"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known.
        known: i64,
    },
}

/// The writer has stopped (its error is what [`WriterThread::join`] returns).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal has stopped")]
pub struct Stopped;

/// One durable commit: its events in order of `seq`.
pub type Commit = Arc<Vec<Stored>>;

/// A request to the writer, with whom to tell once it is durable.
pub(crate) struct Request<T> {
    pub(crate) what: T,
    /// Told how many events were new.
    pub(crate) done: Option<oneshot::Sender<usize>>,
}

/// What a session hands over.
pub(crate) struct Handed {
    pub(crate) events: Vec<Event>,
    /// What happened to the session after those.
    pub(crate) note: Option<gaps::Note>,
}

/// Everything but events.
pub(crate) enum Control {
    Quarantine(Quarantined),
    DeadLetter(Box<DeadLetter>),
    Login(LoginNote),
    /// A dead letter was taken after all.
    Delivered(i64),
    /// A replay has come so far.
    Replayed {
        n: i64,
        next_seq: u64,
    },
    /// An entry of the quarantine was tried again.
    Retried(quarantine::Retried),
    /// How a comparison with REST goes.
    Compared(gaps::Progress),
    /// Saves the cursors as they are.
    Flush,
    /// The daemon stops: what it has in hand is taken even over `max_size`.
    Finish,
    /// What the daemon says of itself, for whoever asks the file.
    State(String),
    /// Sinks that came while the daemon runs.
    Register(Vec<(Arc<str>, config::Start)>),
}

/// Handle to an open journal; cheap to clone.
#[derive(Clone)]
pub struct Journal {
    path: Arc<Path>,
    intake: Intake,
    commits: broadcast::Sender<Commit>,
    cursors: Arc<Cursors>,
    asked: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

impl Journal {
    /// Opens or creates the journal, takes its lock, registers the cursors of
    /// `sinks`, and starts the writer, which runs until every handle is dropped.
    pub fn open(
        settings: &config::Journal,
        sinks: &[(Arc<str>, config::Start)],
    ) -> Result<(Self, WriterThread), JournalError> {
        let lock = lock::acquire(&settings.path)?;
        let connection = schema::open_for_writing(&settings.path)?;
        let sqlite = |cause| JournalError::Sqlite { path: settings.path.clone(), cause };
        if let Some(what) = blocks::misfit(&connection).map_err(sqlite)? {
            return Err(JournalError::Damaged { path: settings.path.clone(), what });
        }
        let cursors = Arc::new(Cursors::load(&connection, sinks).map_err(sqlite)?);
        let (events, events_rx) = mpsc::channel(EVENT_QUEUE);
        let (control, control_rx) = mpsc::channel(CONTROL_QUEUE);
        let (commits, _) = broadcast::channel(COMMITS_IN_MEMORY);
        let asked = watch::Sender::new(0);
        let metrics = Arc::new(Metrics::new());
        let writer = writer::Writer::new(
            settings,
            connection,
            Arc::clone(&cursors),
            commits.clone(),
            asked.clone(),
            Arc::clone(&metrics),
        )?;
        let thread = WriterThread::spawn(writer, events_rx, control_rx, lock)?;
        let path = Arc::from(settings.path.as_path());
        let intake = Intake { events, control, metrics: Arc::clone(&metrics) };
        Ok((Self { path, intake, commits, cursors, asked, metrics }, thread))
    }

    /// Where sessions put what they hear.
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Commits from now on. A receiver that lags loses the oldest, and reads them
    /// from the file instead.
    pub fn commits(&self) -> broadcast::Receiver<Commit> {
        self.commits.subscribe()
    }

    /// A reader with a connection of its own.
    pub fn reader(&self) -> Result<Reader, JournalError> {
        Reader::open(&self.path)
    }

    /// Reads beside the writer, off the async threads.
    pub fn reading(&self) -> Reading {
        Reading::of(&self.path)
    }

    /// The database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Registers sinks while the daemon runs, as [`Journal::open`] does at its start.
    pub async fn register(&self, sinks: Vec<(Arc<str>, config::Start)>) -> Result<(), Stopped> {
        self.request(Control::Register(sinks)).await
    }

    /// Forgets a sink that is gone, once its cursor is saved: retention no longer waits
    /// for it. Should it come again, it goes on where it was.
    pub async fn unregister(&self, sink: &str) -> Result<(), Stopped> {
        self.flush().await?;
        self.cursors.remove(sink);
        Ok(())
    }

    /// The same without waiting: `None` if there is no place for it now, else what
    /// tells that it is durable.
    pub fn offer_state(&self, json: String) -> Option<oneshot::Receiver<usize>> {
        let (done, durable) = oneshot::channel();
        let request = Request { what: Control::State(json), done: Some(done) };
        self.intake.control.try_send(request).ok().map(|()| durable)
    }

    /// Keeps what the daemon says of itself; returns once it is durable.
    pub async fn state(&self, json: String) -> Result<(), Stopped> {
        self.request(Control::State(json)).await
    }

    /// The cursor of a sink that is registered.
    pub fn cursor(&self, sink: &str) -> Option<Cursor> {
        self.cursors.get(sink)
    }

    /// Keeps what a sink refused for good; returns once it is durable.
    pub async fn dead_letter(&self, letter: DeadLetter) -> Result<(), Stopped> {
        self.request(Control::DeadLetter(Box::new(letter))).await
    }

    /// Notes a login attempt or how it ended; returns once it is durable.
    pub async fn login(&self, note: LoginNote) -> Result<(), Stopped> {
        self.request(Control::Login(note)).await
    }

    /// Notes that a sink has taken a dead letter after all; returns once it is durable.
    pub async fn delivered(&self, dead_letter: i64) -> Result<(), Stopped> {
        self.request(Control::Delivered(dead_letter)).await
    }

    /// Notes how far a replay has come; returns once it is durable.
    pub async fn replayed(&self, n: i64, next_seq: u64) -> Result<(), Stopped> {
        self.request(Control::Replayed { n, next_seq }).await
    }

    /// Notes how a comparison with REST goes; returns once it is durable.
    pub async fn compared(&self, progress: gaps::Progress) -> Result<(), Stopped> {
        self.request(Control::Compared(progress)).await
    }

    /// Changes whenever another process has written to the journal, or a gap has
    /// changed: there may be something to do.
    pub fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// From now on events are taken even over `max_size`: the daemon stops, and what
    /// it has in hand must not be lost.
    pub async fn finish(&self) -> Result<(), Stopped> {
        self.request(Control::Finish).await
    }

    /// Returns once the cursors, as they are now, are durable.
    pub async fn flush(&self) -> Result<(), Stopped> {
        self.request(Control::Flush).await
    }

    async fn request(&self, what: Control) -> Result<(), Stopped> {
        let (done, durable) = oneshot::channel();
        let request = Request { what, done: Some(done) };
        self.intake.control.send(request).await.map_err(|_| Stopped)?;
        durable.await.map(drop).map_err(|_| Stopped)
    }
}
