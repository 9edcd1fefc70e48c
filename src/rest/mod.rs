//! Asks a PBX for calls over REST: what nobody heard live.
//!
//! Reads pages of call logs and turns their items into `call_cdr` events in the
//! shape of the WebSocket interface. What is missing and where it goes is its
//! caller's business. Promises kept here:
//!
//! - no more refused logins than the PBX forgives (`pbx::lockout`, both doors together);
//! - never more requests a minute than configured, each with a time limit, no answer
//!   larger than memory allows;
//! - an answer is checked item by item: the PBX may ignore what was asked. No call is
//!   passed over silently: where completeness cannot be had, there is an error.
//!
//! | file | holds |
//! |---|---|
//! | `client` | one request: pace, time limit, size limit, tries, clock |
//! | `pace` | so many requests a minute |
//! | `offset` | the PBX's clock against ours |
//! | `words` | what to tell of a refusal or a fault of the network |
//! | `token` | the two documented forms of login, renewal, sign-out |
//! | `session` | requests with a token; which of the doors is there |
//! | `query`, `answer` | what is asked, and what came back |
//! | `calllogs` | all calls of a span, page by page, whatever the PBX ignores |
//! | `item` | one call, and the event that it makes |
//! | `quirks` | oddities, each told once |
//! | `error` | what can go wrong, and whether it passes by itself |

mod answer;
mod calllogs;
mod client;
mod error;
mod item;
mod offset;
mod pace;
mod query;
mod quirks;
mod session;
mod token;
mod words;

use std::sync::Arc;

pub use calllogs::{Calls, Page};
pub use error::{RestError, Retry};
pub use item::{Call, NotAnEvent, Odd};
pub use quirks::Quirk;

use crate::clock::Clock;
use crate::config::Pbx;
use crate::pbx::lockout::Lockout;
use session::Session;

/// The REST interface of one PBX: its token, its connections, its pace.
///
/// One for each PBX and process, since the pace is counted here. Futures of its
/// methods may be dropped. One that is dropped while a login is under way leaves
/// that login with an unknown end, which counts as a refusal for an hour.
pub struct Rest {
    session: Session,
}

impl Rest {
    /// Nothing is sent yet. Reads the CA file, or the system's: some milliseconds.
    ///
    /// # Errors
    /// [`RestError::Setup`]: TLS cannot be set up, or the PBX has no backfill.
    pub fn new(pbx: &Pbx, lockout: Lockout, clock: Clock) -> Result<Self, RestError> {
        Ok(Self { session: Session::new(pbx, lockout, clock)? })
    }

    /// Calls that started in [`from_ms`, `to_ms`) (Unix milliseconds), a page at a
    /// time, oldest first as far as the PBX obeys.
    pub fn calls(&mut self, from_ms: i64, to_ms: i64) -> Calls<'_> {
        Calls::new(&mut self.session, from_ms, to_ms)
    }

    /// The call with its targets, where the PBX tells them; otherwise as it was.
    pub async fn details(&mut self, call: &Call) -> Result<Call, RestError> {
        self.session.with_details(call).await
    }

    /// The PBX's clock minus ours, from the answer that bounds it best; `None` before
    /// the first answer. Exact to half a second and half the time that an answer took.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.session.clock_offset_ms()
    }

    /// The role that the PBX gives our user, where it tells. Others than administrators
    /// and queue managers see their own calls only.
    pub fn role(&self) -> Option<&str> {
        self.session.role()
    }

    /// Oddities of this PBX seen so far; each has been logged once.
    pub fn quirks(&self) -> impl Iterator<Item = Quirk> {
        self.session.quirks()
    }

    /// Name of the `[pbx.NAME]`.
    pub fn pbx(&self) -> &Arc<str> {
        self.session.pbx()
    }

    /// Ends the session at the PBX, if there is one. Takes a few seconds at most.
    pub async fn close(self) {
        self.session.close().await;
    }
}
