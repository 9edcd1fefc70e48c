//! Which calls a span means, in the PBX's time. Pure.
//!
//! REST finds a call by its start, its CDR is pushed at its end: so everything that
//! started within the lookback before the span is asked for, and what ended in the span
//! is kept.

use std::time::Duration;

use crate::journal::gaps::Span;

/// A call that ended so long before a gap may have been pushed in it.
const PUSHED_LATE_MS: i64 = 30_000;
/// Error of the clock comparison: the PBX tells its time in seconds, and an answer
/// takes its time.
pub const CLOCK_ERROR_MS: i64 = 5_000;

/// A span of calls in the PBX's time, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Calls that started at or after this are asked for.
    pub from_ms: i64,
    /// And before this.
    pub to_ms: i64,
    /// Calls that ended at or after this are meant.
    ended_from_ms: i64,
    /// The span's own end.
    end_ms: i64,
}

impl Window {
    /// Of a span that is over; `None` while it lasts. `offset_ms` is the PBX's clock
    /// minus ours.
    pub fn of(span: &Span, lookback: Duration, offset_ms: i64) -> Option<Self> {
        let lookback = i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX);
        let ended_from_ms = span.start_ms + offset_ms - PUSHED_LATE_MS - CLOCK_ERROR_MS;
        let end_ms = span.end_ms? + offset_ms;
        Some(Self {
            from_ms: ended_from_ms.saturating_sub(lookback),
            to_ms: end_ms + CLOCK_ERROR_MS,
            ended_from_ms,
            end_ms,
        })
    }

    /// Whether a call that ended then belongs to the span, as far as one can say now.
    /// What seems to have ended just after it is likely to be on its way: it has until
    /// the second comparison.
    pub fn means(&self, ended_ms: i64, now_ms: i64) -> bool {
        let on_its_way = ended_ms > self.end_ms && ended_ms > now_ms - CLOCK_ERROR_MS;
        (self.ended_from_ms..self.to_ms).contains(&ended_ms) && !on_its_way
    }

    /// Where a comparison begins that has come so far.
    pub fn resumed(&self, reached_ms: Option<i64>) -> i64 {
        reached_ms.map_or(self.from_ms, |reached| reached.clamp(self.from_ms, self.to_ms))
    }
}

/// Spans whose windows overlap, so that one question serves them all; oldest first.
pub fn together(spans: Vec<Span>, lookback: Duration) -> Vec<Vec<Span>> {
    let mut windows: Vec<(Window, Span)> = spans
        .into_iter()
        .filter_map(|span| Some((Window::of(&span, lookback, 0)?, span)))
        .collect();
    windows.sort_by_key(|(window, _)| window.from_ms);
    let mut groups: Vec<(i64, Vec<Span>)> = Vec::new();
    for (window, span) in windows {
        match groups.last_mut() {
            Some((to_ms, group)) if window.from_ms <= *to_ms => {
                *to_ms = (*to_ms).max(window.to_ms);
                group.push(span);
            }
            _ => groups.push((window.to_ms, vec![span])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::gaps::Kind;

    const HOUR: i64 = 3_600_000;
    const LOOKBACK: Duration = Duration::from_secs(6 * 3600);

    fn span(n: i64, start_ms: i64, end_ms: Option<i64>) -> Span {
        Span { n, kind: Kind::Gap, end_ms, ..Span::asked(&"hq".into(), (start_ms, 0)) }
    }

    #[test]
    fn a_call_that_began_hours_before_the_gap_and_ended_in_it_is_asked_for() {
        let window = Window::of(&span(1, 10 * HOUR, Some(11 * HOUR)), LOOKBACK, 0).unwrap();
        assert!(window.from_ms <= 4 * HOUR && window.to_ms >= 11 * HOUR, "{window:?}");
        let means = |ended_ms| window.means(ended_ms, 12 * HOUR);
        assert!(means(10 * HOUR) && means(11 * HOUR - 1));
        assert!(!means(10 * HOUR - 60_000) && !means(11 * HOUR + 60_000));
    }

    #[test]
    fn what_ended_just_after_the_gap_is_left_to_come_by_itself_for_a_while() {
        let window = Window::of(&span(1, 10 * HOUR, Some(11 * HOUR)), LOOKBACK, 0).unwrap();
        let ended = 11 * HOUR + 1_000;
        assert!(!window.means(ended, ended + 1_000));
        assert!(window.means(ended, ended + 30_000));
        assert!(window.means(11 * HOUR - 1_000, 11 * HOUR), "what ended in it cannot");
    }

    #[test]
    fn a_pbx_whose_clock_is_ahead_is_asked_in_its_own_time() {
        let offset = 180_000;
        let window = Window::of(&span(1, 10 * HOUR, Some(11 * HOUR)), LOOKBACK, offset).unwrap();
        assert!(window.means(11 * HOUR + offset - 1, 12 * HOUR));
        assert!(!window.means(10 * HOUR + offset - 60_000, 12 * HOUR));
    }

    #[test]
    fn a_gap_that_lasts_has_no_window() {
        assert_eq!(Window::of(&span(1, 10 * HOUR, None), LOOKBACK, 0), None);
    }

    #[test]
    fn a_comparison_goes_on_where_it_was_and_never_outside_its_window() {
        let window = Window::of(&span(1, 10 * HOUR, Some(11 * HOUR)), LOOKBACK, 0).unwrap();
        assert_eq!(window.resumed(None), window.from_ms);
        assert_eq!(window.resumed(Some(9 * HOUR)), 9 * HOUR);
        assert_eq!(window.resumed(Some(0)), window.from_ms);
        assert_eq!(window.resumed(Some(i64::MAX)), window.to_ms);
    }

    #[test]
    fn spans_close_to_each_other_are_asked_for_together_and_others_apart() {
        let spans = vec![
            span(3, 40 * HOUR, Some(41 * HOUR)),
            span(1, 10 * HOUR, Some(11 * HOUR)),
            span(4, 50 * HOUR, None),
            span(2, 12 * HOUR, Some(13 * HOUR)),
        ];
        let groups = together(spans, LOOKBACK);
        let numbers: Vec<Vec<i64>> =
            groups.iter().map(|group| group.iter().map(|span| span.n).collect()).collect();
        assert_eq!(numbers, [vec![1, 2], vec![3]]);
    }
}
