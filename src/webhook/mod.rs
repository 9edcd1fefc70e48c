//! The PBX's own webhook, taken in: a second way for the same events.
//!
//! Promises kept here: 200 only once the journal has the event for good, so that the
//! PBX's own retries are part of the guarantee; never 404 at a path of ours, since the
//! PBX then stops for good; nothing from whoever does not show that it is the PBX.
//!
//! | answer | means |
//! |---|---|
//! | 200 | the journal has it; also what cannot be decoded, which is in the quarantine: sending it again would not help |
//! | 401 | no credentials, or wrong ones |
//! | 404 | no PBX has this path |
//! | 405 | not a POST |
//! | 408 | the body did not come in time |
//! | 413 | larger than `max_frame` |
//! | 503 | the journal cannot take it now |
//!
//! | file | holds |
//! |---|---|
//! | `listener` | sockets, TLS, connections, the stop |
//! | `receive` | one request: from the path to the answer |
//! | `guard` | credentials: Basic, Bearer, Digest |
//! | `nonce` | the tokens of Digest challenges |

mod guard;
mod listener;
mod nonce;
mod receive;

pub use listener::{BindError, Listener};
