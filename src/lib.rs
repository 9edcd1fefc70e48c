//! cdrd: call-detail records from a PortSIP PBX, journalled and delivered at least once.
//!
//! The way of an event, which is also the map of this crate:
//!
//! ```text
//! PBX ─WSI─► pbx::session ─► event::decode ─► journal ─► sink::runner ─► sink::{file, http, exec, …}
//!                                               │ seq, id, a cursor for each sink
//!                                               └ quarantine, dead letters, refused logins
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`event`] | an event, its decoding and its stable id; knows nobody |
//! | [`pbx`] | sessions with PBXs; knows `event` and the journal's intake |
//! | [`rest`] | asks a PBX for calls over REST; knows `event` and the rule about refused logins |
//! | [`webhook`] | takes in what a PBX posts; knows `event` and the journal's intake |
//! | [`journal`] | what is on disk; knows `event` |
//! | [`backfill`] | fetches what nobody heard; knows [`rest`], `event` and the journal |
//! | [`sink`] | the ways out; knows `event` and the journal |
//! | [`daemon`] | the wiring of all of these: start, supervision, drain |
//! | [`admin`] | the HTTP endpoint: metrics, health, status, the page |
//! | [`status`] | how a daemon is, for everybody who asks |
//! | [`record`] | the normal form of a CDR |
//! | [`metrics`], [`heartbeat`] | what is counted, and who is alive; everybody may tell them |
//! | [`config`], [`secret`], [`tls`], [`cause`], [`clock`], [`repeat`], [`http_time`], [`digest`], [`door`], `joined` | what several of them need |
//! | [`simulator`] | a PBX to try against; knows none of the above |
//! | [`cli`] | a file for each command |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod admin;
pub mod backfill;
pub mod cause;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod digest;
pub mod door;
pub mod event;
pub mod heartbeat;
pub mod http_time;
mod joined;
pub mod journal;
pub mod metrics;
pub mod pbx;
pub mod record;
pub mod repeat;
pub mod rest;
pub mod secret;
pub mod simulator;
pub mod sink;
pub mod status;
pub mod systemd;
pub mod tls;
pub mod webhook;
