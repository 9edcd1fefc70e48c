//! The PBX's REST side, below `/api` on the port of WSI (protocol page, 2).
//!
//! | where | what |
//! |---|---|
//! | `route` → `login`, `calls` | which request is answered how |
//! | `tokens` | who is logged in |
//! | `query` → `items` | which calls, and how they are written |
//! | `answer` | what goes onto the wire, with what goes wrong there |
//! | `faults`, `log` | what goes wrong on request; what was asked |

mod answer;
mod calls;
mod faults;
mod items;
mod log;
mod login;
mod query;
mod route;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use self::log::Log;
use self::tokens::Tokens;
use super::hub::Hub;
use super::notice::Notice;
use super::wire::Rewound;

pub use self::faults::{RestFaults, TokenForm};
pub use self::log::{RestLogin, RestRequest};

/// How long a connection may be idle, or take for the head of a request.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// What the REST side keeps.
#[derive(Default)]
pub struct State {
    /// Who is logged in.
    pub tokens: Tokens,
    /// What was asked.
    pub log: Log,
}

/// Serves one connection until it, or the simulator, ends.
pub async fn serve(hub: Arc<Hub>, stream: Rewound) {
    let mut cuts = hub.rest_cuts();
    let reset = stream.reset_switch();
    let service =
        service_fn(|request| route::handle(Arc::clone(&hub), Arc::clone(&reset), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        biased;
        () = hub.stop.cancelled() => return,
        _ = cuts.changed() => return,
        ended = serving => ended,
    };
    if let Err(error) = ended
        && !error.is_timeout()
    {
        hub.tell(Notice::Failed(format!("REST: {error}")));
    }
}
