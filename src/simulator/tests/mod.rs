//! Tests of the simulator: the calls by themselves, and the server with a plain
//! WebSocket or HTTP client on a real socket.

mod calls;
mod client;
mod faults;
mod outages;
mod rest;
mod rest_client;
mod rest_faults;
mod rest_items;
mod server;
mod spelling;
mod webhook;
