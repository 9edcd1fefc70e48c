//! What to tell of a refusal, and of a fault of the network.

use std::error::Error;
use std::io;

use serde_json::Value;

use super::error::RestError;
use crate::cause;

/// The longest part of the PBX's words that is shown.
const LONGEST: usize = 200;

/// The PBX's words in the body of a refusal, or the status where it gave none.
///
/// Documented: `{"errors":[{"code":"…","message":"…"}]}`. The other members are what
/// OAuth servers and web frameworks use.
pub(super) fn of_refusal(status: reqwest::StatusCode, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &body["errors"][0];
    let found = [first, &body].into_iter().find_map(|object| {
        ["message", "error_description", "msg", "error", "code"]
            .iter()
            .find_map(|key| object[key].as_str().filter(|words| !words.trim().is_empty()))
    });
    match found {
        Some(words) => {
            let plain = words.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
            plain.take(LONGEST).collect()
        }
        None => format!("status {status} without a reason"),
    }
}

/// A fault of the network, by what can be done about it. reqwest shows only the
/// outermost cause, and with it the URL, whose query we may not want in a log.
pub(super) fn of_fault(error: reqwest::Error) -> RestError {
    let error = error.without_url();
    if let Some(rustls::Error::General(words)) = tls_error(&error) {
        return RestError::Tls { words: words.clone() };
    }
    let words = match tls_error(&error) {
        Some(error) => format!("TLS: {error}"),
        None => cause::root(&error).to_string(),
    };
    match &error {
        e if e.is_connect() => RestError::Connect { words },
        e if e.is_timeout() => RestError::unavailable("no answer in time"),
        _ => RestError::unavailable(format!("the connection broke: {words}")),
    }
}

/// What rustls says, if it is its business. `General` are our own words about a
/// certificate: that is for the operator. All else may be bytes that came wrong.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref() {
            return Some(found);
        }
        // An I/O error hides what it wraps: its source is that one's source.
        let wrapped = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| inner.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn the_pbx_s_own_words_are_found_wherever_they_stand() {
        let words = |body: &str| of_refusal(StatusCode::BAD_REQUEST, body.as_bytes());
        let documented = r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong\npassword"}]}"#;
        assert_eq!(words(documented), "wrong password");
        assert_eq!(words(r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#), "UNAUTHORIZED");
        assert_eq!(words(r#"{"error":"invalid_grant"}"#), "invalid_grant");
        assert_eq!(words("<html>"), "status 400 Bad Request without a reason");
        assert_eq!(words(&format!(r#"{{"message":"{}"}}"#, "é".repeat(9999))).chars().count(), 200);
    }
}
