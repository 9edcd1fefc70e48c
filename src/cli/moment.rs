//! Points in time as people write them: `1h` ago, a date, a timestamp.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::config::units;

/// A point in time, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

/// Reads `1h` (so long ago), `2026-11-24`, `2026-11-24T10:30` (local time) or an
/// RFC 3339 timestamp.
pub fn parse(text: &str) -> Result<Moment, String> {
    parse_at(text, &ZonedDateTime::now())
}

fn parse_at(text: &str, now: &ZonedDateTime) -> Result<Moment, String> {
    if let Ok(ago) = units::parse_duration(text) {
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(Moment(now.timestamp().as_millisecond().saturating_sub(ago)));
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(Moment(timestamp.as_millisecond()));
    }
    local(text, now.time_zone()).ok_or_else(|| {
        format!("{text:?} is no point in time; write 1h (ago), 2026-11-24, 2026-11-24T10:30 or 2026-11-24T10:30:00Z")
    })
}

fn local(text: &str, zone: &TimeZone) -> Option<Moment> {
    let civil: DateTime = text.parse().ok()?;
    Some(Moment(zone.to_timestamp(civil).ok()?.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_is_read() {
        let now: ZonedDateTime = "2026-11-24T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        let at = |text| {
            parse_at(text, &now)
                .map(|moment| Timestamp::from_millisecond(moment.0).unwrap().to_string())
        };
        assert_eq!(at("1h").unwrap(), "2026-11-24T10:00:00Z");
        assert_eq!(at("2026-11-24").unwrap(), "2026-11-23T23:00:00Z");
        assert_eq!(at("2026-07-01T10:30").unwrap(), "2026-07-01T08:30:00Z");
        assert_eq!(at("2026-11-24T10:30:00Z").unwrap(), "2026-11-24T10:30:00Z");
        assert_eq!(at("2026-11-24T10:30:00+02:00").unwrap(), "2026-11-24T08:30:00Z");
        assert!(at("yesterday").unwrap_err().contains("is no point in time"));
    }
}
