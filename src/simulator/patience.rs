//! Waiting with a limit that also holds when tokio's time is paused.
//!
//! Paused time leaps to the next timer whenever nothing is runnable, even while
//! bytes wait in a socket. One long timer would so end every wait at once. A wait
//! of many short slices gives the sockets a look between any two leaps.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// Slices of one wait.
const SLICES: u32 = 200;

/// What the future gives, or `None` if the limit passes first.
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..SLICES {
        if let Ok(output) = timeout(limit / SLICES, future.as_mut()).await {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}
