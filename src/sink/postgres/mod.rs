//! The sink that writes calls into a PostgreSQL database, as rows of a table.
//!
//! A batch is one statement, and so one transaction: rows whose `id` is there already
//! are left alone, so that what comes twice, from this daemon or another one, is there
//! once. An event counts as delivered when that transaction is committed.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the keys, and the making of the sink |
//! | `address` | where the database is |
//! | `connect`, `tls` | TCP, Unix socket, TLS, login |
//! | `session` | a connection that is ready to write: what it looked at, what it prepared |
//! | `table` | the two tables: columns, SQL to make them, SQL to fill them |
//! | `row` | an event as values of those columns |
//! | `judge` | which errors are retried, wait for the operator, or make a dead letter |
//! | `setup` | making the tables, for `cdrd sink init` |

mod address;
mod connect;
mod judge;
mod row;
mod session;
mod settings;
mod setup;
mod table;
mod tls;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tracing::debug;

pub use address::Address;
use judge::Fault;
use row::Rows;
use session::Session;
pub use settings::Settings;
pub use setup::Layout;

use super::{Delivered, Failure, Retry, Sink};
use crate::event::Stored;

/// Bytes of events in one transaction, more or less: the server ends a connection that
/// sends it a message of 1 GiB, and would do so again.
const MOST_BYTES: usize = 32 << 20;

/// Writes batches of events.
pub struct Postgres {
    settings: Arc<Settings>,
    session: Option<Session>,
}

impl Sink for Postgres {
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered> {
        Box::pin(async move {
            let events = &events[..fitting(events)];
            match self.write(events).await {
                Ok(()) => Delivered::all(events),
                Err(Fault::Refused(_)) if events.len() > 1 => self.single_out(events).await,
                Err(fault) => Delivered::none(fault.into()),
            }
        })
    }

    fn max_batch(&self) -> usize {
        self.settings.batch
    }

    fn retry(&self) -> Retry {
        self.settings.retry
    }

    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            let session = Session::open(&self.settings).await.map_err(Fault::into_reason)?;
            let words = session.words();
            session.close().await;
            Ok(words)
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(session) = self.session.take() {
                session.close().await;
            }
        })
    }
}

impl Postgres {
    /// Writes all of `events` or none.
    async fn write(&mut self, events: &[&Stored]) -> Result<(), Fault> {
        let session = match self.session.take().filter(Session::is_open) {
            Some(session) => session,
            None => Session::open(&self.settings).await?,
        };
        let rows = Rows::of(&self.settings.encoder, events);
        let result = session.write(&rows).await;
        // After any other fault nobody knows how the connection is.
        if matches!(result, Ok(_) | Err(Fault::Refused(_))) {
            self.session = Some(session);
        }
        let new = result?;
        debug!(sink = %self.settings.sink, rows = rows.len(), new, "batch is committed");
        Ok(())
    }

    /// Finds the first event that the database refuses, among several of which one is
    /// refused: what stands before it is written on the way.
    async fn single_out(&mut self, events: &[&Stored]) -> Delivered {
        // Those before `good` are written; before `bad` there is one to blame.
        let (mut good, mut bad) = (0, events.len());
        loop {
            let end = match bad - good {
                1 => bad,
                several => good + several / 2,
            };
            match self.write(&events[good..end]).await {
                // Taken after all: whatever it was, it has passed.
                Ok(()) if end == bad => return Delivered { confirmed: bad, failure: None },
                Ok(()) => good = end,
                Err(Fault::Refused(_)) if end - good > 1 => bad = end,
                Err(fault) => return Delivered { confirmed: good, failure: Some(fault.into()) },
            }
        }
    }
}

/// How many events from the start go together; one does, however large.
fn fitting(events: &[&Stored]) -> usize {
    let mut bytes = 0;
    let fits = |stored: &&&Stored| {
        bytes += stored.event.raw.len();
        bytes <= MOST_BYTES
    };
    events.iter().take_while(fits).count().max(1).min(events.len())
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(reason) => Self::Refused { reason },
            Fault::Retry(reason) => Self::Retry { reason, after: None },
        }
    }
}
