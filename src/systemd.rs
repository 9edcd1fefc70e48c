//! Telling systemd how we are. Without systemd, nothing happens.

use sd_notify::NotifyState;
use tracing::debug;

/// The configuration is valid, the journal open, the sinks started. A PBX that is
/// down does not count: it must not fail the boot.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// We are stopping.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        // systemd then goes by its own timeouts; nothing of ours depends on it.
        debug!(error = %e, "systemd could not be told");
    }
}
