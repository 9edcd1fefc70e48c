//! Sockets: one for each address, whichever PBXs share it; connections, and their end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::receive::{Route, Routes};
use crate::clock::Clock;
use crate::config::{Pbx, Webhook};
use crate::joined::joined;
use crate::journal::Stopped;
use crate::journal::intake::Intake;
use crate::repeat::Repeat;
use crate::tls::{self, TlsSetupError};

/// Connections at once to one address; further ones wait for a place.
const CONNECTIONS: usize = 256;
/// For the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the head of a request, the time between two requests included.
const HEAD: Duration = Duration::from_secs(30);
/// For requests that are open at a stop.
const FINISH: Duration = Duration::from_secs(2);
/// Between two tries to accept, after the system refused one.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// There is no way to listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused the address.
    #[error(
        "cannot listen on {address} for the webhook of [pbx.{pbx}]: {cause}; is it an address of this machine, and does no other program listen there?"
    )]
    Address {
        /// Of the configuration.
        address: SocketAddr,
        /// The first that wants it.
        pbx: Arc<str>,
        /// The system's answer.
        cause: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the webhook of [pbx.{pbx}]: {cause}")]
    Tls {
        /// Whose table.
        pbx: Arc<str>,
        /// Why.
        cause: TlsSetupError,
    },
}

/// One address.
pub struct Listener {
    address: SocketAddr,
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Arc<Routes>,
}

impl Listener {
    /// Listens at every address that a webhook of the configuration names. Nothing is
    /// answered before [`Listener::run`].
    pub fn bind_all(pbxs: &[Pbx], intake: &Intake, clock: Clock) -> Result<Vec<Self>, BindError> {
        let mut groups: Vec<Vec<(&Pbx, &Webhook)>> = Vec::new();
        for (pbx, webhook) in pbxs.iter().filter_map(|pbx| Some((pbx, pbx.webhook.as_ref()?))) {
            match groups.iter_mut().find(|group| group[0].1.listen == webhook.listen) {
                Some(group) => group.push((pbx, webhook)),
                None => groups.push(vec![(pbx, webhook)]),
            }
        }
        groups.iter().map(|group| Self::bind(group, intake, clock)).collect()
    }

    fn bind(group: &[(&Pbx, &Webhook)], intake: &Intake, clock: Clock) -> Result<Self, BindError> {
        let (first, webhook) = group[0];
        let pbx = || Arc::clone(&first.name);
        let refused = |cause| BindError::Address { address: webhook.listen, pbx: pbx(), cause };
        let tls = webhook.identity.as_ref().map(tls::server_config).transpose();
        let tls = tls.map_err(|cause| BindError::Tls { pbx: pbx(), cause })?;
        let socket = std::net::TcpListener::bind(webhook.listen).map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        let socket = TcpListener::from_std(socket).map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        let routes =
            group.iter().map(|(pbx, webhook)| Route::new(pbx, webhook, intake.clone(), clock));
        let routes = Arc::new(Routes::new(routes.collect()));
        info!(%address, tls = tls.is_some(), pbxs = group.len(), "webhook listens");
        Ok(Self { address, socket, tls: tls.map(TlsAcceptor::from), routes })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Until the stop; then what is open may finish.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Stopped> {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let (mut connections, mut refusals) = (JoinSet::new(), Repeat::default());
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => { joined(ended); }
                accepted = accept(&self.socket, &places) => match accepted {
                    Ok((stream, place)) => {
                        refusals.over();
                        let (tls, routes) = (self.tls.clone(), Arc::clone(&self.routes));
                        connections.spawn(connection(stream, tls, routes, stop.clone(), place));
                    }
                    Err(e) => {
                        // Clients wait in the system's queue meanwhile, or come again.
                        if let Some(times) = refusals.note(&e.to_string()) {
                            warn!(address = %self.address, error = %e, times, "webhook: cannot accept");
                        }
                        sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
        crate::door::shut(self.socket);
        let finished = async {
            while let Some(ended) = connections.join_next().await {
                joined(ended);
            }
        };
        if timeout(FINISH, finished).await.is_err() {
            // Whoever had no answer comes again.
            debug!(address = %self.address, "webhook: requests were cut off by the stop");
            connections.shutdown().await;
        }
        Ok(())
    }
}

/// The next connection, once there is a place for it. Cancel-safe.
async fn accept(
    socket: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = socket.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    routes: Arc<Routes>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    match tls {
        None => serve(stream, routes, stop).await,
        Some(tls) => match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, routes, stop).await,
            Ok(Err(e)) => debug!(error = %e, "webhook: TLS handshake failed"),
            Err(_) => debug!("webhook: no TLS handshake in time"),
        },
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    routes: Arc<Routes>,
    stop: CancellationToken,
) {
    let service = service_fn(|request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(routes.answer(request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(e) = ended {
        debug!(error = %e, "webhook: a connection broke");
    }
}
