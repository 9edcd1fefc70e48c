//! What a scalar's text means: integers, durations, moments.

use jiff::{SignedDuration, Timestamp};

/// A whole number; a fraction is cut off, anything else is `None`.
pub(super) fn integer(text: &str) -> Option<i32> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    whole.parse().ok()
}

/// A duration in whole seconds. Negative ones have no meaning and are `None`.
pub(super) fn seconds(text: &str) -> Option<u32> {
    integer(text).and_then(|n| u32::try_from(n).ok())
}

/// A moment: Unix seconds (WSI) or RFC 3339 (REST).
///
/// `"0"`, `""` and any moment up to 1970 mean that it did not happen.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let unix = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
    let moment = if text.chars().all(unix) { unix_seconds(text)? } else { text.parse().ok()? };
    (moment > Timestamp::UNIX_EPOCH).then_some(moment)
}

/// Unix seconds, exact for plain decimals; an exponent goes through a float.
fn unix_seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let since = match whole.parse() {
        Ok(whole) if fraction.bytes().all(|b| b.is_ascii_digit()) => {
            SignedDuration::new(whole, nanoseconds(fraction))
        }
        _ => SignedDuration::try_from_secs_f64(text.parse().ok()?).ok()?,
    };
    Timestamp::from_duration(since).ok()
}

/// The digits after the point of a decimal number of seconds, as nanoseconds.
fn nanoseconds(digits: &str) -> i32 {
    digits
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |n, d| n * 10 + i32::from(d - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_as_unix_seconds_or_rfc_3339() {
        let expected: Timestamp = "2023-03-22T09:20:51Z".parse().unwrap();
        for text in [
            "1679476851",
            " 1679476851 ",
            "1679476851.0",
            "1.679476851e9",
            "2023-03-22T09:20:51Z",
            "2023-03-22T10:20:51+01:00",
            "2023-03-22T09:20:51.000Z",
        ] {
            assert_eq!(moment(text), Some(expected), "{text}");
        }
        let fraction: Timestamp = "2023-03-22T09:20:51.25Z".parse().unwrap();
        assert_eq!(moment("1679476851.25"), Some(fraction));
        assert_eq!(moment("2023-03-22T09:20:51.250Z"), Some(fraction));
    }

    #[test]
    fn what_did_not_happen_has_no_moment() {
        for text in [
            "0",
            "",
            " ",
            "0.0",
            "-1",
            "00",
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "never",
            "1e400",
            "99999999999999999999",
            "9223372036854775807.9",
            "--",
            "1.5.5",
            "nan",
            "e",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn durations_and_codes_are_whole_numbers() {
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("7.9"), Some(7));
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds("99999999999"), None);
        assert_eq!(integer("486"), Some(486));
        assert_eq!(integer("busy"), None);
        assert_eq!(integer("4.x"), None);
    }
}
