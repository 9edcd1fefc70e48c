//! Reads one `[sink.NAME]`: what every type of sink has in common. The rest
//! belongs to the type's own file.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::nearest::nearest;
use super::section::Section;
use super::values::{no_choice, quoted};
use super::{Sink, Start};
use crate::sink::filter::{Condition, Filter};
use crate::sink::{NOT_BUILT, Settings, TYPES, read_settings};

const STARTS: &[(&str, Start)] = &[("now", Start::Now), ("beginning", Start::Beginning)];

/// Reads the table of the sink called `name`; `pbxs` are the names that its `pbx` may list.
///
/// `None` without a usable `type`, which is then a recorded problem.
pub(super) fn read(name: &str, pbxs: &[String], section: &mut Section) -> Option<Sink> {
    let mut events = section.list("events", event_pattern).unwrap_or_default();
    if events.is_empty() && section.has("events") && !section.is_faulty("events") {
        section.problem("events", "\"events\" is empty; leave it out to deliver everything");
    }
    let chosen = section.list("pbx", |pbx| known_pbx(pbx, pbxs)).unwrap_or_default();
    if chosen.is_empty() && section.has("pbx") && !section.is_faulty("pbx") {
        section.problem("pbx", "\"pbx\" is empty; leave it out to deliver from every PBX");
    }
    let conditions = Condition::read_all(section);
    let start = section.choice("start", Start::Now, STARTS);
    let settings = read_type(section)?;
    if !section.has("events") {
        events.extend(settings.usual_events().iter().map(|pattern| (*pattern).to_owned()));
    }
    let pbxs: BTreeSet<String> = chosen.into_iter().collect();
    let filter = Filter { patterns: events, pbxs, conditions };
    Some(Sink { name: Arc::from(name), filter, start, settings })
}

/// Reads the keys of the type; without a type nobody can tell which keys are unknown.
fn read_type(section: &mut Section) -> Option<Settings> {
    if !section.has("type") {
        section.problem("type", format!("no \"type\"; one of {}", quoted(TYPES)));
    }
    let kind = section.parsed("type", &format!("one of {}", quoted(TYPES)), |kind| {
        match kind {
            kind if TYPES.contains(&kind) => Ok(kind.to_owned()),
            kind if NOT_BUILT.contains(&kind) => Err(format!(
                "cannot be {kind:?}: this cdrd was built without it; build one with cargo build --release --features {kind}"
            )),
            kind => Err(no_choice(kind, TYPES)),
        }
    });
    let settings = kind.and_then(|kind| read_settings(&kind, section));
    if settings.is_none() {
        section.accept_unknown();
    }
    settings
}

/// Checks a pattern of event types: their letters, and `*` for any run of them.
fn event_pattern(text: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*');
    match text.chars().all(valid) {
        true => Ok(text.to_owned()),
        false => Err(format!("is no pattern of event types: {text:?}; write one like \"call_*\"")),
    }
}

fn known_pbx(name: &str, pbxs: &[String]) -> Result<String, String> {
    if pbxs.iter().any(|pbx| pbx == name) {
        return Ok(name.to_owned());
    }
    let hint = match nearest(name, pbxs) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("known: {}", quoted(pbxs)),
    };
    Err(format!("names no [pbx.NAME] of this file: {name:?}; {hint}"))
}
