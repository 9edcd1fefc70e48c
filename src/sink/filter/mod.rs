//! Which events a sink gets: by type, by PBX, by what the record says.

mod condition;

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

pub use self::condition::Condition;
use crate::event::Event;
use crate::record::{Record, call_of};

use crate::event::Stored;

/// Which events a sink gets. Empty lists mean all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Patterns of event types.
    pub patterns: Vec<String>,
    /// Names of PBXs.
    pub pbxs: BTreeSet<String>,
    /// What must be true of the record, all of it.
    pub conditions: Vec<Condition>,
}

impl Filter {
    /// Whether the sink is to get this event.
    pub fn wants(&self, stored: &Stored) -> bool {
        let event = &stored.event;
        (self.pbxs.is_empty() || self.pbxs.contains(&*event.pbx))
            && (self.patterns.is_empty()
                || self.patterns.iter().any(|pattern| matches(pattern, &event.event_type)))
            && (self.conditions.is_empty() || self.accepts(event))
    }

    /// Reads the event once for all conditions. They see it as it came: a mask is the
    /// business of what the sink writes.
    fn accepts(&self, event: &Event) -> bool {
        let record = Record::of(event, &call_of(event), &TimeZone::UTC);
        self.conditions.iter().all(|condition| condition.holds(&record))
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_user_would_expect() {
        for (pattern, text, want) in [
            ("call_cdr", "call_cdr", true),
            ("call_cdr", "call_cdrs", false),
            ("*", "anything", true),
            ("cdr_target_*", "cdr_target_end", true),
            ("cdr_target_*", "target_end", false),
            ("*_end", "cdr_target_end", true),
            ("*target*", "cdr_target_end", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }
}
