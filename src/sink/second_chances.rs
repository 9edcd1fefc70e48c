//! Sending again what somebody asked for: dead letters, and ranges of the journal.
//!
//! The requests are rows of the journal, written by commands while the daemon runs
//! or does not. The sink's own runner serves them, one piece at a time between the
//! live events, so that they neither overtake nor delay those, and two never write
//! to the same file at once. The sink's cursor does not move.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::runner::{Runner, RunnerError};
use super::{Delivered, Failure};
use crate::event::Stored;
use crate::journal::dead_letters::{self, Numbered};
use crate::journal::reader::Reader;
use crate::journal::replays::{self, Replay};

/// Events read at once for a replay.
const PIECE_EVENTS: usize = 500;
/// Or this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// When to look for requests.
pub(super) struct SecondChances {
    asked: watch::Receiver<u64>,
    /// There may be requests.
    some: bool,
    /// After a failure, not before this.
    not_before: Instant,
    /// The last step was one of these: now it is the live events' turn.
    had_turn: bool,
}

impl SecondChances {
    /// What was asked for before the start is looked for, too.
    pub(super) fn new(asked: watch::Receiver<u64>) -> Self {
        Self { asked, some: true, not_before: Instant::now(), had_turn: false }
    }

    /// Whether the next step is one of these even if live events are there.
    pub(super) fn takes_turn(&mut self) -> bool {
        let due = self.some && Instant::now() >= self.not_before;
        let turn = due && !self.had_turn;
        self.had_turn = turn;
        turn
    }

    /// Resolves when there may be something to do. Cancel-safe.
    pub(super) async fn wanted(&mut self) {
        if !self.some {
            if self.asked.changed().await.is_err() {
                // Nobody can ask any more.
                std::future::pending::<()>().await;
            }
            self.some = true;
        }
        tokio::time::sleep_until(self.not_before).await;
        self.had_turn = true;
    }

    fn rest(&mut self) {
        self.some = false;
    }

    fn pause(&mut self, pause: Duration) {
        self.not_before = Instant::now() + pause;
    }
}

/// The oldest request of a sink.
enum Request {
    DeadLetter(Box<Numbered>),
    Replay(Replay),
}

impl Runner {
    /// Serves the requests alone, until there are none: for commands without a daemon.
    pub async fn serve_requests(mut self) -> Result<(), RunnerError> {
        while self.second.some {
            tokio::time::sleep_until(self.second.not_before).await;
            self.second_chance().await?;
        }
        self.sink.close().await;
        Ok(())
    }

    /// Serves one piece of the oldest request.
    pub(super) async fn second_chance(&mut self) -> Result<(), RunnerError> {
        let name = std::sync::Arc::clone(&self.name);
        let oldest = move |reader: &mut Reader| {
            reader.ask(|db| match dead_letters::next_retry(db, &name)? {
                Some(letter) => Ok(Some(Request::DeadLetter(Box::new(letter)))),
                None => Ok(replays::next(db, &name)?.map(Request::Replay)),
            })
        };
        match self.reading.with(oldest).await? {
            None => self.second.rest(),
            Some(Request::DeadLetter(letter)) => self.retry_dead_letter(&letter).await?,
            Some(Request::Replay(replay)) => self.replay_piece(replay).await?,
        }
        Ok(())
    }

    async fn retry_dead_letter(&mut self, letter: &Numbered) -> Result<(), RunnerError> {
        let event = &letter.letter.event;
        if self.send_again(&[event]).await? == ControlFlow::Continue(1) {
            info!(sink = %self.name, n = letter.n, "dead letter was delivered");
            self.journal.delivered(letter.n).await?;
        }
        Ok(())
    }

    async fn replay_piece(&mut self, replay: Replay) -> Result<(), RunnerError> {
        let from = replay.next_seq.saturating_sub(1);
        let read = move |reader: &mut Reader| reader.after(from, PIECE_EVENTS, PIECE_BYTES);
        let mut piece = self.reading.with(read).await?;
        piece.retain(|event| event.seq <= replay.last_seq);
        let Some(end) = piece.last().map(|event| event.seq + 1) else {
            // Retention was faster, or there was nothing.
            return Ok(self.journal.replayed(replay.n, replay.last_seq + 1).await?);
        };
        let wanted: Vec<&Stored> = piece.iter().filter(|e| self.filter.wants(e)).collect();
        let mut sent = 0;
        while sent < wanted.len() {
            let some = &wanted[sent..wanted.len().min(sent + self.sink.max_batch())];
            match self.send_again(some).await? {
                ControlFlow::Continue(taken) => sent += taken.max(1),
                ControlFlow::Break(taken) => {
                    let next = wanted[sent + taken].seq;
                    return Ok(self.journal.replayed(replay.n, next).await?);
                }
            }
        }
        Ok(self.journal.replayed(replay.n, end).await?)
    }

    /// Sends events once. `Continue(n)`: n were taken; if none was, the first was
    /// refused for good and is a dead letter (again). `Break(n)`: after n, the sink
    /// failed, and everything rests a while.
    async fn send_again(
        &mut self,
        events: &[&Stored],
    ) -> Result<ControlFlow<usize, usize>, RunnerError> {
        let Delivered { confirmed, failure } = self.sink.deliver(events).await;
        self.metrics.delivered(confirmed.min(events.len()));
        self.count(failure.as_ref());
        match failure {
            Some(Failure::Refused { reason }) if confirmed == 0 => {
                self.bury(events[0], reason).await?;
                Ok(ControlFlow::Continue(0))
            }
            None | Some(Failure::Refused { .. }) => Ok(ControlFlow::Continue(confirmed)),
            Some(Failure::Retry { reason, after }) => {
                let pause = after.unwrap_or_default().max(self.retry.initial);
                if let Some(times) = self.failures.note(&reason) {
                    warn!(sink = %self.name, error = reason, times, next_try_in = ?pause, "sending again failed; it will be tried again");
                }
                self.second.pause(pause);
                Ok(ControlFlow::Break(confirmed))
            }
        }
    }
}
