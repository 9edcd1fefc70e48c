//! The sink that appends to files, one event a line.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the keys |
//! | `names` | which file an event belongs to, and which files are ours |
//! | `access` | mode, owner, group |
//! | `target` | one open file: never a half line |
//! | `writer` | which file is written now, and when it ends |
//! | `state`, `store` | what is unfinished, on disk and in memory |
//! | `finish` | what happens to a file that has ended: `compress`, `manifest`, `keep` |
//! | `fault` | what goes wrong |
//!
//! Without `rotate`, `compress`, `keep`, `manifest` and `write_to = "partial"` files
//! are never finished and no list is kept: another program may rotate them.

mod access;
mod compress;
mod fault;
mod finish;
mod keep;
mod manifest;
mod names;
mod settings;
mod state;
mod store;
mod target;
mod writer;

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, timeout};
use tracing::warn;

pub use self::settings::{Settings, WriteTo};

use self::fault::Fault;
use self::finish::Finisher;
use self::writer::{Piece, Writer};
use super::{Delivered, Failure, OpenError, Sink};
use crate::clock::Clock;
use crate::event::Stored;
use crate::repeat::Repeat;

/// Events written, and synced, at once.
const BATCH: usize = 4_000;
/// Bytes of lines that are written while the next are made.
const PIECE: usize = 512 << 10;
/// Pieces that wait for those who write them.
const WAITING: usize = 1;
/// How often to look whether the period of a file is over. Looking costs a microsecond,
/// and a clock that jumps, or a machine that slept, needs no special care.
const LOOK: Duration = Duration::from_secs(1);
/// The wait after a file could not be finished.
const RETRY: Duration = Duration::from_secs(5);
/// How long a stop waits for files that are being finished; the rest is done after the
/// next start.
const LAST: Duration = Duration::from_secs(2);

impl Settings {
    /// Makes the sink; the first event opens the file.
    pub fn open(&self) -> Result<FileSink, OpenError> {
        Ok(FileSink {
            settings: Arc::new(self.clone()),
            writer: None,
            buffers: mpsc::unbounded_channel(),
            finisher: Finisher::default(),
            next_look: self.finishes.then(Instant::now),
            not_before: Instant::now(),
            failures: Repeat::default(),
        })
    }
}

/// Appends to the file whose name the time of receipt gives.
#[derive(Debug)]
pub struct FileSink {
    settings: Arc<Settings>,
    writer: Option<Writer>,
    /// For lines: a few megabytes from the system for each batch would be cleared by the
    /// system for each batch.
    buffers: (UnboundedSender<Vec<u8>>, UnboundedReceiver<Vec<u8>>),
    finisher: Finisher,
    /// When to look after unfinished files.
    next_look: Option<Instant>,
    /// Not before this is a file finished that could not be.
    not_before: Instant,
    failures: Repeat,
}

impl Sink for FileSink {
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered> {
        Box::pin(async move {
            let (to_writer, pieces) = mpsc::channel(WAITING);
            let (spent, buffers) = (self.buffers.0.clone(), &mut self.buffers.1);
            let making = make_pieces(&self.settings, events, to_writer, buffers);
            let write = move |writer: &mut Writer| writer.write(pieces, &spent);
            let writing = with_writer(&mut self.writer, &self.settings, write);
            let ((), (confirmed, fault)) = tokio::join!(making, writing);
            if self.settings.finishes {
                // After a fault, too: what is compressed makes room.
                self.tend(false).await;
            }
            let failure = fault.map(|fault| failure(&fault));
            Delivered { confirmed, failure }
        })
    }

    fn max_batch(&self) -> usize {
        BATCH
    }

    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let path = self.settings.names.slot(Clock::system().now_ms()).stable;
            let probed = tokio::task::spawn_blocking(move || match creatable(&path) {
                Ok(()) => Ok(path.display().to_string()),
                Err(e) => Err(format!("{}: {e}", path.display())),
            });
            probed.await.expect("opening a file does not panic")
        })
    }

    fn next_wake(&self) -> Option<Instant> {
        self.next_look
    }

    fn wake(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.tend(false))
    }

    fn reopen(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.close();
        }
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !self.settings.finishes {
                return;
            }
            self.tend(true).await;
            let ended = match timeout(LAST, self.finisher.wait()).await {
                Ok(ended) => ended,
                Err(_) => {
                    self.finisher.stop();
                    self.finisher.wait().await
                }
            };
            if let Some(Err(fault)) = ended {
                self.failed(&fault);
            }
        })
    }
}

