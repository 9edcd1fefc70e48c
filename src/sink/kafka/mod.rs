//! The sink that writes events to a topic of Apache Kafka.
//!
//! An event counts as delivered once all replicas that are in sync have acknowledged it.
//! Its key is the call's session, so that the events of a call share a partition and
//! keep their order there. What the client sends again by itself is stored once
//! (idempotent producer); what cdrd sends again is told by its id.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the keys, and the making of the sink |
//! | `connection` | connects, finds or makes the topic, and publishes |
//! | `judge` | what errors mean for an event |

mod connection;
mod judge;
mod settings;

use futures_util::future::BoxFuture;
use tracing::debug;

use super::lines::Judged;
use super::{Delivered, Failure, Retry, Sink};
use crate::event::Stored;
use connection::Connection;
pub use settings::{Auth, NewTopic, Settings};

/// How the broker's tools show us.
const NAME: &str = "cdrd";

/// Writes to a topic.
pub struct Kafka {
    settings: Settings,
    connection: Option<Connection>,
    judged: Judged,
    /// Why the last delivery ended early, until it is told.
    fault: Option<String>,
}

impl Sink for Kafka {
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered> {
        Box::pin(async move {
            let Some(first) = events.first() else { return Delivered::all(events) };
            self.judged.forget_before(first.seq);
            if let Some(told) = self.tell(events) {
                return told;
            }
            let connection = match self.connection.take() {
                Some(connection) => connection,
                None => match Connection::open(&self.settings).await {
                    Ok(connection) => connection,
                    Err(reason) => return Delivered::none(Failure::Retry { reason, after: None }),
                },
            };
            self.fault = connection.publish(&self.settings, events, &mut self.judged).await;
            // A producer that has failed may have lost its place; the next is a new one.
            match self.fault {
                None => self.connection = Some(connection),
                Some(_) => connection.close().await,
            }
            self.tell(events).expect("the first event was judged, or a fault noted")
        })
    }

    fn max_batch(&self) -> usize {
        self.settings.batch
    }

    fn retry(&self) -> Retry {
        self.settings.retry
    }

    /// Nothing is written, and no topic made.
    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(connection::probe(&self.settings))
    }

    /// Everything was acknowledged or will be sent again, so there is nothing to wait for.
    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(connection) = self.connection.take() {
                connection.close().await;
                debug!(sink = %self.settings.sink, "disconnected");
            }
        })
    }
}

impl Kafka {
    /// What is known without asking: about these events, then why there is no more.
    fn tell(&mut self, events: &[&Stored]) -> Option<Delivered> {
        self.judged.tell(events).or_else(|| {
            let reason = self.fault.take()?;
            Some(Delivered::none(Failure::Retry { reason, after: None }))
        })
    }
}
