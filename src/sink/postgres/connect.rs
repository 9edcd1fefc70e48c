//! Connections: each step with its timeout and its words.

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{NoTls, TlsConnect};
use tokio_postgres::{Client, Config};
use tokio_util::task::AbortOnDropHandle;

use super::Settings;
use super::address::Server;
use super::judge::{Fault, judge};
use super::tls::Handshake;
use crate::config::Tls;
use crate::sink::socket::Step;
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
    let Settings { address, connect_timeout, .. } = settings;
    let step = Step { peer: address, limit: *connect_timeout, advice: &advice };
    match &address.server {
        Server::Unix { folder, port } => {
            let socket = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}")));
            let stream = step.take("connection", socket).await.map_err(Fault::Retry)?;
            log_in(settings, stream, NoTls, SslMode::Disable).await
        }
        Server::Tcp { host, port } => {
            let tcp = step.tcp(host, *port, settings.timeout).await.map_err(Fault::Retry)?;
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
    let config = tls::client_config_of_sink(&settings.sink, tls).await?;
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
