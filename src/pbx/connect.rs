//! TCP, TLS and the WebSocket upgrade: each step with its timeout and its words.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::frames::LenientStream;
use crate::config::Pbx;
use crate::tls::{self, TlsSetupError};

/// Bytes read from the socket at once. Eagerly allocated for every connection.
const READ_BUFFER: usize = 64 * 1024;

/// A byte stream, plain or TLS.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// An established WebSocket connection.
pub type Socket = WebSocketStream<LenientStream<Box<dyn Transport>>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Name or TCP.
    #[error("cannot connect to {peer}: {cause}{}", tcp_hint(cause))]
    Tcp {
        /// Host and port.
        peer: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// A step took too long.
    #[error(
        "{peer}: no {step} within {after:?}; is it the PBX that listens there, and no firewall in between?"
    )]
    Timeout {
        /// Host and port.
        peer: String,
        /// What was waited for.
        step: &'static str,
        /// The limit.
        after: Duration,
    },
    /// TLS cannot be set up on our side.
    #[error(transparent)]
    Setup(#[from] TlsSetupError),
    /// The TLS handshake failed.
    #[error("{peer}: TLS: {cause}")]
    Tls {
        /// Host and port.
        peer: String,
        /// What rustls says.
        cause: io::Error,
    },
    /// The server speaks HTTP, but not WebSocket there.
    #[error(
        "{url}: answered {status} to the WebSocket upgrade; check the path of the URL (22.x: /wsi) and that WSI is enabled"
    )]
    Upgrade {
        /// The URL.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The upgrade failed otherwise.
    #[error("{url}: WebSocket upgrade failed: {cause}")]
    Handshake {
        /// The URL.
        url: String,
        /// What the library says.
        cause: Box<WsError>,
    },
}

fn tcp_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "; is the PBX up, and the port right? (22.x: 8887, though one vendor page says 8885; 16.x and 12.x: 8885)"
        }
        _ => "",
    }
}

/// Connects to a PBX.
pub async fn connect(pbx: &Pbx) -> Result<Socket, ConnectError> {
    let limit = pbx.connect_timeout;
    let host = pbx.url.host_str().unwrap_or_default();
    let port = pbx.url.port_or_known_default().unwrap_or(443);
    let peer = format!("{host}:{port}");
    let timed_out = |step| ConnectError::Timeout { peer: peer.clone(), step, after: limit };
    let bare = host.trim_matches(['[', ']']);
    let tcp = timeout(limit, TcpStream::connect((bare, port)))
        .await
        .map_err(|_| timed_out("TCP connection"))?
        .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
        .map_err(|cause| ConnectError::Tcp { peer: peer.clone(), cause })?;
    let stream: Box<dyn Transport> = if pbx.url.scheme() == "wss" {
        let handshake = timeout(limit, secure(pbx, bare, tcp));
        Box::new(handshake.await.map_err(|_| timed_out("TLS handshake"))??)
    } else {
        Box::new(tcp)
    };
    let upgrade = timeout(limit, upgrade(pbx, stream));
    upgrade.await.map_err(|_| timed_out("WebSocket upgrade"))?
}

async fn secure(
    pbx: &Pbx,
    host: &str,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ConnectError> {
    let failed = |cause| ConnectError::Tls { peer: host.to_owned(), cause };
    // Reading the system's roots takes milliseconds: not on an async thread.
    let settings = pbx.tls.clone();
    let config = tokio::task::spawn_blocking(move || tls::client_config(&settings))
        .await
        .map_err(|e| failed(io::Error::other(e)))??;
    let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(io::Error::other(e)))?;
    TlsConnector::from(Arc::clone(&config)).connect(name, tcp).await.map_err(|e| failed(plain(e)))
}

/// Our own words about a certificate, without rustls's "unexpected error: ".
fn plain(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::General(words)) => io::Error::other(words.clone()),
        _ => error,
    }
}

async fn upgrade(pbx: &Pbx, stream: Box<dyn Transport>) -> Result<Socket, ConnectError> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(pbx.max_frame))
        .max_frame_size(Some(pbx.max_frame));
    let stream = LenientStream::new(stream, pbx.max_frame);
    let url = pbx.url.as_str();
    match tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await {
        // Made anew: after a handshake the library has forgotten how large its buffer should
        // be, and reads little more than a frame at once. Of what comes after the handshake
        // nothing is read yet, see `LenientStream`.
        Ok((socket, _)) => {
            Ok(Socket::from_raw_socket(socket.into_inner(), Role::Client, Some(config)).await)
        }
        Err(WsError::Http(response)) => {
            Err(ConnectError::Upgrade { url: url.to_owned(), status: response.status().as_u16() })
        }
        Err(cause) => Err(ConnectError::Handshake { url: url.to_owned(), cause: Box::new(cause) }),
    }
}
