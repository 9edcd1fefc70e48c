//! `cdrd sink`: what a sink needs at its receiver before it can work.

#[cfg(feature = "postgres")]
use std::io::Write;

use super::ConfigFile;
use super::asking;
use super::exit::Exit;
use super::logging::Logging;
#[cfg(feature = "postgres")]
use crate::sink::Settings;
#[cfg(feature = "postgres")]
use crate::sink::postgres::{self, Layout};

/// Prepare what a sink writes to
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd sink init calls --print-sql | psql -U postgres calls   as an administrator
  cdrd sink init calls --apply                                as the sink's own role")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make the tables of a sink of type "postgres"
    Init(Init),
}

/// Make the tables of a sink of type "postgres"
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("how").required(true))]
#[command(after_help = "Examples:
  cdrd sink init calls --print-sql            what would be done
  cdrd sink init calls --print-sql | psql -U postgres calls
  cdrd sink init calls --apply
  cdrd sink init calls --print-sql --timescale

What is there already stays as it is, so doing it twice does no harm. --print-sql also
prints the rights that the sink's role needs, for an administrator who makes the tables;
--apply makes them as the sink's role, which must be allowed to create tables.
Ends with 69 if the database refused or cannot be reached.")]
struct Init {
    /// Which sink
    name: String,
    /// Print the SQL, and connect to nothing
    #[arg(long, group = "how")]
    print_sql: bool,
    /// Connect as the sink does, and run the SQL
    #[arg(long, group = "how")]
    apply: bool,
    /// For TimescaleDB: make hypertables, cut by the column event_time
    #[arg(long)]
    timescale: bool,
}

/// Does it.
pub async fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_report();
    let Action::Init(init) = args.action;
    let config =
        if init.apply { args.config.load()? } else { args.config.load_without_secrets()? };
    let sink = match asking::sink(&config, &init.name) {
        Ok(sink) => sink,
        Err(words) => {
            eprintln!("cdrd: {words}");
            return Ok(Exit::Usage);
        }
    };
    match &sink.settings {
        #[cfg(feature = "postgres")]
        Settings::Postgres(settings) => init_postgres(settings, &init).await,
        _ => {
            eprintln!(
                "cdrd: sink \"{}\" needs nothing made; only sinks of type \"postgres\" do",
                sink.name
            );
            Ok(Exit::Usage)
        }
    }
}

#[cfg(feature = "postgres")]
async fn init_postgres(settings: &postgres::Settings, init: &Init) -> anyhow::Result<Exit> {
    let layout = if init.timescale { Layout::Timescale } else { Layout::Plain };
    let mut out = std::io::stdout();
    if init.print_sql {
        out.write_all(settings.setup_sql(layout, true).as_bytes())?;
        return Ok(Exit::Ok);
    }
    match settings.apply(layout).await {
        Ok(words) => {
            writeln!(out, "{words}")?;
            Ok(Exit::Ok)
        }
        Err(words) => {
            eprintln!("cdrd: sink \"{}\": {words}", init.name);
            Ok(Exit::Unavailable)
        }
    }
}
