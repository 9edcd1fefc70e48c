//! Never more refused logins than the PBX forgives.
//!
//! The PBX blocks the *address* after some refused logins, for an hour, and that
//! may be the address from which the office's phones register. So after a refusal
//! the next try waits minutes, the wait grows, and within any hour there are never
//! more than [`MAX_IN_WINDOW`] at one host, whatever the number of `[pbx.*]`
//! tables, restarts and crashes. Every attempt is on disk before the password
//! goes out.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::journal::refusals::{self, Attempt, LoginNote, State};
use crate::journal::{Journal, JournalError, Stopped};

/// Refusals, and attempts with an unknown end, within the window.
const MAX_IN_WINDOW: usize = 5;
/// An hour, and a minute for two clocks that differ.
const WINDOW_MS: i64 = 61 * 60 * 1000;
/// So many logins in a row that the PBX left without an answer count as a refusal:
/// one that closes or falls silent once is restarting; one that always does so
/// after the password is likely to mean it. A network can do the same: so the count
/// begins anew when the PBX cannot even be reached, and a login that succeeds clears it.
const UNANSWERED_IN_A_ROW: u32 = 3;
/// And so many since the last success in any case: a PBX may refuse by silence and be hard
/// to reach, too. With the five of the window that is far from what PBXs forgive in an hour
/// (50).
const UNANSWERED_AT_ALL: u32 = 10;
/// A permit that took longer to note than this is not used: the window counts from
/// when it was asked for, and the margin of the window is a minute.
const STALE_MS: i64 = 30 * 1000;
/// Wait after the first refusal; it doubles with each further one.
const FIRST_WAIT_MS: i64 = 2 * 60 * 1000;
/// Up to this.
const LONGEST_WAIT_MS: i64 = 60 * 60 * 1000;

/// Where attempts are remembered beyond this process.
#[derive(Clone)]
pub enum Memory {
    /// In the daemon's journal.
    Journal(Journal),
    /// In the journal of a daemon that may be running: for `check`.
    File(PathBuf),
    /// Nowhere: for commands that write nothing and try once.
    Nowhere,
}

/// The rule, shared by every session of the process.
#[derive(Clone)]
pub struct Lockout {
    shared: Arc<Shared>,
}

struct Shared {
    memory: Memory,
    clock: Clock,
    attempts: Mutex<Vec<Known>>,
    /// Logins of each PBX that had no answer.
    unanswered: Mutex<HashMap<String, Silence>>,
    /// An attempt has ended: whoever waits for its place may look again.
    ended: Notify,
}

/// Logins without an answer.
#[derive(Default)]
struct Silence {
    in_a_row: u32,
    since_success: u32,
}

#[derive(Clone)]
struct Known {
    attempt: Attempt,
    /// Begun by this process and not over.
    pending: bool,
    /// Counted as refused only because there was no answer.
    silent: bool,
}

/// A login that is allowed now, and already on disk.
#[must_use = "tell how it ended"]
pub struct Permit {
    lockout: Lockout,
    token: i64,
    pbx: String,
}

/// Not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not before this time, in Unix milliseconds.
    Until(i64),
    /// Not before one of the logins that are under way has ended.
    ForOthers,
}

impl Lockout {
    /// With the attempts that the journal remembers.
    pub fn new(memory: Memory, clock: Clock, remembered: Vec<Attempt>) -> Self {
        let attempts =
            remembered.into_iter().map(|attempt| Known { attempt, pending: false, silent: false });
        let (attempts, unanswered) = (Mutex::new(attempts.collect()), Mutex::default());
        let ended = Notify::new();
        Self { shared: Arc::new(Shared { memory, clock, attempts, unanswered, ended }) }
    }

    /// When the next login is allowed; `None` means now.
    pub fn blocked(&self, host: &str, pbx: &str) -> Option<Wait> {
        decide(&self.attempts(), host, pbx, self.shared.clock.now_ms())
    }

    /// How long until `wait` is worth another look.
    pub fn duration(&self, wait: Wait) -> Duration {
        match wait {
            Wait::Until(at) => {
                Duration::from_millis(u64::try_from(at - self.shared.clock.now_ms()).unwrap_or(0))
            }
            Wait::ForOthers => Duration::from_secs(1),
        }
    }

    /// The PBX could not even be reached: a network that bad loses answers too, so that
    /// those that are missing so far mean little.
    pub fn unreached(&self, pbx: &str) {
        if let Some(silence) = self.unanswered().get_mut(pbx) {
            silence.in_a_row = 0;
        }
    }

    /// Resolves when some attempt has ended.
    pub async fn changed(&self) {
        self.shared.ended.notified().await;
    }

