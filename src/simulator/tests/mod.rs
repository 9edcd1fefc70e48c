//! Tests of the simulator: the calls by themselves, and the server with a plain
//! WebSocket client on a real socket.

mod calls;
mod client;
mod faults;
mod server;
mod spelling;
