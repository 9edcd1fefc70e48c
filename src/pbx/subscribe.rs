//! The `subscribe` command, one for each topic, and whose answer is whose.
//!
//! One topic a command, so that a refused topic does not take the others with it
//! and selectors never mix. The vendor documents no answer to `subscribe`: one is
//! expected, none within [`ANSWER_WAIT`] counts as yes.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::login::words;
use crate::config::{Dialect, Topic};
use crate::event::decode::Answer;

/// How long to wait for an answer that may never come.
pub const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// How long a refused topic rests before it is asked for again: somebody has to
/// change a permission meanwhile.
pub const RETRY_REFUSED: Duration = Duration::from_secs(300);

/// The text of the command.
pub fn command(dialect: Dialect, topic: &Topic) -> String {
    let mut command = match dialect {
        Dialect::V12 => {
            json!({ "command": "subscribe", "topics": [{ "topic": topic.name, "keys": keys_12(&topic.name) }] })
        }
        Dialect::V16 | Dialect::V22 => json!({ "command": "subscribe", "topics": [topic.name] }),
    };
    for (key, values) in &topic.selectors {
        command[*key] = json!(values);
    }
    command.to_string()
}

/// Dialect 12 pushes only the events that a topic's `keys` name.
fn keys_12(topic: &str) -> &'static [&'static str] {
    match topic {
        "cdr_events" => &["call_cdr"],
        "trunk_events" => &["trunk_connected", "trunk_disconnected"],
        "queue_events" => {
            &["queue_status", "queue_caller_status", "queue_agent_status", "queue_member_state"]
        }
        "extension_events" => &["extension_status", "extension_register"],
        _ => &[],
    }
}

/// Whether a topic brings CDRs: of one tenant, or of several.
pub fn is_cdr_topic(name: &str) -> bool {
    matches!(name, "cdr_events" | "global_cdr_events")
}

/// Whether an answer can be one to `subscribe`.
pub fn answers_subscribe(answer: &Answer) -> bool {
    answer.command.as_deref().is_none_or(|command| command == "subscribe")
}

/// How each topic of one connection stands.
#[derive(Debug)]
pub struct Subscriptions {
    topics: Vec<(Topic, Standing)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Not asked for yet, or refused and due again.
    Open,
    /// Asked for; no answer yet, which counts as yes once the wait is over.
    Asked,
    /// The PBX said yes.
    Accepted,
    /// The PBX said no, in these words; ask again at this time.
    Refused(String, Instant),
}

impl Subscriptions {
    /// None asked for yet.
    pub fn new(topics: &[Topic]) -> Self {
        Self { topics: topics.iter().map(|topic| (topic.clone(), Standing::Open)).collect() }
    }

    /// The next topic to ask for, which from now on counts as asked for.
    pub fn ask_next(&mut self, now: Instant) -> Option<Topic> {
        let (topic, standing) = self.topics.iter_mut().find(|(_, standing)| match standing {
            Standing::Open => true,
            Standing::Refused(_, due) => *due <= now,
            Standing::Asked | Standing::Accepted => false,
        })?;
        *standing = Standing::Asked;
        Some(topic.clone())
    }

    /// Gives an answer to the topic that waits longest for one: the PBX's `id` is
    /// its own, so order is all there is. `Some` tells the topic and, if refused,
    /// the PBX's words.
    pub fn answered(&mut self, answer: &Answer, now: Instant) -> Option<(String, Option<String>)> {
        let (topic, standing) =
            self.topics.iter_mut().find(|(_, standing)| *standing == Standing::Asked)?;
        let refusal = (answer.status != 0).then(|| words(answer));
        *standing = match &refusal {
            None => Standing::Accepted,
            Some(words) => Standing::Refused(words.clone(), now + RETRY_REFUSED),
        };
        Some((topic.name.clone(), refusal))
    }

    /// Whether any topic is listened to, as far as one can know.
    pub fn any_accepted(&self) -> bool {
        self.topics.iter().any(|(_, s)| matches!(s, Standing::Accepted | Standing::Asked))
    }

    /// The first CDR topic that the PBX refused, with its words; `None` if all are
    /// listened to, as far as one can know.
    pub fn cdr_refusal(&self) -> Option<(&str, &str)> {
        self.topics.iter().find_map(|(topic, standing)| match standing {
            Standing::Refused(words, _) if is_cdr_topic(&topic.name) => {
                Some((&*topic.name, &**words))
            }
            _ => None,
        })
    }

    /// When a refused topic is to be asked for again.
    pub fn retry_due(&self) -> Option<Instant> {
        let due = |standing: &Standing| match standing {
            Standing::Refused(_, due) => Some(*due),
            _ => None,
        };
        self.topics.iter().filter_map(|(_, standing)| due(standing)).min()
    }

    /// The refused topics with the PBX's words.
    pub fn refused(&self) -> Vec<(String, String)> {
        let words = |standing: &Standing| match standing {
            Standing::Refused(words, _) => Some(words.clone()),
            _ => None,
        };
        self.topics.iter().filter_map(|(t, s)| Some((t.name.clone(), words(s)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, selectors: Vec<(&'static str, Vec<String>)>) -> Topic {
        Topic { name: name.to_owned(), selectors }
    }

    fn answer(status: i64) -> Answer {
        Answer { command: None, status, error: (status != 0).then(|| "no permission".into()) }
    }

    #[test]
    fn each_dialect_has_its_shape() {
        let cdr = topic("cdr_events", vec![]);
        let simple = r#"{"command":"subscribe","topics":["cdr_events"]}"#;
        assert_eq!(command(Dialect::V22, &cdr), simple);
        assert_eq!(command(Dialect::V16, &cdr), simple);
        assert_eq!(
            command(Dialect::V12, &cdr),
            r#"{"command":"subscribe","topics":[{"keys":["call_cdr"],"topic":"cdr_events"}]}"#
        );
        let queues = topic("queue_events", vec![("queues", vec!["8000".into(), "8001".into()])]);
        assert_eq!(
            command(Dialect::V22, &queues),
            r#"{"command":"subscribe","queues":["8000","8001"],"topics":["queue_events"]}"#
        );
    }

    #[test]
    fn answers_go_to_the_topics_in_order_and_a_refused_one_is_asked_again_slowly() {
        let now = Instant::now();
        let mut subs = Subscriptions::new(&[topic("a", vec![]), topic("b", vec![])]);
        assert_eq!(subs.ask_next(now).unwrap().name, "a");
        assert_eq!(subs.ask_next(now).unwrap().name, "b");
        assert_eq!(subs.ask_next(now), None);
        assert_eq!(
            subs.answered(&answer(-1), now),
            Some(("a".into(), Some("no permission".into())))
        );
        assert_eq!(subs.answered(&answer(0), now), Some(("b".into(), None)));
        assert_eq!(subs.answered(&answer(0), now), None);
        assert_eq!(subs.refused(), [("a".to_owned(), "no permission".to_owned())]);
        assert!(subs.any_accepted());
        assert_eq!(subs.ask_next(now), None);
        let later = subs.retry_due().unwrap();
        assert_eq!(later, now + RETRY_REFUSED);
        assert_eq!(subs.ask_next(later).unwrap().name, "a");
        assert_eq!(subs.ask_next(later), None);
    }
}
