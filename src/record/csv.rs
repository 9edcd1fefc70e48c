//! A record as one row of CSV (RFC 4180).
//!
//! Rows end with CRLF, which the writer of the file adds, and nothing inside of a
//! row is a CRLF: a line break inside of a cell is a LF. So the end of the last
//! whole row can be found without reading the file from its start.

use std::fmt::Display;
use std::io::Write;

use super::{KEYS, Record};

/// What rows end with.
pub const ROW_END: &[u8] = b"\r\n";

/// With these a spreadsheet's formula begins. The wide forms count in spreadsheets
/// with an East Asian locale; a tab or line break in front is skipped by some.
const FORMULA: [char; 11] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// The names of the columns: [`KEYS`], and `event_type` at the end if asked for.
pub fn header(with_type: bool) -> Vec<u8> {
    let mut names = KEYS.to_vec();
    names.extend(with_type.then_some("event_type"));
    names.join(",").into_bytes()
}

impl Record {
    /// Appends this record as a row, without its end. `targets` becomes their count.
    pub fn write_csv(&self, with_type: bool, out: &mut Vec<u8>) {
        let mut row = Row { out, first: true };
        self.write_identity(&mut row);
        self.write_parties(&mut row);
        self.write_times(&mut row);
        self.write_result(&mut row);
        row.shown(Some(self.targets.len()));
        if with_type {
            row.text(self.event_type.as_deref());
        }
    }

    fn write_identity(&self, row: &mut Row<'_>) {
        for cell in [self.schema, &self.id, &self.pbx, &self.origin] {
            row.text(Some(cell));
        }
        row.shown(Some(&self.received_at));
        for cell in [
            &self.tenant_id,
            &self.tenant_name,
            &self.session_id,
            &self.cdr_id,
            &self.call_id,
            &self.direction,
        ] {
            row.text(cell.as_deref());
        }
    }

    fn write_parties(&self, row: &mut Row<'_>) {
        for cell in [
            &self.caller,
            &self.caller_name,
            &self.caller_domain,
            &self.callee,
            &self.callee_name,
            &self.callee_domain,
            &self.did,
            &self.outbound_caller_id,
            &self.trunk,
        ] {
            row.text(cell.as_deref());
        }
    }

    fn write_times(&self, row: &mut Row<'_>) {
        for cell in [&self.started_at, &self.rang_at, &self.answered_at, &self.ended_at] {
            row.shown(cell.as_ref());
        }
        for cell in [self.ring_seconds, self.talk_seconds, self.duration_seconds] {
            row.shown(cell);
        }
    }

    fn write_result(&self, row: &mut Row<'_>) {
        row.shown(self.answered);
        row.text(self.outcome.map(|outcome| outcome.as_str()));
        row.text(self.end_reason.as_deref());
        row.shown(self.status_code);
        for cell in [&self.queue, &self.agent, &self.user_data, &self.cost] {
            row.text(cell.as_deref());
        }
    }
}

/// Writes cells with commas between them; what is unknown is an empty cell.
struct Row<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Row<'_> {
    fn next(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
    }

    /// What this program made itself: numbers, times, words without a comma.
    fn shown(&mut self, value: Option<impl Display>) {
        self.next();
        if let Some(value) = value {
            write!(self.out, "{value}").expect("writing to a Vec succeeds");
        }
    }

    /// Foreign text.
    fn text(&mut self, text: Option<&str>) {
        self.next();
        let Some(text) = text else { return };
        let quoted = text.contains([',', '"', '\r', '\n']);
        let formula = text.starts_with(FORMULA) && !is_number(text);
        if !quoted && !formula && !text.contains(char::is_control) {
            return self.out.extend_from_slice(text.as_bytes());
        }
        let mut cell = String::with_capacity(text.len() + 8);
        cell.extend(quoted.then_some('"'));
        cell.extend(formula.then_some('\''));
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '"' => cell.push_str("\"\""),
                '\r' => {
                    characters.next_if_eq(&'\n');
                    cell.push('\n');
                }
                '\n' | '\t' => cell.push(c),
                // Readers end a cell at a NUL, and terminals obey the others.
                c if c.is_control() => cell.push(char::REPLACEMENT_CHARACTER),
                c => cell.push(c),
            }
        }
        cell.extend(quoted.then_some('"'));
        self.out.extend_from_slice(cell.as_bytes());
    }
}

/// A signed number such as `+493012345` or `-0.05` is no formula to any spreadsheet,
/// and programs that join on a number must find it as it is.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or_default();
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    [whole, fraction].iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> String {
        let mut out = Vec::new();
        Row { out: &mut out, first: true }.text(Some(text));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_quoted_where_rfc_4180_asks_for_it() {
        for (text, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("a\r\nb\rc", "\"a\nb\nc\""),
            (" padded ", " padded "),
            ("王伟 ☎", "王伟 ☎"),
        ] {
            assert_eq!(cell(text), written, "{text:?}");
        }
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        for text in ["=1+1", "+1+1", "-2+3", "@SUM(1)", "+49 30", "+", "-", "+a", "＝1", "\t=1"] {
            assert_eq!(cell(text), format!("'{text}"));
        }
        assert_eq!(cell("=a,b"), "\"'=a,b\"");
        assert_eq!(cell("\r=1"), "\"'\n=1\"");
    }

    #[test]
    fn signed_numbers_are_no_formulas() {
        for text in ["+493012345", "-0.05", "+1", "a=1", "'=1", "*******5678"] {
            assert_eq!(cell(text), text);
        }
        for text in ["+49.", "+.5", "+4.9.3", "-1e5"] {
            assert_eq!(cell(text), format!("'{text}"));
        }
    }

    #[test]
    fn control_characters_do_not_get_out() {
        assert_eq!(cell("a\0b\u{1b}[31m\u{7f}\u{9b}"), "a\u{fffd}b\u{fffd}[31m\u{fffd}\u{fffd}");
        assert_eq!(cell("a\tb"), "a\tb");
    }
}
