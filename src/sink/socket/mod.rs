//! The sink that writes to a socket, one event a line: over TCP, by choice with TLS,
//! or to a Unix socket on this machine.
//!
//! - `confirm = "write"`: an event counts as delivered once the kernel has taken it.
//!   What is in buffers when the receiver dies, or the network does, is lost. A
//!   connection that the receiver has closed is noticed before and after each
//!   write, so a restart of the receiver costs little, but "little" is no promise.
//! - `confirm = "line"`: once the receiver has answered with the event's id (see
//!   [`super::lines`]). Nothing is lost; on a new connection everything that is not
//!   confirmed is sent again.

mod connect;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{ReadHalf, WriteHalf};
use tracing::debug;

use super::lines::{Broken, Confirm, Judged, LineSettings, Talk};
use super::{Delivered, Failure, OpenError, Retry, Sink};
use crate::config::{Section, Tls};
use crate::event::Stored;
use connect::Stream;

pub use connect::Address;
#[cfg(feature = "postgres")]
pub(super) use connect::{Step, bare_host};

const SECOND: Duration = Duration::from_secs(1);
/// How long the receiver may take at the end to read what is on its way.
const GOODBYE: Duration = SECOND;
/// How long what it said before the connection broke may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The keys of a `[sink.NAME]` of type `socket`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the receiver listens.
    pub address: Address,
    /// How its certificate is checked; `None` is no TLS.
    pub tls: Option<Tls>,
    /// Limit for each step of a connect: TCP, TLS.
    pub connect_timeout: Duration,
    /// What all sinks that write lines have.
    pub lines: LineSettings,
}

impl Settings {
    /// Reads the type's own keys.
    pub fn read(section: &mut Section) -> Self {
        if !section.has("address") {
            section.missing("address", "\"tcp://HOST:PORT\" or \"unix:///run/NAME.sock\"");
        }
        let wanted = "an address like \"tcp://HOST:PORT\" or \"unix:///run/NAME.sock\"";
        let address = section.parsed("address", wanted, Address::parse);
        let settings = Self {
            address: address.unwrap_or(Address::Unix("/".into())),
            tls: section.tls(),
            connect_timeout: section.duration(
                "connect_timeout",
                10 * SECOND,
                Duration::from_millis(1)..=3600 * SECOND,
            ),
            lines: LineSettings::read(section),
        };
        let unix = matches!(settings.address, Address::Unix(_));
        if unix && settings.tls.is_some() && !section.is_faulty("address") && section.has("address")
        {
            section.problem("tls", "\"tls\" has no meaning at a unix:// address; remove it");
        }
        settings
    }

    /// Makes the sink; the first event connects.
    pub fn open(&self) -> Result<Socket, OpenError> {
        Ok(Socket { settings: self.clone(), talk: None, judged: Judged::default(), fault: None })
    }
}

type Connection = Talk<WriteHalf<Stream>, ReadHalf<Stream>>;

/// Writes to a socket.
pub struct Socket {
    settings: Settings,
    talk: Option<Connection>,
    judged: Judged,
    /// Why the last connection is no more, until it is told.
    fault: Option<String>,
}

impl Sink for Socket {
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered> {
        Box::pin(async move {
            let Some(first) = events.first() else { return Delivered::all(events) };
            self.judged.forget_before(first.seq);
            if let Some(talk) = &mut self.talk
                && talk.is_closed(&mut self.judged).await
            {
                debug!(sink = %self.settings.lines.sink, "the receiver has closed the connection");
                self.talk = None;
            }
            if let Some(told) = self.tell(events) {
                return told;
            }
            let talk = match self.talk.take() {
                Some(talk) => Ok(talk),
                None => self.connect().await,
            };
            match talk {
                Ok(talk) => self.hand_over(talk, events).await,
                Err(reason) => Delivered::none(Failure::Retry { reason, after: None }),
            }
        })
    }

    fn max_batch(&self) -> usize {
        self.settings.lines.window
    }

    fn retry(&self) -> Retry {
        self.settings.lines.retry
    }

    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            self.connect().await?.close(GOODBYE).await;
            Ok(format!("{} takes connections", self.settings.address))
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(talk) = self.talk.take() {
                talk.close(GOODBYE).await;
            }
        })
    }
}

impl Socket {
    /// What is known without asking: about these events, then about the connection.
    fn tell(&mut self, events: &[&Stored]) -> Option<Delivered> {
        self.judged.tell(events).or_else(|| {
            let reason = self.fault.take()?;
            Some(Delivered::none(Failure::Retry { reason, after: None }))
        })
    }

    async fn connect(&self) -> Result<Connection, String> {
        let stream = connect::connect(&self.settings).await?;
        let (from, to) = tokio::io::split(stream);
        Ok(Talk::new(&self.settings.lines, to, Some(from)))
    }

    async fn hand_over(&mut self, mut talk: Connection, events: &[&Stored]) -> Delivered {
        let lines = &self.settings.lines;
        let result = match lines.confirm {
            Confirm::Line => talk.confirm(lines, events, &mut self.judged).await,
            Confirm::Write => match talk.send(lines, events).await {
                Ok(()) if talk.is_closed(&mut self.judged).await => Err(Broken::Closed),
                sent => sent,
            },
        };
        match result {
            Ok(()) if lines.confirm == Confirm::Write => {
                self.talk = Some(talk);
                return Delivered::all(events);
            }
            Ok(()) => self.talk = Some(talk),
            Err(why) => {
                talk.last_words(&mut self.judged, LAST_WORDS).await;
                self.fault = Some(self.words(&why));
            }
        }
        self.tell(events).expect("the first event was judged, or a fault noted")
    }

    fn words(&self, why: &Broken) -> String {
        let Settings { address, lines, .. } = &self.settings;
        match (why, lines.confirm) {
            (Broken::Closed, _) => format!(
                "{address}: the receiver closed the connection; look into its log for the reason"
            ),
            (Broken::Io(e), _) => format!("{address}: the connection broke: {e}"),
            (Broken::Silent, Confirm::Line) => format!(
                "{address}: nothing was confirmed within {:?}; does the receiver answer with the id of each event?",
                lines.timeout
            ),
            (Broken::Silent, Confirm::Write) => {
                format!("{address}: the receiver took nothing within {:?}", lines.timeout)
            }
        }
    }
}
