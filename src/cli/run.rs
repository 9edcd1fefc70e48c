//! `cdrd run`: the daemon.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::exit::Exit;
use super::logging::{Level, Logging};
use super::{ConfigFile, signals};
use crate::clock::Clock;
use crate::config::{Config, units};
use crate::daemon::{Daemon, Ended, Source};

/// Run the daemon
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd run                          with /etc/cdrd/config.toml
  cdrd run -c ./config.toml --log-level debug
  CDRD_LOG=debug cdrd run -c - < config.toml

Ends with 0 after SIGINT or SIGTERM once every sink has everything, with 75 if the
drain deadline came first (the journal keeps what is left), with 78 if the
configuration is wrong, with 74 if the journal cannot be read or written, or a webhook's
address cannot be listened at.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// How long sinks may drain after a stop
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration, default_value = "10s")]
    drain: Duration,
}

/// Runs until a signal.
pub async fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    let level = logging.start();
    let config = args.config.load()?;
    level.configure(config.log_level.as_deref());
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let stop = signals::stop_on_signals();
    let source = source(args.config, level);
    let daemon = Daemon::start(&config, Clock::system())?.reload_from(source);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        pbxs = config.pbxs.len(),
        sinks = config.sinks.len(),
        journal = %config.journal.path.display(),
        "ready"
    );
    crate::systemd::ready();
    Ok(match daemon.run(stop, args.drain).await {
        Ok(Ended::Clean) => {
            info!("stopped, everything is delivered");
            Exit::Ok
        }
        Ok(Ended::AtDeadline) => Exit::Undrained,
        // The last line goes the way of all the others, in their format.
        Err(e) => {
            error!("{e}");
            Exit::of_daemon(&e)
        }
    })
}

/// Reads the configuration again, and logs as it says.
fn source(file: ConfigFile, level: Level) -> Source {
    let read = move || {
        if file.path == Path::new("-") {
            return Err("it came from standard input, which can be read only once".to_owned());
        }
        file.load().map_err(|e| e.to_string())
    };
    let taken_up = move |config: &Config| level.configure(config.log_level.as_deref());
    Source { read: Arc::new(read), taken_up: Arc::new(taken_up) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documented_drain_is_the_default() {
        assert_eq!(crate::config::units::parse_duration("10s"), Ok(crate::daemon::DRAIN));
    }
}
