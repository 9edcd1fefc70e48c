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
use tokio::time::{Instant, timeout};
use tracing::warn;

pub use self::settings::{Settings, WriteTo};

use self::fault::Fault;
use self::finish::Finisher;
use self::names::Slot;
use self::writer::{Batch, Writer};
use super::{Delivered, Failure, OpenError, Sink};
use crate::clock::Clock;
use crate::event::Stored;
use crate::repeat::Repeat;

/// Events written, and synced, at once.
const BATCH: usize = 4_000;
/// Bytes of the buffer for lines that are kept for the next batch.
const KEPT_BUFFER: usize = 4 << 20;
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
            buffer: Vec::new(),
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
    /// For lines.
    buffer: Vec<u8>,
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
            let batch = self.first_run(events);
            let written = self.with_writer(move |writer| (writer.write(&batch), batch.lines)).await;
            let ((confirmed, fault), lines) = written;
            self.keep_buffer(lines);
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
    /// Runs `work` where it may block.
    async fn with_writer<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> T {
        let settings = &self.settings;
        let mut writer = self.writer.take().unwrap_or_else(|| Writer::new(Arc::clone(settings)));
        let working = tokio::task::spawn_blocking(move || {
            let result = work(&mut writer);
            (writer, result)
        });
        let (writer, result) = working.await.expect("writing files does not panic");
        self.writer = Some(writer);
        result
    }

    /// Ends files whose period is over, and has those finished that have ended.
    async fn tend(&mut self, at_once: bool) {
        let now_ms = Clock::system().now_ms();
        let tended = self.with_writer(move |writer| {
            let ended = writer.end_what_is_over(now_ms, at_once);
            (ended, writer.store().map(Arc::clone), writer.unfinished())
        });
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

    /// The events at the front that go to one file, as they are written.
    fn first_run(&mut self, events: &[&Stored]) -> Batch {
        let settings = Arc::clone(&self.settings);
        let names = &settings.names;
        let slot_of = |event: &Stored| names.slot(event.event.received_ms);
        let slot = events.first().map_or_else(|| names.slot(0), |event| slot_of(event));
        // A template without a time needs no second look.
        let stays = |event: &&&Stored| !names.change_with_time() || slot_of(event) == slot;
        let run: Vec<_> = events.iter().take_while(stays).collect();
        self.encode(slot, &run)
    }

    fn encode(&mut self, slot: Slot, events: &[&&Stored]) -> Batch {
        let mut lines = std::mem::take(&mut self.buffer);
        let encoder = &self.settings.encoder;
        lines.reserve(events.iter().map(|e| e.event.raw.len() + 400).sum());
        let mut ends = Vec::with_capacity(events.len());
        for event in events {
            encoder.write_line(event, &mut lines);
            lines.extend_from_slice(encoder.line_end());
            ends.push(lines.len());
        }
        let header = encoder.header_line().map(|line| [&line, encoder.line_end()].concat());
        let at_ms = events.iter().map(|event| event.event.received_ms).max().unwrap_or_default();
        let ids = events.iter().map(|event| event.event.id).collect();
        Batch { slot, at_ms, header, lines, ends, ids }
    }

    /// A buffer of a few megabytes from the system for each batch would be cleared by the
    /// system for each batch.
    fn keep_buffer(&mut self, mut lines: Vec<u8>) {
        lines.clear();
        lines.shrink_to(KEPT_BUFFER);
        self.buffer = lines;
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
