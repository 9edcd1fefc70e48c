//! One connection with a receiver of lines: writes, listens, and never waits for
//! the one without the other, since a receiver may do the same.

use std::collections::HashMap;
use std::future::{pending, ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::answer::{self, Answer};
use super::incoming::{Incoming, Line};
use super::{Confirm, Judged, LineSettings};
use crate::event::{EventId, Stored};

/// Bytes that are put together for one write.
const CHUNK: usize = 64 * 1024;
/// Bytes of an answer; an id has 36, the rest is a reason.
const LONGEST_ANSWER: usize = 4 * 1024;
/// Answers that are looked at between two batches, at most.
const LEFT_OVER: usize = 1_000;

/// Why a connection is of no more use.
#[derive(Debug)]
pub enum Broken {
    /// The other side said that no more comes.
    Closed,
    /// Reading or writing failed.
    Io(io::Error),
    /// Nothing was taken or confirmed in time.
    Silent,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Talk<W, R> {
    sink: Arc<str>,
    confirm: Confirm,
    patience: Duration,
    to: W,
    from: Option<Incoming<R>>,
    /// What is being written, of which `at` bytes are.
    outgoing: Vec<u8>,
    at: usize,
    flushed: bool,
    /// Bytes of this batch that were written, and after how many each event ends.
    written: usize,
    ends: Vec<usize>,
    /// Sent here, and not judged.
    open: HashMap<EventId, u64>,
    told: Told,
}

/// What is worth one warning.
#[derive(Debug, Default)]
struct Told {
    unclear: bool,
    unknown: bool,
}

impl<W: AsyncWrite + Unpin, R: AsyncRead + Unpin> Talk<W, R> {
    /// With somebody who may answer, if there is a way back.
    pub fn new(settings: &LineSettings, to: W, from: Option<R>) -> Self {
        Self {
            sink: Arc::clone(&settings.sink),
            confirm: settings.confirm,
            patience: settings.timeout,
            to,
            from: from.map(|from| Incoming::new(from, LONGEST_ANSWER)),
            outgoing: Vec::new(),
            at: 0,
            flushed: true,
            written: 0,
            ends: Vec::new(),
            open: HashMap::new(),
            told: Told::default(),
        }
    }

    /// Sends what was not sent yet, and waits until something can be told about the
    /// events at the front. Cancel-safe: what was heard is in `judged`.
    pub async fn confirm(
        &mut self,
        settings: &LineSettings,
        events: &[&Stored],
        judged: &mut Judged,
    ) -> Result<(), Broken> {
        let mut next = 0;
        let mut deadline = Instant::now() + self.patience;
        while !events.first().is_some_and(|first| judged.has(first)) {
            self.refill(settings, events, &mut next, judged);
            tokio::select! {
                pushed = push(&mut self.to, &self.outgoing, &mut self.at), if !self.flushed => {
                    self.flushed = pushed? == 0;
                }
                line = line(&mut self.from) => {
                    let line = line?.ok_or(Broken::Closed)?;
                    if self.hear(&line, judged) {
                        deadline = Instant::now() + self.patience;
                    }
                }
                () = sleep_until(deadline) => return Err(Broken::Silent),
            }
        }
        Ok(())
    }

    /// Writes all events, in order.
    pub async fn send(
        &mut self,
        settings: &LineSettings,
        events: &[&Stored],
    ) -> Result<(), Broken> {
        let mut next = 0;
        (self.written, self.ends) = (0, Vec::with_capacity(events.len()));
        let mut deadline = Instant::now() + self.patience;
        loop {
            self.refill(settings, events, &mut next, &Judged::default());
            if self.flushed {
                return Ok(());
            }
            tokio::select! {
                pushed = push(&mut self.to, &self.outgoing, &mut self.at) => {
                    let bytes = pushed?;
                    (self.flushed, self.written) = (bytes == 0, self.written + bytes);
                    deadline = Instant::now() + self.patience;
                }
                // Nobody asked, but unread words would fill the way back up.
                line = line(&mut self.from) => drop(line?.ok_or(Broken::Closed)?),
                () = sleep_until(deadline) => return Err(Broken::Silent),
            }
        }
    }

    /// How many events of the batch that was [sent](Self::send) were read, if so many
    /// bytes of it were not.
    pub fn read_but(&self, unread: usize) -> usize {
        let read = self.written.saturating_sub(unread);
        self.ends.partition_point(|end| *end <= read)
    }

    /// Whether the other side has closed the connection, as far as can be seen now.
    /// What it said before that is heard.
    pub async fn is_closed(&mut self, judged: &mut Judged) -> bool {
        // So that the runtime has looked at the socket.
        tokio::task::yield_now().await;
        for _ in 0..LEFT_OVER {
            let line = tokio::select! {
                biased;
                line = line(&mut self.from) => line,
                () = ready(()) => return false,
            };
            match line {
                Ok(Some(line)) => drop(self.hear(&line, judged)),
                Ok(None) | Err(_) => return true,
            }
        }
        false
    }

    /// Hears what was said before the end, which is near.
    pub async fn last_words(&mut self, judged: &mut Judged, limit: Duration) {
        let all = async {
            while let Ok(Some(line)) = line(&mut self.from).await {
                self.hear(&line, judged);
            }
        };
        // Who holds the way open without saying anything is not waited for.
        let _ = timeout(limit, all).await;
    }

    /// Says that no more comes, and lets the other side read to the end. To close a
    /// socket with words unread would reset it, and destroy what is on its way.
    pub async fn close(mut self, limit: Duration) {
        let goodbye = async {
            if self.to.shutdown().await.is_ok() {
                while let Ok(Some(_)) = line(&mut self.from).await {}
            }
        };
        let _ = timeout(limit, goodbye).await;
    }

    /// The two ways.
    pub fn into_parts(self) -> (W, Option<Incoming<R>>) {
        (self.to, self.from)
    }

    /// The way out.
    pub fn to(&self) -> &W {
        &self.to
    }

    /// Puts the next events together once everything before them was written.
    fn refill(
        &mut self,
        settings: &LineSettings,
        events: &[&Stored],
        next: &mut usize,
        judged: &Judged,
    ) {
        if self.at < self.outgoing.len() {
            return;
        }
        self.outgoing.clear();
        self.at = 0;
        while let Some(stored) = events.get(*next)
            && self.outgoing.len() < CHUNK
        {
            *next += 1;
            if judged.has(stored) || self.open.contains_key(&stored.event.id) {
                continue;
            }
            settings.encoder.write_line(stored, &mut self.outgoing);
            self.outgoing.extend_from_slice(settings.encoder.line_end());
            self.flushed = false;
            match self.confirm {
                Confirm::Line => drop(self.open.insert(stored.event.id, stored.seq)),
                Confirm::Write => self.ends.push(self.written + self.outgoing.len()),
            }
        }
    }

    /// Takes an answer and those that came with it; whether any judged an event.
    fn hear(&mut self, line: &Line, judged: &mut Judged) -> bool {
        let mut heard = self.judge(line, judged);
        while let Some(line) = self.from.as_mut().and_then(Incoming::ready) {
            heard |= self.judge(&line, judged);
        }
        heard
    }

    fn judge(&mut self, line: &Line, judged: &mut Judged) -> bool {
        if self.confirm == Confirm::Write {
            return false;
        }
        let (id, judgement) = match answer::read(line) {
            None => return false,
            Some(Answer::Taken(id)) => (id, Ok(())),
            Some(Answer::Refused(id, reason)) => {
                (id, Err(format!("the receiver refused it: {reason}")))
            }
            Some(Answer::Unclear) => {
                // Its text may be a call's: it is not shown.
                if !std::mem::replace(&mut self.told.unclear, true) {
                    warn!(sink = %self.sink, bytes = line.bytes.len(), "an answer is neither \"ID\" nor \"!ID REASON\" and was ignored; so will be all further ones of this kind");
                }
                return false;
            }
        };
        let Some(seq) = self.open.remove(&id) else {
            if !std::mem::replace(&mut self.told.unknown, true) {
                warn!(sink = %self.sink, %id, "an answer names an event that is not waiting for one and was ignored; so will be all further ones of this kind");
            }
            return false;
        };
        judged.note(seq, judgement);
        true
    }
}

/// Writes some bytes, or flushes once all are written: then 0. Cancel-safe.
async fn push(
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    at: &mut usize,
) -> io::Result<usize> {
    if *at == bytes.len() {
        to.flush().await?;
        return Ok(0);
    }
    match to.write(&bytes[*at..]).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => {
            *at += written;
            Ok(written)
        }
    }
}

async fn line<R: AsyncRead + Unpin>(from: &mut Option<Incoming<R>>) -> io::Result<Option<Line>> {
    match from {
        Some(from) => from.line().await,
        None => pending().await,
    }
}
