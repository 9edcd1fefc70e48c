//! `cdrd replay`: events of the journal to a sink again.

use super::ConfigFile;
use super::asking::{self, Served};
use super::exit::Exit;
use super::logging::Logging;
use super::moment::{self, Moment};
use crate::journal::reader::Reader;
use crate::journal::replays;
use crate::journal::schema;

/// Send events of the journal to a sink again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd replay --sink crm --since 2h
  cdrd replay --sink archive --since 2026-11-24 --until 2026-11-25
  cdrd replay --sink crm --from-seq 1200

Events have the ids that they had. The sink's filter applies; its cursor does not move.
A running daemon sends them between its live events, else this command does.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Which sink
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// From what was received then: 2h (ago), 2026-11-24, 2026-11-24T10:30, RFC 3339
    #[arg(long, value_name = "T", value_parser = moment::parse, required_unless_present = "from_seq", conflicts_with = "from_seq")]
    since: Option<Moment>,
    /// From this journal sequence number on
    #[arg(long, value_name = "N")]
    from_seq: Option<u64>,
    /// Up to what was received before then; left out, to the newest
    #[arg(long, value_name = "T", value_parser = moment::parse)]
    until: Option<Moment>,
}

/// Asks, and waits until it is done.
pub async fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let config = args.config.load_beside_daemon()?;
    let sink = match asking::sink(&config, &args.sink) {
        Ok(sink) => sink,
        Err(words) => {
            eprintln!("cdrd: {words}");
            return Ok(Exit::Usage);
        }
    };
    let journal = schema::open_for_asking(&config.journal.path)?;
    let reader = Reader::open(&config.journal.path)?;
    let (first, last) = range(&args, &reader)?;
    if first > last {
        println!("nothing to send: the journal has no events there");
        return Ok(Exit::Ok);
    }
    let n = replays::ask(&journal, &sink.name, first, last)?;
    let total = last - first + 1;
    let left =
        || Ok(replays::get(&journal, n)?.map_or(0, |replay| replay.last_seq + 1 - replay.next_seq));
    let served = asking::serve(&config, &[sink], total, left).await?;
    if served == Served::Done {
        println!(
            "sent to {}: events {first} to {last}, as far as its filter wants them",
            sink.name
        );
    }
    Ok(Exit::Ok)
}

fn range(args: &Args, reader: &Reader) -> anyhow::Result<(u64, u64)> {
    let first = match (args.from_seq, args.since) {
        (Some(seq), _) => seq,
        (None, Some(since)) => reader.seq_before(since.0)? + 1,
        (None, None) => 1,
    };
    let last = match args.until {
        Some(until) => reader.seq_before(until.0)?,
        None => reader.last_seq()?,
    };
    Ok((first.max(reader.first_seq()?), last))
}
