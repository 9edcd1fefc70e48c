//! `cdrd demo`: simulated PBX, daemon and tail in one process; nothing left behind.
//!
//! All of it is the real thing: the daemon logs in over a socket, journals to disk
//! (in a directory that goes away with the demo), and the view shows what the
//! journal has committed.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::broadcast::{self, error::RecvError};

use super::exit::Exit;
use super::logging::Logging;
use super::signals;
use super::tail::printer::Printer;
use super::tail::{is_broken_pipe, print_after};
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::daemon::{Daemon, Stop};
use crate::journal::Commit;
use crate::journal::reader::Reader;
use crate::simulator::{DOMAIN, Options, PASSWORD, Rate, Simulator};

/// How long the demo's daemon may take to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// See calls arrive from a simulated PBX
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd demo                    until Ctrl-C
  cdrd demo --rate 20/s        a busy PBX
  cdrd demo --calls 5 --json   five calls, every event as a CloudEvent")]
pub struct Args {
    /// Calls in real time: N/s, N/m, N/h
    #[arg(long, default_value = "1/s")]
    rate: Rate,
    /// End after so many calls
    #[arg(long, value_name = "N")]
    calls: Option<u64>,
    /// Other seeds give other calls
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Every event as a CloudEvent, one a line
    #[arg(long)]
    json: bool,
}

/// Runs until a signal, the last call, or until nobody reads any more.
pub async fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let stop = signals::stop_on_signals();
    let options = Options {
        rate: args.rate,
        seed: args.seed,
        calls: args.calls,
        record: false,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.context("the simulated PBX does not start")?;
    let directory = tempfile::Builder::new().prefix("cdrd-demo-").tempdir()?;
    let config = config(&simulator, &directory.path().join("journal.db"))?;
    let daemon = Daemon::start(&config, Clock::system())?;
    let (reader, commits) = (daemon.journal().reader()?, daemon.journal().commits());
    eprintln!(
        "A simulated PBX at {}, and cdrd logged into it.\n\
         Each line is a call that has ended. Ctrl-C ends the demo.\n",
        simulator.url()
    );
    let daemon_stop = Stop::default();
    let running = tokio::spawn(daemon.run(daemon_stop.clone(), DRAIN));
    let shown = show(reader, commits, &args, &stop).await;
    daemon_stop.gracefully.cancel();
    let ended = running.await.context("the daemon panicked")?;
    simulator.shutdown().await;
    let seen = match shown {
        Err(e) if is_broken_pipe(&e) => return Ok(Exit::Ok),
        other => other?,
    };
    ended?;
    eprintln!(
        "\n{} calls, {} events, each on disk before it was shown. Nothing is left behind.\n\
         Next: cdrd check --help, or `cdrd simulate` and a configuration of your own.",
        seen.calls, seen.events
    );
    Ok(Exit::Ok)
}

/// What a user would write, in a file that nobody has to.
fn config(simulator: &Simulator, journal: &std::path::Path) -> anyhow::Result<Config> {
    let text = format!(
        "[pbx.demo]\n\
         url = {:?}\n\
         login = {{ username = \"cdr\", domain = {DOMAIN:?}, password = {PASSWORD:?} }}\n\
         [journal]\n\
         path = {journal:?}\n\
         [sink.unused]\n\
         type = \"stdout\"\n",
        simulator.url()
    );
    let mut config = Config::parse("the demo's configuration", &text, &Environment::empty())?;
    // The view reads the journal's commits itself.
    config.sinks.clear();
    Ok(config)
}

/// Shows what the journal commits, from its file: a terminal that is too slow for
/// the rate misses nothing.
async fn show(
    mut reader: Reader,
    mut commits: broadcast::Receiver<Commit>,
    args: &Args,
    stop: &Stop,
) -> anyhow::Result<Printer> {
    let mut printer = Printer::new(args.json, None);
    printer.header()?;
    let mut seq = 0;
    while args.calls.is_none_or(|calls| printer.calls < calls) {
        tokio::select! {
            commit = commits.recv() => if let Err(RecvError::Closed) = commit { break },
            () = stop.gracefully.cancelled() => break,
        }
        seq = print_after(&mut reader, seq, &mut printer)?;
    }
    Ok(printer)
}
