//! The form for people: 80 columns, what is wrong first.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::live::is_subscribed;
use super::{At, Status};

/// Columns.
const WIDTH: usize = 80;
/// Open gaps that are shown; there is a command for all of them.
const OPEN_GAPS: usize = 5;
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// All of it. Times are shown in `zone`.
pub fn render(status: &Status, colour: bool, zone: &jiff::tz::TimeZone) -> String {
    let mut page = Page { text: String::new(), colour, zone: zone.clone(), now: status.at };
    page.head(status);
    page.problems(status);
    page.pbxs(status);
    page.sinks(status);
    page.journal(status);
    page.gaps(status);
    page.text
}

struct Page {
    text: String,
    colour: bool,
    zone: jiff::tz::TimeZone,
    now: At,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("{colour}{text}{PLAIN}") } else { text.into() }
    }

    /// A cell of a table: as wide as told, then coloured.
    fn cell(&self, colour: &str, text: &str, width: usize) -> String {
        let text = cut(text, width);
        let padding = width.saturating_sub(text.width());
        format!("{}{}", self.paint(colour, &text), " ".repeat(padding))
    }

    fn head(&mut self, status: &Status) {
        let version = match status.version.as_str() {
            "" => "cdrd".to_owned(),
            version => format!("cdrd {version}"),
        };
        let since = status.since.map_or(String::new(), |at| {
            format!(" since {} ({})", self.time(at), span(self.now.0 - at.0))
        });
        let (colour, state) =
            if status.running { (GREEN, "running") } else { (RED, "not running") };
        let state = self.paint(colour, state);
        self.line(&format!("{}, {state}{since}", self.paint(BOLD, &version)));
    }

    fn problems(&mut self, status: &Status) {
        self.line("");
        if status.problems.is_empty() {
            let well = self.paint(GREEN, "All is well.");
            self.line(&well);
        }
        for problem in &status.problems {
            let words = format!("{}: {}", problem.about, problem.what);
            for (at, line) in wrap(&words, WIDTH - 2).iter().enumerate() {
                let mark = if at == 0 { self.paint(RED, "!") } else { " ".to_owned() };
                self.line(&format!("{mark} {line}"));
            }
            for (at, line) in wrap(&problem.next, WIDTH - 6).iter().enumerate() {
                let mark = if at == 0 { "->" } else { "  " };
                self.line(&format!("   {mark} {line}"));
            }
        }
    }

    fn title(&mut self, title: &str) {
        let title = self.paint(DIM, title);
        self.line("");
        self.line(&title);
    }

    fn pbxs(&mut self, status: &Status) {
        let pbxs = &status.pbxs;
        let name = width(pbxs.iter().map(|pbx| pbx.name.as_str()), 3);
        self.title(&format!("{:name$}  {:13}  {:9}  LAST EVENT", "PBX", "STATE", "SINCE"));
        for pbx in pbxs {
            let colour = match pbx.state.as_str() {
                state if is_subscribed(state) && pbx.refused_topics.is_empty() => GREEN,
                "waiting" | "login refused" | "not running" => RED,
                _ => YELLOW,
            };
            let since = pbx.since.map_or(String::new(), |at| ago(self.now, at));
            let last = pbx
                .last_event
                .map_or("none yet".to_owned(), |at| format!("{} ago", ago(self.now, at)));
            let line = format!(
                "{}  {}  {}  {last}",
                self.cell("", &pbx.name, name),
                self.cell(colour, &pbx.state, 13),
                self.cell("", &since, 9),
            );
            self.line(&line);
            self.last_error(status, pbx.last_error.as_deref(), pbx.last_error_at);
            if let Some(at) = pbx.complete_up_to {
                let line = format!("  complete up to {}", self.time(at));
                self.line(&line);
            }
        }
    }

    fn sinks(&mut self, status: &Status) {
        let sinks = &status.sinks;
        let name = width(sinks.iter().map(|sink| sink.name.as_str()), 4);
        self.title(&format!(
            "{:name$}  {:11}  {:>11}  {:>9}  {:9}  {:>4}",
            "SINK", "STATE", "DELIVERED", "WAITING", "FOR", "DEAD"
        ));
        for sink in sinks {
            let colour = match sink.state.as_str() {
                "delivering" => GREEN,
                "behind" => YELLOW,
                _ => RED,
            };
            let waits = match sink.lag_events {
                0 => String::new(),
                _ => span(i64::try_from(sink.lag_seconds).unwrap_or(0).saturating_mul(1000)),
            };
            let dead = if sink.dead_letters > 0 { RED } else { "" };
            let line = format!(
                "{}  {}  {:>11}  {:>9}  {:9}  {}",
                self.cell("", &sink.name, name),
                self.cell(colour, &sink.state, 11),
                thousands(sink.delivered),
                thousands(sink.lag_events),
                waits,
                self.paint(dead, &format!("{:>4}", thousands(sink.dead_letters))),
            );
            self.line(&line);
            self.last_error(status, sink.last_error.as_deref(), sink.last_error_at);
        }
    }

    /// What still is the matter stands among the problems already.
    fn last_error(&mut self, status: &Status, words: Option<&str>, at: Option<At>) {
        let told = |words: &&str| status.problems.iter().any(|p| p.what.contains(words));
        let Some(words) = words.filter(|words| !told(words)) else { return };
        let when = at.map_or(String::new(), |at| format!(", {} ago", ago(self.now, at)));
        for line in wrap(&format!("last error{when}: {words}"), WIDTH - 2) {
            let line = self.paint(DIM, &line);
            self.line(&format!("  {line}"));
        }
    }

    fn journal(&mut self, status: &Status) {
        let journal = &status.journal;
        self.title("JOURNAL");
        let (n, plural) = count(journal.events, "event", "events");
        let oldest = journal
            .oldest
            .map_or(String::new(), |at| format!(", the oldest {} old", ago(self.now, at)));
        let (size, most) = (bytes(journal.size), bytes(journal.max_size));
        self.line(&format!("{n} {plural}, {size} of {most}{oldest}"));
        self.line(&journal.path);
        if status.quarantine > 0 {
            self.line(&format!("{} in quarantine", thousands(status.quarantine)));
        }
    }

    fn gaps(&mut self, status: &Status) {
        let gaps = &status.gaps;
        self.title("GAPS");
        let open = match gaps.open.len() {
            0 => "none open".to_owned(),
            n => format!("{n} open"),
        };
        self.line(&format!("{open}, {} closed", gaps.closed.len()));
        for gap in gaps.open.iter().take(OPEN_GAPS) {
            let end = gap.end.map_or("now".to_owned(), |at| self.time(at));
            let span = format!("{}: {} to {end}", gap.pbx, self.time(gap.start));
            for line in wrap(&format!("{span}: {}; {}", gap.why, gap.state), WIDTH - 2) {
                self.line(&format!("  {line}"));
            }
        }
        if gaps.open.len() > OPEN_GAPS {
            self.line(&format!("  and {} more: cdrd gaps list", gaps.open.len() - OPEN_GAPS));
        }
    }

    fn time(&self, at: At) -> String {
        let time = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
        time.to_zoned_datetime(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

fn width<'a>(names: impl Iterator<Item = &'a str>, least: usize) -> usize {
    names.map(UnicodeWidthStr::width).max().unwrap_or(0).clamp(least, 20)
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Lines of at most so many columns; control characters of others are made harmless.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A number and the noun that it wants.
pub(super) fn count<'a>(n: u64, one: &'a str, many: &'a str) -> (String, &'a str) {
    (thousands(n), if n == 1 { one } else { many })
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long ago something was.
pub(super) fn ago(now: At, then: At) -> String {
    span(now.0 - then.0)
}

/// A span of milliseconds in its largest unit.
pub(super) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A size in its largest unit.
pub(super) fn bytes(n: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let mut text = String::new();
    let written = match units.iter().find(|(unit, _)| n >= *unit) {
        Some((unit, name)) => {
            let tenths = n.saturating_mul(10) / unit;
            match tenths {
                0..100 if !tenths.is_multiple_of(10) => {
                    write!(text, "{}.{} {name}", tenths / 10, tenths % 10)
                }
                _ => write!(text, "{} {name}", tenths / 10),
            }
        }
        None => write!(text, "{n} B"),
    };
    written.expect("a String takes everything");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_spans_and_counts_read_well() {
        assert_eq!(
            [0, 1023, 1024, 1536, 10 << 20, 2 << 30].map(bytes),
            ["0 B", "1023 B", "1 KiB", "1.5 KiB", "10 MiB", "2 GiB"]
        );
        assert_eq!(
            [-5, 0, 119_999, 120_000, 7_200_000, 172_800_000].map(span),
            ["0 s", "0 s", "119 s", "2 min", "2 h", "2 days"]
        );
        assert_eq!([1, 999, 1000, 1_234_567].map(thousands), ["1", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn long_words_of_others_stay_within_the_line_and_harmless() {
        let lines = wrap(&format!("a\nb\x1b[31m {}", "word ".repeat(40)), 30);
        assert!(lines.iter().all(|line| line.width() <= 30 && !line.contains('\x1b')), "{lines:?}");
    }
}
