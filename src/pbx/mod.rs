//! The way from a PBX to the journal over the WebSocket interface (WSI).
//!
//! One [`supervisor`] per `[pbx.*]` runs one [`session`] after another, for ever:
//!
//! | file | holds |
//! |---|---|
//! | [`supervisor`] | the loop: connect, live, wait, again; nothing ends it but a stop |
//! | [`session`] | one connection's life: connect, log in, subscribe, listen, close |
//! | [`connect`] | TCP, TLS, upgrade; each with its timeout and its words |
//! | [`frames`] | lets frames through that a strict WebSocket library would die of |
//! | [`link`] | an established connection: events to the journal, answers to the caller |
//! | [`login`], [`subscribe`] | the commands and what their answers mean |
//! | [`keepalive`] | whether the other end still lives |
//! | [`listening`] | since when nobody listens, noted in the journal |
//! | [`lockout`] | never more refused logins than the PBX forgives |
//! | [`backoff`] | how long to wait before the next connect |
//! | [`state`] | what others may know of a session |

pub mod backoff;
pub mod connect;
pub mod frames;
pub mod keepalive;
pub mod link;
pub mod listening;
pub mod lockout;
pub mod login;
pub mod session;
pub mod state;
pub mod subscribe;
pub mod supervisor;
