//! Says how the daemon is: to the journal, for `cdrd status`; to systemd, as its status
//! line and as its watchdog's signs of life.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::journal::Journal;
use crate::repeat::Repeat;
use crate::status::live::{Board, Live};
use crate::status::observer::Observer;
use crate::systemd;

/// How often we look whether there is something to say. A change that matters is
/// written at most this often.
const EVERY: Duration = Duration::from_secs(1);
/// Signs of life in the time that systemd waits for one.
const SIGNS: u32 = 4;

/// Gives systemd signs of life as long as the writer and every session make progress.
pub(super) async fn watchdog(board: Arc<Board>, limit: Duration, stop: CancellationToken) {
    let mut ticks = interval(limit / SIGNS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stuck = Repeat::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        match board.stuck() {
            None => {
                stuck.over();
                systemd::alive();
            }
            Some(why) => {
                if let Some(times) = stuck.note(&why) {
                    error!(why, times, restart_in = ?limit, "no progress: systemd gets no more signs of life, and will restart cdrd unless it goes on");
                }
            }
        }
    }
}

/// Says how the daemon is, whenever that changes.
pub(super) struct Reporter {
    observer: Arc<Observer>,
    journal: Journal,
    /// What was said last, and is durable or on its way.
    said: Option<Live>,
    /// The last thing said is on its way.
    on_its_way: Option<oneshot::Receiver<usize>>,
    line: String,
    /// Somebody reads the status line.
    systemd: bool,
}

impl Reporter {
    pub(super) fn new(observer: Arc<Observer>, journal: Journal) -> Self {
        Self {
            observer,
            journal,
            said: None,
            on_its_way: None,
            line: String::new(),
            systemd: systemd::listens(),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut upkeep = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            self.tell_journal();
            tokio::select! {
                () = self.tell_systemd() => {}
                () = stop.cancelled() => return,
            }
            if upkeep.elapsed() > EVERY * 5 {
                upkeep = Instant::now();
                self.observer.board().metrics().upkeep();
            }
        }
    }

    /// Never waits: a journal that is stuck must not keep us from saying so elsewhere.
    fn tell_journal(&mut self) {
        if let Some(waiting) = &mut self.on_its_way {
            match waiting.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                _ => self.on_its_way = None,
            }
        }
        let live = self.observer.board().live();
        if self.said.as_ref() == Some(&live) {
            return;
        }
        let Ok(json) = serde_json::to_string(&live) else { return };
        self.on_its_way = self.journal.offer_state(json);
        if self.on_its_way.is_some() {
            self.said = Some(live);
        }
    }

    async fn tell_systemd(&mut self) {
        if !self.systemd {
            return;
        }
        match self.observer.status().await {
            Ok(status) if status.summary != self.line => {
                systemd::status(&status.summary);
                self.line.clone_from(&status.summary);
            }
            Ok(_) => {}
            // Whoever asks is told; nothing depends on the line.
            Err(e) => debug!(error = %e, "no status line"),
        }
    }
}
