//! The query options of the lists: `filter`, `orderby`, `top`, `skip`, `count`,
//! each also with a `$` before it. Pure: no I/O, no clock.
//!
//! Only what is documented is filtered on and ordered by: `caller` and
//! `started_at`, compared with words in quotes, joined by `and`. All else is an
//! error, so that no client comes to depend on it.

use jiff::Timestamp;
use reqwest::Url;

use super::items;
use crate::simulator::call::Call;

/// What a list is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    tests: Vec<Test>,
    /// By start.
    pub order: Option<Order>,
    /// Items wanted.
    pub top: Option<usize>,
    /// Items left out before them.
    pub skip: usize,
    /// Whether to count all that fit.
    pub count: bool,
}

/// The order of starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Rising,
    /// Newest first.
    Falling,
}

#[derive(Debug, PartialEq, Eq)]
enum Test {
    Caller(Comparison, String),
    StartedAt(Comparison, Timestamp),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Eq,
    Ne,
    Ge,
    Gt,
    Le,
    Lt,
}

/// Names and values of a query or a form, decoded.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    let Ok(mut url) = Url::parse("http://query.invalid/") else {
        return Vec::new();
    };
    url.set_query(Some(text));
    url.query_pairs().into_owned().collect()
}

impl Query {
    /// Reads a query; errors are the words of the refusal.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for (name, value) in pairs(text) {
            let number = || value.parse().map_err(|_| format!("{name} must be a number."));
            match name.strip_prefix('$').unwrap_or(&name) {
                "filter" => query.tests = tests(&value)?,
                "orderby" => query.order = Some(order(&value)?),
                "top" => query.top = Some(number()?),
                "skip" => query.skip = number()?,
                "count" => query.count = value == "true",
                // As web servers do, what is not known is not looked at.
                _ => {}
            }
        }
        Ok(query)
    }

    /// Whether the call is wanted.
    pub fn fits(&self, call: &Call) -> bool {
        let started = items::moment(call, 0);
        self.tests.iter().all(|test| match test {
            Test::Caller(how, number) => how.holds(&call.caller.number, number),
            Test::StartedAt(how, at) => how.holds(&started, at),
        })
    }
}

impl Comparison {
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "ge" => Self::Ge,
            "gt" => Self::Gt,
            "le" => Self::Le,
            "lt" => Self::Lt,
            _ => return None,
        })
    }

    fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Eq => left == right,
            Self::Ne => left != right,
            Self::Ge => left >= right,
            Self::Gt => left > right,
            Self::Le => left <= right,
            Self::Lt => left < right,
        }
    }
}

fn order(text: &str) -> Result<Order, String> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("started_at"), None | Some("asc"), None) => Ok(Order::Rising),
        (Some("started_at"), Some("desc"), None) => Ok(Order::Falling),
        _ => Err(format!("orderby={text:?} is not understood.")),
    }
}

/// `FIELD COMPARISON 'VALUE' and …`.
fn tests(text: &str) -> Result<Vec<Test>, String> {
    let wrong = |what: &str| format!("filter={text:?} is not understood: {what}.");
    let mut left = text.trim();
    let mut tests = Vec::new();
    loop {
        let (field, after) = word(left);
        let (comparison, after) = word(after);
        let comparison =
            Comparison::read(comparison).ok_or_else(|| wrong("a comparison is missing"))?;
        let (value, after) = quoted(after).ok_or_else(|| wrong("a value in quotes is missing"))?;
        tests.push(test(field, comparison, value).map_err(|what| wrong(&what))?);
        match word(after) {
            ("", _) => return Ok(tests),
            ("and", after) => left = after,
            (other, _) => return Err(wrong(&format!("{other:?}"))),
        }
    }
}

fn test(field: &str, comparison: Comparison, value: String) -> Result<Test, String> {
    match field {
        "caller" => Ok(Test::Caller(comparison, value)),
        "started_at" => match value.parse() {
            Ok(at) => Ok(Test::StartedAt(comparison, at)),
            Err(_) => Err(format!("{value:?} is no time")),
        },
        _ => Err(format!("there is no filter on {field:?}")),
    }
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// A value in single quotes, in which two stand for one; and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut left = text.trim_start().strip_prefix('\'')?;
    let mut value = String::new();
    loop {
        let (before, after) = left.split_once('\'')?;
        value.push_str(before);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                left = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(filter: &str) -> Result<Vec<Test>, String> {
        super::tests(filter)
    }

    #[test]
    fn the_documented_filter_is_two_tests() {
        let filter =
            "started_at ge '2026-01-01T00:00:00Z' and started_at lt '2026-01-02T00:00:00Z'";
        let tests = read(filter).unwrap();
        let at = |text: &str| text.parse().unwrap();
        let expected = [
            Test::StartedAt(Comparison::Ge, at("2026-01-01T00:00:00Z")),
            Test::StartedAt(Comparison::Lt, at("2026-01-02T00:00:00Z")),
        ];
        assert_eq!(tests, expected);
    }

    #[test]
    fn a_quote_within_a_value_is_doubled() {
        let tests = read("caller eq 'O''Neill and sons'").unwrap();
        assert_eq!(tests, [Test::Caller(Comparison::Eq, "O'Neill and sons".into())]);
    }

    #[test]
    fn what_is_not_documented_is_refused_with_words() {
        let wrong = [
            ("ended_at ge '2026-01-01T00:00:00Z'", "no filter on \"ended_at\""),
            ("started_at ge 2026-01-01T00:00:00Z", "in quotes"),
            ("started_at ge 'yesterday'", "no time"),
            ("started_at is '2026-01-01T00:00:00Z'", "comparison"),
            ("caller eq '1' or caller eq '2'", "\"or\""),
            ("caller eq '1", "in quotes"),
            ("caller eq '1' and", "comparison"),
            ("", "comparison"),
        ];
        for (filter, words) in wrong {
            let error = read(filter).unwrap_err();
            assert!(error.contains(words), "{filter}: {error}");
        }
    }

    #[test]
    fn options_are_read_with_and_without_a_dollar() {
        let plain = Query::read("orderby=started_at+desc&top=5&skip=10&count=true").unwrap();
        let dollar = Query::read("$orderby=started_at%20desc&%24top=5&$skip=10&$count=true");
        assert_eq!(plain, dollar.unwrap());
        assert_eq!((plain.order, plain.top, plain.skip), (Some(Order::Falling), Some(5), 10));
        assert!(Query::read("top=-1").unwrap_err().contains("top"));
        assert!(Query::read("orderby=caller").is_err());
    }
}
