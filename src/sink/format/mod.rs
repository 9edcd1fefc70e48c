//! The forms in which a sink can write an event.
//!
//! | format | one event is |
//! |---|---|
//! | `cloudevents` | a CloudEvents 1.0 envelope around the PBX's object |
//! | `raw` | the PBX's object, byte for byte |
//! | `record` | the normal form ([`crate::record`]) as a JSON object |
//! | `csv` | the normal form as a row |
//!
//! Whatever the form, a sink's [`Mask`] is applied here, so no sink can forget it.
//! Without a mask the PBX's bytes are handed on by reference.

mod binary;
mod envelope;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use jiff::tz::TimeZone;

pub use self::binary::attribute_headers;
#[cfg(feature = "kafka")]
pub use self::binary::attributes;
use self::envelope::Attributes;

use super::mask::Mask;
use crate::config::{Section, quoted};
use crate::event::{Event, Stored};
use crate::record::{Record, call_of, csv};

/// The form of an event at a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A CloudEvents 1.0 envelope around the PBX's object.
    CloudEvents,
    /// The PBX's object, byte for byte.
    Raw,
    /// The normal form of a call as a JSON object.
    Record,
    /// The normal form of a call as a row of CSV.
    Csv,
}

/// All formats; the last is for sinks that write files.
const FORMATS: &[(&str, Format)] = &[
    ("cloudevents", Format::CloudEvents),
    ("raw", Format::Raw),
    ("record", Format::Record),
    ("csv", Format::Csv),
];

impl Format {
    /// Reads `format`, whose default depends on the sink, as does what it may be.
    fn read(section: &mut Section, default: Self, allowed: &[(&str, Self)]) -> Self {
        let is_known = |word: &&str| FORMATS.iter().any(|(known, _)| known == word);
        let is_allowed = |word: &&str| allowed.iter().any(|(known, _)| known == word);
        let word = section.peek("format").filter(is_known).filter(|word| !is_allowed(word));
        if let Some(word) = word {
            let words: Vec<_> = allowed.iter().map(|(word, _)| *word).collect();
            let message = format!(
                "\"format\" = \"{word}\" is for sinks of type \"file\" and \"stdout\" \
                 only; use one of {}",
                quoted(&words)
            );
            section.problem("format", message);
            return default;
        }
        section.choice("format", default, allowed)
    }
}

/// Turns events into what one sink writes.
#[derive(Debug, Clone)]
pub struct Encoder {
    format: Format,
    zone: TimeZone,
    /// What the sink must not see.
    mask: Option<Arc<Mask>>,
    /// Whether a CSV row has a column for the type of event.
    with_type: bool,
}

impl Encoder {
    /// Reads what every sink can have: `format`, whose default depends on the sink
    /// and which is anything but `csv`, `timezone`, `mask` and `mask_key`.
    pub fn read(section: &mut Section, default: Format) -> Self {
        Self::read_with(section, default, &FORMATS[..FORMATS.len() - 1])
    }

    /// The same for sinks that write files, or what others make files of: they can
    /// have `csv`, too, and must write [`Encoder::header`] first.
    pub fn read_for_files(section: &mut Section, default: Format) -> Self {
        Self::read_with(section, default, FORMATS)
    }

    fn read_with(section: &mut Section, default: Format, allowed: &[(&str, Format)]) -> Self {
        let zone = section.parsed("timezone", "a string", time_zone).unwrap_or(TimeZone::UTC);
        let format = Format::read(section, default, allowed);
        let mask = Mask::read(section).map(Arc::new);
        let with_type = with_type(&section.peek_list("events"));
        Self { format, zone, mask, with_type }
    }

    /// For sinks that take an event apart themselves, see [`Encoder::record_and_data`]:
    /// what they have of the above is `mask` and `mask_key`.
    pub fn read_whole(section: &mut Section) -> Self {
        let mask = Mask::read(section).map(Arc::new);
        Self { mask, ..Self::plain(Format::Record, TimeZone::UTC, &[]) }
    }

    /// For those who want the envelope and nothing else.
    pub fn cloudevents() -> Self {
        Self::plain(Format::CloudEvents, TimeZone::UTC, &[])
    }

