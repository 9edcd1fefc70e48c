//! The keys of a `[sink.NAME]` of type `kafka`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::{Judged, Kafka};
use crate::config::{Section, Tls, is_loopback};
use crate::secret::Secret;
use crate::sink::format::{Encoder, Format};
use crate::sink::lines::read_retry;
use crate::sink::{OpenError, Retry};

const SECOND: Duration = Duration::from_secs(1);
/// Bounds of the limits; tests go down to milliseconds.
const LIMITS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
/// Events that are sent before their acknowledgements are awaited.
const BATCH: u64 = 500;
const BATCHES: RangeInclusive<u64> = 1..=10_000;
/// Kafka's own limit for a topic's name.
const LONGEST_TOPIC: usize = 249;
const BROKERS: &str = "[\"kafka1.example.com:9092\"]";

/// What the file says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The sink's name, for the log.
    pub sink: Arc<str>,
    /// Brokers to ask first, as `HOST:PORT`; they name the others.
    pub brokers: Vec<String>,
    /// Where events go.
    pub topic: String,
    /// How the brokers know us.
    pub auth: Option<Auth>,
    /// How their certificates are checked, and our own; `None` is no TLS.
    pub tls: Option<Tls>,
    /// The topic to make if it is not there.
    pub create_topic: Option<NewTopic>,
    /// Limit for one TCP connect.
    pub connect_timeout: Duration,
    /// How long an acknowledgement may take, with all tries of the client.
    pub timeout: Duration,
    /// Events in one delivery, at most.
    pub batch: usize,
    /// Waits between tries.
    pub retry: Retry,
    /// How batches travel and are kept, in Kafka's words.
    pub compression: &'static str,
    /// The form of each value.
    pub encoder: Encoder,
}

/// How a broker knows us (SASL).
#[derive(Debug, Clone)]
pub struct Auth {
    /// How the password is proved, in Kafka's words.
    pub mechanism: &'static str,
    /// Who we are.
    pub username: String,
    /// And the proof.
    pub password: Secret,
}

/// SASL mechanisms, and what Kafka calls them.
const MECHANISMS: &[(&str, &str)] =
    &[("scram-sha-512", "SCRAM-SHA-512"), ("scram-sha-256", "SCRAM-SHA-256"), ("plain", "PLAIN")];

/// Kafka's own compression of batches, under the names that it has there.
const COMPRESSIONS: &[(&str, &str)] = &[("none", "none"), ("lz4", "lz4"), ("snappy", "snappy")];

/// A topic to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewTopic {
    /// Its partitions; `None` as the broker likes.
    pub partitions: Option<i32>,
    /// Copies of each; `None` as the broker likes.
    pub replication: Option<i32>,
}

impl Settings {
    /// Reads the type's own keys.
    pub fn read(section: &mut Section) -> Self {
        let batch = section.integer("batch", BATCH, BATCHES);
        let topic = section.parsed("topic", "the name of a topic like \"cdr\"", topic);
        if !section.has("topic") {
            section.missing("topic", "\"cdr\"");
        }
        let settings = Self {
            sink: Arc::from(section.name()),
            brokers: read_brokers(section),
            topic: topic.unwrap_or_default(),
            auth: section.optional_table("auth", read_auth).flatten(),
            tls: section.tls_with_identity(),
            create_topic: section.optional_table("create_topic", NewTopic::read),
            connect_timeout: section.duration("connect_timeout", 10 * SECOND, LIMITS),
            timeout: section.duration("timeout", 60 * SECOND, LIMITS),
            batch: usize::try_from(batch).expect("the bounds fit into usize"),
            retry: section.table("retry", read_retry),
            compression: section.choice("compression", "none", COMPRESSIONS),
            encoder: Encoder::read(section, Format::CloudEvents),
        };
        settings.check_together(section);
        settings
    }

    /// Makes the sink; the first event connects.
    pub fn open(&self) -> Result<Kafka, OpenError> {
        Ok(Kafka {
            settings: self.clone(),
            connection: None,
            judged: Judged::default(),
            fault: None,
        })
    }

    fn check_together(&self, section: &mut Section) {
        if self.tls.as_ref().is_some_and(|tls| tls.pin_sha256.is_some()) {
            section.problem("tls", "\"pin_sha256\" is not for Kafka, whose brokers have a certificate each; use ca_file");
        }
        let away = |broker: &String| {
            Url::parse(&format!("kafka://{broker}")).is_ok_and(|url| !is_loopback(&url))
        };
        if self.auth.is_some() && self.tls.is_none() && self.brokers.iter().any(away) {
            section.warn(
                "auth",
                "without \"tls\" the login and the calls travel unencrypted; add tls = true",
            );
        }
    }
}

impl NewTopic {
    fn read(section: &mut Section) -> Self {
        let partitions = section.has("partitions");
        let partitions = (section.integer("partitions", 1, 1..=100_000), partitions);
        let replication = section.has("replication");
        let replication = (section.integer("replication", 1, 1..=100), replication);
        Self {
            partitions: partitions.1.then(|| i32::try_from(partitions.0).expect("it is bounded")),
            replication: replication
                .1
                .then(|| i32::try_from(replication.0).expect("it is bounded")),
        }
    }
}

fn read_brokers(section: &mut Section) -> Vec<String> {
    if !section.has("brokers") {
        section.missing("brokers", BROKERS);
        return Vec::new();
    }
    let brokers = section.list("brokers", broker).unwrap_or_default();
    if brokers.is_empty() && !section.is_faulty("brokers") {
        section.problem("brokers", format!("\"brokers\" is empty; add brokers = {BROKERS}"));
    }
    brokers
}

fn broker(text: &str) -> Result<String, String> {
    let wrong = || format!("must be HOST:PORT, found {text:?}");
    let url = Url::parse(&format!("kafka://{text}")).map_err(|_| wrong())?;
    let only = url.username().is_empty() && url.path().is_empty() && url.query().is_none();
    let named = url.host_str().is_some_and(|host| !host.is_empty()) && url.port().is_some();
    let one = !text.contains([',', '#', '@']);
    if only && named && one { Ok(text.to_owned()) } else { Err(wrong()) }
}

fn topic(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !matches!(text, "" | "." | "..") && text.len() <= LONGEST_TOPIC && text.chars().all(good)
    {
        true => Ok(text.to_owned()),
        false => Err("is no name of a topic; use up to 249 letters, digits, . _ and -".to_owned()),
    }
}

fn read_auth(section: &mut Section) -> Option<Auth> {
    let mechanism = section.choice("mechanism", "SCRAM-SHA-512", MECHANISMS);
    let username = section.required_string("username", "\"cdrd\"");
    let Some(password) = section.secret("password") else {
        if !section.has_faults() {
            section.missing("password", "{ credential = \"kafka\" }");
        }
        return None;
    };
    Some(Auth { mechanism, username, password })
}
