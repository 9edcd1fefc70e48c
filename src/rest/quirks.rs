//! Oddities of a PBX: what it ignores or lacks, each told once.

use std::collections::BTreeSet;
use std::fmt;

use tracing::warn;

/// One oddity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quirk {
    /// Calls came that were not asked for.
    IgnoresFilter,
    /// Calls came in another order.
    IgnoresOrder,
    /// More calls came than asked for.
    IgnoresTop,
    /// Fewer calls came than asked for and there.
    CapsTop,
    /// What it counts is not what it was asked for.
    Miscounts,
    /// No call logs, only `/cdrs`, whose items have no `session_id`.
    NoCallLogs,
    /// No call targets.
    NoTargets,
    /// Answers that are not UTF-8.
    NotUtf8,
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IgnoresFilter => "it ignores \"filter\", so much more is read than needed",
            Self::IgnoresOrder => "it ignores \"orderby\", so time is searched in small pieces",
            Self::IgnoresTop => "it ignores \"top\"",
            Self::CapsTop => "it gives fewer calls at once than asked for",
            Self::Miscounts => "its \"count\" is not of the calls that were asked for",
            Self::NoCallLogs => {
                "it has no /calllogs; /cdrs is read, whose calls have no session_id"
            }
            Self::NoTargets => "it tells no call targets, so backfilled calls have none",
            Self::NotUtf8 => "its answers are not UTF-8; odd characters become U+FFFD",
        })
    }
}

/// Those seen so far.
#[derive(Debug, Default)]
pub(super) struct Quirks(BTreeSet<Quirk>);

impl Quirks {
    pub(super) fn note(&mut self, pbx: &str, quirk: Quirk) {
        if self.0.insert(quirk) {
            warn!(pbx, quirk = %quirk, "the PBX's REST interface is odd");
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Quirk> {
        self.0.iter().copied()
    }
}
