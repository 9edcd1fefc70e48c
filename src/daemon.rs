//! The wiring: starts everything, watches over it, and stops it in order.
//!
//! Stopping keeps promise 7: sessions close, the journal commits, sinks drain until
//! the deadline, cursors are saved. What is left is delivered after the next start.

mod parts;
mod reload;
mod reporter;
mod stopping;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::parts::Parts;
use self::reporter::Reporter;
use crate::admin::Admin;
use crate::backfill::worker::{Worker, WorkerError};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::journal::thread::WriterThread;
use crate::journal::{Journal, JournalError, Stopped};
use crate::pbx::lockout::{Lockout, Memory};
use crate::pbx::state::{Phase, State};
use crate::pbx::supervisor::Supervisor;
use crate::sink::runner::{Runner, RunnerError};
use crate::sink::{OpenError, Sink};
use crate::status::live::{Board, Live, Watched};
use crate::status::observer::Observer;
use crate::webhook::{BindError, Listener};

pub use reload::Source;

/// How long sinks may drain after a stop, unless told otherwise.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Why a daemon could not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The journal, at start or later.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A sink cannot be made.
    #[error("sink \"{sink}\": {cause}")]
    Sink {
        /// Its name.
        sink: Arc<str>,
        /// Why.
        cause: OpenError,
    },
    /// There is no way to listen for a PBX's posts.
    #[error(transparent)]
    Webhook(#[from] BindError),
    /// The admin endpoint cannot listen.
    #[error(
        "[admin] listen: cannot listen on {address}: {cause}; choose another address, or stop what has it"
    )]
    Admin {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
    /// At the stop, the journal could not commit in time what was received.
    #[error(
        "the journal could not commit what was received within the drain deadline; is its disk full or failing?"
    )]
    Stuck,
    /// A fault of ours.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

/// How a daemon ended that was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything was delivered.
    Clean,
    /// Some sinks were still behind; the journal has what they lack.
    AtDeadline,
}

/// What tells a daemon to end.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Stop in order.
    pub gracefully: CancellationToken,
    /// Stop waiting for sinks.
    pub now: CancellationToken,
    /// Read the configuration again, and open files anew: told once for each time.
    pub reload: Arc<Notify>,
}

/// A running daemon.
pub struct Daemon {
    journal: Journal,
    writer: WriterThread,
    supervisors: Parts<Stopped>,
    listeners: Parts<Stopped>,
    backfills: Parts<WorkerError>,
    runners: Parts<RunnerError>,
    sessions: CancellationToken,
    drain_to: watch::Sender<Option<u64>>,
    /// Changes when files are to be opened anew.
    reopen: watch::Sender<u64>,
    states: Vec<Watched>,
    webhooks: Vec<SocketAddr>,
    clock: Clock,
    lockout: Lockout,
    observer: Arc<Observer>,
    /// Those that only tell how it all goes.
    helpers: JoinSet<()>,
    helpers_stop: CancellationToken,
    admin: Option<Admin>,
    /// What is in force.
    config: Config,
    source: Option<Source>,
}

impl Daemon {
    /// Opens the journal and starts sinks and sessions. Returns once all run; a PBX
    /// need not be there.
    pub fn start(config: &Config, clock: Clock) -> Result<Self, DaemonError> {
        let cursors: Vec<_> =
            config.sinks.iter().map(|sink| (Arc::clone(&sink.name), sink.start)).collect();
        let (journal, writer) = Journal::open(&config.journal, &cursors)?;
        let (drain_to, _) = watch::channel(None);
        let reader = journal.reader()?;
        let before = reader.ask(crate::journal::state::load)?;
        let before = before.as_deref().and_then(Live::read);
        let board = Arc::new(Board::new(Arc::clone(journal.metrics()), before));
        let memory = Memory::Journal(journal.clone());
        let mut daemon = Self {
            lockout: Lockout::new(memory, clock, reader.refusals()?),
            observer: Arc::new(Observer::new(board, &journal, config)?),
            journal,
            writer,
            supervisors: Parts::new(),
            listeners: Parts::new(),
            backfills: Parts::new(),
            runners: Parts::new(),
            sessions: CancellationToken::new(),
            drain_to,
            reopen: watch::Sender::new(0),
            states: Vec::new(),
            webhooks: Vec::new(),
            clock,
            helpers: JoinSet::new(),
            helpers_stop: CancellationToken::new(),
            admin: None,
            config: config.clone(),
            source: None,
        };
        // First, so that an address that is taken is told before anything starts.
        let listener = bind_admin(config)?;
        daemon.start_sinks(config)?;
        // Before the sessions: an address that cannot be had must not cost a login.
        daemon.start_webhooks(config)?;
        config.pbxs.iter().for_each(|pbx| daemon.start_session(pbx));
        daemon.observer.board().show(config, &daemon.states);
        daemon.start_helpers();
        // Last, so that nobody is told of a daemon that is half there.
        daemon.start_admin(listener);
        Ok(daemon)
    }

