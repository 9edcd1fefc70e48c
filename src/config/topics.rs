//! The topics of the WebSocket interface: which exist in which dialect, and
//! which list of the PBX's table each one takes as its selector.
//!
//! Source: the vendor's WSI documentation for releases 12, 16 and 22.

use super::{Dialect, Topic};
use Dialect::{V12, V16, V22};

/// The keys of `[pbx.NAME]` that are selectors, each with an example of its values.
pub(super) const SELECTORS: [(&str, &str); 3] =
    [("tenants", "\"2817491724\""), ("extensions", "\"101\""), ("queues", "\"8000\"")];

/// One documented topic.
struct Known {
    name: &'static str,
    selector: Option<&'static str>,
    dialects: &'static [Dialect],
}

const KNOWN: &[Known] = &[
    known("cdr_events", None, &[V12, V16, V22]),
    known("global_cdr_events", Some("tenants"), &[V22]),
    known("extension_events", Some("extensions"), &[V12, V16, V22]),
    known("global_extension_events", Some("tenants"), &[V22]),
    known("extension_management_events", None, &[V22]),
    known("global_extension_management_events", Some("tenants"), &[V22]),
    known("queue_events", Some("queues"), &[V12, V16, V22]),
    known("global_queue_events", Some("tenants"), &[V22]),
    known("queue_management_events", None, &[V22]),
    known("global_queue_management_events", Some("tenants"), &[V22]),
    known("trunk_events", None, &[V12]),
];

const fn known(
    name: &'static str,
    selector: Option<&'static str>,
    dialects: &'static [Dialect],
) -> Known {
    Known { name, selector, dialects }
}

/// The selector lists of one PBX, in the order of [`SELECTORS`].
pub(super) type Selectors = [(&'static str, Vec<String>); 3];

/// What a topic name means for one PBX.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// A documented topic with the selector that it takes.
    Known(Topic),
    /// A documented topic whose selector list is empty.
    NeedsSelector(&'static str),
    /// Not documented for this dialect; sent with every selector there is.
    Unknown(Topic),
}

/// Looks a topic up and attaches its selectors.
pub(super) fn resolve(name: &str, dialect: Dialect, selectors: &Selectors) -> Resolved {
    let Some(topic) = KNOWN.iter().find(|k| k.name == name && k.dialects.contains(&dialect)) else {
        let all = selectors.iter().filter(|(_, values)| !values.is_empty()).cloned().collect();
        return Resolved::Unknown(Topic { name: name.to_owned(), selectors: all });
    };
    let taken: Vec<_> =
        selectors.iter().filter(|(key, _)| topic.selector == Some(*key)).cloned().collect();
    match taken.iter().find(|(_, values)| values.is_empty()) {
        Some((key, _)) => Resolved::NeedsSelector(key),
        None => Resolved::Known(Topic { name: name.to_owned(), selectors: taken }),
    }
}

/// The names of the topics that a dialect documents.
pub(super) fn names(dialect: Dialect) -> Vec<&'static str> {
    KNOWN.iter().filter(|k| k.dialects.contains(&dialect)).map(|k| k.name).collect()
}

/// Whether a topic is a system administrator's, over all tenants.
pub(super) fn is_global(name: &str) -> bool {
    name.starts_with("global_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(tenants: &[&str], queues: &[&str]) -> Selectors {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        [("tenants", owned(tenants)), ("extensions", Vec::new()), ("queues", owned(queues))]
    }

    #[test]
    fn a_topic_takes_its_own_selector_only() {
        let all = selectors(&["1"], &["8000"]);
        let Resolved::Known(topic) = resolve("queue_events", V22, &all) else { panic!() };
        assert_eq!(topic.selectors, [("queues", vec!["8000".to_owned()])]);
        let Resolved::Known(topic) = resolve("cdr_events", V12, &all) else { panic!() };
        assert_eq!(topic.selectors, []);
    }

    #[test]
    fn a_topic_without_its_selector_is_noticed() {
        let none = selectors(&[], &[]);
        assert_eq!(resolve("global_cdr_events", V22, &none), Resolved::NeedsSelector("tenants"));
    }

    #[test]
    fn an_undocumented_topic_takes_every_selector_there_is() {
        let Resolved::Unknown(topic) = resolve("new_events", V22, &selectors(&["1"], &[])) else {
            panic!()
        };
        assert_eq!(topic.selectors, [("tenants", vec!["1".to_owned()])]);
        assert!(matches!(resolve("trunk_events", V22, &selectors(&[], &[])), Resolved::Unknown(_)));
    }

    #[test]
    fn every_selector_of_the_table_is_a_key_of_the_pbx() {
        let keys = SELECTORS.map(|(key, _)| key);
        assert!(KNOWN.iter().filter_map(|k| k.selector).all(|s| keys.contains(&s)));
    }
}
