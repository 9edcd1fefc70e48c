//! `cdrd status`: how the daemon is, whether it runs or not.
//!
//! Everything is read from the journal: the daemon need not be asked, and the answer
//! is there even after it crashed.

use std::io::Write;

use super::exit::Exit;
use super::logging::Logging;
use super::tail::is_broken_pipe;
use super::{ConfigFile, colour_stdout};
use crate::clock::Clock;
use crate::journal::lock;
use crate::journal::reader::Reader;
use crate::status::gather::{Asked, gather};
use crate::status::text;

/// See how the daemon is: PBXs, sinks, journal, gaps, and what is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd status
  cdrd status --json | jq .problems

Reads the journal, so it works whether the daemon runs or not. Ends with 0 if it could
be read, whatever it says; .ok in the JSON tells whether all is well.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// As JSON (docs/status.schema.json)
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub fn run(args: &Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let config = args.config.load_without_secrets()?;
    let path = &config.journal.path;
    let running = lock::is_held(path);
    let reader = Reader::open_untouched(path)?;
    let status = gather(&reader, &Asked::of(&config), None, running, Clock::system().now_ms())?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&status)? + "\n",
        false => text::render(&status, colour_stdout(), &jiff::tz::TimeZone::system()),
    };
    match std::io::stdout().write_all(text.as_bytes()).map_err(anyhow::Error::from) {
        Err(e) if !is_broken_pipe(&e) => Err(e),
        _ => Ok(Exit::Ok),
    }
}
