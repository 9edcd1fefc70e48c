//! What can go wrong with REST, told to the operator, and whether it passes by itself.

use std::time::Duration;

use crate::journal::JournalError;
use crate::pbx::lockout::{LockoutError, Wait};
use crate::tls::TlsSetupError;

/// Why the PBX could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The login was refused, in the PBX's words. Nothing is sent for a while then.
    #[error(
        "the PBX refused the REST login: {words}; check user name, domain and password of the login (REST wants a user name, no extension) and that the user may use the REST interface"
    )]
    Refused {
        /// The PBX's words.
        words: String,
    },
    /// A login had no answer. Sent again at once it might be the third in a row.
    #[error("the REST login had no answer: {words}")]
    Unanswered {
        /// What happened.
        words: String,
    },
    /// Logins had no answer. That may be a refusal, or the network: it waits for the lockout
    /// rule alone.
    #[error(
        "the PBX left three REST logins in a row without an answer, which may mean that it refuses them, or that the network is bad; the next one waits for minutes. If that goes on, check user name, domain and password of the login (REST wants a user name, no extension)"
    )]
    Silent(Wait),
    /// Another login must be waited for first.
    #[error("the REST login has to wait: too many logins were refused at this host")]
    Locked(Wait),
    /// The user has two-factor login.
    #[error(
        "the PBX wants a second factor from this user, which a daemon cannot give; switch two-factor login off for it, or give backfill a login of its own"
    )]
    TwoFactor,
    /// The user must change the password first.
    #[error(
        "the PBX wants this user to change the password first; log in once in its web portal, then set the new password in the login"
    )]
    PasswordReset,
    /// Logged in, but not allowed to see call logs.
    #[error(
        "the PBX does not let this user see call logs: {words}; give the user a role that may (Analytics: View Only)"
    )]
    Denied {
        /// The PBX's words.
        words: String,
    },
    /// There is no such interface.
    #[error(
        "{url} answered 404; is the url of backfill right (22.x: https://HOST:8887/api), and REST enabled?"
    )]
    NotFound {
        /// What was asked for, without the query.
        url: String,
    },
    /// Too many requests, ours or those of others.
    #[error("the PBX answers 429: too many requests for now, ours and those of others together")]
    Throttled {
        /// It asked for this much patience.
        after: Option<Duration>,
    },
    /// It cannot answer now.
    #[error("REST is not available: {words}")]
    Unavailable {
        /// What happened.
        words: String,
        /// The PBX asked for this much patience.
        after: Option<Duration>,
    },
    /// There was no connection.
    #[error("cannot connect to REST: {words}; is the PBX up, and the port right? (22.x: 8887)")]
    Connect {
        /// What happened.
        words: String,
    },
    /// The certificate.
    #[error("REST: TLS: {words}")]
    Tls {
        /// What happened, with the next step.
        words: String,
    },
    /// An answer makes no sense, or calls cannot be told completely.
    #[error("{words}; calls of this span may be missing. Please report it with the PBX's release")]
    Invalid {
        /// What is wrong with it.
        words: String,
    },
    /// It cannot be set up on our side.
    #[error("REST cannot be used: {words}")]
    Setup {
        /// Why.
        words: String,
    },
    /// The login attempt could not be noted, so no password was sent.
    #[error("cannot note the login attempt: {0}")]
    Note(JournalError),
    /// The daemon's journal has stopped.
    #[error("the journal has stopped")]
    Stopped,
}

/// What comes after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may pass by itself: try again, not before this time if there is one.
    Later(Option<Duration>),
    /// Not before this wait of the lockout rule is over (`Lockout::duration`).
    Locked(Wait),
    /// Somebody has to change something. Trying now and then (an hour) does no harm.
    Operator,
    /// There is no point in it: the daemon ends.
    Never,
}

impl RestError {
    /// Whether it passes by itself.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Silent(wait) | Self::Locked(wait) => Retry::Locked(*wait),
            Self::Throttled { after } | Self::Unavailable { after, .. } => Retry::Later(*after),
            // A proxy's page in place of an answer passes; what does not is told again.
            Self::Connect { .. }
            | Self::Unanswered { .. }
            | Self::Note(_)
            | Self::Invalid { .. } => Retry::Later(None),
            Self::Refused { .. }
            | Self::TwoFactor
            | Self::PasswordReset
            | Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Tls { .. }
            | Self::Setup { .. } => Retry::Operator,
            Self::Stopped => Retry::Never,
        }
    }

    pub(super) fn invalid(words: impl Into<String>) -> Self {
        Self::Invalid { words: words.into() }
    }

    pub(super) fn unavailable(words: impl Into<String>) -> Self {
        Self::Unavailable { words: words.into(), after: None }
    }
}

impl From<LockoutError> for RestError {
    fn from(error: LockoutError) -> Self {
        match error {
            LockoutError::Stopped(_) => Self::Stopped,
            LockoutError::Journal(cause) => Self::Note(cause),
        }
    }
}

impl From<TlsSetupError> for RestError {
    fn from(error: TlsSetupError) -> Self {
        Self::Setup { words: error.to_string() }
    }
}
