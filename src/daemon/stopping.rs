//! The end, in order: sessions close, the journal commits, sinks drain until the
//! deadline, cursors are saved (promise 7).

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use super::{Daemon, DaemonError, Ended, Stop, runner_ended};

/// How long the journal may take to save the cursors at the very end.
const SAVE: Duration = Duration::from_secs(3);

impl Daemon {
    pub(super) async fn stop(
        mut self,
        stop: &Stop,
        deadline: Instant,
    ) -> Result<Ended, DaemonError> {
        self.sessions.cancel();
        let closed = async {
            // A journal that pauses would keep the sessions from handing over.
            self.journal.finish().await?;
            self.supervisors.join_all().await;
            self.listeners.join_all().await;
            self.backfills.join_all().await;
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
        self.close_helpers().await;
        tokio::time::timeout_at(limit, self.save()).await.map_err(|_| DaemonError::Stuck)??;
        Ok(ended)
    }

    /// Sinks go on until they have everything, or the deadline comes.
    async fn drain(&mut self, stop: &Stop, deadline: Instant) -> Ended {
        let drained = async {
            while let Some(ended) = self.runners.join_next().await {
                if ended.is_err() {
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

    /// Those that only tell how it all goes, last of all: who asks while sinks drain is
    /// answered.
    async fn close_helpers(&mut self) {
        if let Some(admin) = self.admin.take() {
            admin.close().await;
        }
        self.helpers_stop.cancel();
        while self.helpers.join_next().await.is_some() {}
    }

    async fn save(self) -> Result<(), DaemonError> {
        let Self { journal, writer, observer, lockout, .. } = self;
        observer.board().stopped();
        let live = serde_json::to_string(&observer.board().live()).unwrap_or_default();
        // If the writer is gone, its own result says why.
        let _ = journal.state(live).await;
        let _ = journal.flush().await;
        // The writer ends with its last handle.
        drop((journal, lockout, observer));
        Ok(writer.join().await?)
    }
}
