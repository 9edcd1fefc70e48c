//! A plain client for the tests: tungstenite over TCP or TLS.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::simulator::{Options, Simulator};

/// Longest wait for anything.
pub const LIMIT: Duration = Duration::from_secs(10);

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Client {
    pub socket: WebSocketStream<Box<dyn Stream>>,
}

pub async fn start(options: Options) -> Simulator {
    Simulator::start(options).await.unwrap()
}

impl Client {
    pub async fn connect(simulator: &Simulator) -> Self {
        Self::connect_to(simulator, "/wsi").await.unwrap()
    }

    pub async fn connect_to(simulator: &Simulator, path: &str) -> Result<Self, Error> {
        let tcp = TcpStream::connect(simulator.addr()).await.unwrap();
        let stream: Box<dyn Stream> = match simulator.certificate_pem() {
            Some(pem) => Box::new(secure(tcp, pem).await),
            None => Box::new(tcp),
        };
        let url = format!("ws://{}{path}", simulator.addr());
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        Ok(Self { socket })
    }

    /// Logged in as `cdr` and subscribed to `cdr_events`, dialect 22.
    pub async fn subscribed(simulator: &Simulator) -> Self {
        let mut client = Self::connect(simulator).await;
        client.log_in().await;
        let answer = client.ask(json!({"command": "subscribe", "topics": ["cdr_events"]})).await;
        assert_eq!(answer["status"], 0, "{answer}");
        client
    }

    pub async fn log_in(&mut self) {
        let answer = self.ask(login("cdr")).await;
        assert_eq!(answer["status"], 0, "{answer}");
    }

    pub async fn ask(&mut self, command: Value) -> Value {
        self.send(command).await;
        self.json().await
    }

    pub async fn send(&mut self, command: Value) {
        let message = Message::text(command.to_string());
        self.socket.send(message).await.unwrap();
    }

    pub async fn message(&mut self) -> Option<Result<Message, Error>> {
        timeout(LIMIT, self.socket.next()).await.expect("a message in time")
    }

    /// The next text, as JSON; pings are passed over (and answered by the library).
    pub async fn json(&mut self) -> Value {
        loop {
            match self.message().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("expected text, got {other:?}"),
            }
        }
    }

    /// All events up to the `count`th `call_cdr`.
    pub async fn until_records(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        let mut left = count;
        while left > 0 {
            let event = self.json().await;
            left -= usize::from(event["event_type"] == "call_cdr");
            events.push(event);
        }
        events
    }

    /// Reads on in the background until the end; gives what ended it.
    pub fn read_on(mut self) -> tokio::task::JoinHandle<(Vec<Message>, Option<Error>)> {
        tokio::spawn(async move {
            let mut messages = Vec::new();
            while let Some(next) = self.socket.next().await {
                match next {
                    Ok(message) => messages.push(message),
                    Err(error) => return (messages, Some(error)),
                }
            }
            (messages, None)
        })
    }
}

pub fn login(username: &str) -> Value {
    let (domain, password) = ("example.com", "cdrd-demo");
    json!({"command": "auth", "username": username, "domain": domain, "password": password})
}

async fn secure(tcp: TcpStream, pem: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    connector.connect(name, tcp).await.unwrap()
}
