//! WebSocket frames, read and written one by one.
//!
//! By hand, because the faults need what a library forbids: text that is not
//! UTF-8, messages in pieces with a ping between them, no answer to a ping. Only
//! the header's bits are left to tungstenite. Both halves may be dropped in the
//! middle of an await without loss, so they fit `select!`.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Duration, Instant, timeout_at};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Largest message that a client may send; commands are some hundred bytes.
const LARGEST_MESSAGE: u64 = 1 << 20;

/// A message from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Text, or binary taken as text.
    Text(Bytes),
    /// A ping to be answered.
    Ping(Bytes),
    /// The answer to a ping.
    Pong(Bytes),
    /// The client wants to close; its code, if it gave one.
    Close(Option<u16>),
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client is gone without a close frame.
    #[error("the client went away: {0}")]
    Gone(#[from] io::Error),
    /// The client sent what no client may.
    #[error("the client broke the WebSocket protocol: {0}")]
    Protocol(&'static str),
}

/// The reading half.
pub struct FrameReader<R> {
    half: R,
    buffer: BytesMut,
    partial: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `half`, after what was already read into `buffer`.
    pub fn new(half: R, buffer: BytesMut) -> Self {
        Self { half, buffer, partial: BytesMut::new() }
    }

    /// The half back, for closing the connection as a whole.
    pub fn into_half(self) -> R {
        self.half
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<Incoming, ReadError> {
        loop {
            if let Some(incoming) = self.take()? {
                return Ok(incoming);
            }
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// One message out of the buffer, if a whole one is there.
    fn take(&mut self) -> Result<Option<Incoming>, ReadError> {
        while let Some((header, payload)) = self.take_frame()? {
            match header.opcode {
                OpCode::Control(Control::Ping) => return Ok(Some(Incoming::Ping(payload))),
                OpCode::Control(Control::Pong) => return Ok(Some(Incoming::Pong(payload))),
                OpCode::Control(_) => return Ok(Some(Incoming::Close(close_code(&payload)))),
                OpCode::Data(_) => self.partial.extend_from_slice(&payload),
            }
            if header.is_final {
                return Ok(Some(Incoming::Text(self.partial.split().freeze())));
            }
        }
        Ok(None)
    }

    fn take_frame(&mut self) -> Result<Option<(FrameHeader, Bytes)>, ReadError> {
        let mut cursor = io::Cursor::new(&self.buffer[..]);
        let parsed = FrameHeader::parse(&mut cursor)
            .map_err(|_| ReadError::Protocol("unreadable frame header"))?;
        let Some((header, length)) = parsed else {
            return Ok(None);
        };
        let Some(mask) = header.mask else {
            return Err(ReadError::Protocol("unmasked frame"));
        };
        if length + self.partial.len() as u64 > LARGEST_MESSAGE {
            return Err(ReadError::Protocol("message too large"));
        }
        let (head, length) = (cursor.position() as usize, length as usize);
        if self.buffer.len() < head + length {
            return Ok(None);
        }
        self.buffer.advance(head);
        let mut payload = self.buffer.split_to(length);
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[index % 4];
        }
        Ok(Some((header, payload.freeze())))
    }
}

fn close_code(payload: &[u8]) -> Option<u16> {
    payload.first_chunk().map(|code| u16::from_be_bytes(*code))
}

/// A text message in one frame.
pub fn text(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_frame(OpCode::Data(Data::Text), true, payload, &mut frame);
    frame
}

fn put_frame(opcode: OpCode, is_final: bool, payload: &[u8], out: &mut impl BufMut) {
    let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
    header
        .format(payload.len() as u64, &mut (&mut *out).writer())
        .expect("a growing buffer takes every byte");
    out.put_slice(payload);
}

/// The writing half: a buffer of frames, and its way onto the wire.
pub struct FrameWriter<W> {
    half: W,
    buffer: BytesMut,
    unflushed: bool,
    /// Since when nothing moved although something waits.
    stuck_since: Instant,
    stall_limit: Duration,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes to `half`; gives up on a client that reads nothing for `stall_limit`.
    pub fn new(half: W, stall_limit: Duration) -> Self {
        Self {
            half,
            buffer: BytesMut::new(),
            unflushed: false,
            stuck_since: Instant::now(),
            stall_limit,
        }
    }

    /// The half back, for closing the connection as a whole.
    pub fn into_half(self) -> W {
        self.half
    }

    /// Bytes that wait.
    pub fn backlog(&self) -> usize {
        self.buffer.len()
    }

    /// Whether [`FrameWriter::advance`] has anything to do.
    pub fn pending(&self) -> bool {
        self.unflushed || !self.buffer.is_empty()
    }

    /// A text message, whatever its bytes are.
    pub fn text(&mut self, payload: &[u8]) {
        self.frame(OpCode::Data(Data::Text), true, payload);
    }

    /// A ping.
    pub fn ping(&mut self, payload: &[u8]) {
        self.frame(OpCode::Control(Control::Ping), true, payload);
    }

    /// The answer to a ping.
    pub fn pong(&mut self, payload: &[u8]) {
        self.frame(OpCode::Control(Control::Pong), true, payload);
    }

    /// A text message in three pieces, with a ping after the first.
    pub fn text_in_pieces(&mut self, payload: &[u8], ping: &[u8]) {
        let third = payload.len().div_ceil(3).max(1);
        let mut pieces = payload.chunks(third).peekable();
        let mut opcode = OpCode::Data(Data::Text);
        while let Some(piece) = pieces.next() {
            self.frame(opcode, pieces.peek().is_none(), piece);
            if opcode == OpCode::Data(Data::Text) {
                self.ping(ping);
            }
            opcode = OpCode::Data(Data::Continue);
        }
    }

    /// A close frame.
    pub fn close(&mut self, code: u16, reason: &str) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        self.frame(OpCode::Control(Control::Close), true, &payload);
    }

    fn frame(&mut self, opcode: OpCode, is_final: bool, payload: &[u8]) {
        if !self.pending() {
            self.stuck_since = Instant::now();
        }
        put_frame(opcode, is_final, payload, &mut self.buffer);
    }

    /// Frames that were made before, put behind what waits.
    pub fn ready_made(&mut self, put: impl FnOnce(&mut BytesMut)) {
        if !self.pending() {
            self.stuck_since = Instant::now();
        }
        put(&mut self.buffer);
    }

    /// Moves some bytes on; waits until some could be moved.
    pub async fn advance(&mut self) -> io::Result<()> {
        let deadline = self.stuck_since + self.stall_limit;
        timeout_at(deadline, self.move_some()).await??;
        self.stuck_since = Instant::now();
        Ok(())
    }

    async fn move_some(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.half.flush().await?;
            self.unflushed = false;
        } else {
            // `unflushed` first: dropped in the middle, the flush is still owed.
            self.unflushed = true;
            self.half.write_buf(&mut self.buffer).await?;
        }
        Ok(())
    }

    /// Moves all bytes on.
    pub async fn drain(&mut self) -> io::Result<()> {
        while self.pending() {
            self.advance().await?;
        }
        Ok(())
    }
}
