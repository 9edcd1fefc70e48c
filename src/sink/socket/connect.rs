//! Addresses and connections: each step with its timeout and its words.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Settings;
use crate::config::Tls;
use crate::tls;

/// Where a receiver listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `tcp://HOST:PORT`.
    Tcp {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:///PATH`.
    Unix(PathBuf),
}

impl Address {
    /// Reads an address; an error is the second half of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') && path.len() > 1 && !path.contains('\0') {
                true => Ok(Self::Unix(path.into())),
                false => {
                    Err("needs a whole path, with three slashes: unix:///run/NAME.sock".into())
                }
            };
        }
        let peer = text.strip_prefix("tcp://").ok_or("must start with tcp:// or unix://")?;
        let no_peer = || "must be tcp://HOST:PORT, and IPv6 addresses in [ ]".to_owned();
        let (host, port) = peer.rsplit_once(':').ok_or_else(no_peer)?;
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        match bare_host(host).zip(port) {
            Some((host, port)) => Ok(Self::Tcp { host: host.to_owned(), port }),
            None => Err(no_peer()),
        }
    }
}

/// A host as it stands in an address, without the brackets of IPv6; `None` if it is none.
pub fn bare_host(host: &str) -> Option<&str> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok().then_some(v6),
        None => {
            let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            (!host.is_empty() && host.chars().all(letter)).then_some(host)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A byte stream of any kind.
pub trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Transport for T {}

/// A connection.
pub type Stream = Box<dyn Transport>;

/// Connects; the error is for the operator.
pub async fn connect(settings: &Settings) -> Result<Stream, String> {
    let Settings { address, connect_timeout: limit, .. } = settings;
    let advice = |e: &io::Error| advice(address, e);
    let step = Step { peer: address, limit: *limit, advice: &advice };
    match address {
        Address::Unix(path) => {
            Ok(Box::new(step.take("connection", UnixStream::connect(path)).await?))
        }
        Address::Tcp { host, port } => {
            let tcp = step.tcp(host, *port, settings.lines.timeout).await?;
            match &settings.tls {
                None => Ok(Box::new(tcp)),
                Some(tls) => {
                    let tls = secure(settings, tls, host, tcp);
                    Ok(Box::new(step.take("TLS handshake", tls).await?))
                }
            }
        }
    }
}

/// The steps to a peer, each with its limit and its words.
pub struct Step<'a, P> {
    /// Who it is.
    pub peer: &'a P,
    /// How long each may take.
    pub limit: Duration,
    /// What to do about an error.
    pub advice: &'a (dyn Fn(&io::Error) -> &'static str + Sync),
}

impl<P: fmt::Display> Step<'_, P> {
    /// Takes one; the error is for the operator.
    pub async fn take<T>(
        &self,
        what: &str,
        step: impl Future<Output = io::Result<T>>,
    ) -> Result<T, String> {
        let Self { peer, limit, advice } = self;
        match timeout(*limit, step).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(e)) => Err(format!("{peer}: no {what}: {e}{}", advice(&e))),
            Err(_) => {
                Err(format!("{peer}: no {what} within {limit:?}; is there a firewall in between?"))
            }
        }
    }

    /// A TCP connection that notices within `silence` that its peer is no more.
    pub async fn tcp(&self, host: &str, port: u16, silence: Duration) -> Result<TcpStream, String> {
        let tcp = self.take("TCP connection", TcpStream::connect((host, port))).await?;
        tcp.set_nodelay(true)
            .and_then(|()| notice_death(&tcp, silence))
            .map_err(|e| format!("{}: {e}", self.peer))?;
        Ok(tcp)
    }
}

/// Lets the kernel find out within `timeout` that the machine at the other end is no
/// more, in a pause as well as in the middle of writing. By default it takes two hours
/// for the one, and for the other a quarter of an hour, in which it goes on taking what
/// it cannot deliver.
#[cfg(target_os = "linux")]
fn notice_death(tcp: &TcpStream, timeout: Duration) -> io::Result<()> {
    use rustix::net::sockopt;
    // What the kernel takes: whole seconds, and not too many.
    let idle = timeout.clamp(Duration::from_secs(1), Duration::from_secs(3600));
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, idle)?;
    sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(1).max(idle / 4))?;
    sockopt::set_tcp_user_timeout(tcp, u32::try_from(idle.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn notice_death(_: &TcpStream, _: Duration) -> io::Result<()> {
    Ok(())
}

fn advice(address: &Address, error: &io::Error) -> &'static str {
    match (error.kind(), address) {
        (io::ErrorKind::ConnectionRefused, _) => "; is the receiver running?",
        (io::ErrorKind::NotFound, Address::Unix(_)) => {
            "; the receiver makes the socket when it starts to listen"
        }
        (io::ErrorKind::PermissionDenied, Address::Unix(_)) => {
            "; give the user that runs cdrd the right to write to the socket"
        }
        _ => "",
    }
}

async fn secure(
    settings: &Settings,
    tls: &Tls,
    host: &str,
    tcp: TcpStream,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let config = tls::client_config_of_sink(&settings.lines.sink, tls).await?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, tcp).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in [
            "tcp://127.0.0.1:9000",
            "tcp://cdr.example.com:1",
            "tcp://[::1]:9000",
            "unix:///run/a b.sock",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        let tcp = Address::Tcp { host: "::1".into(), port: 9000 };
        assert_eq!(Address::parse("tcp://[::1]:9000"), Ok(tcp));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "localhost:9000",
            "tcp://localhost",
            "tcp://:9000",
            "tcp://h:0",
            "tcp://h:65536",
            "tcp://u@h:1",
            "tcp://::1:9000",
            "tcp://[h]:1",
            "tcp://h:9000/x",
            "unix://run/x.sock",
            "unix:///",
            "udp://h:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
