//! The door: accepts TCP, TLS and the HTTP request, and leads WSI to a connection,
//! everything below `/api` to the REST side.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::http::{self, Head, Route};
use super::hub::Hub;
use super::notice::Notice;
use super::patience::within;
use super::rest;
use super::wire::{Rewound, Wire};
use crate::door;

/// How long a client may take for TLS and its request.
const OPENING_LIMIT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which mostly means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a new connection needs.
#[derive(Clone)]
pub struct Reception {
    /// The shared state.
    pub hub: Arc<Hub>,
    /// TLS, if the door has it.
    pub tls: Option<TlsAcceptor>,
    /// Owns the connections' tasks.
    pub tasks: TaskTracker,
}

/// Where a new connection's first request led.
enum Opened {
    /// To WSI.
    Wsi(Box<Connection>),
    /// To REST, with that request still to be read.
    Rest(Rewound),
    /// Nowhere.
    Nothing,
}

/// Takes an address for good: bound and not listening, it refuses connections while the
/// door is shut, and nobody else gets the port meanwhile.
pub fn reserve(address: SocketAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// A listening socket and the task that accepts from it.
pub struct Door {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Door {
    /// Listens at an address that is reserved. The port is shared no longer than it takes:
    /// somebody who lets the system choose a port could be given this one while the door
    /// is shut.
    pub async fn open(reserved: &TcpSocket, reception: Reception) -> io::Result<Self> {
        reserved.set_reuseaddr(true)?;
        let listener = TcpListener::bind(reserved.local_addr()?).await;
        reserved.set_reuseaddr(false)?;
        let listener = listener?;
        let stop = reception.hub.stop.child_token();
        let task = tokio::spawn(accept_all(listener, reception, stop.clone()));
        Ok(Self { stop, task })
    }

    /// Stops listening: TCP is refused once this returns. Connections go on.
    pub async fn shut(self) {
        self.stop.cancel();
        // The task only ends; a panic in it has been printed.
        let _ = self.task.await;
    }
}

async fn accept_all(listener: TcpListener, reception: Reception, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    reception.tasks.spawn(reception.clone().receive(tcp));
                }
                Err(error) => {
                    reception.hub.tell(Notice::Failed(error.to_string()));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    door::shut(listener);
}

impl Reception {
    async fn receive(self, tcp: TcpStream) {
        let hub = Arc::clone(&self.hub);
        if hub.faults().silent_door {
            hub.tell(Notice::Failed("met with silence, as ordered".into()));
            hub.stop.cancelled().await;
            return;
        }
        if hub.faults().slammed_door {
            return;
        }
        let opened = tokio::select! {
            () = hub.stop.cancelled() => return,
            opened = within(OPENING_LIMIT, self.open(tcp)) => opened,
        };
        match opened {
            Some(Ok(Opened::Wsi(connection))) => connection.run().await,
            Some(Ok(Opened::Rest(stream))) => rest::serve(hub, stream).await,
            Some(Ok(Opened::Nothing)) => {}
            Some(Err(error)) => hub.tell(Notice::Failed(error.to_string())),
            None => hub.tell(Notice::Failed("no request in time".into())),
        }
    }

    async fn open(self, tcp: TcpStream) -> io::Result<Opened> {
        tcp.set_nodelay(true)?;
        let mut wire = match &self.tls {
            Some(acceptor) => Wire::Tls(Box::new(acceptor.accept(tcp).await?)),
            None => Wire::Plain(tcp),
        };
        let mut read = BytesMut::new();
        let head = Head::read(&mut wire, &mut read).await?;
        let now = self.hub.now_ms();
        match head.route(self.hub.options.dialect) {
            Route::Wsi(key) => {
                http::switch(&mut wire, &key).await?;
                let connection = Connection::new(self.hub, &head.target, wire, read);
                return Ok(Opened::Wsi(Box::new(connection)));
            }
            Route::Rest => return Ok(Opened::Rest(Rewound::new(wire, &head.raw, &read))),
            Route::NoUpgrade => {
                let status = "426 Upgrade Required";
                http::refuse(&mut wire, now, status, "UPGRADE_REQUIRED", "Speak WebSocket.")
                    .await?;
            }
            Route::NotFound => {
                http::refuse(&mut wire, now, "404 Not Found", "NOT_FOUND", "No such path.").await?;
            }
        }
        self.hub.tell(Notice::Strayed(format!("{} {}", head.method, head.target)));
        Ok(Opened::Nothing)
    }
}
