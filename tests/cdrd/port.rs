//! A port that belongs to a test as long as it is held, whether somebody listens or not.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A reserved port. Bound and not listening: connections are refused, nobody else gets
/// it as the source of a connection of theirs, and who knows it can listen there.
pub struct Port {
    _socket: TcpSocket,
    pub address: SocketAddr,
}

/// Below the ports that a system gives to those who want any: who is given one and lets
/// others share it, as most listeners do, could be given a reserved one otherwise.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

impl Port {
    /// One that is free now.
    pub fn reserve() -> Self {
        loop {
            let socket = TcpSocket::new_v4().unwrap();
            let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(PORTS)));
            // Shared with nobody, to see that nobody has it, ...
            match socket.bind(address) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::AddrInUse => continue,
                Err(e) => panic!("cannot reserve a port: {e}"),
            }
            // ... then with the listener to come, which sets the same.
            socket.set_reuseaddr(true).unwrap();
            return Self { _socket: socket, address };
        }
    }
}
