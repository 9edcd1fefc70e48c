//! Prints events: a line a call for people, or a CloudEvent a line for programs.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::line::{self, Style};
use crate::event::{Stored, call};
use crate::record::{Context, Record};
use crate::sink::format::Encoder;

/// Columns where standard output is no terminal and `COLUMNS` says nothing.
const DEFAULT_WIDTH: usize = 120;
/// The narrowest and widest lines that are any use.
const WIDTHS: std::ops::RangeInclusive<usize> = 60..=200;

/// What to print, and how.
#[derive(Debug)]
pub struct Printer {
    /// CloudEvents instead of lines for people.
    pub json: bool,
    /// Only events of this PBX.
    pub pbx: Option<String>,
    /// Events seen so far, printed or not.
    pub events: usize,
    /// Calls among them.
    pub calls: u64,
    header_due: bool,
}

impl Printer {
    /// The header comes with the first line.
    pub fn new(json: bool, pbx: Option<String>) -> Self {
        Self { json, pbx, events: 0, calls: 0, header_due: !json }
    }

    /// Prints the events that are wanted.
    pub fn print(&mut self, events: &[Stored]) -> io::Result<()> {
        let mut out = Vec::new();
        for stored in events {
            self.events += 1;
            self.calls += u64::from(stored.event.event_type == "call_cdr");
            if self.pbx.as_deref().is_none_or(|pbx| pbx == &*stored.event.pbx) {
                self.write(stored, &mut out);
            }
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()
    }

    /// Prints the header now, so that people see something before the first call.
    pub fn header(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        self.write_header(&style(), &mut out);
        io::stdout().lock().write_all(&out)
    }

    fn write_header(&mut self, style: &Style, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.header_due) {
            out.extend_from_slice(line::header(style).as_bytes());
            out.push(b'\n');
        }
    }

    fn write(&mut self, stored: &Stored, out: &mut Vec<u8>) {
        if self.json {
            Encoder::cloudevents().write_line(stored, out);
        } else if stored.event.event_type == "call_cdr" {
            let style = style();
            self.write_header(&style, out);
            out.extend_from_slice(call_line(stored, &style).as_bytes());
        } else {
            return;
        }
        out.push(b'\n');
    }
}

/// A call that is no JSON object any more (somebody edited the journal) still
/// gets a line.
fn call_line(stored: &Stored, style: &Style) -> String {
    let event = &stored.event;
    let call = call::parse(&event.raw).unwrap_or_default();
    let context = Context {
        id: &event.id.to_string(),
        pbx: &event.pbx,
        origin: event.origin.as_str(),
        received_at: Timestamp::from_millisecond(event.received_ms).unwrap_or_default(),
        zone: &style.timezone,
    };
    line::line(&Record::new(&context, &call), style)
}

/// Asked for each line: people resize their windows.
fn style() -> Style {
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = terminal.or_else(columns).unwrap_or(DEFAULT_WIDTH);
    Style {
        width: width.clamp(*WIDTHS.start(), *WIDTHS.end()),
        colour: crate::cli::colour_stdout(),
        timezone: TimeZone::system(),
    }
}
