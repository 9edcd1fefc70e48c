//! `cdrd tail`: the live view for people.
//!
//! Beside a running daemon it reads that daemon's journal; without one it connects
//! by itself, shows what comes and writes nothing.

pub mod line;
pub mod printer;

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;

use super::exit::Exit;
use super::logging::Logging;
use super::{ConfigFile, signals};
use crate::clock::Clock;
use crate::config::{Config, units};
use crate::daemon::Stop;
use crate::event::Stored;
use crate::journal::intake::{Intake, Outlet};
use crate::journal::lock;
use crate::journal::reader::Reader;
use crate::pbx::lockout::{Lockout, Memory};
use crate::pbx::state::{Phase, State};
use crate::pbx::supervisor::Supervisor;
use printer::Printer;

/// How often the journal of another process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Events read at once.
const READ_EVENTS: usize = 1_000;
/// Or this many bytes.
const READ_BYTES: usize = 1 << 20;

/// Watch calls as they end, one line each
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd tail                      calls from now on
  cdrd tail --since 1h           with those of the last hour first
  cdrd tail --pbx hq --json      every event of one PBX as CloudEvents, for jq

Beside a running daemon it reads that daemon's journal. Without one it logs into the
PBXs by itself and writes nothing.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Only this PBX
    #[arg(long, value_name = "NAME")]
    pbx: Option<String>,
    /// Every event as a CloudEvent, one a line
    #[arg(long)]
    json: bool,
    /// First show what the journal has of the last such time, like 1h or 30m
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    since: Option<Duration>,
}

/// Runs until a signal, or until nobody reads any more.
pub async fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let config = args.config.load_beside_daemon()?;
    if let Some(pbx) = &args.pbx
        && !config.pbxs.iter().any(|known| *known.name == **pbx)
    {
        let names: Vec<_> = config.pbxs.iter().map(|known| &*known.name).collect();
        eprintln!("cdrd: --pbx {pbx}: the configuration knows {}", names.join(", "));
        return Ok(Exit::Usage);
    }
    let stop = signals::stop_on_signals();
    let printer = Printer::new(args.json, args.pbx.clone());
    let watched = watch(&config, &args, printer, &stop).await;
    match watched {
        Err(e) if is_broken_pipe(&e) => Ok(Exit::Ok),
        other => other,
    }
}

async fn watch(
    config: &Config,
    args: &Args,
    mut printer: Printer,
    stop: &Stop,
) -> anyhow::Result<Exit> {
    let journal = &config.journal.path;
    let daemon_runs = lock::is_held(journal);
    if daemon_runs || (args.since.is_some() && journal.exists()) {
        let mut reader = Reader::open_untouched(journal)?;
        let mut seq = match args.since {
            Some(since) => reader.seq_before(ago(since))?,
            None => reader.last_seq()?,
        };
        seq = print_after(&mut reader, seq, &mut printer)?;
        if daemon_runs {
            return follow(reader, seq, printer, stop).await;
        }
    }
    connect(config, args, printer, stop).await
}

fn ago(since: Duration) -> i64 {
    let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    Clock::system().now_ms().saturating_sub(since)
}

/// Prints all that the journal has after `seq`; returns the last.
pub(super) fn print_after(
    reader: &mut Reader,
    mut seq: u64,
    printer: &mut Printer,
) -> anyhow::Result<u64> {
    loop {
        let events = reader.after(seq, READ_EVENTS, READ_BYTES)?;
        let Some(last) = events.last() else { return Ok(seq) };
        seq = last.seq;
        printer.print(&events)?;
    }
}

/// Follows the journal of a daemon.
async fn follow(
    mut reader: Reader,
    mut seq: u64,
    mut printer: Printer,
    stop: &Stop,
) -> anyhow::Result<Exit> {
    printer.header()?;
    loop {
        tokio::select! {
            () = stop.gracefully.cancelled() => return Ok(Exit::Ok),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // Local, indexed, and a millisecond at most; nothing else runs here.
        seq = print_after(&mut reader, seq, &mut printer)?;
    }
}

/// Logs into the PBXs and prints what they say.
async fn connect(
    config: &Config,
    args: &Args,
    mut printer: Printer,
    stop: &Stop,
) -> anyhow::Result<Exit> {
    let (intake, mut outlet) = Intake::detached();
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), remembered(&config.journal.path));
    let mut sessions = JoinSet::new();
    let mut states = Vec::new();
    for pbx in config.pbxs.iter().filter(|pbx| pbx.wsi) {
        if args.pbx.as_deref().is_none_or(|wanted| wanted == &*pbx.name) {
            let token = stop.gracefully.clone();
            let supervisor = Supervisor::new(pbx.clone(), intake.clone(), lockout.clone(), token);
            states.push((pbx.name.to_string(), supervisor.state()));
            sessions.spawn(supervisor.run());
        }
    }
    drop(intake);
    if states.is_empty() {
        eprintln!(
            "cdrd: only a webhook brings events here; start the daemon, whose journal tail then reads"
        );
        return Ok(Exit::Unavailable);
    }
    printer.header()?;
    let refused = tokio::select! {
        printed = print_live(&mut outlet, &mut printer) => return printed.map(|()| Exit::Ok),
        refused = login_refused(states) => refused,
    };
    stop.gracefully.cancel();
    while sessions.join_next().await.is_some() {}
    let (pbx, why) = refused;
    eprintln!("cdrd: pbx \"{pbx}\": {why}");
    Ok(Exit::Unavailable)
}

async fn print_live(outlet: &mut Outlet, printer: &mut Printer) -> anyhow::Result<()> {
    let mut seq = 0;
    while let Some(events) = outlet.events().await {
        let numbered = events.into_iter().map(|event| {
            seq += 1;
            Stored { seq, event }
        });
        printer.print(&numbered.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// A view that connects by itself tries a login once: the PBX counts refusals.
async fn login_refused(
    states: Vec<(String, tokio::sync::watch::Receiver<State>)>,
) -> (String, String) {
    let mut waiting = JoinSet::new();
    for (pbx, mut state) in states {
        waiting.spawn(async move {
            let refused = state.wait_for(|s| s.phase == Phase::LoginRefused).await;
            let why = refused.ok()?.last_error.clone();
            let earlier = "the next login has to wait, since earlier ones were refused";
            Some((pbx, why.unwrap_or_else(|| earlier.to_owned())))
        });
    }
    while let Some(ended) = waiting.join_next().await {
        if let Ok(Some(refused)) = ended {
            return refused;
        }
    }
    std::future::pending().await
}

/// Refused logins that a daemon noted; without a journal there are none.
pub(crate) fn remembered(journal: &Path) -> Vec<crate::journal::refusals::Attempt> {
    let reader = journal.exists().then(|| Reader::open_untouched(journal));
    reader.and_then(Result::ok).and_then(|r| r.refusals().ok()).unwrap_or_default()
}

/// Whether nobody reads our output any more, which is no failure.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
