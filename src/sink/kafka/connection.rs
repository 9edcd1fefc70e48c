//! A connection to the cluster: a producer, from its making to its first failure.
//!
//! The client sends again by itself until an acknowledgement has taken too long, and the
//! brokers know what they have of this producer already, so that a lost answer makes no
//! double. After a failure the producer is given up, since its successor would
//! otherwise overtake what it still has; that is awaited first.

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic as Topic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::judge::{Heard, Verdict, judge, words};
use super::settings::{Auth, NewTopic, Settings};
use super::{Judged, NAME};
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
/// The client's own bound on an event: its largest. The brokers have theirs.
const LARGEST: &str = "1000000000";
/// The client takes no shorter limit for a connect, ...
const SHORTEST_CONNECT: Duration = Duration::from_secs(1);
/// ... and would wait ten times as long between two of them.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

type Client = FutureProducer<Heard>;

/// A producer that has worked so far.
pub struct Connection {
    producer: Client,
    heard: Heard,
}

impl ClientContext for Heard {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(facility, message, "kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(error.rdkafka_error_code(), reason);
    }
}

impl Connection {
    /// Connects, and finds the topic, or makes it if the file says so.
    ///
    /// # Errors
    /// For the operator.
    pub async fn open(settings: &Settings) -> Result<Self, String> {
        let (connection, found) = Self::connect(settings).await?;
        let made = match settings.create_topic {
            Some(new) if !found => connection.make_topic(settings, new).await,
            _ => Ok(()),
        };
        match made {
            Ok(()) => Ok(connection),
            Err(reason) => {
                connection.close().await;
                Err(reason)
            }
        }
    }

    /// The connection, and whether the topic is there; if not, it is to be made.
    async fn connect(settings: &Settings) -> Result<(Self, bool), String> {
        if settings.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify) {
            warn!(sink = %settings.sink, "insecure_skip_verify: anybody in between can read along; use tls.ca_file");
        }
        let asked = settings.clone();
        blocking(move || {
            let heard = Heard::default();
            let named = |reason: String| format!("{}: {reason}", asked.brokers.join(", "));
            let producer: Client = client(&asked)
                .create_with_context(heard.clone())
                .map_err(|e| named(words(&e, &heard, &asked.topic)))?;
            let found = has_topic(&producer, &heard, &asked).map_err(named)?;
            Ok((Self { producer, heard }, found))
        })
        .await
    }

    async fn make_topic(&self, settings: &Settings, new: NewTopic) -> Result<(), String> {
        let topic = &settings.topic;
        let copies = TopicReplication::Fixed(new.replication.unwrap_or(-1));
        let asked = Topic::new(topic, new.partitions.unwrap_or(-1), copies);
        let limit = Some(settings.timeout);
        let options = AdminOptions::new().request_timeout(limit).operation_timeout(limit);
        let made = async {
            let admin: AdminClient<Heard> =
                client(settings).create_with_context(self.heard.clone())?;
            admin.create_topics([&asked], &options).await
        };
        let fault = match made.await.map(|mut made| made.pop()) {
            Ok(Some(Ok(_))) => {
                info!(sink = %settings.sink, topic, "topic was made");
                return Ok(());
            }
            Ok(Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => return Ok(()),
            Ok(Some(Err((_, code)))) => KafkaError::Global(code),
            Ok(None) => return Err("the broker said nothing about the topic".to_owned()),
            Err(e) => e,
        };
        let reason = words(&fault, &self.heard, topic);
        Err(format!("the topic {topic} cannot be made ({reason}); make it by hand"))
    }

    /// Sends, in order, what is not judged yet, and waits for each acknowledgement.
    /// Returns why the earliest event that was neither taken nor refused was not.
    ///
    /// Brokers refuse a batch for one event in it. So what is refused among others is
    /// sent by itself before that counts.
    pub async fn publish(
        &self,
        settings: &Settings,
        events: &[&Stored],
        judged: &mut Judged,
    ) -> Option<String> {
        let waiting: Vec<&Stored> =
            events.iter().copied().filter(|event| !judged.has(event)).collect();
        let sent: Vec<_> = waiting.iter().map(|event| self.send(settings, event)).collect();
        let alone = sent.len() == 1;
        let mut earliest = None;
        let mut refused = Vec::new();
        for (event, acknowledged) in waiting.iter().zip(sent) {
            match self.verdict(settings, acknowledged).await {
                Err(Verdict::Later(reason)) => _ = earliest.get_or_insert(reason),
                Err(Verdict::Refused(_)) if !alone => refused.push(*event),
                Err(Verdict::Refused(reason)) => judged.note(event.seq, Err(reason)),
                Ok(()) => judged.note(event.seq, Ok(())),
            }
        }
        for event in refused {
            match self.verdict(settings, self.send(settings, event)).await {
                Err(Verdict::Later(reason)) => return Some(earliest.unwrap_or(reason)),
                Err(Verdict::Refused(reason)) => judged.note(event.seq, Err(reason)),
                Ok(()) => judged.note(event.seq, Ok(())),
            }
        }
        earliest
    }

    /// Hands an event to the client, which sends it in its own time.
    fn send(
        &self,
        settings: &Settings,
        event: &Stored,
    ) -> KafkaResult<impl Future<Output = KafkaResult<()>> + use<>> {
        let encoder: &Encoder = &settings.encoder;
        let (id, body) = (event.event.id.to_string(), encoder.body(event));
        let key = event.event.session_id.as_deref().filter(|id| !id.is_empty());
        let record = FutureRecord::to(&settings.topic)
            .key(key.unwrap_or(&id))
            .payload(&body[..])
            .headers(headers(encoder, event, &id));
        let acknowledged = self.producer.send_result(record).map_err(|(e, _)| e)?;
        Ok(async {
            match acknowledged.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err((e, _))) => Err(e),
                Err(_) => Err(KafkaError::Canceled),
            }
        })
    }

    async fn verdict(
        &self,
        settings: &Settings,
        sent: KafkaResult<impl Future<Output = KafkaResult<()>>>,
    ) -> Result<(), Verdict> {
        let answer = match sent {
            // The client's own limit comes first; this is for one that has lost its way.
            Ok(acknowledged) => timeout(2 * settings.timeout + LINGER, acknowledged).await,
            Err(e) => Ok(Err(e)),
        };
        match answer {
            Ok(answer) => answer.map_err(|e| judge(&e, &self.heard, &settings.topic)),
            Err(_) => Err(Verdict::Later("the client did not answer in time".to_owned())),
        }
    }

    /// Gives up what is not acknowledged, and waits until nothing more will be sent.
    pub async fn close(self) {
        // No panic in there, and nothing to be told.
        _ = tokio::task::spawn_blocking(move || drop(self.producer)).await;
    }
}

