//! The parts that come and go with the configuration: a task for each PBX and sink,
//! each with its own end.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::joined::joined;

/// How long a part that is to end may finish what it has in hand.
const RETIRE: Duration = Duration::from_secs(15);

/// Tasks of one kind, by the name of what they are for.
pub(super) struct Parts<E> {
    set: JoinSet<Result<(), E>>,
    running: Vec<Part>,
}

struct Part {
    name: Arc<str>,
    stop: CancellationToken,
    task: AbortHandle,
}

impl<E: Send + 'static> Parts<E> {
    pub(super) fn new() -> Self {
        Self { set: JoinSet::new(), running: Vec::new() }
    }

    /// Starts one; `stop` is its own.
    pub(super) fn start(
        &mut self,
        name: Arc<str>,
        stop: CancellationToken,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = self.set.spawn(task);
        self.running.push(Part { name, stop, task });
    }

    /// How many run.
    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    /// The next that ends; `None` if there is none. Cancel-safe.
    pub(super) async fn join_next(&mut self) -> Option<Result<(), E>> {
        while let Some(ended) = self.set.join_next().await {
            if let Some(ended) = joined(ended) {
                return Some(ended);
            }
        }
        None
    }

    /// Waits for all to end, after a stop.
    pub(super) async fn join_all(&mut self) {
        while self.join_next().await.is_some() {}
    }

    /// Ends those that are named, all at once, and waits until they have finished what
    /// they have in hand; what takes too long is cut short, which loses nothing: what a
    /// sink has not confirmed is sent again. Another one that ends meanwhile is a fault.
    pub(super) async fn retire(&mut self, names: &[Arc<str>]) -> Result<(), Result<(), E>> {
        let (ending, staying) =
            std::mem::take(&mut self.running).into_iter().partition(|p| names.contains(&p.name));
        self.running = staying;
        let ending: Vec<Part> = ending;
        let mut left: Vec<Id> = ending.iter().map(|part| part.task.id()).collect();
        ending.iter().for_each(|part| part.stop.cancel());
        let deadline = Instant::now() + RETIRE;
        let mut cut = false;
        while !left.is_empty() {
            let next = self.set.join_next_with_id();
            let ended = match timeout_at(deadline, next).await {
                Ok(ended) => ended,
                Err(_) if cut => None,
                Err(_) => {
                    cut = true;
                    ending.iter().for_each(|part| part.task.abort());
                    self.set.join_next_with_id().await
                }
            };
            let (id, ended) = match ended {
                None => break,
                Some(Ok((id, ended))) => (id, Some(ended)),
                Some(Err(e)) => (e.id(), joined(Err(e))),
            };
            let expected = left.contains(&id);
            left.retain(|other| *other != id);
            match ended {
                Some(Ok(())) if expected => {}
                None => {}
                Some(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Ends all of them at once.
    pub(super) async fn shutdown(&mut self) {
        self.set.shutdown().await;
    }
}
