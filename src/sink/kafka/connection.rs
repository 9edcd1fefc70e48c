//! A connection to the cluster: a producer, from its making to its first failure.
//!
//! The client sends again by itself until an acknowledgement has taken too long, and the
//! broker knows what it has of this producer already, so that a lost answer makes no
//! double. After a failure the producer is given up, since its successor would
//! otherwise overtake what it still has; that is awaited first.

use std::path::Path;
use std::time::Duration;

use krafka::admin::{CreateTopicsOptions, DescribeTopicsOptions, NewTopic as Topic};
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::error::ErrorCode;
use krafka::producer::{Acks, DeliveryHandle, Producer};
use krafka::{Kafka, KrafkaError, Record};
use tokio::time::timeout;
use tracing::{info, warn};

use super::judge::{Verdict, judge, words};
use super::settings::{Auth, Mechanism, Settings};
use super::{Judged, NAME};
use crate::config::Tls;
use crate::event::Stored;
use crate::sink::format::{Encoder, Format, attributes};

/// What a reader looks at to tell whether it has an event already.
const ID: &str = "ce_id";
const CONTENT_TYPE: &str = "content-type";
/// Events come in batches already; nobody needs to wait for more.
const LINGER: Duration = Duration::from_millis(1);
/// So many requests fit into the time that an acknowledgement may take, so that a lost
/// answer is asked for again by the same producer.
const TRIES: u32 = 3;

/// A producer that has worked so far.
pub struct Connection {
    producer: Producer,
    _kafka: Kafka,
}

impl Connection {
    /// Connects, and finds the topic, or makes it if the file says so.
    ///
    /// # Errors
    /// For the operator.
    pub async fn open(settings: &Settings) -> Result<Self, String> {
        within(settings, async {
            let kafka = connect(settings).await?;
            if !has_topic(&kafka, settings).await? {
                make_topic(&kafka, settings).await?;
            }
            let producer = kafka.producer().acks(Acks::All).idempotent(true).linger(LINGER);
            let producer = producer.delivery_timeout(settings.timeout + LINGER);
            let producer = producer.max_block(settings.timeout).metrics_push(false).build().await;
            let producer = producer.map_err(|e| words(&e, &settings.topic))?;
            Ok(Self { producer, _kafka: kafka })
        })
        .await
    }

    /// Sends, in order, what is not judged yet, and waits for each acknowledgement.
    /// Returns why the earliest event that was neither taken nor refused was not.
    pub async fn publish(
        &self,
        settings: &Settings,
        events: &[&Stored],
        judged: &mut Judged,
    ) -> Option<String> {
        let mut sent = Vec::new();
        let mut fault = None;
        let waiting: Vec<&Stored> =
            events.iter().copied().filter(|event| !judged.has(event)).collect();
        for event in waiting {
            match self.producer.enqueue(record(settings, event)).await {
                Ok(handle) => sent.push((event.seq, handle)),
                Err(e) => match judge(&e, &settings.topic) {
                    Verdict::Refused(reason) => judged.note(event.seq, Err(reason)),
                    Verdict::Later(reason) => {
                        fault = Some(reason);
                        break;
                    }
                },
            }
        }
        let mut earliest = None;
        for (seq, handle) in sent {
            match acknowledged(settings, handle).await {
                Ok(()) => judged.note(seq, Ok(())),
                Err(Verdict::Refused(reason)) => judged.note(seq, Err(reason)),
                Err(Verdict::Later(reason)) => {
                    earliest.get_or_insert(reason);
                }
            }
        }
        earliest.or(fault)
    }
}

async fn acknowledged(settings: &Settings, handle: DeliveryHandle) -> Result<(), Verdict> {
    // The client's own limit comes first; this is for a client that has lost its way.
    match timeout(2 * settings.timeout + LINGER, handle).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(judge(&e, &settings.topic)),
        Err(_) => Err(Verdict::Later("the client did not answer in time".to_owned())),
    }
}

/// Whether events could be written now.
pub async fn probe(settings: &Settings) -> Result<String, String> {
    within(settings, async {
        let kafka = connect(settings).await?;
        let (topic, found) = (&settings.topic, has_topic(&kafka, settings).await?);
        let state = if found { "" } else { ", which will be made" };
        Ok(format!("{} takes events into topic {topic}{state}", settings.brokers.join(", ")))
    })
    .await
}

