//! What an answer, or the lack of one, means for the events of a request.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | confirmed |
//! | 400, 409, 410, 413, 415, 422 | refused for good |
//! | 401, 403, 404 | mostly configuration: waits for the operator |
//! | 3xx | tried again: a POST that silently goes elsewhere is lost |
//! | all others, no answer | tried again |

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};

use super::target::Endpoint;
use crate::http_time::retry_after;
use crate::sink::Failure;

/// Bytes of an answer that are read, so that its connection can serve again.
const ANSWER_READ: usize = 64 * 1024;
/// How long that may take, however long the request may: the status has decided.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has the events.
    Confirmed,
    /// It will never take this request.
    Refused {
        /// For the operator.
        reason: String,
    },
    /// It may take it later.
    Failed(Fault),
}

/// Why a request is sent again.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// For the operator.
    pub reason: String,
    /// The receiver asked for this much patience.
    pub after: Option<Duration>,
    /// One event may be the cause, rather than the state of the receiver.
    pub suspicious: bool,
}

impl Fault {
    /// The network's.
    pub fn network(reason: String) -> Self {
        Self { reason, after: None, suspicious: false }
    }
}

impl From<Fault> for Failure {
    fn from(Fault { reason, after, .. }: Fault) -> Self {
        Self::Retry { reason, after }
    }
}

/// What the status says.
pub fn judge(endpoint: &Endpoint, status: StatusCode, headers: &HeaderMap) -> Verdict {
    if status.is_success() {
        return Verdict::Confirmed;
    }
    let reason = format!("{endpoint} answered {status}{}", advice(status));
    match status.as_u16() {
        400 | 409 | 410 | 413 | 415 | 422 => Verdict::Refused { reason },
        code => {
            Verdict::Failed(Fault { reason, after: retry_after(headers), suspicious: code == 500 })
        }
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "; redirects are not followed, set url to the new place",
        401 | 403 => "; check this sink's auth: events wait until it is accepted",
        404 => "; check this sink's url: events wait until it is there",
        407 => "; check user name and password in HTTPS_PROXY or HTTP_PROXY",
        410 => "; the receiver is gone for good, remove this sink or set its new url",
        413 => "; the receiver takes no request of this size",
        _ => "",
    }
}

/// Reads a little of the body, so that the connection can be used again. What it
/// says does not matter, nor whether it comes whole: the status has decided.
pub async fn discard(mut answer: Response) {
    let mut left = ANSWER_READ;
    let reading = async {
        while let Ok(Some(chunk)) = answer.chunk().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    // Too late is as good as too long: the connection is given up.
    let _ = tokio::time::timeout(ANSWER_TIME, reading).await;
}

/// A network fault with its innermost cause; reqwest shows only the outermost, and
/// with it the whole URL, whose query may hold a token.
pub fn words(endpoint: &Endpoint, error: reqwest::Error) -> String {
    let error = error.without_url();
    let what = match &error {
        e if e.is_timeout() => "no answer in time",
        e if e.is_connect() => "cannot connect",
        _ => "request failed",
    };
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    let (mut unsent, mut advice) = (false, "");
    while let Some(inner) = cause.source() {
        cause = inner;
        unsent |= cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        if wants_certificate(cause) {
            advice =
                "; set tls.cert_file and tls.key_file to a certificate that the receiver accepts";
        }
    }
    if unsent {
        return format!(
            "{endpoint}: {what}: the receiver ended the connection as soon as it stood; \
             does it want a client certificate (tls.cert_file, tls.key_file)?"
        );
    }
    format!("{endpoint}: {what}: {cause}{advice}")
}

/// Whether the receiver ended the connection for want of a client certificate, or
/// because of the one that it got. With TLS 1.3 it says so only after the handshake,
/// so that it may be heard at any time, or not at all.
fn wants_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = match error.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        None => error.downcast_ref::<rustls::Error>(),
    };
    use rustls::AlertDescription as Alert;
    matches!(
        error,
        Some(rustls::Error::AlertReceived(
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
        ))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_500_makes_an_event_suspicious() {
        let endpoint = Endpoint::new("https://h/".parse().unwrap());
        for (status, expected) in [(500, true), (502, false), (503, false), (429, false)] {
            let status = StatusCode::from_u16(status).unwrap();
            match judge(&endpoint, status, &HeaderMap::new()) {
                Verdict::Failed(fault) => assert_eq!(fault.suspicious, expected, "{status}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
