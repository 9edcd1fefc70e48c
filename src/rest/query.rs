//! What is asked for: query options, and how they are written into a URL.

use jiff::Timestamp;

/// Calls in one answer, at most, if the PBX obeys.
pub(super) const TOP: usize = 500;

/// The order that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// Calls that started in [`from_s`, `to_s`), in Unix seconds.
///
/// Whole seconds, as in the vendor's example: what a release makes of fractions is
/// not documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) from_s: i64,
    pub(super) to_s: i64,
    pub(super) order: Order,
    pub(super) skip: u64,
}

impl Question {
    /// As the query of a URL.
    pub(super) fn text(&self) -> String {
        let filter = format!(
            "started_at ge '{}' and started_at lt '{}'",
            moment(self.from_s),
            moment(self.to_s)
        );
        let order = match self.order {
            Order::Ascending => "started_at asc",
            Order::Descending => "started_at desc",
        };
        let (top, skip) = (TOP.to_string(), self.skip.to_string());
        let mut options =
            vec![("filter", &*filter), ("orderby", order), ("top", &top), ("count", "true")];
        if self.skip > 0 {
            options.push(("skip", &skip));
        }
        encode(&options)
    }
}

fn moment(second: i64) -> String {
    let (least, most) = (Timestamp::UNIX_EPOCH, Timestamp::MAX.as_second());
    Timestamp::from_second(second.clamp(0, most)).unwrap_or(least).to_string()
}

/// `name=value` pairs; a space becomes `%20`, which every server understands, not `+`.
pub(super) fn encode(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        let and = if text.is_empty() { "" } else { "&" };
        text.push_str(&format!("{and}{name}="));
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(char::from(byte));
                }
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_written_as_documented() {
        let mut question = Question {
            from_s: 1_767_225_600,
            to_s: 1_767_312_000,
            order: Order::Ascending,
            skip: 0,
        };
        assert_eq!(
            question.text().replace("%20", " ").replace("%27", "'").replace("%3A", ":"),
            "filter=started_at ge '2026-01-01T00:00:00Z' and started_at lt '2026-01-02T00:00:00Z'\
             &orderby=started_at asc&top=500&count=true"
        );
        (question.order, question.skip) = (Order::Descending, 7);
        assert!(question.text().ends_with("orderby=started_at%20desc&top=500&count=true&skip=7"));
    }

    #[test]
    fn times_beyond_the_calendar_are_brought_into_it() {
        assert_eq!(moment(i64::MIN), "1970-01-01T00:00:00Z");
        assert!(moment(i64::MAX).starts_with("9999-12-"));
    }

    #[test]
    fn what_has_a_meaning_in_a_query_is_escaped() {
        assert_eq!(encode(&[("a", "ä&=+ ~"), ("b", "")]), "a=%C3%A4%26%3D%2B%20~&b=");
    }
}
