//! The sink that posts events to a URL, as the PBX's own webhook would.
//!
//! In `raw` form the body is the event exactly as the PBX sent it, with the
//! CloudEvents attributes as `ce-*` headers (binary mode), so a receiver that was
//! written for the PBX's webhook works without a change. 2xx confirms.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the keys, and the making of the sink |
//! | `batch` | which events go together, and what became of them |
//! | `request` | bodies, headers, idempotency keys |
//! | `signature` | Standard Webhooks |
//! | `auth` | how the receiver knows us |
//! | `target` | receivers: connections, challenges, fallbacks |
//! | `judge` | which answers confirm, retry, or make a dead letter |

mod auth;
mod batch;
mod judge;
mod request;
mod settings;
mod signature;
mod target;

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

pub use crate::config::{Auth, User};
use batch::{Chunk, Plan};
use judge::{Fault, Verdict};
use request::Message;
pub use settings::Settings;
pub use target::Endpoint;
use target::Targets;

use super::format::Encoder;
use super::{Delivered, Failure, Retry, Sink};
use crate::event::Stored;

/// With several requests at once, so many rounds of them are asked for, so that a
/// slow answer holds back only the end of the last round. The price: so many events
/// may come again after a crash.
const ROUNDS: usize = 8;

/// Posts events: in order, or several requests at once.
#[derive(Debug)]
pub struct HttpSink {
    encoder: Encoder,
    batch: usize,
    in_flight: usize,
    retry: Retry,
    targets: Targets,
    plan: Plan,
    /// The last request was answered. Otherwise one goes ahead alone: a receiver that
    /// is down is not knocked at by many, and one that speaks HTTP/2 shows it before
    /// there are many connections.
    answers: bool,
}

impl Sink for HttpSink {
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered> {
        Box::pin(async move {
            let mut faults = self.send(events).await;
            let (confirmed, refusal) = self.plan.report(events);
            let failure = match refusal {
                Some(reason) => Some(Failure::Refused { reason }),
                None => faults.pop_first().map(|(_, fault)| fault.into()),
            };
            Delivered { confirmed, failure }
        })
    }

    fn max_batch(&self) -> usize {
        match self.in_flight {
            1 => self.batch,
            several => self.batch * several * ROUNDS,
        }
    }

    fn retry(&self) -> Retry {
        self.retry
    }

    /// Asks all receivers: a fallback that is not there is none.
    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let (mut found, mut missing) = (Vec::new(), false);
            for target in self.targets.iter() {
                let told = target.probe().await;
                missing |= told.is_err();
                found.push(told.unwrap_or_else(|e| e));
            }
            let found = found.join("; ");
            if missing { Err(found) } else { Ok(found) }
        })
    }
}

impl HttpSink {
    /// Sends what is not decided yet, until the end or the first fault; what is on
    /// its way by then is waited for. Returns the faults by their first event.
    async fn send(&mut self, events: &[&Stored]) -> BTreeMap<usize, Fault> {
        let Self { encoder, batch, in_flight, targets, plan, answers, .. } = self;
        let post = async |chunk: Chunk| {
            let message = match *batch {
                1 => Message::single(encoder, events[chunk.start]),
                _ => Message::batch(encoder, &events[chunk.clone()]),
            };
            (targets.post(&message).await, chunk)
        };
        let mut waiting = plan.chunks(events, *batch);
        let (mut flying, mut faults) = (FuturesUnordered::new(), BTreeMap::new());
        loop {
            while flying.len() < if *answers { *in_flight } else { 1 }
                && faults.is_empty()
                && let Some(chunk) = waiting.pop_front()
            {
                flying.push(post(chunk));
            }
            let Some((verdict, chunk)) = flying.next().await else { return faults };
            *answers = !matches!(verdict, Verdict::Failed(_));
            match verdict {
                Verdict::Confirmed => plan.confirm(&events[chunk]),
                Verdict::Refused { reason } => {
                    for half in plan.refuse(&chunk, events, reason).into_iter().rev() {
                        waiting.push_front(half);
                    }
                }
                Verdict::Failed(fault) => {
                    plan.fail(&chunk, events, fault.suspicious);
                    faults.insert(chunk.start, fault);
                }
            }
        }
    }
}
