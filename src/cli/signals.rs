//! Signals: the first asks for an orderly stop, the second ends the drain. SIGHUP has
//! files opened anew.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::daemon::Stop;

/// Listens to SIGINT and SIGTERM from now on. SIGHUP, which ends a process by
/// default, asks a daemon to read its configuration and to open its files anew.
pub fn stop_on_signals() -> Stop {
    let stop = Stop::default();
    let told = stop.clone();
    // Not in the task: until it first runs, a signal would end the process or be lost.
    let (Some(mut interrupt), Some(mut terminate), Some(mut hangup)) = (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
        listen(SignalKind::hangup()),
    ) else {
        return stop;
    };
    // Owned by the process: it ends with the runtime, and there is nothing to join.
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {
                    info!("SIGHUP: the configuration is read again, files are opened anew");
                    told.reload.notify_one();
                    continue;
                }
            }
            if told.gracefully.is_cancelled() {
                warn!("second signal: stopping without waiting for sinks");
                told.now.cancel();
            }
            told.gracefully.cancel();
        }
    });
    stop
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|e| warn!(error = %e, "a signal cannot be listened to")).ok()
}
