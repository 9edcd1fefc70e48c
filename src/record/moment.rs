//! Moments and spans of time, as a record tells them.

use std::fmt;

use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

/// A moment together with the time zone that it is shown in.
///
/// Shown as RFC 3339: with the zone's offset at that moment, in UTC with `Z`.
/// A fraction is shown only if there is one; that of a receipt always, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// The moment itself.
    pub at: Timestamp,
    zone: TimeZone,
    digits: Option<u8>,
}

impl Moment {
    /// A moment that the PBX told.
    pub fn new(at: Timestamp, zone: &TimeZone) -> Self {
        Moment { at, zone: zone.clone(), digits: None }
    }

    /// A moment that this daemon took itself: always with milliseconds.
    pub fn of_receipt(at: Timestamp, zone: &TimeZone) -> Self {
        Moment { at, zone: zone.clone(), digits: Some(3) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printer = DateTimePrinter::new().precision(self.digits);
        let text = match self.zone.iana_name() {
            Some("UTC" | "Etc/UTC") => printer.timestamp_to_string(&self.at),
            _ => printer.timestamp_with_offset_to_string(&self.at, self.zone.to_offset(self.at)),
        };
        out.write_str(&text)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// Whole seconds between two moments; `None` if one is unknown or they are in the wrong order.
pub(super) fn seconds_between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<u32> {
    let span: SignedDuration = to?.duration_since(from?);
    if span.is_negative() {
        return None;
    }
    u32::try_from(span.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(at: &str, zone: &str) -> String {
        Moment::new(at.parse().unwrap(), &TimeZone::get(zone).unwrap()).to_string()
    }

    #[test]
    fn a_moment_carries_the_offset_of_its_time_of_year() {
        // Germany left summer time on 2025-10-26 at 01:00 UTC.
        assert_eq!(shown("2025-10-26T00:59:59Z", "Europe/Berlin"), "2025-10-26T02:59:59+02:00");
        assert_eq!(shown("2025-10-26T01:00:00Z", "Europe/Berlin"), "2025-10-26T02:00:00+01:00");
        // And entered it on 2025-03-30 at 01:00 UTC.
        assert_eq!(shown("2025-03-30T00:59:59Z", "Europe/Berlin"), "2025-03-30T01:59:59+01:00");
        assert_eq!(shown("2025-03-30T01:00:00Z", "Europe/Berlin"), "2025-03-30T03:00:00+02:00");
    }

    #[test]
    fn utc_is_shown_as_z_and_fractions_only_if_there_are_some() {
        assert_eq!(shown("2025-03-30T01:00:00Z", "UTC"), "2025-03-30T01:00:00Z");
        assert_eq!(shown("2025-03-30T01:00:00.250Z", "UTC"), "2025-03-30T01:00:00.25Z");
        assert_eq!(shown("2025-01-30T01:00:00Z", "Europe/London"), "2025-01-30T01:00:00+00:00");
        let receipt = Moment::of_receipt("2025-03-30T01:00:00Z".parse().unwrap(), &TimeZone::UTC);
        assert_eq!(receipt.to_string(), "2025-03-30T01:00:00.000Z");
    }

    #[test]
    fn a_zone_is_known_without_the_systems_data() {
        let bundled = jiff::tz::TimeZoneDatabase::bundled();
        assert!(bundled.get("Europe/Berlin").is_ok());
    }
}
