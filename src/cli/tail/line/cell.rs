//! One cell: foreign text made harmless, then cut or padded to its column.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// No name is looked at beyond this many characters; no column is that wide.
const LONGEST: usize = 256;
/// Marks on top of one character that are kept; more would pile up over other lines.
const MARKS: usize = 2;

/// On which side the text stands in its column.
#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Right,
}

/// The text in exactly `width` columns, made harmless, its end replaced by `…` if it is too long.
pub(super) fn fitted(text: &str, width: usize, align: Align) -> String {
    let text = cut(&harmless(text), width);
    let padding = " ".repeat(width.saturating_sub(text.width()));
    match align {
        Align::Left => text + &padding,
        Align::Right => padding + &text,
    }
}

/// Columns that the text takes once it is harmless.
pub(super) fn width(text: &str) -> usize {
    harmless(text).width()
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        // Measured as a whole: the width of a text is not always the sum of its characters'.
        if kept.width() + 1 > width {
            kept.pop();
            break;
        }
    }
    kept.truncate(kept.trim_end().len());
    kept.push('…');
    kept
}

/// Control characters become their pictures (`ESC`: `␛`) or `�`; invisible
/// characters, which reorder, join or hide text, go.
fn harmless(text: &str) -> String {
    let mut clean = String::new();
    let mut marks = 0;
    for c in text.trim().chars().take(LONGEST) {
        let Some(c) = replacement(c) else { continue };
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        if marks <= MARKS {
            clean.push(c);
        }
    }
    clean
}

fn replacement(c: char) -> Option<char> {
    match c {
        '\t' => Some(' '),
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)),
        '\x7f' => Some('␡'),
        // C1 controls (an 8-bit CSI among them), line and paragraph separator.
        '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => Some('\u{fffd}'),
        // Bidi marks, embeddings, overrides and isolates.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            None
        }
        // Other invisible ones: soft hyphen, fillers, zero-width spaces and joiners,
        // invisible operators, deprecated format characters, variation selectors, tags.
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' => None,
        '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{3164}' => None,
        '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' => None,
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => None,
        _ => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_control_characters_are_shown_not_sent() {
        assert_eq!(harmless("\x1b[31mred\x1b[0m"), "␛[31mred␛[0m");
        assert_eq!(
            harmless("a\r\nb\x08c\x7fd\u{9b}31m\u{2028}e\tf\0"),
            "a␍␊b␈c␡d\u{fffd}31m\u{fffd}e f␀"
        );
    }

    #[test]
    fn text_cannot_be_turned_around_or_hidden() {
        assert_eq!(harmless("a\u{202e}b\u{2066}c\u{200f}d\u{200b}e\u{feff}f\u{e0041}g"), "abcdefg");
        let piled = format!("Z{}algo", "\u{301}".repeat(50));
        assert_eq!(harmless(&piled), "Z\u{301}\u{301}algo");
    }

    #[test]
    fn a_cell_is_exactly_as_wide_as_its_column() {
        for text in [
            "",
            "short",
            "exactly 12 c",
            "longer than twelve",
            "日本語の名前です",
            "e\u{301}e\u{301}",
            "👩\u{200d}👩\u{200d}👧 family",
            "🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪",
            "لا لا لا لا لا لا",
            "\u{301}",
            "x\u{301}\u{301}",
        ] {
            for align in [Align::Left, Align::Right] {
                let cell = fitted(text, 12, align);
                assert_eq!(cell.width(), 12, "{text:?} gave {cell:?}");
            }
        }
        assert_eq!(fitted("日本語の名前です", 6, Align::Left), "日本… ");
        assert_eq!(fitted("Ann Lee Long", 8, Align::Left), "Ann Lee…");
        assert_eq!(fitted("7", 3, Align::Right), "  7");
    }
}
