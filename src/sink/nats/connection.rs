//! A connection, from the first byte to the first thing that goes wrong.
//!
//! The client library would connect again by itself, and publish what it has queued,
//! while the next delivery publishes the same from the start: the stream would get it
//! out of order. Acknowledgements that were on their way would be waited for in vain,
//! and nobody would look whether the stream is still there. So a connection is used
//! until it breaks, and the next delivery makes a new one, after the runner's wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::ContextBuilder;
use async_nats::{
    Client, ConnectOptions, Event, HeaderMap, ReconnectToServer, ServerAddr, jetstream,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::Url;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info};

use super::judge::{Verdict, connect_words, judge, server_words};
use super::settings::{Auth, Settings, credentials};
use super::stream::{self, Found};
use super::{Judged, NAME};
use crate::event::Stored;
use crate::sink::format::{Encoder, Format, attribute_headers};
use crate::tls;

/// What JetStream takes for the identity of a message.
const MESSAGE_ID: &str = "Nats-Msg-Id";
const CONTENT_TYPE: &str = "content-type";
/// Nobody can be connected to there, and one learns it at once.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// A connection that has worked so far.
pub struct Connection {
    url: Url,
    _client: Client,
    jetstream: jetstream::Context,
    trouble: Arc<Trouble>,
}

/// What is wrong with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Fine,
    /// The server complained. Even where the connection stands, something that was sent
    /// will never be answered.
    Complaint(String),
    Lost,
}

/// The same, told by the library as it happens.
#[derive(Debug)]
struct Trouble(watch::Sender<State>);

impl Trouble {
    fn note(&self, event: Event) {
        let state = match event {
            Event::Disconnected | Event::Closed => State::Lost,
            Event::ServerError(error) => State::Complaint(server_words(&error)),
            _ => return,
        };
        // The first says why.
        self.0.send_if_modified(|now| {
            *now == State::Fine && {
                *now = state;
                true
            }
        });
    }

    /// A complaint about a question is no complaint about events.
    fn forgive(&self) {
        self.0.send_if_modified(|now| {
            matches!(now, State::Complaint(_)) && {
                *now = State::Fine;
                true
            }
        });
    }

    /// Resolves once something is wrong, with what it is.
    async fn comes(&self) -> String {
        let mut state = self.0.subscribe();
        match state.wait_for(|state| *state != State::Fine).await.as_deref() {
            Ok(State::Complaint(words)) => words.clone(),
            _ => "the connection was lost".to_owned(),
        }
    }
}

/// Why events were not published, and what of the connection.
pub struct Fault {
    /// For the operator.
    pub reason: String,
    /// The connection can be used again.
    pub stands: bool,
}

impl Connection {
    /// To the first server that takes us. `make_stream`: makes the stream, if the file
    /// says so and it is not there. Also says what was found.
    ///
    /// # Errors
    /// For the operator: what each server did, or what is wrong with the stream.
    pub async fn open(settings: &Settings, make_stream: bool) -> Result<(Self, Found), String> {
        let mut faults = Vec::new();
        for url in &settings.urls {
            match Self::open_one(settings, url).await {
                Ok(connection) => {
                    let found = connection.look(settings, make_stream).await;
                    return Ok((connection, found.map_err(|e| format!("{url}: {e}"))?));
                }
                Err(reason) => faults.push(format!("{url}: {reason}")),
            }
        }
        Err(faults.join("; "))
    }

    async fn open_one(settings: &Settings, url: &Url) -> Result<Self, String> {
        let trouble = Arc::new(Trouble(watch::channel(State::Fine).0));
        let options = options(settings, url, &trouble).await?;
        let server: ServerAddr =
            url.as_str().parse().map_err(|e| format!("is no server's address: {e}"))?;
        let servers = vec![server, NOWHERE.parse().expect("it is an address")];
        let options = once(options, servers[0].clone(), servers[1].clone());
        // The library's own limit does not cover the look-up of the name.
        let client = match timeout(settings.connect_timeout, options.connect(servers)).await {
            Ok(client) => client.map_err(|e| connect_words(&e))?,
            Err(_) => {
                let limit = settings.connect_timeout;
                return Err(format!(
                    "no connection within {limit:?}; is there a firewall in between?"
                ));
            }
        };
        let jetstream = ContextBuilder::new()
            .timeout(settings.timeout)
            .max_ack_inflight(settings.in_flight)
            .build(client.clone());
        Ok(Self { url: url.clone(), _client: client, jetstream, trouble })
    }

    /// Which server it is.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether nothing is wrong with it so far.
    pub fn stands(&self) -> bool {
        *self.trouble.0.borrow() == State::Fine
    }

    async fn look(&self, settings: &Settings, make: bool) -> Result<Found, String> {
        let found = tokio::select! {
            found = stream::look(&self.jetstream, settings) => found?,
            why = self.trouble.comes() => Found::Unknown(why),
        };
        self.trouble.forgive();
        match (&found, &settings.create_stream) {
            (Found::ToBeMade(name), Some(new)) if make => {
                stream::make(&self.jetstream, new).await?;
                info!(sink = %settings.sink, stream = name, "stream was made");
            }
            (Found::Stream { name, .. }, _) => {
                debug!(sink = %settings.sink, stream = name, "events go to this stream");
            }
            _ => {}
        }
        Ok(found)
    }

