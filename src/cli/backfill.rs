//! `cdrd backfill`: asks REST now for the calls of a span.
//!
//! A running daemon does it, with its own session at the PBX and at its own pace; without
//! one this command does, and what it adds is delivered after the next start.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::ConfigFile;
use super::asking::Progress;
use super::exit::Exit;
use super::logging::Logging;
use super::moment::{self, Moment};
use super::signals;
use super::tail::remembered;
use crate::backfill::sweep::{Books, SweepError, sweep};
use crate::backfill::worker::Worker;
use crate::clock::Clock;
use crate::config::{Backfill, Config, Pbx};
use crate::daemon::Stop;
use crate::journal::gaps::{self, Found, Kind, Span};
use crate::journal::reader::Reading;
use crate::journal::{Journal, lock, schema};
use crate::pbx::lockout::{Lockout, Memory};
use crate::rest::Rest;

/// How often we look at how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Ask the PBX's REST interface for the calls of a span of time
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd backfill --pbx hq --since 2h
  cdrd backfill --pbx hq --since 2026-11-24 --until 2026-11-25 --dry-run

Calls that ended in the span and that the journal lacks are added and delivered like any
other, with origin \"backfill\". A running daemon does the work, else this command does.
Gaps need no such command: the daemon closes them by itself.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Which PBX
    #[arg(long, value_name = "NAME")]
    pbx: String,
    /// Calls that ended then or later: 2h (ago), 2026-11-24, 2026-11-24T10:30, RFC 3339
    #[arg(long, value_name = "T", value_parser = moment::parse)]
    since: Moment,
    /// And before then; left out, until now
    #[arg(long, value_name = "T", value_parser = moment::parse)]
    until: Option<Moment>,
    /// Only tell what is missing; add nothing
    #[arg(long)]
    dry_run: bool,
}

/// Asks, and waits until it is done.
pub async fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let config = match args.dry_run {
        true => args.config.load()?,
        false => args.config.load_beside_daemon()?,
    };
    let now = Clock::system().now_ms();
    let span = (args.since.0, args.until.map_or(now, |until| until.0.min(now)));
    let (pbx, settings) = match wanted(&config, &args.pbx, span) {
        Ok(wanted) => wanted,
        Err((exit, words)) => {
            eprintln!("cdrd: {words}");
            return Ok(exit);
        }
    };
    let stop = signals::stop_on_signals();
    let asked = Asked { config: &config, pbx, settings, span };
    let told = match args.dry_run {
        true => asked.dry_run(&stop).await?,
        false => asked.add(&stop).await?,
    };
    Ok(tell(told, args.dry_run))
}

fn tell(told: Told, dry_run: bool) -> Exit {
    match told {
        Told::Done(Found { found, present, added }) => {
            let (number, word) =
                if dry_run { (found - present, "missing") } else { (added, "added") };
            println!("{found} found, {present} already present, {number} {word}");
            Exit::Ok
        }
        Told::Failed(why) => {
            eprintln!("cdrd: {why}");
            Exit::Unavailable
        }
        Told::Left => {
            eprintln!("not finished; what was added until now stays");
            Exit::Ok
        }
    }
}

fn wanted<'a>(
    config: &'a Config,
    name: &str,
    (start, end): (i64, i64),
) -> Result<(&'a Pbx, &'a Backfill), (Exit, String)> {
    let Some(pbx) = config.pbxs.iter().find(|pbx| *pbx.name == *name) else {
        let names: Vec<_> = config.pbxs.iter().map(|known| &*known.name).collect();
        let words = format!("--pbx {name}: the configuration knows {}", names.join(", "));
        return Err((Exit::Usage, words));
    };
    if start >= end {
        return Err((Exit::Usage, "--since must be before --until, and in the past".to_owned()));
    }
    match (&pbx.backfill, pbx.no_backfill) {
        (Some(settings), _) => Ok((pbx, settings)),
        (None, why) => {
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            Err((Exit::Config, format!("pbx \"{name}\": no backfill{why}")))
        }
    }
}

