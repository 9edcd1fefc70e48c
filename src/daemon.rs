//! The wiring: starts everything, watches over it, and stops it in order.
//!
//! Stopping keeps promise 7: sessions close, the journal commits, sinks drain until
//! the deadline, cursors are saved. What is left is delivered after the next start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::backfill::worker::{Worker, WorkerError};
use crate::clock::Clock;
use crate::config::{Config, Pbx};
use crate::journal::writer::WriterThread;
use crate::journal::{Journal, JournalError, Stopped};
use crate::pbx::lockout::{Lockout, Memory};
use crate::pbx::state::State;
use crate::pbx::supervisor::Supervisor;
use crate::sink::OpenError;
use crate::sink::runner::{Runner, RunnerError};
use crate::webhook::{BindError, Listener};

/// How long sinks may drain after a stop, unless told otherwise.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long the journal may take to save the cursors at the very end.
const SAVE: Duration = Duration::from_secs(3);

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

/// What a daemon is told from outside, above all to end.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Stop in order.
    pub gracefully: CancellationToken,
    /// Stop waiting for sinks.
    pub now: CancellationToken,
    /// Not an end: files are to be opened anew. Counts how often this was asked for.
    pub reopen: watch::Sender<u64>,
}

/// A running daemon.
pub struct Daemon {
    journal: Journal,
    writer: WriterThread,
    supervisors: JoinSet<Result<(), Stopped>>,
    backfills: JoinSet<Result<(), WorkerError>>,
    runners: JoinSet<Result<(), RunnerError>>,
    sessions: CancellationToken,
    drain_to: watch::Sender<Option<u64>>,
    reopen: watch::Sender<u64>,
    states: Vec<(Arc<str>, watch::Receiver<State>)>,
    webhooks: Vec<SocketAddr>,
}

impl Daemon {
    /// Opens the journal and starts sinks and sessions. Returns once all run; a PBX
    /// need not be there.
    pub fn start(config: &Config, clock: Clock) -> Result<Self, DaemonError> {
        let cursors: Vec<_> =
            config.sinks.iter().map(|sink| (Arc::clone(&sink.name), sink.start)).collect();
        let (journal, writer) = Journal::open(&config.journal, &cursors)?;
        let (drain_to, _) = watch::channel(None);
        let mut daemon = Self {
            journal,
            writer,
            supervisors: JoinSet::new(),
            backfills: JoinSet::new(),
            runners: JoinSet::new(),
            sessions: CancellationToken::new(),
            drain_to,
            reopen: watch::Sender::new(0),
            states: Vec::new(),
            webhooks: Vec::new(),
        };
        daemon.start_sinks(config)?;
        daemon.start_webhooks(config, clock)?;
        daemon.start_sessions(config, clock)?;
        Ok(daemon)
    }

    fn start_sinks(&mut self, config: &Config) -> Result<(), DaemonError> {
        for settings in &config.sinks {
            let sink = settings
                .settings
                .open()
                .map_err(|cause| DaemonError::Sink { sink: Arc::clone(&settings.name), cause })?;
            let cursor = self.journal.cursor(&settings.name).ok_or_else(|| {
                DaemonError::Internal(format!("sink \"{}\" has no cursor", settings.name))
            })?;
            let drain_to = self.drain_to.subscribe();
            let runner = Runner::new(settings, sink, &self.journal, cursor, drain_to);
            let runner = runner.reopening_on(self.reopen.subscribe());
            self.runners.spawn(runner.run());
        }
        Ok(())
    }

    fn start_sessions(&mut self, config: &Config, clock: Clock) -> Result<(), DaemonError> {
        let remembered = self.journal.reader()?.refusals()?;
        let lockout = Lockout::new(Memory::Journal(self.journal.clone()), clock, remembered);
        for pbx in config.pbxs.iter().filter(|pbx| pbx.wsi) {
            let name = Arc::clone(&pbx.name);
            let (intake, stop) = (self.journal.intake(), self.sessions.clone());
            let supervisor = Supervisor::new(pbx.clone(), intake, lockout.clone(), stop);
            self.states.push((name, supervisor.state()));
            self.supervisors.spawn(supervisor.run());
            self.start_backfill(pbx, &lockout);
        }
        Ok(())
    }

    /// Reads the system's CA certificates, which takes a while: not before others start.
    fn start_backfill(&mut self, pbx: &Pbx, lockout: &Lockout) {
        let Some(settings) = pbx.backfill.clone() else { return };
        let (pbx, lockout) = (pbx.clone(), lockout.clone());
        let (journal, stop) = (self.journal.clone(), self.sessions.clone());
        self.backfills.spawn(async move {
            let made = tokio::task::spawn_blocking({
                let journal = journal.clone();
                move || Worker::new(&pbx, &settings, &journal, lockout)
            });
            match made.await.expect("making a client does not panic") {
                Ok(worker) => worker.run(stop).await,
                Err(e) => {
                    // Its gaps stay open, and say so.
                    warn!(error = %e, "backfill cannot be set up");
                    stop.cancelled().await;
                    Ok(())
                }
            }
        });
    }

