//! `cdrd gaps`: the spans in which nobody listened.
//!
//! Gaps are closed by the daemon. One that it cannot close, because the PBX has no REST
//! interface or the call logs reach back no further, can be accepted by hand: then
//! somebody knows of it, and it alarms nobody any more.

use super::ConfigFile;
use super::asking::{local_time, one_line};
use super::exit::Exit;
use super::logging::Logging;
use crate::clock::Clock;
use crate::journal::gaps::{self, Span};
use crate::journal::reader::Reader;
use crate::journal::schema;

/// When nobody listened
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd gaps list                gaps that are open
  cdrd gaps list --closed       with those that were closed
  cdrd gaps accept 3 4          known, and not to be closed any more
  cdrd gaps accept --all

The daemon closes gaps over REST by itself, and says why it cannot.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// List them, oldest first
    List {
        /// Those that were closed, too
        #[arg(long)]
        closed: bool,
    },
    /// Take note of open gaps: they count as closed from now on
    Accept {
        /// Their numbers in the list
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "N")]
        numbers: Vec<i64>,
        /// All that are over and open
        #[arg(long)]
        all: bool,
    },
}

/// Does it.
pub fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_people();
    let journal = args.config.load_without_secrets()?.journal.path;
    match args.what {
        What::List { closed } => {
            let spans = Reader::open_untouched(&journal)?.ask(gaps::list)?;
            let shown = spans.iter().filter(|span| closed || span.closed_ms.is_none());
            let lines: Vec<String> = shown.map(line).collect();
            match lines.is_empty() {
                true => println!("no gaps{}", if closed { "" } else { " are open" }),
                false => println!("{}", lines.join("\n")),
            }
            Ok(Exit::Ok)
        }
        What::Accept { numbers, all } => {
            let db = schema::open_for_asking(&journal)?;
            let open = |span: &Span| span.end_ms.is_some() && span.closed_ms.is_none();
            let numbers = match all {
                true => gaps::list(&db)?.iter().filter(|s| open(s)).map(|s| s.n).collect(),
                false => numbers,
            };
            for n in &numbers {
                if !gaps::accept(&db, *n, Clock::system().now_ms())? {
                    eprintln!("cdrd: no gap {n} that is over and open; see cdrd gaps list");
                    return Ok(Exit::Usage);
                }
            }
            println!("{} accepted", numbers.len());
            Ok(Exit::Ok)
        }
    }
}

fn line(span: &Span) -> String {
    let end = span.end_ms.map_or_else(|| "now".to_owned(), local_time);
    let (start, why) = (local_time(span.start_ms), one_line(&span.why));
    format!("{:>4}  {}  {start} to {end}  {why}; {}", span.n, span.pbx, one_line(&span.standing()))
}
