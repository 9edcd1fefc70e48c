//! The handle on a running simulator: start, push, stop.
//!
//! Its faults are in [`super::controls`], calls with times of their own in
//! [`super::past`], what it has seen in [`super::witness`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpSocket;
use tokio::sync::{Mutex, oneshot};

use super::call::Moment;
use super::faults;
use super::hub::{Hub, Job};
use super::listener::{self, Door, Reception};
use super::notice::Narrator;
use super::options::Options;
use super::pace::{self, Rate};
use super::tls::Identity;
use super::webhook::WebhookError;

/// How long [`Simulator::settle`] waits for the pongs.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The webhook cannot be.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate could not be used.
    #[error("cannot use the certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// Not every subscribed connection answered its ping in time.
#[derive(Debug, thiserror::Error)]
#[error("connection #{0} did not answer a ping in time")]
pub struct Unsettled(pub u64);

/// A running PBX. Dropped without [`Simulator::shutdown`] it ends too, but
/// nobody waits for it.
pub struct Simulator {
    pub(super) hub: Arc<Hub>,
    pub(super) reception: Reception,
    pub(super) door: Mutex<Option<Door>>,
    address: SocketAddr,
    /// Keeps the address ours while the door is shut.
    pub(super) reserved: TcpSocket,
    identity: Option<Identity>,
    /// One pusher of calls at a time, so that "the events of n calls" are its own.
    pub(super) pushing: Mutex<()>,
}

impl Simulator {
    /// Starts one.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        Self::start_narrated(options, None).await
    }

    /// Starts one that tells what happens.
    pub async fn start_narrated(
        options: Options,
        narrator: Option<Narrator>,
    ) -> Result<Self, StartError> {
        let address = options.listen;
        let identity = options.tls.then(Identity::generate).transpose()?;
        let exchange = pace::exchange(&options);
        let hub = Arc::new(Hub::new(options, exchange, narrator));
        let reception = Reception {
            hub: Arc::clone(&hub),
            tls: identity.as_ref().map(|identity| identity.acceptor.clone()),
            tasks: hub.tasks.clone(),
        };
        hub.webhook.set(hub.options.webhook.clone()).await?;
        let (reserved, address) =
            listener::reserve(address).map_err(|cause| StartError::Listen { address, cause })?;
        let door = Door::open(&reserved, reception.clone())
            .await
            .map_err(|cause| StartError::Listen { address, cause })?;
        if hub.options.rate != Rate::Manual {
            reception.tasks.spawn(pace::run(Arc::clone(&hub)));
        }
        Ok(Self {
            hub,
            reception,
            door: Mutex::new(Some(door)),
            address,
            reserved,
            identity,
            pushing: Mutex::new(()),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its WSI.
    pub fn url(&self) -> String {
        let scheme = if self.identity.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/wsi", self.address)
    }

    /// The base URL of its REST side.
    pub fn rest_url(&self) -> String {
        let scheme = if self.identity.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/api", self.address)
    }

    /// Its certificate, if it has TLS.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.pem.as_str())
    }

    /// SHA-256 of its certificate's DER in lower-case hex, if it has TLS.
    pub fn fingerprint(&self) -> Option<&str> {
        let identity = self.identity.as_ref();
        identity.map(|identity| identity.fingerprint.as_str())
    }

    /// Makes `calls` calls and pushes all their events to the connections that are
    /// subscribed to them, as fast as these read. Returns once all is on the wire,
    /// with the calls' session ids in the order of their records. Without a
    /// listener the calls are made all the same, as on a PBX. Each ends at the
    /// moment of its push, unless `Options::start_time` fixes the times.
    pub async fn push_calls(&self, calls: u64) -> Vec<String> {
        let _alone = self.pushing.lock().await;
        self.hub.exchange().admit(calls);
        let mut sessions = Vec::new();
        loop {
            let now = self.hub.now_ms();
            let due = self.hub.exchange().next_due(now);
            let Some(due) = due else { break };
            self.hub.push_due(&due).await;
            if due.moment == Moment::Record {
                sessions.push(due.call.session_id.to_string());
            }
        }
        self.hub.flush().await;
        sessions
    }

    /// Pushes a text frame to every subscribed connection; returns once it is on the wire.
    pub async fn push_raw(&self, text: &str) {
        self.push_bytes(text.as_bytes()).await;
    }

    /// As [`Simulator::push_raw`], of any bytes, UTF-8 or not.
    pub async fn push_bytes(&self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.hub.push_to_all(|| Job::Raw(bytes.clone())).await;
        self.hub.flush().await;
    }

    /// As [`Simulator::push_raw`], in three frames with a ping between them.
    pub async fn push_fragmented(&self, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.hub.push_to_all(|| Job::Pieces(bytes.clone())).await;
        self.hub.flush().await;
    }

    /// Pushes one valid event of `size` bytes in one frame.
    pub async fn push_oversized(&self, size: usize) {
        self.push_raw(&faults::oversized(size)).await;
    }

    /// Pings every subscribed connection and waits for the pongs: all that was
    /// pushed before has then been read. Connections that end meanwhile are left
    /// out; what they had not read stays unconfirmed in the log.
    pub async fn settle(&self) -> Result<(), Unsettled> {
        for (number, count) in self.ping_all().await {
            let hub = &self.hub;
            let settled = || match hub.ledger().connections.get(&number) {
                Some(record) => record.confirmed >= count || record.ending.is_some(),
                None => true,
            };
            if !hub.wait_until(SETTLE_LIMIT, settled).await {
                return Err(Unsettled(number));
            }
        }
        Ok(())
    }

    async fn ping_all(&self) -> Vec<(u64, u64)> {
        let lines: Vec<_> = {
            let lines = self.hub.lines();
            let subscribed = lines.iter().filter(|(_, line)| !line.subscriptions.is_empty());
            subscribed.map(|(number, line)| (*number, line.jobs.clone())).collect()
        };
        let mut asked = Vec::new();
        for (number, jobs) in lines {
            let (tell, told) = oneshot::channel();
            if jobs.send(Job::Ping(tell)).await.is_ok()
                && let Ok(count) = told.await
            {
                asked.push((number, count));
            }
        }
        asked
    }

    /// Closes every connection with 1001, stops listening, and waits for all tasks.
    pub async fn shutdown(&self) {
        self.hub.stop.cancel();
        if let Some(door) = self.door.lock().await.take() {
            door.shut().await;
        }
        self.reception.tasks.close();
        self.reception.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.hub.stop.cancel();
    }
}
