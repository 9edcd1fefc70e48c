//! `cdrd export`: the journal, or a part of it, to standard output.

use std::io::{self, Write};

use clap::ValueEnum;
use jiff::tz::TimeZone;

use super::ConfigFile;
use super::exit::Exit;
use super::logging::Logging;
use super::moment::{self, Moment};
use super::tail::is_broken_pipe;
use crate::event::Stored;
use crate::journal::reader::Reader;
use crate::sink::filter::Filter;
use crate::sink::format::{Encoder, Format};

/// Events read at once.
const READ_EVENTS: usize = 1_000;
/// Or this many bytes.
const READ_BYTES: usize = 1 << 20;

/// Print the journal, or a part of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd export --since 1h | jq .data
  cdrd export --since 2026-11-01 --until 2026-12-01 --type call_cdr --format csv > november.csv

Reads beside a running daemon, and delays it by nothing.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The form of each line
    #[arg(long, value_enum, default_value_t = Form::Jsonl)]
    format: Form,
    /// From what was received then: 2h (ago), 2026-11-24, 2026-11-24T10:30, RFC 3339
    #[arg(long, value_name = "T", value_parser = moment::parse)]
    since: Option<Moment>,
    /// Up to what was received before then
    #[arg(long, value_name = "T", value_parser = moment::parse)]
    until: Option<Moment>,
    /// Only events of this type; * stands for any letters
    #[arg(long = "type", value_name = "PATTERN")]
    types: Vec<String>,
}

/// The forms of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// CloudEvents, one a line
    Jsonl,
    /// The PBX's objects, one a line
    Raw,
    /// The normal form of a call, one JSON object a line
    Record,
    /// The normal form of a call as a table, with a header line
    Csv,
}

impl Args {
    fn encoder(&self) -> Encoder {
        let format = match self.format {
            Form::Jsonl => Format::CloudEvents,
            Form::Raw => Format::Raw,
            Form::Record => Format::Record,
            Form::Csv => Format::Csv,
        };
        Encoder::plain(format, TimeZone::system(), &self.types)
    }
}

/// Prints, until the end or until nobody reads any more.
pub fn run(args: &Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let config = args.config.load_without_secrets()?;
    match export(args, &mut Reader::open(&config.journal.path)?) {
        Err(e) if is_broken_pipe(&e) => Ok(Exit::Ok),
        other => other.map(|()| Exit::Ok),
    }
}

fn export(args: &Args, reader: &mut Reader) -> anyhow::Result<()> {
    let filter = Filter { patterns: args.types.clone(), ..Filter::default() };
    let encoder = args.encoder();
    let mut seq = args.since.map_or(Ok(0), |since| reader.seq_before(since.0))?;
    let end = args.until.map_or(Ok(u64::MAX), |until| reader.seq_before(until.0))?;
    let mut stdout = io::stdout().lock();
    if let Some(header) = encoder.header() {
        stdout.write_all(&header)?;
    }
    let mut lines = Vec::new();
    loop {
        let events = reader.after(seq, READ_EVENTS, READ_BYTES)?;
        let Some(last) = events.last() else { break };
        seq = last.seq;
        lines.clear();
        for event in events.iter().filter(|event: &&Stored| event.seq <= end && filter.wants(event))
        {
            encoder.write_line(event, &mut lines);
            lines.extend_from_slice(encoder.line_end());
        }
        stdout.write_all(&lines)?;
        if seq >= end {
            break;
        }
    }
    Ok(stdout.flush()?)
}
