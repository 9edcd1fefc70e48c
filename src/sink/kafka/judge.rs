//! What the client's and the brokers' errors mean for an event, and in words.
//!
//! | answer | meaning |
//! |---|---|
//! | acknowledged by all replicas in sync | confirmed |
//! | the record alone is larger than the broker or the topic takes, or is refused as such | refused for good |
//! | everything else: broker down, too few replicas, not allowed, no such topic | tried again, by a new producer |
//!
//! What keeps the client from the brokers it says of its own accord, not with a record.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The last that the client said of its own accord.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>);

impl Heard {
    /// Notes it, unless it only sums up what was said before.
    pub fn note(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let code = code.unwrap_or(RDKafkaErrorCode::Fail);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *last = Some((code, reason.to_owned()));
        }
    }

    fn last(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What became of a record that was not acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will never be taken.
    Refused(String),
    /// It may be taken later.
    Later(String),
}

/// Judges an answer about one record.
pub fn judge(error: &KafkaError, heard: &Heard, topic: &str) -> Verdict {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge) => {
            Verdict::Refused(format!(
                "the event is larger than the topic {topic} takes; raise its max.message.bytes, then retry this dead letter"
            ))
        }
        Some(RDKafkaErrorCode::InvalidRecord) => Verdict::Refused(format!(
            "the topic {topic} refuses the event as invalid; does it check a schema?"
        )),
        _ => Verdict::Later(words(error, heard, topic)),
    }
}

/// The same for the operator, about whatever was tried.
pub fn words(error: &KafkaError, heard: &Heard, topic: &str) -> String {
    use RDKafkaErrorCode as Code;
    let code = match error {
        KafkaError::AdminOp(code) => *code,
        error => match error.rdkafka_error_code() {
            Some(code) => code,
            None => return short(&error.to_string()),
        },
    };
    // These say only that nothing came; why is said elsewhere.
    let silent = matches!(
        code,
        Code::MessageTimedOut
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
    );
    match heard.last().filter(|_| silent || code == Code::Fatal) {
        Some((said, reason)) => said_words(said, &reason, topic),
        None if silent => "no answer in time; is a broker overloaded, or cut off?".to_owned(),
        None => said_words(code, &code.to_string(), topic),
    }
}

fn said_words(code: RDKafkaErrorCode, reason: &str, topic: &str) -> String {
    use RDKafkaErrorCode as Code;
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => format!(
            "there is no topic {topic}, or this sink's user may not see it; make it, or set create_topic"
        ),
        Code::TopicAuthorizationFailed => format!(
            "this sink's user may not write to the topic {topic}; allow it WRITE and DESCRIBE there"
        ),
        Code::ClusterAuthorizationFailed => {
            "this sink's user may not do that on the cluster; allow it WRITE on the topic (before Kafka 2.8 IDEMPOTENT_WRITE on the cluster, too), and CREATE for create_topic".to_owned()
        }
        Code::Authentication | Code::SaslAuthenticationFailed => format!(
            "the login was refused ({}); check this sink's auth: events wait until it is accepted",
            short(reason)
        ),
        Code::SSL => format!(
            "no TLS ({}); check this sink's tls, and that the port is one for TLS",
            short(reason)
        ),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => format!(
            "too few replicas of the topic {topic} are in sync (min.insync.replicas); events wait until they are back"
        ),
        Code::Resolve | Code::BrokerTransportFailure | Code::AllBrokersDown => {
            format!("no connection: {}; is the broker running, and this its port?", short(reason))
        }
        _ => format!("it failed: {}", short(reason)),
    }
}

/// Words from outside, on one line and not too many.
fn short(words: &str) -> String {
    words.chars().take(300).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: RDKafkaErrorCode, heard: &Heard) -> Verdict {
        judge(&KafkaError::MessageProduction(code), heard, "cdr")
    }

    #[test]
    fn only_what_is_wrong_with_the_event_is_refused_for_good() {
        use RDKafkaErrorCode as Code;
        let heard = Heard::default();
        for code in [Code::MessageSizeTooLarge, Code::MessageBatchTooLarge, Code::InvalidRecord] {
            assert!(matches!(answered(code, &heard), Verdict::Refused(_)), "{code:?}");
        }
        for code in [
            Code::NotEnoughReplicas,
            Code::NotLeaderForPartition,
            Code::TopicAuthorizationFailed,
            Code::UnknownTopicOrPartition,
            // Another record of the batch was invalid.
            Code::InvalidDifferentRecord,
            Code::Fatal,
            Code::PurgeInflight,
        ] {
            assert!(matches!(answered(code, &heard), Verdict::Later(_)), "{code:?}");
        }
    }

    #[test]
    fn the_operator_is_told_what_to_do() {
        let words = |code| words(&KafkaError::Global(code), &Heard::default(), "cdr");
        let told = words(RDKafkaErrorCode::TopicAuthorizationFailed);
        assert!(told.contains("WRITE"), "{told}");
        let told = words(RDKafkaErrorCode::UnknownTopicOrPartition);
        assert!(told.contains("create_topic"), "{told}");
    }

    #[test]
    fn why_nothing_came_is_taken_from_what_was_heard() {
        let heard = Heard::default();
        let waited = || match answered(RDKafkaErrorCode::MessageTimedOut, &heard) {
            Verdict::Later(words) => words,
            Verdict::Refused(words) => panic!("{words}"),
        };
        assert!(waited().contains("in time"), "{}", waited());
        heard.note(Some(RDKafkaErrorCode::Authentication), "wrong\npassword");
        heard.note(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert!(waited().contains("check this sink's auth"), "{}", waited());
        assert!(waited().contains("wrong\\npassword"), "{}", waited());
    }
}