impl FileSink {
    /// Ends files whose period is over, and has those finished that have ended.
    async fn tend(&mut self, at_once: bool) {
        let now_ms = Clock::system().now_ms();
        let tend = move |writer: &mut Writer| {
            let ended = writer.end_what_is_over(now_ms, at_once);
            (ended, writer.store().map(Arc::clone), writer.unfinished())
        };
        let tended = with_writer(&mut self.writer, &self.settings, tend);
        let (ended, store, (open, jobs)) = tended.await;
        if let Err(fault) = ended {
            self.failed(&fault);
        }
        match self.finisher.ended().await {
            Some(Err(fault)) => {
                self.not_before = Instant::now() + RETRY;
                self.failed(&fault);
            }
            Some(Ok(())) if !jobs => {
                self.failures.over();
            }
            _ => {}
        }
        match &store {
            Ok(store) if jobs && (at_once || Instant::now() >= self.not_before) => {
                self.finisher.begin(&self.settings, store);
            }
            _ => {}
        }
        let waits = jobs || store.is_err() || self.finisher.is_at_it();
        let ends = open && self.settings.names.change_with_time();
        self.next_look = (waits || ends).then(|| Instant::now() + LOOK);
    }

    /// Nothing is lost: what could not be done is on the list, and done later.
    fn failed(&mut self, fault: &Fault) {
        if let Some(times) = self.failures.note(&fault.to_string()) {
            warn!(sink = self.settings.name, error = %fault, times, "a file cannot be finished; it will be tried again");
        }
    }
}

/// Runs `work` where it may block.
async fn with_writer<T: Send + 'static>(
    place: &mut Option<Writer>,
    settings: &Arc<Settings>,
    work: impl FnOnce(&mut Writer) -> T + Send + 'static,
) -> T {
    let mut writer = place.take().unwrap_or_else(|| Writer::new(Arc::clone(settings)));
    let working = tokio::task::spawn_blocking(move || {
        let result = work(&mut writer);
        (writer, result)
    });
    let (writer, result) = working.await.expect("writing files does not panic");
    *place = Some(writer);
    result
}

/// The events at the front that go to one file, as they are written.
async fn make_pieces(
    settings: &Settings,
    events: &[&Stored],
    to_writer: mpsc::Sender<Piece>,
    buffers: &mut UnboundedReceiver<Vec<u8>>,
) {
    let (names, encoder) = (&settings.names, &settings.encoder);
    let slot_of = |event: &Stored| names.slot(event.event.received_ms);
    let Some(slot) = events.first().map(|first| slot_of(first)) else { return };
    // A template without a time needs no second look.
    let length = match names.change_with_time() {
        true => events.iter().take_while(|event| slot_of(event) == slot).count(),
        false => events.len(),
    };
    let mut rest = &events[..length];
    while !rest.is_empty() {
        let mut piece = Piece {
            slot: slot.clone(),
            at_ms: i64::MIN,
            lines: buffers.try_recv().unwrap_or_default(),
            ends: Vec::new(),
            ids: Vec::new(),
            more: false,
        };
        piece.lines.clear();
        // Of one event that was very long.
        piece.lines.shrink_to(2 * PIECE);
        while piece.lines.len() < PIECE
            && let [event, after @ ..] = rest
        {
            rest = after;
            encoder.write_line(event, &mut piece.lines);
            piece.lines.extend_from_slice(encoder.line_end());
            piece.ends.push(piece.lines.len());
            piece.ids.push(event.event.id);
            piece.at_ms = piece.at_ms.max(event.event.received_ms);
        }
        piece.more = !rest.is_empty();
        // One who writes no more says why.
        if to_writer.send(piece).await.is_err() {
            return;
        }
    }
}

fn failure(fault: &Fault) -> Failure {
    Failure::Retry { reason: fault.to_string(), after: None }
}

/// Whether a file could be appended to, or created. Leaves nothing behind: a file
/// made by an administrator's `check` would not belong to the daemon's user.
pub fn creatable(path: &Path) -> io::Result<()> {
    if path.exists() {
        return OpenOptions::new().append(true).open(path).map(drop);
    }
    let existing = path.ancestors().skip(1).find(|folder| folder.exists());
    tempfile::tempfile_in(existing.unwrap_or(Path::new("."))).map(drop)
}

#[cfg(test)]
mod tests;