/// How it ended.
enum Told {
    Done(Found),
    Failed(String),
    /// The user did not wait.
    Left,
}

struct Asked<'a> {
    config: &'a Config,
    pbx: &'a Pbx,
    settings: &'a Backfill,
    span: (i64, i64),
}

impl Asked<'_> {
    /// Looks by itself, whoever runs, and writes nothing but the login.
    async fn dry_run(&self, stop: &Stop) -> anyhow::Result<Told> {
        let path = &self.config.journal.path;
        let memory = match path.exists() {
            true => Memory::File(path.clone()),
            false => Memory::Nowhere,
        };
        let lockout = Lockout::new(memory, Clock::system(), remembered(path));
        let mut rest = Rest::new(self.pbx, lockout, Clock::system())?;
        let mut books = Books {
            pbx: Arc::clone(&self.pbx.name),
            journal: None,
            reading: Reading::of(path),
            lookback: self.settings.lookback,
            odd: HashSet::new(),
        };
        let spans = [Span::asked(&self.pbx.name, self.span)];
        let told = tokio::select! {
            swept = sweep(&mut rest, &mut books, &spans) => match swept {
                Ok(found) => Told::Done(found),
                Err(SweepError::Journal(e)) => return Err(e.into()),
                Err(e) => Told::Failed(e.to_string()),
            },
            () = stop.gracefully.cancelled() => Told::Left,
        };
        rest.close().await;
        Ok(told)
    }

    /// Has it done by the daemon, or does it.
    async fn add(&self, stop: &Stop) -> anyhow::Result<Told> {
        let path = &self.config.journal.path;
        if lock::is_held(path) {
            let n = self.ask()?;
            return self.watch(n, stop).await;
        }
        let cursors: Vec<_> =
            self.config.sinks.iter().map(|sink| (Arc::clone(&sink.name), sink.start)).collect();
        let (journal, writer) = Journal::open(&self.config.journal, &cursors)?;
        let told = self.serve(&journal, stop).await;
        drop(journal);
        writer.join().await?;
        told
    }

    async fn serve(&self, journal: &Journal, stop: &Stop) -> anyhow::Result<Told> {
        let n = self.ask()?;
        let remembered = journal.reader()?.refusals()?;
        let memory = Memory::Journal(journal.clone());
        let lockout = Lockout::new(memory, Clock::system(), remembered);
        let worker = Worker::new(self.pbx, self.settings, journal, lockout)?;
        let (told, ended) = tokio::join!(self.watch(n, stop), worker.once(n, &stop.gracefully));
        ended?;
        told
    }

    fn ask(&self) -> anyhow::Result<i64> {
        let journal = schema::open_for_asking(&self.config.journal.path)?;
        Ok(gaps::ask(&journal, &self.pbx.name, Kind::Asked, self.span)?)
    }

    /// Until the request is served, or a signal.
    async fn watch(&self, n: i64, stop: &Stop) -> anyhow::Result<Told> {
        let journal = schema::open_for_asking(&self.config.journal.path)?;
        let mut progress = Progress::new();
        loop {
            let span = gaps::get(&journal, n)?.context("the request has gone from the journal")?;
            let Found { found, added, .. } = span.found;
            progress.show(found, || format!("{found} calls found, {added} added"));
            let told = match (span.closed_ms, span.error) {
                (Some(_), None) => Some(Told::Done(span.found)),
                (_, Some(error)) => Some(Told::Failed(error)),
                (None, None) if stop.gracefully.is_cancelled() => Some(Told::Left),
                (None, None) => None,
            };
            if let Some(told) = told {
                progress.end();
                gaps::forget(&journal, n)?;
                return Ok(told);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.gracefully.cancelled() => {}
            }
        }
    }
}