    /// Reserves a login and notes it on disk, or tells how long to wait.
    pub async fn begin(&self, host: &str, pbx: &str) -> Result<Result<Permit, Wait>, LockoutError> {
        let attempt = {
            let mut attempts = self.attempts();
            let at_ms = self.shared.clock.now_ms();
            if let Some(wait) = decide(&attempts, host, pbx, at_ms) {
                return Ok(Err(wait));
            }
            attempts.retain(|known| known.attempt.at_ms > at_ms - refusals::KEEP_MS);
            let attempt = Attempt {
                token: fastrand::i64(1..),
                host: host.to_owned(),
                pbx: pbx.to_owned(),
                at_ms,
                state: State::Unknown,
            };
            attempts.push(Known { attempt: attempt.clone(), pending: true, silent: false });
            attempt
        };
        let begun_ms = attempt.at_ms;
        let permit = Permit { lockout: self.clone(), token: attempt.token, pbx: pbx.to_owned() };
        self.note(LoginNote::Begun(attempt)).await?;
        if self.shared.clock.now_ms() - begun_ms > STALE_MS {
            // The disk took long: what was decided then need not be right now.
            permit.cleared().await?;
            return Ok(Err(Wait::ForOthers));
        }
        Ok(Ok(permit))
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Vec<Known>> {
        self.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unanswered(&self) -> std::sync::MutexGuard<'_, HashMap<String, Silence>> {
        self.shared.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn note(&self, note: LoginNote) -> Result<(), LockoutError> {
        match &self.shared.memory {
            Memory::Journal(journal) => Ok(journal.login(note).await?),
            Memory::File(path) => Ok(note_in_file(path.clone(), note).await?),
            Memory::Nowhere => Ok(()),
        }
    }
}

/// The attempt could not be noted, so the password must not be sent.
#[derive(Debug, thiserror::Error)]
pub enum LockoutError {
    /// The daemon's journal has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The journal of another process could not be written.
    #[error("cannot note the login attempt: {0}")]
    Journal(#[from] JournalError),
}

async fn note_in_file(path: PathBuf, note: LoginNote) -> Result<(), JournalError> {
    let written = tokio::task::spawn_blocking(move || {
        let sqlite = |cause| JournalError::Sqlite { path: path.clone(), cause };
        let connection = crate::journal::schema::open_for_asking(&path)?;
        refusals::apply(&connection, &note).map_err(sqlite)
    });
    written.await.expect("noting an attempt does not panic")
}

impl Permit {
    /// The password went out, and no answer came. Whether it counts as a refusal: the
    /// third time in a row, or the tenth since a success (`true`).
    pub async fn unanswered(self) -> Result<bool, LockoutError> {
        let counts = {
            let mut unanswered = self.lockout.unanswered();
            let silence = unanswered.entry(self.pbx.clone()).or_default();
            silence.in_a_row += 1;
            silence.since_success += 1;
            silence.in_a_row >= UNANSWERED_IN_A_ROW || silence.since_success >= UNANSWERED_AT_ALL
        };
        if !counts {
            return self.cleared().await.map(|()| false);
        }
        self.end_refused(true).await.map(|()| true)
    }

    /// The PBX said yes: earlier refusals no longer make the wait grow. And what counted as
    /// refused for want of an answer was none, since the password is right.
    pub async fn accepted(self) -> Result<(), LockoutError> {
        self.lockout.unanswered().remove(&self.pbx);
        let mut disproved = Vec::new();
        self.end(|known, token, pbx| {
            known.retain(|k| {
                let silent = k.silent && k.attempt.pbx == pbx;
                disproved.extend(silent.then_some(k.attempt.token));
                k.attempt.token != token && !silent
            });
            for k in known.iter_mut().filter(|k| k.attempt.pbx == pbx) {
                if k.attempt.state == State::Refused {
                    k.attempt.state = State::Forgiven;
                }
            }
        });
        for token in disproved {
            self.lockout.note(LoginNote::Cleared(token)).await?;
        }
        let note = LoginNote::Accepted { token: self.token, pbx: self.pbx.clone() };
        self.lockout.note(note).await
    }

    /// The PBX said no.
    pub async fn refused(self) -> Result<(), LockoutError> {
        self.end_refused(false).await
    }

    async fn end_refused(self, silent: bool) -> Result<(), LockoutError> {
        let at_ms = self.lockout.shared.clock.now_ms();
        self.end(|known, token, _| {
            for k in known.iter_mut().filter(|k| k.attempt.token == token) {
                (k.attempt.state, k.attempt.at_ms) = (State::Refused, at_ms);
                (k.pending, k.silent) = (false, silent);
            }
        });
        self.lockout.note(LoginNote::Refused { token: self.token, at_ms }).await
    }

    /// The connection broke, which is no refusal.
    pub async fn cleared(self) -> Result<(), LockoutError> {
        self.end(|known, token, _| known.retain(|k| k.attempt.token != token));
        self.lockout.note(LoginNote::Cleared(self.token)).await
    }

    fn end(&self, change: impl FnOnce(&mut Vec<Known>, i64, &str)) {
        change(&mut self.lockout.attempts(), self.token, &self.pbx);
        self.lockout.shared.ended.notify_waiters();
    }
}

/// The rule itself, pure. Growth counts the refusals of this PBX since its last
/// success; the window counts everything at the host.
fn decide(known: &[Known], host: &str, pbx: &str, now_ms: i64) -> Option<Wait> {
    let refused = known
        .iter()
        .filter(|k| k.attempt.pbx == pbx && k.attempt.state == State::Refused)
        .map(|k| k.attempt.at_ms);
    let grown = refused.clone().max().map(|last| last + wait_after(refused.count()));

    let mut recent: Vec<i64> = known
        .iter()
        .filter(|k| k.attempt.host == host && k.attempt.at_ms > now_ms - WINDOW_MS)
        .map(|k| k.attempt.at_ms)
        .collect();
    recent.sort_unstable();
    let window =
        (recent.len() >= MAX_IN_WINDOW).then(|| recent[recent.len() - MAX_IN_WINDOW] + WINDOW_MS);
    let others = known.iter().any(|k| k.attempt.host == host && k.pending);

    let until = grown.max(window).filter(|until| *until > now_ms)?;
    Some(match window {
        Some(_) if others => Wait::ForOthers,
        _ => Wait::Until(until),
    })
}

fn wait_after(refusals: usize) -> i64 {
    let doublings = u32::try_from(refusals.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    (FIRST_WAIT_MS << doublings).min(LONGEST_WAIT_MS)
}

#[cfg(test)]
mod tests;
