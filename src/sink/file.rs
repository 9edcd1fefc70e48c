//! The sink that appends to files, one event a line.
//!
//! Never a half line: a batch that could not be written whole is cut off again, and
//! a line that a crash has torn is cut off before anything is appended. Its event
//! was not confirmed, so it comes again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::format::{Encoder, Format};
use super::{Delivered, Failure, OpenError, Sink};
use crate::config::Section;
use crate::event::Stored;

/// Events written, and synced, at once.
const BATCH: usize = 1_000;
/// Bytes looked at in one step when searching the end of the last whole line.
const REPAIR_STEP: u64 = 64 * 1024;

/// Keys of the contract that this version cannot serve.
const NOT_YET: &[&str] = &["rotate", "compress", "keep"];

/// The keys of a `[sink.NAME]` of type `file`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file, as a strftime template that is known to be valid.
    pub path: String,
    /// Whether an event counts as delivered only once the disk has it.
    pub fsync: bool,
    /// The form of each line; its time zone fills in the template.
    pub encoder: Encoder,
}

impl Settings {
    /// Reads the type's own keys.
    pub fn read(section: &mut Section) -> Self {
        section.not_yet(NOT_YET);
        Self {
            path: read_path(section),
            fsync: section.flag("fsync", true),
            encoder: Encoder::read_for_files(section, Format::CloudEvents),
        }
    }

    /// Makes the sink; the first event opens the file.
    pub fn open(&self) -> Result<FileSink, OpenError> {
        Ok(FileSink { settings: self.clone(), current: None })
    }
}

fn read_path(section: &mut Section) -> String {
    if !section.has("path") {
        section.missing("path", "\"/var/log/cdrd/cdr-%Y-%m-%d.jsonl\"");
    }
    section.parsed("path", "a path in quotes", template).unwrap_or_default()
}

/// Checks a strftime template by filling it in once.
fn template(text: &str) -> Result<String, String> {
    let example = jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC);
    let filled = jiff::fmt::strtime::format(text, &example)
        .map_err(|e| format!("is not a strftime template: {e}; write %% for a percent sign"))?;
    if filled.contains('\0') {
        return Err("must not contain a NUL character".to_owned());
    }
    if filled.ends_with('/') {
        return Err("names a folder; add a file name like \"cdr-%Y-%m-%d.jsonl\"".to_owned());
    }
    Ok(text.to_owned())
}

/// Appends to the file whose name the time of receipt gives.
#[derive(Debug)]
pub struct FileSink {
    settings: Settings,
    current: Option<Target>,
}

impl Sink for FileSink {
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered> {
        Box::pin(async move {
            let (path, run) = self.first_run(events);
            let mut lines = Vec::with_capacity(run.iter().map(|e| e.event.raw.len() + 400).sum());
            let encoder = &self.settings.encoder;
            for event in run {
                encoder.write_line(event, &mut lines);
                lines.extend_from_slice(encoder.line_end());
            }
            let header = encoder.header_line().map(|line| [&line, encoder.line_end()].concat());
            let line_end = encoder.line_end();
            let (current, fsync) = (self.current.take(), self.settings.fsync);
            let written = tokio::task::spawn_blocking(move || {
                let mut target =
                    Target::at(current, &path, line_end).map_err(|e| cannot(&path, &e))?;
                if let Some(header) = header.filter(|_| target.good == 0) {
                    lines.splice(0..0, header);
                }
                target.append(&lines, fsync).map_err(|e| cannot(&path, &e))?;
                Ok(target)
            });
            match written.await.expect("writing a file does not panic") {
                Ok(target) => {
                    self.current = Some(target);
                    Delivered { confirmed: run.len(), failure: None }
                }
                Err(failure) => Delivered::none(failure),
            }
        })
    }

