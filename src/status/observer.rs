//! Asks on behalf of a running daemon: for its admin endpoint and for systemd.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Status;
use super::gather::{Asked, gather};
use super::live::Board;
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::reader::Reader;
use crate::journal::{Journal, JournalError};

/// An answer this old is good enough: many who ask cost no more than one.
const FRESH: Duration = Duration::from_millis(200);
/// How long the journal may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It does not answer.
    #[error("the journal did not answer within {LIMIT:?}; look at its disk")]
    Slow,
}

/// Knows how the daemon is.
pub struct Observer {
    board: Arc<Board>,
    asked: Mutex<Asked>,
    reader: Arc<Mutex<Reader>>,
    last: tokio::sync::Mutex<Option<(Instant, Arc<Status>)>>,
}

impl Observer {
    /// Of a daemon that runs with this configuration.
    pub fn new(
        board: Arc<Board>,
        journal: &Journal,
        config: &Config,
    ) -> Result<Self, JournalError> {
        let reader = Arc::new(Mutex::new(journal.reader()?));
        let asked = Mutex::new(Asked::of(config));
        Ok(Self { board, asked, reader, last: tokio::sync::Mutex::default() })
    }

    /// The configuration is another one now.
    pub fn show(&self, config: &Config) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Asked::of(config);
    }

    /// What runs.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// How it is.
    pub async fn status(&self) -> Result<Arc<Status>, ObserveError> {
        let waited = tokio::time::timeout(LIMIT, self.last.lock()).await;
        let mut last = waited.map_err(|_| ObserveError::Slow)?;
        if let Some((at, status)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(status));
        }
        let status = Arc::new(self.ask().await?);
        *last = Some((Instant::now(), Arc::clone(&status)));
        Ok(status)
    }

    async fn ask(&self) -> Result<Status, ObserveError> {
        let live = self.board.live();
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reader = Arc::clone(&self.reader);
        let asking = tokio::task::spawn_blocking(move || {
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            gather(&reader, &asked, Some(live), true, Clock::system().now_ms())
        });
        let asked = tokio::time::timeout(LIMIT, asking).await.map_err(|_| ObserveError::Slow)?;
        Ok(asked.expect("asking the journal does not panic")?)
    }
}
