//! What the client's and the brokers' errors mean for an event, and in words.
//!
//! | answer | meaning |
//! |---|---|
//! | acknowledged by all replicas in sync | confirmed |
//! | the record alone is larger than the broker or the topic takes, or is refused as such | refused for good |
//! | everything else: broker down, too few replicas, not allowed, no such topic | tried again, by a new producer |
//!
//! No answer is told with what the client says of its own accord about a record.

use krafka::KrafkaError;
use krafka::error::ErrorCode;

use crate::cause;

/// What became of a record that was not acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will never be taken.
    Refused(String),
    /// It may be taken later.
    Later(String),
}

/// Judges an answer, or the lack of one. The client has split batches that were too
/// large before it says so of a record.
pub fn judge(error: &KrafkaError, topic: &str) -> Verdict {
    match error {
        KrafkaError::Broker {
            code: ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge,
            ..
        } => Verdict::Refused(format!(
            "the event is larger than the topic {topic} takes; raise its max.message.bytes, then retry this dead letter"
        )),
        KrafkaError::Broker { code: ErrorCode::InvalidRecord, .. } => Verdict::Refused(format!(
            "the topic {topic} refuses the event as invalid; does it check a schema, or compact without a key?"
        )),
        other => Verdict::Later(words(other, topic)),
    }
}

/// The same for the operator, about whatever was tried.
pub fn words(error: &KrafkaError, topic: &str) -> String {
    match error {
        KrafkaError::Broker { code, .. } => broker_words(*code, topic),
        KrafkaError::UnknownTopic { .. } => unknown(topic),
        KrafkaError::Auth { .. } => format!(
            "the login or the certificate was refused ({}); check this sink's auth and tls: events wait until it is accepted",
            short(&cause::root(error).to_string())
        ),
        KrafkaError::Network(_) => {
            format!(
                "no connection: {}; is the broker running?",
                short(&cause::root(error).to_string())
            )
        }
        KrafkaError::Timeout { .. } => {
            "no answer in time; is a broker overloaded, or cut off?".to_owned()
        }
        KrafkaError::DeliveryTimeout { message, .. } => {
            format!("no acknowledgement in time ({}); events wait in the journal", short(message))
        }
        other => format!("it failed: {}", short(&other.to_string())),
    }
}

fn broker_words(code: ErrorCode, topic: &str) -> String {
    match code {
        ErrorCode::UnknownTopicOrPartition => unknown(topic),
        ErrorCode::TopicAuthorizationFailed => format!(
            "this sink's user may not write to the topic {topic}; allow it WRITE and DESCRIBE there"
        ),
        ErrorCode::ClusterAuthorizationFailed => {
            "this sink's user may not write idempotently; allow it WRITE on the topic (or IDEMPOTENT_WRITE on the cluster, before Kafka 2.8)".to_owned()
        }
        ErrorCode::SaslAuthenticationFailed => {
            "the broker refused the login; check this sink's auth: events wait until it is accepted".to_owned()
        }
        ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => format!(
            "too few replicas of the topic {topic} are in sync (min.insync.replicas); events wait until they are back"
        ),
        other => format!("the broker answered {other:?}"),
    }
}

fn unknown(topic: &str) -> String {
    format!(
        "there is no topic {topic}, or this sink's user may not see it; make it, or set create_topic"
    )
}

/// Words from outside, on one line and not too many.
fn short(words: &str) -> String {
    words.chars().take(200).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: ErrorCode) -> Verdict {
        judge(&KrafkaError::broker(code, "so it is"), "cdr")
    }

    #[test]
    fn only_what_is_wrong_with_the_event_is_refused_for_good() {
        for code in
            [ErrorCode::MessageTooLarge, ErrorCode::RecordListTooLarge, ErrorCode::InvalidRecord]
        {
            assert!(matches!(answered(code), Verdict::Refused(_)), "{code:?}");
        }
        for code in [
            ErrorCode::NotEnoughReplicas,
            ErrorCode::NotLeaderForPartition,
            ErrorCode::TopicAuthorizationFailed,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::KafkaStorageException,
        ] {
            assert!(matches!(answered(code), Verdict::Later(_)), "{code:?}");
        }
    }

    #[test]
    fn the_operator_is_told_what_to_do() {
        let Verdict::Later(words) = answered(ErrorCode::TopicAuthorizationFailed) else {
            panic!("it may be allowed later")
        };
        assert!(words.contains("WRITE"), "{words}");
        let words = words_of_unknown();
        assert!(words.contains("create_topic"), "{words}");
    }

    fn words_of_unknown() -> String {
        words(&KrafkaError::unknown_topic("cdr"), "cdr")
    }
}
