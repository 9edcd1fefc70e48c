//! Logins that were refused, counted across restarts: a PBX blocks the address
//! of whoever is refused too often, and with it maybe the office's phones.
//!
//! An attempt is noted *before* the password is sent and struck out once it is
//! known that it was no refusal, so that a crash in between counts against us,
//! never for us.

use rusqlite::{Connection, params};

/// How a login attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The password may have been sent; nobody has seen the answer.
    Unknown,
    /// The PBX said no.
    Refused,
    /// Refused, but a later login of the same PBX succeeded: the PBX still counts
    /// it, our wait does not grow by it any more.
    Forgiven,
}

impl State {
    fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Refused,
            2 => Self::Forgiven,
            _ => Self::Unknown,
        }
    }
}

/// One remembered attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Names the attempt.
    pub token: i64,
    /// Lower-case host of the URL: the PBX counts by address, for all its doors together.
    pub host: String,
    /// NAME of `[pbx.NAME]`.
    pub pbx: String,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// How it stands.
    pub state: State,
}

/// What happened to a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginNote {
    /// About to send a password.
    Begun(Attempt),
    /// The PBX said no.
    Refused {
        /// The attempt.
        token: i64,
        /// When it did, in Unix milliseconds: from then on the wait counts.
        at_ms: i64,
    },
    /// No refusal, and no success either: the connection broke.
    Cleared(i64),
    /// Success; earlier refusals of the same PBX are forgiven.
    Accepted {
        /// The attempt.
        token: i64,
        /// NAME of `[pbx.NAME]`.
        pbx: String,
    },
}

/// Attempts older than this are forgotten, in milliseconds.
pub const KEEP_MS: i64 = 24 * 3600 * 1000;

/// Writes one note.
pub fn apply(connection: &Connection, note: &LoginNote) -> rusqlite::Result<()> {
    match note {
        LoginNote::Begun(attempt) => {
            let forget = attempt.at_ms - KEEP_MS;
            connection.execute("DELETE FROM login_attempt WHERE at_ms < ?1", [forget])?;
            connection.execute(
                "INSERT INTO login_attempt(token, host, pbx, at_ms, state) VALUES(?1, ?2, ?3, ?4, 0)",
                params![attempt.token, attempt.host, attempt.pbx, attempt.at_ms],
            )
        }
        LoginNote::Refused { token, at_ms } => {
            let refuse = "UPDATE login_attempt SET state = 1, at_ms = ?2 WHERE token = ?1";
            connection.execute(refuse, [token, at_ms])
        }
        LoginNote::Cleared(token) => {
            connection.execute("DELETE FROM login_attempt WHERE token = ?1", [token])
        }
        LoginNote::Accepted { token, pbx } => {
            connection.execute("DELETE FROM login_attempt WHERE token = ?1", [token])?;
            let forgive = "UPDATE login_attempt SET state = 2 WHERE pbx = ?1 AND state = 1";
            connection.execute(forgive, [pbx])
        }
    }
    .map(drop)
}

/// All remembered attempts, oldest first.
pub fn load(connection: &Connection) -> rusqlite::Result<Vec<Attempt>> {
    let mut statement = connection
        .prepare("SELECT token, host, pbx, at_ms, state FROM login_attempt ORDER BY at_ms")?;
    let rows = statement.query_map([], |row| {
        Ok(Attempt {
            token: row.get(0)?,
            host: row.get(1)?,
            pbx: row.get(2)?,
            at_ms: row.get(3)?,
            state: State::from_code(row.get(4)?),
        })
    })?;
    rows.collect()
}