    /// For commands, which mask nothing. `events` are patterns of the types to come.
    pub fn plain(format: Format, zone: TimeZone, events: &[String]) -> Self {
        Self { format, zone, mask: None, with_type: with_type(events) }
    }

    /// The form.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The sink's time zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The `Content-Type` of one event in this form.
    pub fn content_type(&self) -> &'static str {
        match self.format {
            Format::CloudEvents => "application/cloudevents+json",
            Format::Raw | Format::Record => "application/json",
            Format::Csv => "text/csv; charset=utf-8; header=absent",
        }
    }

    /// What a file begins with, its line end included: the names of the columns of CSV.
    pub fn header(&self) -> Option<Vec<u8>> {
        self.header_line().map(|line| [&line, self.line_end()].concat())
    }

    fn header_line(&self) -> Option<Vec<u8>> {
        (self.format == Format::Csv).then(|| csv::header(self.with_type))
    }

    /// What goes after each line, the header included. Inside of a line it never
    /// occurs, while a row of CSV can have a line feed in a cell.
    pub fn line_end(&self) -> &'static [u8] {
        if self.format == Format::Csv { csv::ROW_END } else { b"\n" }
    }

    /// One event in this form, for those who send each by itself. In `raw` form
    /// without any change these are the frame's own bytes, line ends and all.
    pub fn body(&self, stored: &Stored) -> Bytes {
        if self.format != Format::Raw {
            let mut out = Vec::with_capacity(stored.event.raw.len() + 400);
            self.write_line(stored, &mut out);
            return Bytes::from(out);
        }
        match self.data(&stored.event) {
            Cow::Borrowed(_) => stored.event.raw.clone(),
            Cow::Owned(masked) => Bytes::from(masked),
        }
    }

    /// Appends the event in this form, without [`Encoder::line_end`].
    ///
    /// A PBX that sends its JSON on several lines would break a file of lines, so
    /// line ends inside (which JSON allows between values only) become blanks.
    pub fn write_line(&self, stored: &Stored, out: &mut Vec<u8>) {
        match self.format {
            Format::Raw => write_on_one_line(&self.data(&stored.event), out),
            Format::CloudEvents => {
                envelope::write(stored, out);
                write_on_one_line(&self.data(&stored.event), out);
                out.push(b'}');
            }
            Format::Record => serde_json::to_writer(out, &self.record(&stored.event))
                .expect("a record is JSON, and writing to a Vec succeeds"),
            Format::Csv => self.record(&stored.event).write_csv(self.with_type, out),
        }
    }

    /// The record, and the PBX's object, as this sink may see them.
    pub fn record_and_data<'e>(&self, event: &'e Event) -> (Record, Cow<'e, [u8]>) {
        (self.record(event), self.data(event))
    }

    fn record(&self, event: &Event) -> Record {
        let call = call_of(event);
        let mut record = Record::of(event, &call, &self.zone);
        if let Some(mask) = &self.mask {
            mask.hide(&mut record, &call);
        }
        record
    }

    /// The PBX's object as this sink may see it.
    fn data<'e>(&self, event: &'e Event) -> Cow<'e, [u8]> {
        let Some(mask) = &self.mask else { return Cow::Borrowed(&event.raw) };
        match mask.rewrite(&event.raw) {
            Some(masked) => Cow::Owned(masked),
            // No JSON, which is there only if somebody edited the journal. The event
            // goes out, so that its sink does not stand still, but nothing inside.
            None => {
                tracing::error!(id = %event.id, "an event that is no JSON cannot be masked; its sink gets the event type alone");
                Cow::Owned(serde_json::json!({ "event_type": event.event_type }).to_string().into())
            }
        }
    }
}

/// Whether rows have a column for the type of event: where there are CDRs alone, they
/// have the columns of a CDR alone.
fn with_type(events: &[impl AsRef<str>]) -> bool {
    events.is_empty() || events.iter().any(|pattern| pattern.as_ref() != "call_cdr")
}

fn write_on_one_line(json: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(json);
    let mut rest = &mut out[start..];
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        rest[at] = b' ';
        rest = &mut rest[at + 1..];
    }
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        format!("is not an IANA time zone: {name:?}; write one like \"Europe/Berlin\"")
    })
}

#[cfg(test)]
mod tests;
