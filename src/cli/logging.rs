//! Logs, always to stderr: readable on a terminal, JSON on request, with systemd's
//! priorities under systemd.

use std::fmt;
use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How to log.
#[derive(Debug, Clone, Args)]
pub struct Logging {
    /// What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"
    #[arg(long, global = true, help_heading = "Logging", env = "CDRD_LOG", value_name = "LEVEL", value_parser = directives)]
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

impl Logging {
    /// For the daemon: info unless told otherwise.
    pub fn start(&self) {
        self.start_with("info");
    }

    /// For commands that talk to people by themselves: only what went wrong.
    pub fn start_for_people(&self) {
        self.start_with("warn");
    }

    /// For commands whose report says itself what went wrong.
    pub fn start_for_report(&self) {
        self.start_with("error");
    }

    fn start_with(&self, default: &str) {
        let directives = self.log_level.as_deref().unwrap_or(default);
        let filter = EnvFilter::new(directives);
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(colour_stderr());
        // A subscriber is there already only in tests; it then stays.
        let _ = match self.form() {
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
            LogFormat::Journald => builder.event_format(Prioritised::default()).try_init(),
            LogFormat::Text | LogFormat::Auto => builder.try_init(),
        };
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

/// A lone word must be a level: as the name of a target, which the library would
/// take it for, it would switch all logging off.
fn directives(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let known =
        |part: &str| part.contains('=') || LEVELS.contains(&part.to_ascii_lowercase().as_str());
    match text.split(',').map(str::trim).find(|part| !known(part)) {
        Some(part) => Err(format!("{part:?} is none of {}, nor TARGET=LEVEL", LEVELS.join(", "))),
        None => EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|e| e.to_string()),
    }
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
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.inner.format_event(context, writer, event)
    }
}
