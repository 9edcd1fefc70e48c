//! How wide each column is. In a narrow terminal the least important go first:
//! the time of ringing, then trunk or queue, then the word for the direction.

/// Space between two columns.
pub(super) const GAP: &str = "  ";
/// `HH:MM:SS`.
pub(super) const TIME: usize = 8;
/// `h:mm:ss` to the right, with the space before it: few are that long.
const DURATION: (usize, usize) = (8, 9);
/// `cancelled`, `no answer`.
pub(super) const OUTCOME: usize = 9;

/// The narrowest and the widest line that is laid out.
const WIDTHS: std::ops::RangeInclusive<usize> = 60..=200;
/// From this width on the direction is a word …
const WORD_FROM: usize = 72;
/// … trunk or queue are shown …
const VIA_FROM: usize = 80;
/// … the time of ringing is shown …
const RING_FROM: usize = 92;
/// … and the direction is an arrow and a word.
const BOTH_FROM: usize = 100;
/// Trunk or queue take a quarter of what is left, within these limits.
const VIA: (usize, usize) = (11, 28);
/// Longer names of people are cut even if there is room, to keep a line together.
const PARTY_MAX: usize = 32;
/// ` → `.
const BETWEEN_PARTIES: usize = 3;

/// How much of the direction is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DirectionForm {
    Arrow,
    Word,
    Both,
}

impl DirectionForm {
    pub(super) fn width(self) -> usize {
        match self {
            DirectionForm::Arrow => 1,
            DirectionForm::Word => 4,
            DirectionForm::Both => 6,
        }
    }
}

/// The columns whose widths depend on the terminal; a width of 0: not shown.
#[derive(Debug)]
pub(super) struct Layout {
    pub direction: DirectionForm,
    pub caller: usize,
    pub callee: usize,
    pub via: usize,
    pub ring: bool,
    pub duration: usize,
}

impl Layout {
    /// The layout for a terminal of so many columns.
    pub(super) fn for_width(width: usize) -> Self {
        let width = width.clamp(*WIDTHS.start(), *WIDTHS.end());
        let direction = match width {
            BOTH_FROM.. => DirectionForm::Both,
            WORD_FROM.. => DirectionForm::Word,
            _ => DirectionForm::Arrow,
        };
        let ring = width >= RING_FROM;
        let duration = if width >= BOTH_FROM { DURATION.1 } else { DURATION.0 };
        let mut left = width - TIME - direction.width() - duration - OUTCOME - 3 * GAP.len();
        if ring {
            left -= duration;
        }
        let mut via = 0;
        if width >= VIA_FROM {
            left -= GAP.len();
            via = (left / 4).clamp(VIA.0, VIA.1);
        }
        let parties = left - via - BETWEEN_PARTIES;
        let caller = (parties / 2).min(PARTY_MAX);
        let callee = (parties - parties / 2).min(PARTY_MAX);
        Layout { direction, caller, callee, via, ring, duration }
    }
}