/// Whether events could be written now.
pub async fn probe(settings: &Settings) -> Result<String, String> {
    let (connection, found) = Connection::connect(settings).await?;
    connection.close().await;
    let (topic, brokers) = (&settings.topic, settings.brokers.join(", "));
    let state = if found { "" } else { ", which will be made" };
    Ok(format!("{brokers} takes events into topic {topic}{state}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(format!("the client failed: {e}")))
}

/// `Ok(false)`: it is to be made.
fn has_topic(producer: &Client, heard: &Heard, settings: &Settings) -> Result<bool, String> {
    let topic = &settings.topic;
    let limit = settings.connect_timeout.min(settings.timeout);
    let answer = producer.client().fetch_metadata(Some(topic), limit);
    let answer = answer.map_err(|e| words(&e, heard, topic))?;
    let Some(found) = answer.topics().iter().find(|found| found.name() == topic) else {
        return Err("the broker said nothing about the topic".to_owned());
    };
    match found.error().map(RDKafkaErrorCode::from) {
        // Its leaders can be on the way still; the client waits for them.
        None | Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(true),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) if settings.create_topic.is_some() => {
            Ok(false)
        }
        Some(code) => Err(words(&KafkaError::Global(code), heard, topic)),
    }
}

/// How the client is to work; names as in librdkafka's CONFIGURATION.md.
fn client(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    let mut set = |name: &str, value: &str| _ = config.set(name, value);
    let request = settings.timeout / TRIES;
    let connect = settings.connect_timeout.max(SHORTEST_CONNECT);
    set("bootstrap.servers", &settings.brokers.join(","));
    set("client.id", NAME);
    set("acks", "all");
    set("enable.idempotence", "true");
    // As Java's clients choose partitions.
    set("partitioner", "murmur2_random");
    set("compression.type", settings.compression);
    set("message.max.bytes", LARGEST);
    set("linger.ms", &milliseconds(LINGER));
    set("message.timeout.ms", &milliseconds(settings.timeout + LINGER));
    set("request.timeout.ms", &milliseconds(request));
    set("socket.timeout.ms", &milliseconds(request.max(Duration::from_millis(10))));
    set("socket.connection.setup.timeout.ms", &milliseconds(connect));
    set("reconnect.backoff.max.ms", &milliseconds(LONGEST_WAIT));
    // Only `create_topic` makes topics.
    set("allow.auto.create.topics", "false");
    // Metrics are ours; the brokers need none.
    set("enable.metrics.push", "false");
    set("security.protocol", protocol(settings));
    if let Some(Auth { mechanism, username, password }) = &settings.auth {
        set("sasl.mechanisms", mechanism);
        set("sasl.username", username);
        set("sasl.password", password.reveal());
    }
    if let Some(tls) = &settings.tls {
        let mut file = |name: &str, path: &Path| set(name, &path.to_string_lossy());
        if let Some(ca) = &tls.ca_file {
            file("ssl.ca.location", ca);
        }
        if let Some(own) = &tls.identity {
            file("ssl.certificate.location", &own.cert_file);
            file("ssl.key.location", &own.key_file);
        }
        if tls.insecure_skip_verify {
            set("enable.ssl.certificate.verification", "false");
        }
    }
    config
}

fn protocol(settings: &Settings) -> &'static str {
    match (&settings.auth, &settings.tls) {
        (None, None) => "plaintext",
        (None, Some(_)) => "ssl",
        (Some(_), None) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    }
}

fn milliseconds(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

/// The key is the call, so that its events share a partition. Headers say what the value
/// does not say itself (CloudEvents Kafka binding 1.0: UTF-8 as it is, names with `ce_`).
fn headers(encoder: &Encoder, event: &Stored, id: &str) -> OwnedHeaders {
    let with = |headers: OwnedHeaders, key: &str, value: &str| {
        headers.insert(Header { key, value: Some(value) })
    };
    let headers = with(OwnedHeaders::new(), CONTENT_TYPE, encoder.content_type());
    if encoder.format() != Format::Raw {
        return with(headers, ID, id);
    }
    attributes(event).fold(headers, |headers, (name, value)| {
        with(headers, &name.replacen("ce-", "ce_", 1), &value)
    })
}
