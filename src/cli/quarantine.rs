//! `cdrd quarantine`: what the PBX sent and nobody could decode.

use std::io::{self, IsTerminal, Write};

use clap::Subcommand;

use super::ConfigFile;
use super::asking::{local_time, one_line};
use super::exit::Exit;
use super::kept::{Entry, Kind, Which};
use super::logging::Logging;
use crate::config::Config;
use crate::journal::quarantine::{self, Numbered};
use crate::journal::reader::Reader;

/// What could not be decoded
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd quarantine list
  cdrd quarantine show 3 | jq .
  cdrd quarantine retry --all     with a newer cdrd that may understand them
  cdrd quarantine drop --all")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// One line each, without any of their content
    List,
    /// The bytes of one, as they came
    Show {
        /// Its number in the list
        n: i64,
    },
    /// Decode again; what becomes an event goes to the sinks, the rest stays
    Retry(Which),
    /// Forget for good
    Drop(Which),
}

const KIND: Kind = Kind {
    noun: "quarantine entry",
    list_command: "cdrd quarantine list",
    outcomes: ("decoded", "not"),
    list: |db, _| Ok(quarantine::list(db)?.into_iter().map(entry).collect()),
    get: |db, n| Ok(quarantine::get(db, n)?.map(entry)),
    ask_retry: quarantine::ask_retry,
    forget: quarantine::forget,
};

fn entry(numbered: Numbered) -> Entry {
    let Numbered { n, waiting, entry } = numbered;
    // Decoding is the matter of the journal's writer, not of a sink.
    Entry { n, waiting, reason: entry.reason, sink: None }
}

/// Runs one of the actions.
pub async fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let config = match &args.action {
        Action::Retry(_) => args.config.load_beside_daemon()?,
        Action::List | Action::Show { .. } | Action::Drop(_) => {
            args.config.load_without_secrets()?
        }
    };
    match args.action {
        Action::List => list(&config),
        Action::Show { n } => show(&config, n),
        Action::Retry(which) => KIND.retry(&config, &which, None).await,
        Action::Drop(which) => KIND.drop(&config, &which, None),
    }
}

fn list(config: &Config) -> anyhow::Result<Exit> {
    let entries = Reader::open(&config.journal.path)?.ask(quarantine::list)?;
    let mut out = Vec::new();
    if entries.is_empty() {
        out.extend_from_slice(b"the quarantine is empty\n");
    } else {
        writeln!(out, "{:>6}  {:<19}  {:<16}  {:>9}  REASON", "N", "RECEIVED", "PBX", "BYTES")?;
    }
    for Numbered { n, entry, .. } in &entries {
        let (time, reason) = (local_time(entry.received_ms), one_line(&entry.reason));
        writeln!(out, "{n:>6}  {time}  {:<16}  {:>9}  {reason}", entry.pbx, entry.size)?;
    }
    io::stdout().lock().write_all(&out)?;
    Ok(Exit::Ok)
}

/// To a file or a pipe the bytes go as they are; on a terminal they must not move
/// the cursor.
fn show(config: &Config, n: i64) -> anyhow::Result<Exit> {
    let found = Reader::open(&config.journal.path)?.ask(|db| quarantine::get(db, n))?;
    let Some(Numbered { entry, .. }) = found else { return Ok(KIND.unknown(n)) };
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        let text = String::from_utf8_lossy(&entry.data);
        writeln!(stdout, "{}", text.lines().map(one_line).collect::<Vec<_>>().join("\n"))?;
        eprintln!("{}", one_line(&entry.reason));
    } else {
        stdout.write_all(&entry.data)?;
    }
    Ok(Exit::Ok)
}
