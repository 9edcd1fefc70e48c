//! Reads `[log]`, and knows what a filter of log lines may look like.

use tracing_subscriber::EnvFilter;

use super::section::Section;

/// Reads the table: the filter, if there is one.
pub(super) fn read(section: &mut Section) -> Option<String> {
    section.parsed("level", "a log level like \"info\"", |text| {
        directives(text).map_err(|e| format!("is no log level: {e}"))
    })
}

/// A filter such as `info` or `info,cdrd::sink=debug`. A lone word must be a level: as
/// the name of a target, which the library would take it for, it would switch all
/// logging off.
pub fn directives(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let known =
        |part: &str| part.contains('=') || LEVELS.contains(&part.to_ascii_lowercase().as_str());
    match text.split(',').map(str::trim).find(|part| !known(part)) {
        Some(part) => Err(format!("{part:?} is none of {}, nor TARGET=LEVEL", LEVELS.join(", "))),
        None => EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|e| e.to_string()),
    }
}
