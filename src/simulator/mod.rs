//! A PBX to try and test against: WSI, REST, realistic calls, faults on request.
//!
//! Written from the protocol page alone and sharing no code with the client, so
//! that each checks the other.
//!
//! | where | what |
//! |---|---|
//! | [`handle`], [`controls`], [`past`], [`witness`] | the handle: start, push, stop; faults; calls of the past; what was seen |
//! | [`options`], [`faults`] | what it is started with; what it does wrong |
//! | `listener` → `http` → `connection` → `session` | a client's way in |
//! | `listener` → [`rest`] | the REST side on the same port |
//! | [`webhook`] | the PBX's own push, beside WSI |
//! | `auth`, `topics` | who may do what |
//! | [`office`] → [`flows`] → [`call`] → [`exchange`] → [`events`], [`presence`] → [`spelling`] | a call's way out |
//! | [`pace`], [`flood`] | when calls come by themselves; records for load tests |
//! | `hub`, [`ledger`], [`archive`] | shared state; what was pushed and read; the calls that have ended |
//! | `frame`, `wire`, `tls`, `patience`, `object` | bytes, and waiting for them |

mod auth;
mod connection;
mod frame;
mod http;
mod hub;
mod listener;
mod object;
mod patience;
mod session;
mod tls;
mod topics;
mod wire;

pub mod archive;
pub mod call;
pub mod controls;
pub mod events;
pub mod exchange;
pub mod faults;
pub mod flood;
pub mod flows;
pub mod handle;
pub mod ledger;
pub mod notice;
pub mod office;
pub mod options;
pub mod pace;
pub mod past;
pub mod presence;
pub mod rest;
pub mod spelling;
pub mod webhook;
pub mod witness;

#[cfg(test)]
mod tests;

pub use archive::EndedCall;
pub use controls::DownDoor;
pub use faults::Faults;
pub use flood::Load;
pub use handle::{Simulator, StartError, Unsettled};
pub use ledger::{ConnectionRecord, Ending, Login, LoginResult, Pushed, Subscribe, Tally};
pub use notice::{Narrator, Notice};
pub use options::{
    Account, DOMAIN, Dialect, Options, PASSWORD, Permissions, Release, TENANT_ID, TENANT_NAME, Who,
};
pub use pace::Rate;
pub use rest::{RestFaults, RestLogin, RestRequest, TokenForm};
pub use webhook::{Delivery, Fate, WebhookAuth, WebhookError, WebhookOptions, WebhookTally};
