//! Who is logged in: access tokens that expire, refresh tokens that are used once.

use std::time::Duration;

use tokio::time::Instant;

use crate::simulator::options::Account;

/// What a login or a renewal gives.
#[derive(Debug, Clone)]
pub struct Grant {
    /// For `Authorization: Bearer`.
    pub access: String,
    /// For the renewal.
    pub refresh: String,
    /// How long the access token is good for.
    pub life: Duration,
}

struct Session {
    grant: Grant,
    account: Account,
    expires: Instant,
}

/// All sessions that were not ended.
#[derive(Default)]
pub struct Tokens {
    sessions: Vec<Session>,
}

impl Tokens {
    /// Opens a session.
    pub fn issue(&mut self, account: Account, life: Duration) -> Grant {
        let grant = Grant { access: token("at"), refresh: token("rt"), life };
        let expires = Instant::now() + life;
        self.sessions.push(Session { grant: grant.clone(), account, expires });
        grant
    }

    /// Whose access token this is, unless it has expired.
    pub fn account(&self, access: &str) -> Option<Account> {
        let session = self.sessions.iter().find(|session| session.grant.access == access)?;
        (Instant::now() < session.expires).then(|| session.account.clone())
    }

    /// New tokens for old: both of the old ones are worthless from here on.
    pub fn renew(&mut self, refresh: &str, life: Duration) -> Option<Grant> {
        let found = self.sessions.iter().position(|session| session.grant.refresh == refresh)?;
        let account = self.sessions.swap_remove(found).account;
        Some(self.issue(account, life))
    }

    /// Ends the session that has this token, of either kind.
    pub fn revoke(&mut self, token: &str) {
        self.sessions
            .retain(|Session { grant, .. }| grant.access != token && grant.refresh != token);
    }

    /// Ends all sessions.
    pub fn clear(&mut self) {
        self.sessions.clear();
    }

    /// Access tokens that are good for something.
    pub fn alive(&self) -> usize {
        let now = Instant::now();
        self.sessions.iter().filter(|session| now < session.expires).count()
    }
}

/// Nothing secret is behind it, so any random number will do.
fn token(kind: &str) -> String {
    format!("sim-{kind}-{:032x}", fastrand::u128(..))
}
