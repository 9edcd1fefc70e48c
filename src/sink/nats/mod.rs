//! The sink that publishes events to a stream of NATS JetStream.
//!
//! An event counts as delivered once the stream has acknowledged it. Its id travels as
//! `Nats-Msg-Id`, so that within the stream's duplicate window whatever comes again,
//! from this daemon or from another that hears the same PBX, is stored once.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the keys, and the making of the sink |
//! | `subject` | the subject of an event |
//! | `stream` | the stream: found, or made |
//! | `connection` | connects and publishes |
//! | `judge` | what errors mean for an event |

mod connection;
mod judge;
mod settings;
mod stream;
mod subject;

use futures_util::future::BoxFuture;
use tracing::debug;

use super::lines::Judged;
use super::{Delivered, Failure, Retry, Sink};
use crate::event::Stored;
use connection::Connection;
pub use settings::{Auth, Settings};
use stream::Found;
pub use stream::NewStream;
pub use subject::Subject;

/// How the server's tools show us.
const NAME: &str = "cdrd";
/// So many times what may be in flight is asked for at once, so that a slow
/// acknowledgement holds back only the end.
const ROUNDS: usize = 4;

/// Publishes to JetStream.
pub struct Nats {
    settings: Settings,
    connection: Option<Connection>,
    judged: Judged,
    /// Why the last delivery ended early, until it is told.
    fault: Option<String>,
}

impl Sink for Nats {
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered> {
        Box::pin(async move {
            let Some(first) = events.first() else { return Delivered::all(events) };
            self.judged.forget_before(first.seq);
            if let Some(told) = self.tell(events) {
                return told;
            }
            let connection = match self.connection.take().filter(Connection::stands) {
                Some(connection) => connection,
                None => match Connection::open(&self.settings, true).await {
                    Ok((connection, _)) => connection,
                    Err(reason) => return Delivered::none(Failure::Retry { reason, after: None }),
                },
            };
            let fault = connection.publish(&self.settings, events, &mut self.judged).await;
            if fault.as_ref().is_none_or(|fault| fault.stands) {
                self.connection = Some(connection);
            }
            self.fault = fault.map(|fault| fault.reason);
            self.tell(events).expect("the first event was judged, or a fault noted")
        })
    }

    fn max_batch(&self) -> usize {
        self.settings.in_flight * ROUNDS
    }

    fn retry(&self) -> Retry {
        self.settings.retry
    }

    /// Nothing is published, and no stream made.
    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            let (connection, found) = Connection::open(&self.settings, false).await?;
            let stream = match found {
                Found::Stream { name, duplicate_window } => {
                    format!("stream {name}, which knows duplicates for {duplicate_window:?}")
                }
                Found::ToBeMade(name) => format!("stream {name}, which will be made"),
                Found::Unknown(why) => format!("whatever stream there is (not shown: {why})"),
            };
            Ok(format!("{} takes {} into {stream}", connection.url(), self.settings.subject))
        })
    }

    /// Everything was acknowledged or will be published again, so there is nothing to
    /// wait for.
    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if self.connection.take().is_some() {
                debug!(sink = %self.settings.sink, "disconnected");
            }
        })
    }
}

impl Nats {
    /// What is known without asking: about these events, then why there is no more.
    fn tell(&mut self, events: &[&Stored]) -> Option<Delivered> {
        self.judged.tell(events).or_else(|| {
            let reason = self.fault.take()?;
            Some(Delivered::none(Failure::Retry { reason, after: None }))
        })
    }
}
