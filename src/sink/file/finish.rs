//! Finishes files that are written to their end, in the background: checksums,
//! compression, a line in the manifest, the final name, and the end of the oldest.
//!
//! Each step can be done again after a crash at any moment:
//!
//! 1. read from end to end, and compressed into `NAME.zst.part`; what was found goes
//!    into the list of unfinished files;
//! 2. a line in the manifest, unless it is there from before;
//! 3. the final name; then the original goes, if it was compressed;
//! 4. off the list.
//!
//! So a file has its final name only when it is whole and in the manifest, and the
//! original is deleted only once the compressed file is on disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::compress::{self, Reading};
use super::fault::{At, Fault};
use super::names::part_of;
use super::settings::Settings;
use super::state::{Job, Summary, sync_folder};
use super::store::{Store, was_taken};
use super::{keep, manifest};

/// The work in the background: one file after the other, on a thread for such work.
#[derive(Debug, Default)]
pub struct Finisher {
    task: Option<JoinHandle<Result<(), Fault>>>,
    stop: Arc<AtomicBool>,
}

impl Finisher {
    /// Begins, unless it is at it or told to stop.
    pub fn begin(&mut self, settings: &Arc<Settings>, store: &Arc<Store>) {
        if self.task.is_some() || self.stop.load(Ordering::Relaxed) {
            return;
        }
        let (settings, store, stop) = (settings.clone(), store.clone(), self.stop.clone());
        // Owned by the sink, which joins it in `close`, or else tells it to stop.
        self.task = Some(tokio::task::spawn_blocking(move || finish_all(&settings, &store, &stop)));
    }

    /// How it went, if it has come to an end.
    pub async fn ended(&mut self) -> Option<Result<(), Fault>> {
        match self.task.as_ref()?.is_finished() {
            true => self.wait().await,
            false => None,
        }
    }

    /// Waits for its end. Cancel-safe.
    pub async fn wait(&mut self) -> Option<Result<(), Fault>> {
        let ended = self.task.as_mut()?.await;
        self.task = None;
        Some(ended.expect("finishing a file does not panic"))
    }

    /// Whether it is at it.
    pub fn is_at_it(&self) -> bool {
        self.task.is_some()
    }

    /// Ends it at the next opportunity; what is left waits for the next start.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Finisher {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) fn finish_all(
    settings: &Settings,
    store: &Store,
    stop: &AtomicBool,
) -> Result<(), Fault> {
    loop {
        store.settle()?;
        let Some(job) = store.see(|state| state.jobs.first().cloned()) else { break };
        // Put there since, and still under the name that it was written under.
        if job.from.is_some() {
            continue;
        }
        if !finish(&job, settings, store, stop)? {
            return Ok(());
        }
    }
    if settings.keep == 0 {
        return Ok(());
    }
    let root = settings.names.root().0;
    let in_use = |path: &Path| store.see(|state| state.has(path));
    keep::delete_beyond(settings.keep, &settings.names, in_use).at(&root)
}

/// Finishes one file; `false` if it was told to stop.
fn finish(job: &Job, settings: &Settings, store: &Store, stop: &AtomicBool) -> Result<bool, Fault> {
    let summary = match &job.summary {
        Some(summary) => Some(summary.clone()),
        None => {
            let found = match summarize(job, settings, stop)? {
                Found::Stopped => return Ok(false),
                Found::Nothing => None,
                Found::Content(summary) => Some(*summary),
            };
            store.change(|state| {
                state.job_mut(&job.target).expect("only we take jobs away").summary = found.clone();
            })?;
            found
        }
    };
    if let Some(summary) = summary {
        if settings.manifest {
            let path = settings.own_file("", ".manifest.jsonl");
            let again = job.summary.is_some();
            manifest::note(&path, &summary, again, &settings.access).at(&path)?;
        }
        name(job, &summary, settings)?;
    }
    store.change(|state| state.jobs.retain(|other| other.target != job.target))?;
    Ok(true)
}

/// What reading a file from end to end came to.
pub(super) enum Found {
    Content(Box<Summary>),
    /// There is no file, or no event in it.
    Nothing,
    Stopped,
}

pub(super) fn summarize(job: &Job, settings: &Settings, stop: &AtomicBool) -> Result<Found, Fault> {
    let encoder = &settings.encoder;
    let last = with_ending(&job.target, settings.compress.ending());
    let packed = part_of(&last);
    let stop = || stop.load(Ordering::Relaxed);
    let line_end = encoder.line_end();
    let reading =
        compress::read(&job.source, line_end, settings.compress, &packed, &settings.access, &stop);
    let reading = match reading {
        Err(e) if was_taken(&job.source, &e) && !job.source.exists() => {
            if job.content.length > 0 {
                tracing::warn!(path = %job.source.display(), "a file is gone before it was finished; did somebody take it away?");
            }
            return Ok(Found::Nothing);
        }
        Ok(Some(reading)) if reading.length > 0 => reading,
        Ok(Some(_)) => {
            let unused = if settings.compress.ending().is_empty() { None } else { Some(&packed) };
            for path in [Some(&job.source), unused].into_iter().flatten() {
                std::fs::remove_file(path).at(path)?;
            }
            return Ok(Found::Nothing);
        }
        Ok(None) => return Ok(Found::Stopped),
        Err(e) => {
            // A disk that is full has no room for half of it. If this fails, the next try
            // writes over it.
            let _ = std::fs::remove_file(&packed);
            return Err(e).at(&job.source);
        }
    };
    let headers = u64::from(begins_with(&job.source, encoder.header()).at(&job.source)?);
    Ok(Found::Content(Box::new(summary(job, reading, headers, &last, settings))))
}

fn summary(job: &Job, reading: Reading, headers: u64, last: &Path, settings: &Settings) -> Summary {
    let root = settings.names.root().0;
    let Reading { lines, length, sha256, packed } = reading;
    let (bytes, sha256, uncompressed_sha256) = match packed {
        Some((bytes, packed)) => (bytes, packed, Some(sha256)),
        None => (length, sha256, None),
    };
    Summary {
        file: last.strip_prefix(&root).unwrap_or(last).display().to_string(),
        events: lines.saturating_sub(headers),
        first_id: job.content.first.clone(),
        // After a power failure there may be more in the file than was noted.
        last_id: job.content.last.clone().filter(|_| job.content.length == length),
        bytes,
        sha256,
        uncompressed_sha256,
        finished_at: format!("{:.3}", jiff::Timestamp::now()),
    }
}

/// Gives a file its final name.
pub(super) fn name(job: &Job, summary: &Summary, settings: &Settings) -> Result<(), Fault> {
    let last = settings.names.root().0.join(&summary.file);
    let is_packed = summary.uncompressed_sha256.is_some();
    let ready = if is_packed { part_of(&last) } else { job.source.clone() };
    if ready != last {
        match std::fs::rename(&ready, &last) {
            // Done before a crash; it may have been taken away since.
            Err(e) if was_taken(&ready, &e) && job.summary.is_some() => {}
            renamed => renamed.at(&ready)?,
        }
    }
    if settings.fsync {
        sync_folder(&last).at(&last)?;
    }
    if is_packed {
        match std::fs::remove_file(&job.source) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).at(&job.source),
            _ => {}
        }
    }
    tracing::info!(path = %last.display(), events = summary.events, "file finished");
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn begins_with(path: &Path, header: Option<Vec<u8>>) -> io::Result<bool> {
    let Some(header) = header else { return Ok(false) };
    let mut start = Vec::new();
    File::open(path)?.take(header.len() as u64).read_to_end(&mut start)?;
    Ok(start == header)
}
