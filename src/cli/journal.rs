//! `cdrd journal`: looking through a journal, and saving what is readable of a damaged one.

use super::ConfigFile;
use super::exit::Exit;
use super::logging::Logging;
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::check::{self, Report};
use crate::journal::repair::{self, Known, Repaired};
use crate::pbx::subscribe::is_cdr_topic;

/// Check the journal, or repair a damaged one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd journal check      beside a running daemon or not; 74 if something is wrong
  cdrd journal repair     with the daemon stopped

repair does nothing to a sound journal. Of a damaged one it saves what is readable into a
new one, tells what is lost, and keeps the damaged files beside it. A cursor that is lost
makes its sink get everything again; for lost events there is a gap, which the daemon
closes over REST.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Look through all of it: SQLite's checks, checksums, ids, cursors
    Check,
    /// Save what is readable of a damaged one
    Repair,
}

/// Does it.
pub fn run(args: &Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let config = args.config.load_without_secrets()?;
    let report = check::check(&config.journal.path)?;
    match (&args.action, report.is_sound()) {
        (Action::Check, true) => {
            println!("sound: {} events", report.events);
            Ok(Exit::Ok)
        }
        (Action::Check, false) => {
            tell_faults(&report);
            println!("stop the daemon, then save what is readable with cdrd journal repair");
            Ok(Exit::Io)
        }
        (Action::Repair, true) => {
            println!("sound: {} events; nothing was done", report.events);
            Ok(Exit::Ok)
        }
        (Action::Repair, false) => {
            tell_faults(&report);
            tell_repair(&repair::repair(&config.journal.path, &known(&config))?);
            Ok(Exit::Ok)
        }
    }
}

fn known(config: &Config) -> Known {
    Known {
        sinks: config.sinks.iter().map(|sink| sink.name.clone()).collect(),
        pbxs: config
            .pbxs
            .iter()
            .filter(|pbx| pbx.topics.iter().any(|topic| is_cdr_topic(&topic.name)))
            .map(|pbx| pbx.name.clone())
            .collect(),
        retention_ms: i64::try_from(config.journal.retention.as_millis()).unwrap_or(i64::MAX / 2),
        now_ms: Clock::system().now_ms(),
    }
}

fn tell_faults(report: &Report) {
    for fault in &report.faults {
        println!("damaged: {}", super::asking::one_line(fault));
    }
    let more = report.count - report.faults.len() as u64;
    if more > 0 {
        println!("damaged: and {more} more");
    }
}

fn tell_repair(repaired: &Repaired) {
    println!("saved: {} events", repaired.events);
    for (from, to) in &repaired.lost {
        match from == to {
            true => println!("lost: event {from}"),
            false => println!("lost: events {from} to {to}"),
        }
    }
    if repaired.quarantined > 0 {
        println!(
            "to the quarantine: {} that are not what was written; see cdrd quarantine list",
            repaired.quarantined
        );
    }
    for note in &repaired.notes {
        println!("lost: {note}");
    }
    if repaired.gaps > 0 {
        println!("gaps to be closed by backfill: {}; see cdrd gaps list", repaired.gaps);
    }
    println!("the damaged journal is kept as {}", repaired.damaged.display());
}
