//! A port that belongs to a test as long as it is held, whether somebody listens or not.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A reserved port. Bound and not listening: connections are refused, nobody else gets
/// it as the source of a connection of theirs, and who knows it can listen there.
pub struct Port {
    _socket: TcpSocket,
    pub address: SocketAddr,
}

impl Port {
    /// One that is free now.
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Shared with the listener to come, which sets the same.
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { _socket: socket, address }
    }
}
