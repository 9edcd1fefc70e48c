//! Reads `[journal]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::section::Section;
use super::{Environment, Journal, WhenFull};

const DAY: Duration = Duration::from_secs(24 * 3600);

const WHEN_FULL: &[(&str, WhenFull)] =
    &[("pause", WhenFull::Pause), ("drop_oldest", WhenFull::DropOldest)];

/// Reads the table, or takes every default where there is none.
pub(super) fn read(section: &mut Section) -> Journal {
    let default_path = default_path(section.reading.environment);
    Journal {
        path: section.path("path").unwrap_or(default_path),
        retention: section.duration("retention", 7 * DAY, Duration::ZERO..=3650 * DAY),
        // A smaller journal would be full with the tables and their indexes alone.
        max_size: section.size("max_size", 2 << 30, 1 << 20..=1 << 50),
        when_full: section.choice("when_full", WhenFull::Pause, WHEN_FULL),
    }
}

/// `journal.db` in the first directory that systemd names, else `cdrd.db` in the working directory.
fn default_path(environment: &Environment) -> PathBuf {
    let directories = environment.variable("STATE_DIRECTORY").unwrap_or_default();
    match std::env::split_paths(&directories).next() {
        Some(first) if first != Path::new("") => first.join("journal.db"),
        _ => PathBuf::from("./cdrd.db"),
    }
}
