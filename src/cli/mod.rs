//! The command line: a file for each command.

pub mod asking;
pub mod backfill;
pub mod check;
pub mod completions;
pub mod dead_letters;
pub mod demo;
pub mod exit;
pub mod export;
pub mod gaps;
pub mod journal;
pub mod kept;
pub mod logging;
pub mod man;
mod memory;
pub mod moment;
mod panics;
pub mod quarantine;
pub mod replay;
pub mod run;
pub mod signals;
pub mod simulate;
pub mod sink;
pub mod status;
pub mod tail;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, DEFAULT_PATH};
use exit::Exit;
use logging::Logging;

/// Call-detail records from a PortSIP PBX, none lost on the way.
///
/// Logs into the PBX's WebSocket interface, keeps every event in a durable journal
/// and delivers it, at least once, to every configured sink.
#[derive(Debug, Parser)]
#[command(name = "cdrd", version = env!("CDRD_VERSION"), max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Examples:
  cdrd demo                            see calls arrive, from a simulated PBX
  cdrd check -c config.toml --connect  try a configuration out, step by step
  cdrd run -c config.toml              run the daemon
  cdrd tail --since 1h                 watch calls, with those of the last hour first")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub logging: Logging,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: events go to the sinks, logs to stderr
    Run(run::Args),
    /// Validate the configuration; with --connect, try every PBX and sink
    Check(check::Args),
    /// Watch calls as they end, one line each
    Tail(tail::Args),
    /// See how the daemon is, whether it runs or not
    Status(status::Args),
    /// Send events of the journal to a sink again
    Replay(replay::Args),
    /// When nobody listened: list, accept
    Gaps(gaps::Args),
    /// Ask the PBX's REST interface for the calls of a span of time
    Backfill(backfill::Args),
    /// Print the journal, or a part of it
    Export(export::Args),
    /// What a sink refused for good: list, show, send again, drop
    DeadLetters(dead_letters::Args),
    /// What could not be decoded: list, show, decode again, drop
    Quarantine(quarantine::Args),
    /// Look through the journal; save what is readable of a damaged one
    Journal(journal::Args),
    /// Prepare what a sink writes to: the tables of a database
    Sink(sink::Args),
    /// Run a simulated PBX to try cdrd, or another client, against
    Simulate(Box<simulate::Args>),
    /// See calls arrive: simulated PBX, daemon and tail in one, nothing left behind
    Demo(demo::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual page, or that of a command
    Man(man::Args),
}

/// Which configuration to read.
#[derive(Debug, Clone, Args)]
pub struct ConfigFile {
    /// Configuration file; "-" reads standard input
    #[arg(short = 'c', long = "config", global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub path: PathBuf,
}

impl ConfigFile {
    /// Reads it.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.path)
    }

    /// Reads it for a command that uses no secret.
    pub fn load_without_secrets(&self) -> Result<Config, ConfigError> {
        Config::load_without_secrets(&self.path)
    }

    /// Reads it for a command that needs secrets only if no daemon does the work:
    /// people have no credentials from systemd.
    pub fn load_beside_daemon(&self) -> Result<Config, ConfigError> {
        if self.path == Path::new("-") {
            return self.load();
        }
        let config = self.load_without_secrets()?;
        if crate::journal::lock::is_held(&config.journal.path) { Ok(config) } else { self.load() }
    }
}

/// The whole program but its process.
pub fn main() -> ExitCode {
    panics::end_the_process();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // clap prints help and version to stdout, errors to stderr.
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    if matches!(cli.command, Command::Run(_)) {
        memory::share_one_store();
    }
    match execute(cli) {
        Ok(exit) => exit.into(),
        Err(e) => {
            eprintln!("cdrd: {e:#}");
            Exit::of(&e).into()
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<Exit> {
    let Cli { command, logging } = cli;
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let exit = runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(args, &logging).await,
            Command::Check(args) => check::run(args, &logging).await,
            Command::Tail(args) => tail::run(args, &logging).await,
            Command::Status(args) => status::run(&args, &logging),
            Command::Replay(args) => replay::run(args, &logging).await,
            Command::Gaps(args) => gaps::run(args, &logging),
            Command::Backfill(args) => backfill::run(args, &logging).await,
            Command::Export(args) => export::run(&args, &logging),
            Command::DeadLetters(args) => dead_letters::run(args, &logging).await,
            Command::Quarantine(args) => quarantine::run(args, &logging).await,
            Command::Journal(args) => journal::run(&args, &logging),
            Command::Sink(args) => sink::run(args, &logging).await,
            Command::Simulate(args) => {
                logging.start_for_people();
                let shutdown = signals::stop_on_signals().gracefully;
                simulate::run(*args, shutdown).await.map(|()| Exit::Ok)
            }
            Command::Demo(args) => demo::run(args, &logging).await,
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        }
    });
    // A sink that was given up at the deadline may still hold a blocking thread.
    runtime.shutdown_background();
    exit
}

/// Whether to colour what goes to standard output.
pub(crate) fn colour_stdout() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
