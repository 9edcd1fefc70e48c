//! The stream behind the subjects: looked for at every connect, and made if the
//! configuration says so.

use std::error::Error;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_nats::jetstream::context::{
    GetStreamByNameErrorKind, GetStreamErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};

use super::Settings;
use super::subject::Subject;
use crate::cause;
use crate::config::Section;

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// The server's own default, too.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Bounds of `duplicate_window`.
const WINDOWS: RangeInclusive<Duration> = SECOND..=YEAR;
/// How many copies a cluster can keep.
const REPLICAS: RangeInclusive<u64> = 1..=5;
/// A stream's size, at most.
const PIB: u64 = 1 << 50;

/// A stream that is made if it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStream {
    name: String,
    subjects: Vec<String>,
    storage: StorageType,
    replicas: usize,
    max_bytes: Option<u64>,
    max_age: Option<Duration>,
    discard: DiscardPolicy,
    duplicate_window: Duration,
}

impl NewStream {
    /// Reads `create_stream`.
    pub fn read(section: &mut Section, subject: &Subject) -> Self {
        if !section.has("name") {
            section.missing("name", "\"CDR\"");
        }
        let subjects = section.list("subjects", subject_pattern);
        if section.has("subjects") && subjects.as_ref().is_some_and(Vec::is_empty) {
            section.problem(
                "subjects",
                "\"subjects\" is empty; leave it out to take what this sink sends",
            );
        }
        let all = vec![subject.wildcard().to_owned()];
        let subjects = subjects.filter(|list| !list.is_empty()).unwrap_or(all);
        let has_size = section.has("max_bytes");
        let size = section.size("max_bytes", PIB, 1 << 20..=PIB);
        let has_age = section.has("max_age");
        let age = section.duration("max_age", YEAR, SECOND..=100 * YEAR);
        let window = section.duration("duplicate_window", DUPLICATE_WINDOW, WINDOWS);
        let new = Self {
            name: section.parsed("name", "a name like \"CDR\"", stream_name).unwrap_or_default(),
            subjects,
            storage: section.choice("storage", StorageType::File, STORAGES),
            replicas: usize::try_from(section.integer("replicas", 1, REPLICAS)).unwrap_or(1),
            max_bytes: has_size.then_some(size),
            max_age: has_age.then_some(age),
            discard: section.choice("discard", DiscardPolicy::New, DISCARDS),
            duplicate_window: window,
        };
        if has_age && window > age && !section.has_faults() {
            section.problem(
                "duplicate_window",
                "\"duplicate_window\" must not be longer than \"max_age\"",
            );
        }
        if !new.subjects.iter().any(|taken| covers(taken, subject.wildcard()))
            && !section.has_faults()
        {
            section.problem(
                "subjects",
                format!("\"subjects\" must take what this sink sends; add \"{subject}\""),
            );
        }
        new
    }

    fn config(&self) -> Config {
        Config {
            name: self.name.clone(),
            subjects: self.subjects.clone(),
            storage: self.storage,
            num_replicas: self.replicas,
            max_bytes: self.max_bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1),
            max_age: self.max_age.unwrap_or_default(),
            discard: self.discard,
            duplicate_window: self.duplicate_window,
            description: Some("call-detail records, from cdrd".to_owned()),
            ..Config::default()
        }
    }
}

const STORAGES: &[(&str, StorageType)] =
    &[("file", StorageType::File), ("memory", StorageType::Memory)];
const DISCARDS: &[(&str, DiscardPolicy)] =
    &[("new", DiscardPolicy::New), ("old", DiscardPolicy::Old)];

/// What is known of the stream.
pub enum Found {
    /// It is there.
    Stream {
        /// Its name.
        name: String,
        /// How long it recognises ids.
        duplicate_window: Duration,
    },
    /// It is not there and is to be made.
    ToBeMade(String),
    /// The server did not say, for this reason; the acknowledgements will.
    Unknown(String),
}

