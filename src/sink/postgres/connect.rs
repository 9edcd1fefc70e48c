//! Connections: each step with its timeout and its words.

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{NoTls, TlsConnect};
use tokio_postgres::{Client, Config};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::Settings;
use super::address::Server;
use super::judge::{Fault, judge};
use super::tls::Handshake;
use crate::config::Tls;
use crate::sink::socket::notice_death;
use crate::tls;

/// A client, and the task that moves its bytes: it ends with the client, and is ended
/// with this.
pub struct Connection {
    pub client: Client,
    driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Says goodbye to the server.
    pub async fn close(self, limit: Duration) {
        let Self { client, driver } = self;
        drop(client);
        // A server that does not listen any more does not need the goodbye either.
        let _ = timeout(limit, driver).await;
    }
}

/// Connects and logs in.
pub async fn connect(settings: &Settings) -> Result<Connection, Fault> {
    match &settings.address.server {
        Server::Unix { folder, port } => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            let stream = step(settings, "connection", UnixStream::connect(socket)).await?;
            log_in(settings, stream, NoTls, SslMode::Disable).await
        }
        Server::Tcp { host, port } => {
            let tcp = TcpStream::connect((host.as_str(), *port));
            let tcp = step(settings, "TCP connection", tcp).await?;
            tcp.set_nodelay(true)
                .and_then(|()| notice_death(&tcp, settings.timeout))
                .map_err(|e| Fault::Retry(format!("{}: {e}", settings.address)))?;
            match &settings.tls {
                None => log_in(settings, tcp, NoTls, SslMode::Disable).await,
                Some(tls) => {
                    let handshake = handshake(settings, tls, host).await.map_err(|e| {
                        Fault::Retry(format!("{}: no TLS handshake: {e}", settings.address))
                    })?;
                    log_in(settings, tcp, handshake, SslMode::Require).await
                }
            }
        }
    }
}

async fn step<T>(
    settings: &Settings,
    what: &str,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, Fault> {
    let Settings { address, connect_timeout: limit, .. } = settings;
    let why = match timeout(*limit, step).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(e)) => format!("{address}: no {what}: {e}{}", advice(&e)),
        Err(_) => {
            format!("{address}: no {what} within {limit:?}; is there a firewall in between?")
        }
    };
    Err(Fault::Retry(why))
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "; is the server running, and does it listen there?",
        io::ErrorKind::NotFound => "; is the server running, and is this its socket's folder?",
        io::ErrorKind::PermissionDenied => {
            "; give the user that runs cdrd the right to use the socket"
        }
        _ => "",
    }
}

async fn handshake(settings: &Settings, tls: &Tls, host: &str) -> io::Result<Handshake> {
    if tls.insecure_skip_verify && tls.pin_sha256.is_none() {
        warn!(sink = %settings.sink, "insecure_skip_verify: anybody in between can read the calls; use tls.pin_sha256");
    }
    // Reading the system's roots takes milliseconds: not on an async thread.
    let tls = tls.clone();
    let config = tokio::task::spawn_blocking(move || tls::client_config(&tls)).await;
    let config = config.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Handshake { config, name })
}

/// TLS if it is wanted, then the login.
async fn log_in<S, T>(
    settings: &Settings,
    stream: S,
    tls: T,
    mode: SslMode,
) -> Result<Connection, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let Settings { address, password, connect_timeout: limit, sink, .. } = settings;
    let mut config = Config::new();
    config
        .user(&address.user)
        .dbname(&address.database)
        .application_name(format!("cdrd/{sink}"))
        .ssl_mode(mode);
    if let Some(password) = password {
        config.password(password.reveal());
    }
    match timeout(*limit, config.connect_raw(stream, tls)).await {
        Ok(Ok((client, connection))) => {
            // How it ended, the client's next question tells.
            let driver = tokio::spawn(async { drop(connection.await) });
            Ok(Connection { client, driver: AbortOnDropHandle::new(driver) })
        }
        Ok(Err(e)) => Err(judge(settings, &e)),
        Err(_) => Err(Fault::Retry(format!("{address}: no login within {limit:?}"))),
    }
}
