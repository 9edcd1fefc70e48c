//! Durations and sizes as an operator writes them: `"1h30m"`, `"100MiB"`.
//!
//! Pure text to number and back. Errors are the second half of a sentence that
//! starts with the key: the caller adds where it happened.

use std::time::Duration;

/// Units of a duration in milliseconds, the largest first.
const TIME_UNITS: [(&str, u128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of a size in bytes, binary ones first.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a duration: numbers with units, from the largest unit to the smallest.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut units = TIME_UNITS.iter();
    let mut total: u128 = 0;
    while let Some((number, tail)) = leading_number(rest) {
        let (unit, after) = leading_word(tail);
        let (_, scale) = units.find(|(name, _)| *name == unit).ok_or_else(|| no_duration(text))?;
        let part = number.parse::<u64>().map_err(|_| too_large(text))?;
        total += u128::from(part) * scale;
        rest = after;
    }
    if text.is_empty() || !rest.is_empty() {
        return Err(no_duration(text));
    }
    u64::try_from(total).map(Duration::from_millis).map_err(|_| too_large(text))
}

/// Writes a duration the way [`parse_duration`] reads it, in whole milliseconds.
pub fn show_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut text = String::new();
    for (unit, scale) in TIME_UNITS {
        if left >= scale {
            text.push_str(&format!("{}{unit}", left / scale));
            left %= scale;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads a size in bytes: one number with one unit.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = leading_number(text).ok_or_else(|| no_size(text))?;
    let (_, scale) = SIZE_UNITS.iter().find(|(n, _)| *n == unit).ok_or_else(|| no_size(text))?;
    let number = number.parse::<u64>().map_err(|_| too_large(text))?;
    number.checked_mul(*scale).ok_or_else(|| too_large(text))
}

/// Writes a size the way [`parse_size`] reads it, in the largest unit that keeps it whole.
pub fn show_size(bytes: u64) -> String {
    let (unit, scale) = SIZE_UNITS
        .iter()
        .find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / scale)
}

fn leading_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn leading_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len()))
}

fn no_duration(text: &str) -> String {
    format!(
        "is not a duration: {text:?}; write numbers with units (d, h, m, s, ms) and no spaces, \
         like \"30s\", \"1h30m\" or \"7d\""
    )
}

fn no_size(text: &str) -> String {
    format!(
        "is not a size: {text:?}; write a whole number with a unit (B, KB, MB, GB, KiB, MiB, GiB) \
         and no space, like \"100MiB\""
    )
}

fn too_large(text: &str) -> String {
    format!("is too large: {text:?}; write a smaller value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_of_every_unit_are_read() {
        let read = |text| parse_duration(text).unwrap().as_millis();
        assert_eq!(read("500ms"), 500);
        assert_eq!(read("30s"), 30_000);
        assert_eq!(read("5m"), 300_000);
        assert_eq!(read("1h30m"), 5_400_000);
        assert_eq!(read("7d"), 604_800_000);
        assert_eq!(read("0s"), 0);
        assert_eq!(read("1d2h3m4s5ms"), 93_784_005);
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "s", "30", "30 s", "-1s", "1.5h", "30s5m", "1h1h", "1w", "5min", "１s"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        assert!(parse_duration("99999999999999999999d").unwrap_err().contains("too large"));
        assert!(parse_duration("18446744073709551615d").unwrap_err().contains("too large"));
    }

    #[test]
    fn sizes_of_every_unit_are_read() {
        assert_eq!(parse_size("1000B"), Ok(1000));
        assert_eq!(parse_size("2KB"), Ok(2000));
        assert_eq!(parse_size("512KiB"), Ok(512 << 10));
        assert_eq!(parse_size("100MiB"), Ok(100 << 20));
        assert_eq!(parse_size("3MB"), Ok(3_000_000));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "MiB", "100", "1 MiB", "-1B", "1.5GiB", "1mib", "1GiB1MiB"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
        assert!(parse_size("99999999999TiB").unwrap_err().contains("too large"));
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_as_itself(millis: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_printed_size_reads_as_itself(bytes: u64) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text: String) {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
