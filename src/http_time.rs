//! Times in HTTP headers: when to come back, and what time it is over there.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// The longest pause that `Retry-After` can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// `Retry-After`, as seconds or as a date (RFC 9110, section 10.2.3).
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = read(text)?;
            u64::try_from(date.as_second() - Timestamp::now().as_second()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// `Date`: the other end's clock, in whole seconds.
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    read(headers.get(DATE)?.to_str().ok()?.trim())
}

fn read(text: &str) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(RETRY_AFTER, HeaderValue::from_str(value).unwrap())].into_iter().collect()
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        assert_eq!(retry_after(&headers("7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers("99999999")), Some(LONGEST_RETRY_AFTER));
        assert_eq!(retry_after(&headers("Sun, 06 Nov 1994 08:49:37 GMT")), Some(Duration::ZERO));
        let soon = Timestamp::now() + Duration::from_secs(100);
        let date = soon.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let wait = retry_after(&headers(&date)).unwrap();
        assert!((98..=100).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(retry_after(&headers("soon")), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn a_date_is_the_other_end_s_clock() {
        let value = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        let headers: HeaderMap = [(DATE, value)].into_iter().collect();
        assert_eq!(date(&headers), Some("1994-11-06T08:49:37Z".parse().unwrap()));
        assert_eq!(date(&HeaderMap::new()), None);
    }
}