    fn max_batch(&self) -> usize {
        BATCH
    }

    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let path = self.settings.path_at(Timestamp::now().as_millisecond());
            let probed = tokio::task::spawn_blocking(move || match creatable(&path) {
                Ok(()) => Ok(path.display().to_string()),
                Err(e) => Err(format!("{}: {e}", path.display())),
            });
            probed.await.expect("opening a file does not panic")
        })
    }
}

impl FileSink {
    /// The events at the front that go to one file.
    fn first_run<'a>(&self, events: &'a [&'a Stored]) -> (PathBuf, &'a [&'a Stored]) {
        let path_of = |event: &Stored| self.settings.path_at(event.event.received_ms);
        let path = events.first().map(|event| path_of(event)).unwrap_or_default();
        // A template without a time needs no second look.
        if !self.settings.path.contains('%') {
            return (path, events);
        }
        let end = events.iter().position(|event| path_of(event) != path);
        (path, &events[..end.unwrap_or(events.len())])
    }
}

impl Settings {
    /// The file for an event that was received at `ms` (Unix milliseconds). A
    /// redelivered event goes to the same file as before.
    fn path_at(&self, ms: i64) -> PathBuf {
        let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let zoned = time.to_zoned_datetime(self.encoder.zone().clone());
        let path = jiff::fmt::strtime::format(&self.path, &zoned);
        PathBuf::from(path.unwrap_or_else(|_| self.path.clone()))
    }
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space there",
        io::ErrorKind::PermissionDenied => "give the daemon's user the right to write there",
        io::ErrorKind::ReadOnlyFilesystem => "mount it writable",
        _ => "check the path and the disk",
    };
    Failure::Retry { reason: format!("file {}: {error}; {next}", path.display()), after: None }
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

/// One open file.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    file: File,
    /// Its length with whole lines only.
    good: u64,
}

impl Target {
    /// The file at `path`: the one that is open, if it is still that one.
    fn at(current: Option<Self>, path: &Path, line_end: &[u8]) -> io::Result<Self> {
        match current {
            Some(target) if target.path == path && target.is_in_place() => Ok(target),
            _ => Self::open(path, line_end),
        }
    }

    fn open(path: &Path, line_end: &[u8]) -> io::Result<Self> {
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        }
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
        let mut good = end_of_last_line(&mut file, line_end)?;
        // Lines with another end are another program's, or of another format: they stay.
        if good == 0 && line_end != b"\n" {
            good = end_of_last_line(&mut file, b"\n")?;
        }
        if good < file.metadata()?.len() {
            tracing::warn!(path = %path.display(), "a line that a crash had torn was cut off; its event comes again");
            file.set_len(good)?;
        }
        Ok(Self { path: path.to_owned(), file, good })
    }

    /// Whether the name still leads to this file: somebody may have moved it away,
    /// or truncated it, to rotate it.
    fn is_in_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let (Ok(named), Ok(open)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        named.ino() == open.ino() && named.dev() == open.dev() && open.len() == self.good
    }

    /// All of `lines`, or none of it.
    fn append(&mut self, lines: &[u8], fsync: bool) -> io::Result<()> {
        let mut written = self.file.write_all(lines);
        if written.is_ok() && fsync {
            written = self.file.sync_data();
        }
        if written.is_err() {
            // If even this fails, the next open cuts the torn line off.
            let _ = self.file.set_len(self.good);
            return written;
        }
        self.good += lines.len() as u64;
        Ok(())
    }
}

/// Offset after the last line end of a file; 0 if there is none.
fn end_of_last_line(file: &mut File, line_end: &[u8]) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let (mut end, overlap) = (length, line_end.len() as u64 - 1);
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(REPAIR_STEP);
        file.seek(SeekFrom::Start(start))?;
        chunk.clear();
        let bytes = (end + overlap).min(length) - start;
        Read::by_ref(file).take(bytes).read_to_end(&mut chunk)?;
        if let Some(at) = chunk.windows(line_end.len()).rposition(|window| window == line_end) {
            return Ok(start + (at + line_end.len()) as u64);
        }
        end = start;
    }
    Ok(0)
}
