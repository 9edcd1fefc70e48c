//! Exit codes (those of `sysexits.h` where there is one), and which failure has which.

use std::process::ExitCode;

use crate::backfill::worker::WorkerError;
use crate::config::ConfigError;
use crate::daemon::DaemonError;
use crate::journal::JournalError;
use crate::rest::RestError;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// The command line is wrong.
    Usage = 64,
    /// A peer refused or is unreachable (`check`).
    Unavailable = 69,
    /// A fault of ours.
    Internal = 70,
    /// The journal cannot be read or written, or a webhook's address not listened at.
    Io = 74,
    /// Stopped at the drain deadline; the journal has what sinks lack.
    Undrained = 75,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    /// The code of a failure that no command dealt with itself.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<ConfigError>() {
            return Self::Config;
        }
        if error.is::<JournalError>() {
            return Self::Io;
        }
        if let Some(error) = error.downcast_ref() {
            return Self::of_rest(error);
        }
        if let Some(error) = error.downcast_ref() {
            return Self::of_worker(error);
        }
        error.downcast_ref().map_or(Self::Internal, Self::of_daemon)
    }

    /// The code of a daemon that could not start or go on.
    pub fn of_daemon(error: &DaemonError) -> Self {
        match error {
            DaemonError::Journal(_) | DaemonError::Stuck | DaemonError::Webhook(_) => Self::Io,
            DaemonError::Sink { .. } => Self::Config,
            // The address may be free, or there, a moment later: systemd tries again.
            DaemonError::Admin { .. } => Self::Internal,
            DaemonError::Internal(_) => Self::Internal,
        }
    }

    /// The code of a backfill that could not even begin.
    pub fn of_rest(error: &RestError) -> Self {
        match error {
            RestError::Setup { .. } => Self::Config,
            _ => Self::Unavailable,
        }
    }

    /// The code of a backfill that the journal ended.
    pub fn of_worker(error: &WorkerError) -> Self {
        match error {
            WorkerError::Journal(_) | WorkerError::Stopped(_) => Self::Io,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
