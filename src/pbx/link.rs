//! An established connection: events go to the intake, answers to the caller.
//!
//! One loop serves all phases, since an event may come before the answer to a
//! command: [`Link::answer`] journals whatever comes until an answer does. It can
//! be dropped at any await without losing anything: what was read and has no
//! place yet stays in the link.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, error::CapacityError};
use tracing::{trace, warn};

use super::connect::Socket;
use crate::clock::Clock;
use crate::event::decode::{Answer, Frame, decode};
use crate::event::{Event, Origin};
use crate::journal::Stopped;
use crate::journal::intake::Intake;
use crate::journal::quarantine::Quarantined;
use crate::repeat::Repeat;

/// Events handed to the intake at once, at most.
const BATCH_EVENTS: usize = 256;
/// Or this many bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// For a message to leave, and for the other end to finish a close.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the other end to answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The PBX said goodbye.
    #[error("the PBX closed the connection{}", closing_words(.0.as_ref()))]
    Closed(Option<CloseFrame>),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(Box<WsError>),
    /// The PBX does not take what we send.
    #[error("the PBX took no data for {0:?}")]
    Stuck(Duration),
    /// Nowhere to put events.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

fn closing_words(frame: Option<&CloseFrame>) -> String {
    match frame {
        None => String::new(),
        Some(frame) if frame.reason.is_empty() => format!(" with code {}", frame.code),
        Some(frame) => format!(" with code {}: {}", frame.code, frame.reason.as_str()),
    }
}

/// A live connection to one PBX.
pub struct Link {
    socket: Socket,
    pbx: Arc<str>,
    intake: Intake,
    events: Vec<Event>,
    bytes: usize,
    suspects: Vec<Quarantined>,
    undecodable: Repeat,
    heard: Instant,
    /// False while the intake has no place: then we do not read.
    reading: bool,
    goodbye: Option<Option<CloseFrame>>,
}

impl Link {
    /// Takes over a fresh connection.
    pub fn new(socket: Socket, pbx: Arc<str>, intake: Intake) -> Self {
        Self {
            socket,
            pbx,
            intake,
            events: Vec::new(),
            bytes: 0,
            suspects: Vec::new(),
            undecodable: Repeat::default(),
            heard: Instant::now(),
            reading: true,
            goodbye: None,
        }
    }

    /// When the last frame of any kind came.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Whether silence can be the other end's.
    pub fn reading(&self) -> bool {
        self.reading
    }

    /// Whether everything that was heard is on its way to the journal.
    pub fn handed_over(&self) -> bool {
        self.reading && self.events.is_empty()
    }

    /// Sends a command.
    pub async fn send(&mut self, text: String) -> Result<(), LinkError> {
        self.write(Message::text(text)).await
    }

    /// Sends a ping.
    pub async fn ping(&mut self) -> Result<(), LinkError> {
        self.write(Message::Ping(Bytes::new())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), LinkError> {
        match timeout(WRITE_TIMEOUT, self.socket.send(message)).await {
            Ok(sent) => sent.map_err(|e| LinkError::Lost(Box::new(e))),
            Err(_) => Err(LinkError::Stuck(WRITE_TIMEOUT)),
        }
    }

    /// Hands events to the intake until an answer or the end comes. Cancel-safe.
    pub async fn answer(&mut self) -> Result<Answer, LinkError> {
        loop {
            let message = match self.ready_message() {
                Some(message) => message,
                None => {
                    self.flush().await?;
                    self.next_message().await?
                }
            };
            if let Some(answer) = self.take(message)? {
                return Ok(answer);
            }
        }
    }

    /// A message that is there already, as long as the batch has room.
    fn ready_message(&mut self) -> Option<Option<Result<Message, WsError>>> {
        let room = self.events.len() < BATCH_EVENTS && self.bytes < BATCH_BYTES;
        // Without a batch in hand there is nothing to gain by polling twice.
        let more = room && !self.events.is_empty() && self.goodbye.is_none();
        more.then(|| self.socket.next().now_or_never()).flatten()
    }

    async fn next_message(&mut self) -> Result<Option<Result<Message, WsError>>, LinkError> {
        if self.goodbye.is_some() {
            // Our reply to the close goes out while we wait for the end of the stream.
            return Ok(timeout(CLOSE_TIMEOUT, self.socket.next()).await.unwrap_or(None));
        }
        Ok(self.socket.next().await)
    }

    /// Puts what was read into the intake. Cancel-safe.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        self.note_oversized();
        self.reading = false;
        if !self.events.is_empty() {
            self.intake.events(&mut self.events).await?;
            self.bytes = 0;
        }
        self.intake.suspects(&mut self.suspects).await?;
        self.reading = true;
        Ok(())
    }

