//! One PBX, for ever: a session, a wait, the next session.
//!
//! The wait looks at how the session ended. After a fault it is drawn by the
//! backoff, which starts again only after a session that lasted. After a refused
//! login the lockout rule alone decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::listening::Listening;
use super::lockout::{Lockout, Wait};
use super::session::{Ended, SLACK, Session, SessionError};
use super::state::{Phase, State};
use crate::clock::Clock;
use crate::config::Pbx;
use crate::heartbeat::Heartbeat;
use crate::journal::Stopped;
use crate::journal::intake::Intake;
use crate::metrics::PbxMetrics;
use crate::repeat::Repeat;

/// Runs the sessions of one PBX.
pub struct Supervisor {
    pbx: Pbx,
    intake: Intake,
    lockout: Lockout,
    state: watch::Sender<State>,
    stop: CancellationToken,
    backoff: Backoff,
    failures: Repeat,
    metrics: Arc<PbxMetrics>,
}

impl Supervisor {
    /// Nothing happens before [`Supervisor::run`].
    pub fn new(pbx: Pbx, intake: Intake, lockout: Lockout, stop: CancellationToken) -> Self {
        let state = watch::Sender::new(State::starting());
        let backoff = Backoff::new(pbx.reconnect);
        let (failures, metrics) = (Repeat::default(), intake.metrics().pbx(&pbx.name));
        Self { pbx, intake, lockout, state, stop, backoff, failures, metrics }
    }

    /// Shows the session's state.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Until the stop; fails only if the journal does.
    pub async fn run(mut self) -> Result<(), Stopped> {
        let mut listening = Listening::new(&self.pbx, self.intake.clone());
        let no_backfill = self.pbx.no_backfill.map(|why| Arc::from(format!("no backfill: {why}")));
        listening.started(no_backfill).await?;
        while !self.stop.is_cancelled() {
            if let Some(wait) = self.blocked() {
                self.wait_for_login(wait).await;
                continue;
            }
            let Ended { subscribed, error } = self.session().run(&mut listening).await;
            let Some(error) = error else { break };
            self.count(&error, subscribed.is_some());
            if error.journal_stopped() {
                return Err(Stopped);
            }
            self.after(subscribed, error).await;
        }
        self.show(Phase::Stopped, None);
        self.beat().open();
        Ok(())
    }

    fn beat(&self) -> &Heartbeat {
        &self.metrics.beat
    }

    /// A connect that led to a subscription was counted then.
    fn count(&self, error: &SessionError, subscribed: bool) {
        match error {
            SessionError::Refused { .. } => self.metrics.refused(),
            // No password went out: it waits for another table's login.
            SessionError::Locked(_) => {}
            _ if !subscribed => self.metrics.connect_failed(),
            _ => {}
        }
    }

    fn session(&self) -> Session<'_> {
        let Self { pbx, intake, lockout, state, stop, metrics, .. } = self;
        Session { pbx, intake, lockout, state, stop, metrics }
    }

    fn blocked(&self) -> Option<Wait> {
        self.lockout.blocked(self.pbx.url.host_str().unwrap_or_default(), &self.pbx.name)
    }

    /// The next try waits for the lockout rule.
    async fn wait_for_login(&mut self, wait: Wait) {
        let duration = self.lockout.duration(wait);
        if let Wait::Until(_) = wait {
            info!(pbx = %self.pbx.name, wait_seconds = duration.as_secs(),
                "next login waits, since the PBX blocks addresses that are refused too often");
        }
        self.show(Phase::LoginRefused, None);
        self.beat().within(duration + SLACK);
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.lockout.changed(), if wait == Wait::ForOthers => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Tells the fault and waits as long as it deserves.
    async fn after(&mut self, subscribed: Option<Instant>, error: SessionError) {
        // "Lasted": longer than the longest wait, so that a PBX which accepts and
        // drops at once meets growing waits.
        if subscribed.is_some_and(|since| since.elapsed() >= self.pbx.reconnect.max) {
            self.backoff.reset();
            // And its end is news.
            self.failures = Repeat::default();
        }
        let words = error.to_string();
        let wait = match error {
            SessionError::Refused { .. } | SessionError::Locked(_) => Duration::ZERO,
            _ => self.backoff.next_wait(),
        };
        if let Some(times) = self.failures.note(&words) {
            warn!(pbx = %self.pbx.name, error = words, times, next_try_in = ?wait, "session ended");
        }
        self.show(Phase::Waiting, Some(words));
        self.beat().within(wait + SLACK);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn show(&self, phase: Phase, error: Option<String>) {
        phase.log(&self.pbx.name);
        let since_ms = Clock::system().now_ms();
        self.state.send_modify(|state| {
            if state.phase != phase {
                (state.phase, state.since_ms) = (phase, since_ms);
            }
            if error.is_some() {
                (state.last_error, state.last_error_ms) = (error, Some(since_ms));
            }
        });
    }
}
