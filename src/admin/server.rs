//! Connections: how many, for how long, and how they end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Connections at once; whoever comes beyond them waits.
const CONNECTIONS: usize = 64;
/// For a request to come, from the connect or the last answer on.
const REQUEST: Duration = Duration::from_secs(30);
/// The longest life of a connection. A page that is open reconnects by itself.
const LIFE: Duration = Duration::from_secs(3600);
/// For the answers under way when we stop.
const CLOSE: Duration = Duration::from_secs(2);
/// After the system had no descriptor for a connection.
const BREATHE: Duration = Duration::from_millis(200);

/// Serves until the stop.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    connection(stream, router, stop).await;
                    drop(place);
                });
            }
            Err(e) => {
                debug!(error = %e, "a connection to the admin endpoint failed");
                sleep(BREATHE).await;
            }
        }
    }
    crate::door::shut(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(CLOSE, ended).await;
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop.cancelled() => close(serving).await,
        () = sleep(LIFE) => close(serving).await,
    };
    if let Err(e) = ended {
        debug!(error = %e, "a connection to the admin endpoint ended");
    }
}

type Serving<'a> =
    std::pin::Pin<&'a mut http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>>;

/// The answer under way may end.
async fn close(mut serving: Serving<'_>) -> hyper::Result<()> {
    serving.as_mut().graceful_shutdown();
    timeout(CLOSE, serving).await.unwrap_or(Ok(()))
}