    fn take(
        &mut self,
        message: Option<Result<Message, WsError>>,
    ) -> Result<Option<Answer>, LinkError> {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(e)) => return Err(self.broken(e)),
            None => return Err(LinkError::Closed(self.goodbye.take().flatten())),
        };
        self.heard = Instant::now();
        match message {
            Message::Text(text) => Ok(self.decode(Bytes::from(text))),
            Message::Binary(bytes) => Ok(self.decode(bytes)),
            Message::Close(frame) => {
                self.goodbye = Some(frame);
                Ok(None)
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
        }
    }

    fn decode(&mut self, raw: Bytes) -> Option<Answer> {
        let now = Clock::system().now_ms();
        self.bytes += raw.len();
        match decode(&self.pbx, Origin::Live, now, raw) {
            Ok(Frame::Answer(answer)) => return Some(answer),
            Ok(Frame::Event(event)) => {
                trace!(pbx = %self.pbx, id = %event.id, data = ?event.raw, "event");
                self.events.push(event);
            }
            Err((why, raw)) => {
                let size = raw.len() as u64;
                self.suspect(why.to_string(), size, raw);
            }
        }
        None
    }

    fn suspect(&mut self, reason: String, size: u64, data: Bytes) {
        // The place of a fault differs from frame to frame; its kind is what repeats.
        let kind = reason.split([':', ' ']).take(4).collect::<Vec<_>>().join(" ");
        if let Some(times) = self.undecodable.note(&kind) {
            warn!(pbx = %self.pbx, size, reason, times, "a frame could not be decoded; it is kept in the quarantine");
        }
        let (pbx, origin) = (Arc::clone(&self.pbx), Origin::Live);
        let received_ms = Clock::system().now_ms();
        self.suspects.push(Quarantined { pbx, origin, received_ms, reason, size, data });
    }

    fn note_oversized(&mut self) {
        for frame in self.socket.get_mut().take_oversized() {
            let reason =
                format!("frame of {} bytes is over max_frame; only its start is kept", frame.size);
            self.suspect(reason, frame.size, Bytes::from(frame.head));
        }
    }

    /// A message in fragments that together exceed the limit cannot be cut out.
    fn broken(&mut self, error: WsError) -> LinkError {
        if let WsError::Capacity(CapacityError::MessageTooLong { size, .. }) = error {
            let reason = format!(
                "message in fragments of at least {size} bytes is over max_frame; none of it is kept"
            );
            self.suspect(reason, size as u64, Bytes::new());
        }
        match error {
            WsError::ConnectionClosed | WsError::AlreadyClosed => {
                LinkError::Closed(self.goodbye.take().flatten())
            }
            other => LinkError::Lost(Box::new(other)),
        }
    }

    /// Closes with a proper handshake, still taking what comes meanwhile.
    pub async fn close(mut self) -> Result<(), LinkError> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "client stops".into() };
        // A peer that is gone cannot be told goodbye; what it sent before is taken all the same.
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(Some(frame))).await;
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while let Ok(Ok(_late_answer)) = tokio::time::timeout_at(deadline, self.answer()).await {}
        self.flush().await
    }
}
