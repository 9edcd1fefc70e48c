//! Asking for something to be done again: the journal takes the request, whoever
//! runs serves it, and we watch.
//!
//! With a daemon on the journal, that daemon serves. Without one, this process
//! takes the journal's lock and serves by itself, as the daemon would.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::signals;
use crate::config::{self, Config};
use crate::daemon::Stop;
use crate::journal::{Journal, lock};
use crate::sink::runner::Runner;

/// How often we look at how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Work that takes longer than this shows its progress.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often progress is shown where nobody can see it move.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// How a watched request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Nothing is left of it.
    Done,
    /// The user did not wait; the request stays.
    Left,
}

/// The sink of this name, or an error that names those there are.
pub fn sink<'a>(config: &'a Config, name: &str) -> Result<&'a config::Sink, String> {
    config.sinks.iter().find(|sink| &*sink.name == name).ok_or_else(|| {
        let known: Vec<_> = config.sinks.iter().map(|sink| format!("\"{}\"", sink.name)).collect();
        format!("no sink \"{name}\" in the configuration; there is {}", known.join(", "))
    })
}

/// Sees to it that what was asked for is served, and shows how far it is.
///
/// `left` tells how much is left, `total` how much there was; `sinks` are those
/// that something was asked of.
pub async fn serve(
    config: &Config,
    sinks: &[&config::Sink],
    total: u64,
    left: impl FnMut() -> anyhow::Result<u64>,
) -> anyhow::Result<Served> {
    let stop = signals::stop_on_signals();
    if lock::is_held(&config.journal.path) {
        return watch(&stop, total, left).await;
    }
    let cursors: Vec<_> =
        config.sinks.iter().map(|sink| (Arc::clone(&sink.name), sink.start)).collect();
    let (journal, writer) = Journal::open(&config.journal, &cursors)?;
    let mut serving = tokio::task::JoinSet::new();
    for sink in sinks {
        let cursor = journal.cursor(&sink.name).context("a configured sink has a cursor")?;
        let open = sink.settings.open()?;
        let (_, never) = tokio::sync::watch::channel(None);
        serving.spawn(Runner::new(sink, open, &journal, cursor, never).serve_requests());
    }
    let served = tokio::select! {
        served = watch(&stop, total, left) => served,
        Some(failed) = first_failure(&mut serving) => Err(failed),
    };
    serving.shutdown().await;
    drop(journal);
    writer.join().await?;
    served
}

/// The first failure of those who serve; pending while there is none.
async fn first_failure(
    serving: &mut tokio::task::JoinSet<Result<(), crate::sink::runner::RunnerError>>,
) -> Option<anyhow::Error> {
    while let Some(ended) = serving.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Some(e.into()),
            Err(e) => return Some(e.into()),
        }
    }
    std::future::pending().await
}

/// Watches until nothing is left, or until a signal.
async fn watch(
    stop: &Stop,
    total: u64,
    mut left: impl FnMut() -> anyhow::Result<u64>,
) -> anyhow::Result<Served> {
    let mut progress = Progress::new();
    loop {
        let left = left()?;
        let done = total.saturating_sub(left);
        progress.show(done, || format!("{done} of {total} done"));
        if left == 0 {
            progress.end();
            return Ok(Served::Done);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.gracefully.cancelled() => {
                progress.end();
                eprintln!("{left} of {total} are left; the daemon goes on with them when it runs.");
                return Ok(Served::Left);
            }
        }
    }
}

/// Shown on stderr once it has taken a while.
pub struct Progress {
    started: Instant,
    shown: Option<(Instant, u64)>,
    terminal: bool,
}

impl Progress {
    /// Begins now.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { started: Instant::now(), shown: None, terminal }
    }

    /// Shows how far it is, if that has changed and it is time.
    pub fn show(&mut self, done: u64, words: impl FnOnce() -> String) {
        let every = if self.terminal { LOOK_EVERY } else { REPORT_EVERY };
        let due = self.shown.is_none_or(|(at, last)| at.elapsed() >= every && last != done);
        if self.started.elapsed() < PATIENCE || !due {
            return;
        }
        self.shown = Some((Instant::now(), done));
        let (start, end) = if self.terminal { ("\r", "") } else { ("", "\n") };
        eprint!("{start}{}{end}", words());
        // Progress is a courtesy; whether anybody sees it changes nothing.
        let _ = std::io::stderr().flush();
    }

    /// Leaves the line.
    pub fn end(&self) {
        if self.terminal && self.shown.is_some() {
            eprintln!();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Milliseconds as local time, for lists.
pub fn local_time(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    let zoned = time.to_zoned_datetime(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Text from outside for a terminal: no control characters, no line ends.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
