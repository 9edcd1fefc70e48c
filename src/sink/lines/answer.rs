//! What a line that came back says.

use super::incoming::{Line, harmless};
use crate::event::EventId;

/// Letters of an id.
const ID_LENGTH: usize = 36;
/// Letters of a reason that are kept.
const LONGEST_REASON: usize = 500;

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// `ID`: the event is safe.
    Taken(EventId),
    /// `!ID REASON`: it never will be.
    Refused(EventId, String),
    /// Neither.
    Unclear,
}

/// Reads a line; an empty one says nothing.
pub fn read(line: &Line) -> Option<Answer> {
    let text = line.bytes.trim_ascii();
    match text.split_first() {
        None => None,
        Some((b'!', rest)) => Some(refusal(rest)),
        Some(_) if line.cut => Some(Answer::Unclear),
        Some(_) => Some(id(text).map_or(Answer::Unclear, Answer::Taken)),
    }
}

fn refusal(text: &[u8]) -> Answer {
    let text = text.trim_ascii_start();
    let (id_text, reason) = text.split_at(text.len().min(ID_LENGTH));
    let Some(id) = id(id_text) else { return Answer::Unclear };
    if reason.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return Answer::Unclear;
    }
    let reason: String = harmless(reason.trim_ascii()).chars().take(LONGEST_REASON).collect();
    let reason = if reason.is_empty() { "no reason given".to_owned() } else { reason };
    Answer::Refused(id, reason)
}

fn id(text: &[u8]) -> Option<EventId> {
    let text = std::str::from_utf8(text).ok()?;
    if text.len() == ID_LENGTH { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0bc9f1a2-7c00-8123-9123-0123456789ab";

    fn read_text(text: &str) -> Option<Answer> {
        read(&Line { bytes: text.as_bytes().to_vec(), cut: false })
    }

    #[test]
    fn an_id_confirms_whatever_blanks_are_around_it() {
        let taken = Some(Answer::Taken(ID.parse().unwrap()));
        assert_eq!(read_text(ID), taken);
        assert_eq!(read_text(&format!("  {}\r", ID.to_uppercase())), taken);
    }

    #[test]
    fn a_mark_before_the_id_refuses_with_the_rest_as_reason() {
        let refused = |reason: &str| Some(Answer::Refused(ID.parse().unwrap(), reason.to_owned()));
        assert_eq!(read_text(&format!("!{ID} no such tenant")), refused("no such tenant"));
        assert_eq!(read_text(&format!("! {ID}\t\u{1b}[31mred")), refused("\\u{1b}[31mred"));
        assert_eq!(read_text(&format!("!{ID}")), refused("no reason given"));
        let long = read_text(&format!("!{ID} {}", "é".repeat(3_000)));
        assert_eq!(long, refused(&"é".repeat(LONGEST_REASON)));
    }

    #[test]
    fn everything_else_is_unclear_and_nothing_is_nothing() {
        let half = &ID[..20];
        let texts =
            [half, "!", "ok", &format!("{ID} ok"), &format!("!{ID}x"), &format!("!{half} no")];
        for text in texts {
            assert_eq!(read_text(text), Some(Answer::Unclear), "{text:?}");
        }
        assert_eq!(read(&Line { bytes: ID.into(), cut: true }), Some(Answer::Unclear));
        assert_eq!(read(&Line { bytes: vec![0xff; 36], cut: false }), Some(Answer::Unclear));
        assert_eq!(read_text(" \r"), None);
    }
}
