//! Logs, always to stderr: readable on a terminal, JSON on request, with systemd's
//! priorities under systemd.

use std::fmt;
use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::log_directives;

/// How to log.
#[derive(Debug, Clone, Args)]
pub struct Logging {
    /// What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"
    #[arg(long, global = true, help_heading = "Logging", env = "CDRD_LOG", value_name = "LEVEL", value_parser = log_directives)]
    pub log_level: Option<String>,
    /// How to write logs
    #[arg(long, global = true, help_heading = "Logging", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
}

/// The forms of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// journald under systemd, else text
    Auto,
    /// For people
    Text,
    /// One JSON object a line
    Json,
    /// For systemd: a priority instead of time and level
    Journald,
}

/// What is logged unless somebody says otherwise.
const DEFAULT_LEVEL: &str = "info";

/// What others log about what we tell ourselves, in our words and once: the NATS client
/// logs each try of a connect. Whoever wants it says so: `info,async_nats=debug`.
const SILENT: &str = "async_nats=off";

/// Puts another filter in the place of the one in force.
type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// What is logged, while the daemon runs.
pub struct Level {
    /// The command line or the environment said it, and nothing else counts.
    fixed: bool,
    set: SetFilter,
}

impl Level {
    /// What the configuration says, or the default where it says nothing.
    pub fn configure(&self, level: Option<&str>) {
        if !self.fixed {
            (self.set)(filter(level.unwrap_or(DEFAULT_LEVEL)));
        }
    }
}

impl Logging {
    /// For the daemon: info unless told otherwise. What is returned changes the level
    /// later.
    pub fn start(&self) -> Level {
        Level { fixed: self.log_level.is_some(), set: self.start_with(DEFAULT_LEVEL) }
    }

    /// For commands that talk to people by themselves: only what went wrong.
    pub fn start_for_people(&self) {
        drop(self.start_with("warn"));
    }

    /// For commands whose report says itself what went wrong.
    pub fn start_for_report(&self) {
        drop(self.start_with("error"));
    }

    fn start_with(&self, default: &str) -> SetFilter {
        let directives = self.log_level.as_deref().unwrap_or(default);
        let filter = filter(directives);
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(colour_stderr());
        // A subscriber is there already only in tests; it then stays.
        macro_rules! start {
            ($builder:expr) => {{
                let builder = $builder.with_filter_reloading();
                let handle = builder.reload_handle();
                let _ = builder.try_init();
                Box::new(move |filter: EnvFilter| drop(handle.reload(filter)))
            }};
        }
        match self.form() {
            LogFormat::Json => start!(builder.json().flatten_event(true)),
            LogFormat::Journald => start!(builder.event_format(Prioritised::default())),
            LogFormat::Text | LogFormat::Auto => start!(builder),
        }
    }

    /// systemd sets `JOURNAL_STREAM` where stderr leads to its journal.
    fn form(&self) -> LogFormat {
        let systemd = std::env::var_os("JOURNAL_STREAM").is_some();
        match self.log_format {
            LogFormat::Auto if systemd && !std::io::stderr().is_terminal() => LogFormat::Journald,
            other => other,
        }
    }
}

fn filter(directives: &str) -> EnvFilter {
    // Of two directives for the same target the last one counts.
    EnvFilter::new(format!("{SILENT},{directives}"))
}

fn colour_stderr() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Text with the priority that systemd reads off the start of a line
/// (`sd-daemon(3)`), and without what the journal knows by itself.
struct Prioritised {
    inner: Format<Full, ()>,
}

impl Default for Prioritised {
    fn default() -> Self {
        let inner = Format::default().without_time().with_level(false).with_target(false);
        Self { inner: inner.with_ansi(false) }
    }
}

impl<S, N> FormatEvent<S, N> for Prioritised
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            tracing::Level::ERROR => 3,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 6,
            tracing::Level::DEBUG | tracing::Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.inner.format_event(context, writer, event)
    }
}