    /// Before the sessions: an address that cannot be had must not cost a login.
    fn start_webhooks(&mut self, config: &Config, clock: Clock) -> Result<(), DaemonError> {
        for listener in Listener::bind_all(&config.pbxs, &self.journal.intake(), clock)? {
            self.webhooks.push(listener.address());
            self.supervisors.spawn(listener.run(self.sessions.clone()));
        }
        Ok(())
    }

    /// Where webhooks listen.
    pub fn webhooks(&self) -> &[SocketAddr] {
        &self.webhooks
    }

    /// The journal, for whoever reads it beside the sinks.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The state of each PBX's session, in the order of the configuration; of those that
    /// have one.
    pub fn states(&self) -> &[(Arc<str>, watch::Receiver<State>)] {
        &self.states
    }

    /// Runs until told to stop, then drains for at most `drain`.
    pub async fn run(mut self, stop: Stop, drain: Duration) -> Result<Ended, DaemonError> {
        let mut reopen = stop.reopen.subscribe();
        let fault = loop {
            break tokio::select! {
                () = stop.gracefully.cancelled() => None,
                () = stop.now.cancelled() => None,
                result = self.writer.ended() => Some(journal_ended(result)),
                Some(ended) = self.supervisors.join_next() => self.session_ended(ended),
                Some(ended) = self.backfills.join_next() => Some(backfill_ended(ended)),
                Some(ended) = self.runners.join_next() => Some(runner_ended(ended)),
                Ok(()) = reopen.changed() => {
                    self.reopen.send_modify(|times| *times += 1);
                    continue;
                }
            };
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

    fn session_ended(&self, ended: Result<Result<(), Stopped>, JoinError>) -> Option<DaemonError> {
        Some(match ended {
            Err(e) => DaemonError::Internal(format!("a session panicked: {e}")),
            Ok(_) => DaemonError::Internal("a session ended by itself".to_owned()),
        })
    }

    async fn stop(mut self, stop: &Stop, deadline: Instant) -> Result<Ended, DaemonError> {
        self.sessions.cancel();
        let closed = async {
            // A journal that pauses would keep the sessions from handing over.
            self.journal.finish().await?;
            while let Some(ended) = self.supervisors.join_next().await {
                if let Err(e) = ended {
                    error!(error = %e, "a session panicked while it stopped");
                }
            }
            while let Some(ended) = self.backfills.join_next().await {
                if let Err(e) = ended {
                    error!(error = %e, "a backfill panicked while it stopped");
                }
            }
            // Events are committed in order: behind this one, all are.
            self.journal.intake().events_durably(Vec::new()).await.map(drop)
        };
        let committed = tokio::select! {
            committed = closed => committed,
            () = tokio::time::sleep_until(deadline) => return Err(DaemonError::Stuck),
        };
        if committed.is_err() {
            return Err(self.root_cause(DaemonError::Stuck).await);
        }
        let last = self.journal.reader()?.last_seq()?;
        self.drain_to.send_replace(Some(last));
        let ended = self.drain(stop, deadline).await;
        // A sink that took until the deadline leaves the journal a moment for the cursors.
        let limit = deadline.max(Instant::now() + SAVE);
        tokio::time::timeout_at(limit, self.save()).await.map_err(|_| DaemonError::Stuck)??;
        Ok(ended)
    }

    /// Sinks go on until they have everything, or the deadline comes.
    async fn drain(&mut self, stop: &Stop, deadline: Instant) -> Ended {
        let drained = async {
            while let Some(ended) = self.runners.join_next().await {
                if !matches!(ended, Ok(Ok(()))) {
                    error!(error = %runner_ended(ended), "a sink failed while it drained");
                }
            }
        };
        tokio::select! {
            () = drained => return Ended::Clean,
            () = stop.now.cancelled() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        let behind = self.runners.len();
        warn!(
            sinks = behind,
            "drain deadline: some sinks are still behind; what they lack is in the journal and comes after the next start"
        );
        self.runners.shutdown().await;
        Ended::AtDeadline
    }

    async fn save(self) -> Result<(), DaemonError> {
        let Self { journal, writer, .. } = self;
        // If the writer is gone, its own result says why.
        let _ = journal.flush().await;
        drop(journal);
        Ok(writer.join().await?)
    }
}

fn journal_ended(result: Result<(), JournalError>) -> DaemonError {
    match result {
        Err(e) => e.into(),
        Ok(()) => DaemonError::Internal("the journal ended by itself".to_owned()),
    }
}

fn backfill_ended(ended: Result<Result<(), WorkerError>, JoinError>) -> DaemonError {
    match ended {
        Err(e) => DaemonError::Internal(format!("a backfill panicked: {e}")),
        Ok(Err(WorkerError::Journal(e))) => e.into(),
        Ok(Err(e)) => DaemonError::Internal(format!("a backfill stopped: {e}")),
        Ok(Ok(())) => DaemonError::Internal("a backfill ended by itself".to_owned()),
    }
}

fn runner_ended(ended: Result<Result<(), RunnerError>, JoinError>) -> DaemonError {
    match ended {
        Err(e) => DaemonError::Internal(format!("a sink panicked: {e}")),
        Ok(Err(RunnerError::Journal(e))) => e.into(),
        Ok(Err(e)) => DaemonError::Internal(format!("a sink stopped: {e}")),
        Ok(Ok(())) => DaemonError::Internal("a sink ended by itself".to_owned()),
    }
}
