//! What the client's and the server's errors mean for an event, and in words.
//!
//! | answer to a publish | meaning |
//! |---|---|
//! | acknowledged, as new or as a duplicate | confirmed |
//! | larger than the server or the stream takes | refused for good |
//! | no stream takes the subject, the stream is full, storage or account is full | tried again |
//! | no answer, connection lost, not allowed | tried again, on a new connection |

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{ConnectError, ConnectErrorKind, ServerError};

use crate::cause;

/// What became of a publish that was not acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will never be taken.
    Refused(String),
    /// It may be taken later.
    Later(String),
    /// The same, and this connection is of no more use.
    Anew(String),
}

/// Judges an answer, or the lack of one.
pub fn judge(error: &PublishError, subject: &str) -> Verdict {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Verdict::Refused(format!(
            "the event is larger than the server takes ({}); raise its max_payload, then retry this dead letter",
            cause::root(error)
        )),
        // The stream may be made anew, or JetStream may still be starting.
        PublishErrorKind::StreamNotFound => Verdict::Anew(format!(
            "no stream takes the subject {subject}; add it to a stream's subjects"
        )),
        PublishErrorKind::TimedOut => Verdict::Anew(
            "no acknowledgement in time; is the server overloaded, or cut off?".into(),
        ),
        PublishErrorKind::BrokenPipe => Verdict::Anew("the connection was lost".to_owned()),
        _ => match cause::find::<jetstream::Error>(error) {
            Some(answer) => judge_answer(answer),
            None => Verdict::Anew(format!("publishing failed: {}", cause::root(error))),
        },
    }
}

fn judge_answer(answer: &jetstream::Error) -> Verdict {
    let words = answer.to_string();
    match answer.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            Verdict::Refused(format!(
                "the event is larger than the stream takes ({words}); raise its max_msg_size, then retry this dead letter"
            ))
        }
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES => Verdict::Later(format!(
            "the stream is full ({words}); events wait until there is room: raise its limits, or let consumers or max_age make some"
        )),
        _ => Verdict::Later(format!("the stream did not take it: {words}")),
    }
}

/// Why there is no connection.
pub fn connect_words(error: &ConnectError) -> String {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => {
            "the server refused the login; check this sink's auth: events wait until it is accepted"
                .to_owned()
        }
        ConnectErrorKind::Authentication => {
            "the secret in this sink's auth cannot sign the server's challenge; make a new one"
                .to_owned()
        }
        ConnectErrorKind::TimedOut => {
            "no connection in time; is there a firewall in between?".into()
        }
        ConnectErrorKind::Dns => {
            format!("the host's address was not found: {}", cause::root(error))
        }
        _ => match cause::find::<std::io::Error>(error) {
            Some(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                format!("cannot connect: {e}; is the server running?")
            }
            _ => format!("cannot connect: {}", cause::root(error)),
        },
    }
}

/// What the server said of its own accord, without the subject that it names: that is
/// not for the log.
pub fn server_words(error: &ServerError) -> String {
    match error {
        ServerError::AuthorizationViolation => {
            "the server ended the login; check this sink's auth".to_owned()
        }
        ServerError::SlowConsumer(_) => "the server finds this client slow".to_owned(),
        ServerError::Other(words) => {
            let words: String = words.chars().take_while(|c| *c != '"').take(200).collect();
            let advice = match words.to_ascii_lowercase().contains("permissions violation") {
                true => {
                    "; allow this sink's user to publish its subjects, and to subscribe to _INBOX.>"
                }
                false => "",
            };
            format!("the server said: {}{advice}", words.trim_end().escape_debug())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u64) -> Verdict {
        let json = format!(r#"{{"code":503,"err_code":{code},"description":"so it is"}}"#);
        let answer: jetstream::Error = serde_json::from_str(&json).unwrap();
        judge(&PublishError::with_source(PublishErrorKind::Other, answer), "cdr.hq")
    }

    #[test]
    fn only_what_is_too_large_is_refused_for_good() {
        for code in [10054, 10097] {
            assert!(matches!(answered(code), Verdict::Refused(_)), "{code}");
        }
        for code in [10077, 10047, 10028, 10002, 10023, 10008, 10109, 1] {
            assert!(matches!(answered(code), Verdict::Later(_)), "{code}");
        }
        let Verdict::Later(full) = answered(10077) else { panic!("a full stream is waited out") };
        assert!(full.contains("full (so it is"), "{full}");
    }

    #[test]
    fn whatever_is_wrong_with_the_connection_asks_for_a_new_one() {
        use PublishErrorKind::{BrokenPipe, Other, StreamNotFound, TimedOut};
        for kind in [BrokenPipe, Other, StreamNotFound, TimedOut] {
            let verdict = judge(&PublishError::new(kind), "cdr.hq");
            assert!(matches!(verdict, Verdict::Anew(_)), "{kind:?}");
        }
    }

    #[test]
    fn the_servers_words_are_told_without_the_subject() {
        let said = "Permissions Violation for Publish to \"cdr.hq.x\"".to_owned();
        let words = server_words(&ServerError::Other(said));
        assert!(words.contains("Permissions Violation for Publish to"), "{words}");
        assert!(!words.contains("cdr.hq"), "{words}");
    }
}