    fn start_sinks(&mut self, config: &Config) -> Result<(), DaemonError> {
        for settings in &config.sinks {
            let sink = settings
                .settings
                .open()
                .map_err(|cause| DaemonError::Sink { sink: Arc::clone(&settings.name), cause })?;
            self.start_sink(settings, sink)?;
        }
        Ok(())
    }

    fn start_sink(
        &mut self,
        settings: &config::Sink,
        sink: Box<dyn Sink>,
    ) -> Result<(), DaemonError> {
        let cursor = self.journal.cursor(&settings.name).ok_or_else(|| {
            DaemonError::Internal(format!("sink \"{}\" has no cursor", settings.name))
        })?;
        let (drain_to, stop) = (self.drain_to.subscribe(), CancellationToken::new());
        let runner = Runner::new(settings, sink, &self.journal, cursor, drain_to);
        let runner = runner.until(stop.clone()).reopening_on(self.reopen.subscribe());
        self.runners.start(Arc::clone(&settings.name), stop, runner.run());
        Ok(())
    }

    fn start_session(&mut self, pbx: &config::Pbx) {
        self.start_backfill(pbx);
        let name = Arc::clone(&pbx.name);
        if !pbx.wsi {
            let state = State { phase: Phase::WebhookOnly, ..State::starting() };
            self.states.push((name, watch::channel(state).1));
            return;
        }
        let (intake, stop) = (self.journal.intake(), self.sessions.child_token());
        let supervisor = Supervisor::new(pbx.clone(), intake, self.lockout.clone(), stop.clone());
        self.states.push((Arc::clone(&name), supervisor.state()));
        self.supervisors.start(name, stop, supervisor.run());
    }

    fn start_backfill(&mut self, pbx: &config::Pbx) {
        let Some(settings) = pbx.backfill.clone() else { return };
        let stop = self.sessions.child_token();
        let (pbx, lockout, journal) = (pbx.clone(), self.lockout.clone(), self.journal.clone());
        let name = Arc::clone(&pbx.name);
        let ended = stop.clone();
        self.backfills.start(name, stop, async move {
            // It reads the system's CA certificates, which takes a while.
            let made = tokio::task::spawn_blocking(move || {
                Worker::new(&pbx, &settings, &journal, lockout)
            });
            match made.await.expect("making a client does not panic") {
                Ok(worker) => worker.run(ended).await,
                Err(e) => {
                    // Its gaps stay open, which status and metrics show.
                    error!(error = %e, "backfill cannot be set up");
                    ended.cancelled().await;
                    Ok(())
                }
            }
        });
    }

    fn start_webhooks(&mut self, config: &Config) -> Result<(), BindError> {
        self.webhooks.clear();
        for listener in Listener::bind_all(&config.pbxs, &self.journal.intake(), self.clock)? {
            self.webhooks.push(listener.address());
            let stop = self.sessions.child_token();
            self.listeners.start(webhook_part(), stop.clone(), listener.run(stop));
        }
        Ok(())
    }

    /// Where webhooks listen.
    pub fn webhooks(&self) -> &[SocketAddr] {
        &self.webhooks
    }