async fn within<T>(
    settings: &Settings,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let named = |reason| format!("{}: {reason}", settings.brokers.join(", "));
    match timeout(settings.timeout, work).await {
        Ok(done) => done.map_err(named),
        Err(_) => Err(named(format!("no answer within {:?}", settings.timeout))),
    }
}

async fn connect(settings: &Settings) -> Result<Kafka, String> {
    let request = settings.timeout / TRIES;
    let kafka = Kafka::builder(settings.brokers.join(","))
        .client_id(NAME)
        .request_timeout(request)
        .connect_timeout(settings.connect_timeout.min(request))
        .security(security(settings))
        .connect();
    kafka.await.map_err(|e| words(&e, &settings.topic))
}

/// `Ok(false)`: it is to be made.
async fn has_topic(kafka: &Kafka, settings: &Settings) -> Result<bool, String> {
    let topic = &settings.topic;
    let options = DescribeTopicsOptions::default().timeout(settings.timeout);
    let admin = kafka.admin();
    let found = admin.describe_topics([topic], options).await;
    let found = found.map_err(|e| words(&e, topic))?.remove(topic);
    match found {
        Some(Ok(_)) => Ok(true),
        Some(Err(
            KrafkaError::UnknownTopic { .. }
            | KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. },
        )) if settings.create_topic.is_some() => Ok(false),
        Some(Err(e)) => Err(words(&e, topic)),
        None => Err("the broker said nothing about the topic".to_owned()),
    }
}

async fn make_topic(kafka: &Kafka, settings: &Settings) -> Result<(), String> {
    let (topic, Some(new)) = (&settings.topic, settings.create_topic) else { return Ok(()) };
    let (partitions, replication) = (new.partitions.unwrap_or(-1), new.replication.unwrap_or(-1));
    let asked = Topic::new(topic, partitions, replication).map_err(|e| words(&e, topic))?;
    let options = CreateTopicsOptions::default().timeout(settings.timeout);
    let made = kafka.admin().create_topics([asked], options).await;
    match made.map_err(|e| words(&e, topic))?.remove(topic) {
        Some(Err(KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. })) => Ok(()),
        Some(Err(e)) => Err(format!("the topic {topic} cannot be made: {}", words(&e, topic))),
        _ => {
            info!(sink = %settings.sink, topic, "topic was made");
            Ok(())
        }
    }
}

fn security(settings: &Settings) -> AuthConfig {
    let tls = settings.tls.as_ref().map(tls_config);
    if settings.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify) {
        warn!(sink = %settings.sink, "insecure_skip_verify: anybody in between can read along; use tls.ca_file");
    }
    let Some(Auth { mechanism, username, password }) = &settings.auth else {
        return tls.map_or_else(AuthConfig::plaintext, AuthConfig::ssl);
    };
    let password = password.reveal();
    let login = match mechanism {
        Mechanism::Plain => AuthConfig::sasl_plain(username, password),
        Mechanism::Scram256 => AuthConfig::sasl_scram_sha256(username, password),
        Mechanism::Scram512 => AuthConfig::sasl_scram_sha512(username, password),
    };
    match tls {
        Some(tls) => login.with_tls(tls),
        None => login,
    }
}

fn tls_config(tls: &Tls) -> TlsConfig {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let config = match (&tls.ca_file, tls.insecure_skip_verify) {
        (_, true) => TlsConfig::insecure(),
        (Some(ca), _) => TlsConfig::new().with_ca_cert(text(ca)),
        (None, _) => TlsConfig::new().with_native_roots(),
    };
    match &tls.identity {
        Some(own) => config.with_client_cert(text(&own.cert_file), text(&own.key_file)),
        None => config,
    }
}

/// The key is the call, so that its events share a partition. Headers say what the value
/// does not say itself (CloudEvents Kafka binding 1.0: UTF-8 as it is, names with `ce_`).
fn record(settings: &Settings, event: &Stored) -> Record {
    let encoder: &Encoder = &settings.encoder;
    let id = event.event.id.to_string();
    let key = event.event.session_id.as_deref().filter(|id| !id.is_empty());
    let record = Record::new(&settings.topic, encoder.body(event))
        .key(key.unwrap_or(&id).as_bytes().to_vec())
        .header(CONTENT_TYPE, encoder.content_type());
    if encoder.format() != Format::Raw {
        return record.header(ID, id);
    }
    attributes(event)
        .fold(record, |record, (name, value)| record.header(name.replacen("ce-", "ce_", 1), value))
}
