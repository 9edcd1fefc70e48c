//! The sink that writes to standard output, one event a line.

use std::io::Write;

use futures_util::future::BoxFuture;

use super::format::{Encoder, Format};
use super::{Delivered, Failure, OpenError, Sink};
use crate::config::Section;
use crate::event::Stored;

/// Events written at once, at most.
const BATCH: usize = 512;

/// The keys of a `[sink.NAME]` of type `stdout`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The form of each line.
    pub encoder: Encoder,
}

impl Settings {
    /// Reads the type's own keys.
    pub fn read(section: &mut Section) -> Self {
        Self { encoder: Encoder::read_for_files(section, Format::CloudEvents) }
    }

    /// Makes the sink.
    pub fn open(&self) -> Result<Stdout, OpenError> {
        Ok(Stdout { encoder: self.encoder.clone(), header: self.encoder.header() })
    }
}

/// Standard output. An event counts as delivered once it is flushed to whatever
/// reads there; what that does with it, nobody can know.
#[derive(Debug)]
pub struct Stdout {
    encoder: Encoder,
    /// What is still to be written before the first event.
    header: Option<Vec<u8>>,
}

impl Sink for Stdout {
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered> {
        let mut lines = Vec::new();
        if let Some(header) = &self.header {
            lines.extend_from_slice(header);
        }
        for event in events {
            self.encoder.write_line(event, &mut lines);
            lines.extend_from_slice(self.encoder.line_end());
        }
        Box::pin(async move {
            // Whoever reads there may be slow: not on an async thread.
            let written = tokio::task::spawn_blocking(move || {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&lines).and_then(|()| stdout.flush())
            });
            match written.await.expect("writing to standard output does not panic") {
                Ok(()) => {
                    self.header = None;
                    Delivered::all(events)
                }
                Err(e) => Delivered::none(Failure::Retry {
                    reason: format!("standard output: {e}; is its reader gone?"),
                    after: None,
                }),
            }
        })
    }

    fn max_batch(&self) -> usize {
        BATCH
    }

    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok("standard output".to_owned()) })
    }
}
