//! One line of text for one call: pure rendering, nothing is printed here.
//!
//! The promise: a line is never wider than the terminal, columns stand below
//! each other whatever is in them, and nothing that a caller puts into a name
//! or number can move the cursor, change colours or turn the text around.

mod cell;
mod layout;

use jiff::tz::TimeZone;

use self::cell::{Align, fitted};
use self::layout::{DirectionForm, Layout};
use crate::record::{Outcome, Record};

/// How lines are to look.
#[derive(Debug, Clone)]
pub struct Style {
    /// Columns of the terminal; taken as at least 60 and at most 200.
    pub width: usize,
    /// Whether the terminal takes colours.
    pub colour: bool,
    /// The zone that times are shown in.
    pub timezone: TimeZone,
}

/// The line above the first call. No line break.
pub fn header(style: &Style) -> String {
    let layout = Layout::for_width(style.width);
    let row = Row {
        time: "STARTED".to_owned(),
        direction: if layout.direction == DirectionForm::Arrow { "" } else { "DIR" }.to_owned(),
        caller: "CALLER".to_owned(),
        callee: "CALLEE".to_owned(),
        via: "VIA".to_owned(),
        ring: "RING".to_owned(),
        talk: "TALK".to_owned(),
        outcome: "OUTCOME".to_owned(),
    };
    paint(&row.joined(&layout, " ", &Paint::NONE), BOLD, style.colour)
}

/// The line of one call. No line break.
pub fn line(record: &Record, style: &Style) -> String {
    let layout = Layout::for_width(style.width);
    let started = record.started_at.as_ref().unwrap_or(&record.received_at);
    let row = Row {
        time: started.at.to_zoned_datetime(style.timezone.clone()).strftime("%H:%M:%S").to_string(),
        direction: direction(record.direction.as_deref(), layout.direction),
        caller: party(record.caller_name.as_deref(), record.caller.as_deref()),
        callee: party(record.callee_name.as_deref(), record.callee.as_deref()),
        via: via(record, layout.via),
        ring: duration(record.ring_seconds),
        talk: duration(record.talk_seconds.filter(|_| record.answered != Some(false))),
        outcome: outcome_word(record),
    };
    row.joined(&layout, ARROW, &Paint::of(record.outcome, style.colour))
}

/// Between caller and callee.
const ARROW: &str = "→";
/// For what is not known.
const NOTHING: &str = "–";

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// Which parts of a line are painted how (SGR parameters, empty: not at all).
struct Paint {
    quiet: &'static str,
    outcome: &'static str,
}

impl Paint {
    const NONE: Paint = Paint { quiet: "", outcome: "" };

    fn of(outcome: Option<Outcome>, colour: bool) -> Self {
        let outcome = match outcome {
            _ if !colour => return Paint::NONE,
            Some(Outcome::Answered) => GREEN,
            Some(Outcome::NoAnswer) => YELLOW,
            Some(Outcome::Busy | Outcome::Failed) => RED,
            Some(Outcome::Cancelled) | None => DIM,
        };
        Paint { quiet: DIM, outcome }
    }
}

fn paint(text: &str, sgr: &str, colour: bool) -> String {
    match colour && !sgr.is_empty() && !text.trim().is_empty() {
        true => format!("\x1b[{sgr}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// The cells of a line before they are fitted into their columns.
struct Row {
    time: String,
    direction: String,
    caller: String,
    callee: String,
    via: String,
    ring: String,
    talk: String,
    outcome: String,
}

impl Row {
    fn joined(&self, layout: &Layout, arrow: &str, colours: &Paint) -> String {
        let quiet = |text: String| paint(&text, colours.quiet, true);
        let left = |text: &str, width| fitted(text, width, Align::Left);
        let right = |text: &str, width| fitted(text, width, Align::Right);
        let caller = left(&self.caller, layout.caller);
        let callee = left(&self.callee, layout.callee);
        let mut line = quiet(left(&self.time, layout::TIME));
        line += layout::GAP;
        line += &quiet(left(&self.direction, layout.direction.width()));
        line += &format!("{}{caller} {} {callee}", layout::GAP, quiet(arrow.to_owned()));
        if layout.via > 0 {
            line += layout::GAP;
            line += &quiet(left(&self.via, layout.via));
        }
        if layout.ring {
            line += &right(&self.ring, layout.duration);
        }
        line += &right(&self.talk, layout.duration);
        line += layout::GAP;
        let outcome = left(&self.outcome, layout::OUTCOME);
        line + &paint(outcome.trim_end(), colours.outcome, true)
    }
}

/// An arrow and a word, as far as there is room for them.
fn direction(word: Option<&str>, form: DirectionForm) -> String {
    let (arrow, word) = match word {
        Some("inbound") => ("↓", "in"),
        Some("outbound") => ("↑", "out"),
        Some("internal") => ("⇄", "int"),
        Some("inbound_outbound") => ("⇅", "thru"),
        Some(other) => ("·", other),
        None => ("·", ""),
    };
    match form {
        DirectionForm::Arrow => arrow.to_owned(),
        DirectionForm::Word => word.to_owned(),
        DirectionForm::Both => format!("{arrow} {word}"),
    }
}

/// The name if there is one, else the number.
fn party(name: Option<&str>, number: Option<&str>) -> String {
    name.or(number).unwrap_or(NOTHING).to_owned()
}

/// The queue, with the agent who answered if there is room, else the trunk.
fn via(record: &Record, width: usize) -> String {
    let forms = match (&record.queue, &record.agent) {
        (Some(queue), Some(agent)) => {
            vec![
                format!("queue {queue} › {agent}"),
                format!("{queue} › {agent}"),
                format!("queue {queue}"),
            ]
        }
        (Some(queue), None) => vec![format!("queue {queue}")],
        _ => vec![record.trunk.clone().unwrap_or_default()],
    };
    let fits = forms.iter().find(|form| cell::width(form) <= width);
    fits.or(forms.last()).cloned().unwrap_or_default()
}

/// `m:ss` or `h:mm:ss`; from ten hours on `12h34`.
fn duration(seconds: Option<u32>) -> String {
    let Some(seconds) = seconds else {
        return NOTHING.to_owned();
    };
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        1..=9 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{hours}h{minutes:02}"),
    }
}

/// The outcome in words; of a call that is not over, what happens now.
fn outcome_word(record: &Record) -> String {
    match (record.outcome, record.event_type.as_deref()) {
        (Some(Outcome::NoAnswer), _) => "no answer".to_owned(),
        (Some(outcome), _) => outcome.as_str().to_owned(),
        (None, Some(event)) => {
            let word = event.trim_start_matches("cdr_").trim_start_matches("target_");
            word.trim_start_matches("call_").replace('_', " ")
        }
        (None, None) => NOTHING.to_owned(),
    }
}

#[cfg(test)]
mod tests;
