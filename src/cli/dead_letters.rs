//! `cdrd dead-letters`: what a sink refused for good.

use std::io::{self, Write};

use clap::Subcommand;

use super::ConfigFile;
use super::asking::{local_time, one_line};
use super::exit::Exit;
use super::kept::{Entry, Kind, Which};
use super::logging::Logging;
use crate::config::Config;
use crate::journal::dead_letters::{self, Numbered};
use crate::journal::reader::Reader;
use crate::sink::format::Encoder;

/// What a sink refused for good
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd dead-letters list
  cdrd dead-letters show 7
  cdrd dead-letters retry --all --sink crm   once the receiver is mended
  cdrd dead-letters drop 7 8")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// One line each, without any of their content
    List {
        /// Only of this sink
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
        /// As CloudEvents, one a line, with all their content
        #[arg(long)]
        json: bool,
    },
    /// One of them with all its content
    Show {
        /// Its number in the list
        n: i64,
    },
    /// Send again; what is refused again stays
    Retry(These),
    /// Forget for good
    Drop(These),
}

#[derive(Debug, clap::Args)]
struct These {
    #[command(flatten)]
    which: Which,
    /// With --all: only of this sink
    #[arg(long, value_name = "NAME", requires = "all")]
    sink: Option<String>,
}

const KIND: Kind = Kind {
    noun: "dead letter",
    list_command: "cdrd dead-letters list",
    outcomes: ("delivered", "refused again"),
    list: |db, sink| Ok(dead_letters::list(db, sink)?.into_iter().map(entry).collect()),
    get: |db, n| Ok(dead_letters::get(db, n)?.map(entry)),
    ask_retry: dead_letters::ask_retry,
    forget: dead_letters::forget,
};

fn entry(numbered: Numbered) -> Entry {
    let Numbered { n, waiting, letter } = numbered;
    Entry { n, waiting, reason: letter.reason, sink: Some(letter.sink) }
}

/// Runs one of the actions.
pub async fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let config = match &args.action {
        Action::Retry(_) => args.config.load_beside_daemon()?,
        Action::List { .. } | Action::Show { .. } | Action::Drop(_) => {
            args.config.load_without_secrets()?
        }
    };
    match args.action {
        Action::List { sink, json } => list(&config, sink.as_deref(), json),
        Action::Show { n } => show(&config, n),
        Action::Retry(these) => KIND.retry(&config, &these.which, these.sink.as_deref()).await,
        Action::Drop(these) => KIND.drop(&config, &these.which, these.sink.as_deref()),
    }
}

fn list(config: &Config, sink: Option<&str>, json: bool) -> anyhow::Result<Exit> {
    let letters = Reader::open(&config.journal.path)?.ask(|db| dead_letters::list(db, sink))?;
    let mut out = Vec::new();
    if json {
        for letter in &letters {
            Encoder::cloudevents().write_line(&letter.letter.event, &mut out);
            out.push(b'\n');
        }
    } else if letters.is_empty() {
        out.extend_from_slice(b"no dead letters\n");
    } else {
        writeln!(out, "{:>6}  {:<19}  {:<16}  {:<18}  REASON", "N", "WHEN", "SINK", "TYPE")?;
        for letter in &letters {
            write_row(letter, &mut out)?;
        }
    }
    io::stdout().lock().write_all(&out)?;
    Ok(Exit::Ok)
}

fn write_row(letter: &Numbered, out: &mut Vec<u8>) -> io::Result<()> {
    let Numbered { n, letter, waiting } = letter;
    let waiting = if *waiting { "(to be sent again) " } else { "" };
    writeln!(
        out,
        "{n:>6}  {}  {:<16}  {:<18}  {waiting}{}",
        local_time(letter.at_ms),
        letter.sink,
        one_line(&letter.event.event.event_type),
        one_line(&letter.reason)
    )
}

fn show(config: &Config, n: i64) -> anyhow::Result<Exit> {
    let found = Reader::open(&config.journal.path)?.ask(|db| dead_letters::get(db, n))?;
    let Some(Numbered { letter, .. }) = found else { return Ok(KIND.unknown(n)) };
    let mut out = Vec::new();
    writeln!(
        out,
        "sink    {}\ngiven up {}\nreason  {}",
        letter.sink,
        local_time(letter.at_ms),
        one_line(&letter.reason)
    )?;
    Encoder::cloudevents().write_line(&letter.event, &mut out);
    out.push(b'\n');
    io::stdout().lock().write_all(&out)?;
    Ok(Exit::Ok)
}