    fn start_admin(&mut self, listener: Option<TcpListener>) {
        if let (Some(listener), Some(settings)) = (listener, &self.config.admin) {
            let admin = Admin::serve(listener, settings, &self.observer, &self.journal);
            info!(address = %admin.address(), "admin endpoint listens");
            self.admin = Some(admin);
        }
    }

    fn start_helpers(&mut self) {
        let stop = &self.helpers_stop;
        let reporter = Reporter::new(Arc::clone(&self.observer), self.journal.clone());
        self.helpers.spawn(reporter.run(stop.clone()));
        if let Some(limit) = crate::systemd::watchdog() {
            let board = Arc::clone(self.observer.board());
            self.helpers.spawn(reporter::watchdog(board, limit, stop.clone()));
        }
    }

    /// Where to read the configuration again, when told to.
    #[must_use]
    pub fn reload_from(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    /// Where the admin endpoint listens, if there is one.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The journal, for whoever reads it beside the sinks.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The state of each PBX's session, in the order of the configuration.
    pub fn states(&self) -> &[Watched] {
        &self.states
    }

    /// Runs until told to stop, then drains for at most `drain`.
    pub async fn run(mut self, stop: Stop, drain: Duration) -> Result<Ended, DaemonError> {
        let fault = loop {
            tokio::select! {
                () = stop.gracefully.cancelled() => break None,
                () = stop.now.cancelled() => break None,
                result = self.writer.ended() => break Some(journal_ended(result)),
                Some(ended) = self.supervisors.join_next() => break Some(session_ended(ended)),
                Some(ended) = self.listeners.join_next() => break Some(session_ended(ended)),
                Some(ended) = self.backfills.join_next() => break Some(backfill_ended(ended)),
                Some(ended) = self.runners.join_next() => break Some(runner_ended(ended)),
                () = stop.reload.notified() => {}
            }
            self.reopen.send_modify(|times| *times += 1);
            // A stop waits until the reload is through, which has its own time limits.
            if let Err(fault) = self.reload().await {
                break Some(fault);
            }
        };
        match fault {
            Some(fault) => Err(self.root_cause(fault).await),
            None => {
                info!("stopping");
                crate::systemd::stopping();
                self.stop(&stop, Instant::now() + drain).await
            }
        }
    }

    /// When the journal stops, everybody else stops with it; the journal knows why.
    async fn root_cause(&mut self, fault: DaemonError) -> DaemonError {
        match fault {
            DaemonError::Journal(_) => fault,
            other => {
                let wait = Duration::from_secs(1);
                match tokio::time::timeout(wait, self.writer.ended()).await {
                    Ok(Err(e)) => e.into(),
                    _ => other,
                }
            }
        }
    }
}

/// All addresses of webhooks come and go together.
fn webhook_part() -> Arc<str> {
    Arc::from("webhook")
}

fn bind_admin(config: &Config) -> Result<Option<TcpListener>, DaemonError> {
    let bind = |settings: &config::Admin| {
        Admin::bind(settings)
            .map_err(|cause| DaemonError::Admin { address: settings.listen, cause })
    };
    config.admin.as_ref().map(bind).transpose()
}

fn journal_ended(result: Result<(), JournalError>) -> DaemonError {
    match result {
        Err(e) => e.into(),
        Ok(()) => DaemonError::Internal("the journal ended by itself".to_owned()),
    }
}

fn session_ended(_: Result<(), Stopped>) -> DaemonError {
    DaemonError::Internal("a session ended by itself".to_owned())
}

fn backfill_ended(ended: Result<(), WorkerError>) -> DaemonError {
    match ended {
        Err(WorkerError::Journal(e)) => e.into(),
        Err(e) => DaemonError::Internal(format!("a backfill stopped: {e}")),
        Ok(()) => DaemonError::Internal("a backfill ended by itself".to_owned()),
    }
}

fn runner_ended(ended: Result<(), RunnerError>) -> DaemonError {
    match ended {
        Err(RunnerError::Journal(e)) => e.into(),
        Err(e) => DaemonError::Internal(format!("a sink stopped: {e}")),
        Ok(()) => DaemonError::Internal("a sink ended by itself".to_owned()),
    }
}