    /// Publishes, in order, what is not judged yet, and waits for each acknowledgement.
    /// After the first fault nothing more is sent; what is on its way is waited for
    /// unless the connection is lost. Returns the fault of the earliest event.
    pub async fn publish(
        &self,
        settings: &Settings,
        events: &[&Stored],
        judged: &mut Judged,
    ) -> Option<Fault> {
        let mut waiting = events.iter().copied();
        let mut flying = FuturesUnordered::new();
        let mut first: Option<(u64, Fault)> = None;
        loop {
            while first.is_none() && flying.len() < settings.in_flight {
                let Some(event) = waiting.by_ref().find(|event| !judged.has(event)) else { break };
                // One after the other: the order of the stream is that of sending.
                let sent = self.send(settings, event).await;
                flying.push(sent);
            }
            let (seq, verdict) = tokio::select! {
                answer = flying.next() => match answer {
                    Some(answer) => answer,
                    None => return first.map(|(_, fault)| fault),
                },
                why = self.trouble.comes() => {
                    return Some(Fault { reason: self.told(&why), stands: false });
                }
            };
            let (reason, stands) = match verdict {
                Ok(()) => {
                    judged.note(seq, Ok(()));
                    continue;
                }
                Err(Verdict::Refused(reason)) => {
                    judged.note(seq, Err(self.told(&reason)));
                    continue;
                }
                Err(Verdict::Later(reason)) => (reason, true),
                Err(Verdict::Anew(reason)) => (reason, false),
            };
            let stands = stands && first.as_ref().is_none_or(|(_, fault)| fault.stands);
            match &mut first {
                Some((earliest, fault)) if *earliest < seq => fault.stands = stands,
                _ => first = Some((seq, Fault { reason: self.told(&reason), stands })),
            }
        }
    }

    /// Hands an event to the connection; what it returns waits for the acknowledgement.
    async fn send(
        &self,
        settings: &Settings,
        event: &Stored,
    ) -> impl Future<Output = (u64, Result<(), Verdict>)> + use<> {
        let (seq, subject) = (event.seq, settings.subject.of(event));
        let body = settings.encoder.body(event);
        let headers = headers(&settings.encoder, event);
        let sent = self.jetstream.publish_with_headers(subject.clone(), headers, body).await;
        async move {
            let acknowledged = match sent {
                Ok(acknowledgement) => acknowledgement.await,
                Err(e) => Err(e),
            };
            (seq, acknowledged.map(drop).map_err(|e| judge(&e, &subject)))
        }
    }

    fn told(&self, reason: &str) -> String {
        format!("{}: {reason}", self.url)
    }
}

/// The id, and what the body does not say itself (CloudEvents NATS binding 1.0).
fn headers(encoder: &Encoder, event: &Stored) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(MESSAGE_ID, event.event.id.to_string());
    headers.insert(CONTENT_TYPE, encoder.content_type());
    if encoder.format() == Format::Raw {
        for (name, value) in attribute_headers(event) {
            headers.insert(name, value.as_str());
        }
    }
    headers
}

async fn options(
    settings: &Settings,
    url: &Url,
    trouble: &Arc<Trouble>,
) -> Result<ConnectOptions, String> {
    let trouble = Arc::clone(trouble);
    let options = match &settings.auth {
        None => ConnectOptions::new(),
        Some(Auth::Token(token)) => ConnectOptions::with_token(token.reveal().to_owned()),
        Some(Auth::Nkey(seed)) => ConnectOptions::with_nkey(seed.reveal().to_owned()),
        Some(Auth::User(name, password)) => {
            ConnectOptions::with_user_and_password(name.clone(), password.reveal().to_owned())
        }
        Some(Auth::Credentials(text)) => credentials(text.reveal())
            .ok_or_else(|| "the credentials of this sink's auth cannot be read".to_owned())?,
    };
    let options = options
        .name(NAME)
        .connection_timeout(settings.connect_timeout)
        .request_timeout(Some(settings.timeout))
        .ignore_discovered_servers()
        .event_callback(move |event| {
            trouble.note(event);
            std::future::ready(())
        });
    let wanted = settings.wants_tls(url);
    let options = if wanted { options.require_tls(true) } else { options };
    let tls = settings.tls.clone().unwrap_or_default();
    match tls::client_config_of_sink(&settings.sink, &tls).await {
        Ok(config) => Ok(options.tls_client_config((*config).clone())),
        Err(e) if wanted => Err(e.to_string()),
        // Only servers that insist on TLS will notice.
        Err(_) => Ok(options),
    }
}

/// Lets the library connect to `server` once. It cannot be told not to connect again, so
/// it is sent nowhere, finds that this was the one try that it has, and ends.
fn once(options: ConnectOptions, server: ServerAddr, nowhere: ServerAddr) -> ConnectOptions {
    let tried = AtomicBool::new(false);
    options.max_reconnects(1).reconnect_to_server_callback(move |_, _| {
        let again = tried.swap(true, Ordering::Relaxed);
        let addr = if again { nowhere.clone() } else { server.clone() };
        std::future::ready(Some(ReconnectToServer { addr, delay: Some(Duration::ZERO) }))
    })
}
