//! Telling systemd how we are. Without systemd, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// The configuration is valid, the journal open, the sinks started. A PBX that is
/// down does not count: it must not fail the boot.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] follows, however that goes.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        // Without the time, systemd ignores it, and the reload does not need it.
        Err(e) => debug!(error = %e, "the monotonic clock cannot be read"),
    }
}

/// We are stopping.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Whether anybody is told at all.
pub fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// We make progress.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How long systemd waits for a sign of life before it restarts us; `None` if it does
/// not wait for any.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        // systemd then goes by its own timeouts; nothing of ours depends on it.
        debug!(error = %e, "systemd could not be told");
    }
}
