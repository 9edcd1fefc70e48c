//! Sinks: where events go. The contract, and the list of the types there are.
//!
//! A sink writes a batch, in order, and says how far it came and what was wrong;
//! all else (position, filter, batches, retries, cursor, dead letters) is the
//! [`runner`]'s. A new type of sink is a file of its own, with a `Settings` that
//! knows how to read its keys and how to open the sink, a `mod` line, and a line in
//! the list of types.

pub mod exec;
pub mod file;
pub mod filter;
pub mod format;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
mod lines;
pub mod mask;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod runner;
mod second_chances;
pub mod socket;
pub mod stdout;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::config::Section;
use crate::event::Stored;

/// A way out.
pub trait Sink: Send {
    /// Writes `events` in order. What is confirmed must be as safe as the sink
    /// promises: it will not be sent again.
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered>;

    /// Events that are given at once, at most.
    fn max_batch(&self) -> usize;

    /// How failures are met.
    fn retry(&self) -> Retry {
        Retry::LOCAL
    }

    /// Whether the sink could take events now, without sending any: for `check`.
    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>>;

    /// When the sink wants [`Sink::wake`], if it is not busy; `None` is never. Asked
    /// anew after everything that it does.
    fn next_wake(&self) -> Option<Instant> {
        None
    }

    /// What is to be done when no event comes, such as finishing a file at midnight.
    /// The sink itself tells what goes wrong, and tries again.
    fn wake(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Whoever rotates files or logs asks for their names to be opened anew (SIGHUP).
    fn reopen(&mut self) {}

    /// After the last batch.
    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// How a delivery went.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The first so many events are confirmed.
    pub confirmed: usize,
    /// What was wrong with the event after those.
    pub failure: Option<Failure>,
}

impl Delivered {
    /// All went well.
    pub fn all(events: &[&Stored]) -> Self {
        Self { confirmed: events.len(), failure: None }
    }

    /// Nothing was confirmed.
    pub fn none(failure: Failure) -> Self {
        Self { confirmed: 0, failure: Some(failure) }
    }
}

/// What was wrong.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// May be better later.
    Retry {
        /// For the operator: the thing, the cause, the next step.
        reason: String,
        /// The receiver asked for at least this much patience.
        after: Option<Duration>,
    },
    /// Will never be better: the event becomes a dead letter.
    Refused {
        /// For the operator.
        reason: String,
    },
}

/// The waits between the tries of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The first.
    pub initial: Duration,
    /// The longest.
    pub max: Duration,
    /// When the event becomes a dead letter; `None` is never.
    pub give_up_after: Option<Duration>,
}

impl Retry {
    /// For what is on this machine: a full disk or a missing mount wait for the
    /// operator, and no event is to blame for them.
    pub const LOCAL: Self = Self {
        initial: Duration::from_millis(500),
        max: Duration::from_secs(30),
        give_up_after: None,
    };
}

/// Makes one enum, one reader and one opener out of the list of types.
macro_rules! types {
    ($($(#[cfg($built:meta)])? $kind:ident => $variant:ident,)*) => {
        /// What belongs to one type of sink alone.
        #[derive(Debug, Clone)]
        #[allow(clippy::large_enum_variant, reason = "one a sink, and read once at start; whether they differ much changes with every key")]
        pub enum Settings {
            $(#[doc = concat!("`type = \"", stringify!($kind), "\"`.")] $(#[cfg($built)])? $variant($kind::Settings),)*
        }

        /// The words that `type` takes.
        pub const TYPES: &[&str] = &[$($(#[cfg($built)])? stringify!($kind)),*];

        /// Those that this build lacks, each named like the Cargo feature that has it.
        pub const NOT_BUILT: &[&str] = &[$($(#[cfg(not($built))] stringify!($kind),)?)*];

        /// Reads the keys that belong to a type; `None` if it is none of [`TYPES`].
        pub fn read_settings(kind: &str, section: &mut Section) -> Option<Settings> {
            $($(#[cfg($built)])? if kind == stringify!($kind) {
                return Some(Settings::$variant($kind::Settings::read(section)));
            })*
            None
        }

        impl Settings {
            /// Makes the sink. Nothing outside is touched yet: what is down or
            /// missing now may be there when the first event comes.
            pub fn open(&self) -> Result<Box<dyn Sink>, OpenError> {
                Ok(match self {
                    $($(#[cfg($built)])? Self::$variant(settings) => Box::new(settings.open()?),)*
                })
            }
        }
    };
}

types! {
    exec => Exec,
    file => File,
    http => Http,
    #[cfg(feature = "kafka")] kafka => Kafka,
    #[cfg(feature = "nats")] nats => Nats,
    #[cfg(feature = "postgres")] postgres => Postgres,
    socket => Socket,
    stdout => Stdout,
}

impl Settings {
    /// The patterns of events that a sink without `events` gets; none are all.
    pub fn usual_events(&self) -> &'static [&'static str] {
        match self {
            // Its table is one of calls: whoever counts rows counts calls.
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => &["call_cdr"],
            _ => &[],
        }
    }
}

/// A sink cannot even be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);