/// Looks for the stream that takes this sink's subjects.
///
/// # Errors
/// Nothing that is published now would be kept, for the operator.
pub async fn look(jetstream: &Context, settings: &Settings) -> Result<Found, String> {
    let subject = &settings.subject;
    let name = match &settings.create_stream {
        Some(new) => new.name.clone(),
        None => match jetstream.stream_by_subject(subject.wildcard()).await {
            Ok(name) => name,
            Err(e) if e.kind() == GetStreamByNameErrorKind::NotFound => {
                return Err(format!(
                    "no stream takes the subjects {subject}; make one (nats stream add CDR --subjects \"{subject}\"), or set create_stream"
                ));
            }
            Err(e) => return unanswered(&e),
        },
    };
    match jetstream.get_stream(&name).await {
        Ok(stream) => {
            let config = &stream.cached_info().config;
            if !config.subjects.iter().any(|taken| overlaps(taken, subject.wildcard())) {
                return Err(format!(
                    "the stream {name} is there, but takes only {}; add \"{subject}\" to its subjects",
                    config.subjects.join(", ")
                ));
            }
            Ok(Found::Stream { name, duplicate_window: config.duplicate_window })
        }
        Err(e) => match e.kind() {
            GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(Found::ToBeMade(name))
            }
            _ => unanswered(&e),
        },
    }
}

/// Makes the stream.
///
/// # Errors
/// It cannot be made, for the operator.
pub async fn make(jetstream: &Context, new: &NewStream) -> Result<(), String> {
    let made = jetstream.create_stream(new.config()).await;
    made.map(drop)
        .map_err(|e| format!("the stream {} cannot be made: {}", new.name, cause::root(&e)))
}

/// A server without JetStream has nobody who answers; one that does not let us ask may
/// let us publish all the same.
fn unanswered(error: &(dyn Error + 'static)) -> Result<Found, String> {
    match cause::root(error).downcast_ref::<RequestError>().map(RequestError::kind) {
        Some(RequestErrorKind::NoResponders) => {
            Err("JetStream is not enabled on this server, or not for this account".to_owned())
        }
        _ => Ok(Found::Unknown(cause::root(error).to_string())),
    }
}

fn stream_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>' | '/' | '\\');
    match text.chars().all(good) && text.len() <= 255 {
        true => Ok(text.to_owned()),
        false => Err("is no name of a stream; use letters, digits, - and _".to_owned()),
    }
}

fn subject_pattern(text: &str) -> Result<String, String> {
    let tokens: Vec<&str> = text.split('.').collect();
    let last = tokens.len() - 1;
    let good = tokens.iter().enumerate().all(|(at, token)| match *token {
        "*" => true,
        ">" => at == last,
        token => {
            !token.is_empty()
                && token.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '*' | '>'))
        }
    });
    match good {
        true => Ok(text.to_owned()),
        false => Err(format!("is no subject: {text:?}; write one like \"cdr.>\"")),
    }
}

/// Whether every subject that `wanted` matches is matched by `taken`.
fn covers(taken: &str, wanted: &str) -> bool {
    compare(taken, wanted, |taken, wanted| taken == "*" || taken == wanted)
}

/// Whether some subject is matched by both.
fn overlaps(taken: &str, wanted: &str) -> bool {
    compare(taken, wanted, |taken, wanted| taken == "*" || wanted == "*" || taken == wanted)
}

/// Token by token; `wanted` has no `>`.
fn compare(taken: &str, wanted: &str, fits: fn(&str, &str) -> bool) -> bool {
    let (mut taken, mut wanted) = (taken.split('.'), wanted.split('.'));
    loop {
        match (taken.next(), wanted.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(taken), Some(wanted)) if fits(taken, wanted) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_compared_token_by_token() {
        for (taken, wanted, covered, overlapping) in [
            ("cdr.>", "cdr.*.*", true, true),
            (">", "cdr", true, true),
            ("cdr.>", "cdr", false, false),
            ("cdr.*.*", "cdr.*.*", true, true),
            ("cdr.*", "cdr.*.*", false, false),
            ("cdr.hq.*", "cdr.*.*", false, true),
            ("cdr.hq.>", "cdr.*.*.*", false, true),
            ("billing.>", "cdr.*.*", false, false),
        ] {
            assert_eq!(covers(taken, wanted), covered, "{taken} {wanted}");
            assert_eq!(overlaps(taken, wanted), overlapping, "{taken} {wanted}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["a..b", "a.>.b", "a.b*", "", "a b", "a.>>"] {
            assert!(subject_pattern(text).is_err(), "{text}");
        }
        assert!(subject_pattern("cdr.*.x.>").is_ok());
    }
}
