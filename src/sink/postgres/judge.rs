//! What an error means for the events of a batch.
//!
//! | SQLSTATE | meaning |
//! |---|---|
//! | class 22 (data), 23 (constraints), 54 (limits), P0001 (a trigger) | the row is refused for good |
//! | 23514 without a constraint | no partition for the row: waits for the operator |
//! | class 28 (login), 3D, 3F, 42 (tables, columns, rights), 25006 (read-only) | waits for the operator |
//! | 53100 (disk full) and all others, no answer | tried again |
//!
//! A row's values are people's calls, and the server repeats them in its words about a
//! row. So those words are not used; SQLSTATE, column and constraint are.

use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use super::Settings;
use crate::cause;

/// Why a batch was not written.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It may be later.
    Retry(String),
    /// One of its rows never will be.
    Refused(String),
}

impl Fault {
    /// For the operator.
    pub fn into_reason(self) -> String {
        match self {
            Self::Retry(reason) | Self::Refused(reason) => reason,
        }
    }
}

/// Judges an error of the client library.
pub fn judge(settings: &Settings, error: &Error) -> Fault {
    let address = &settings.address;
    let Some(db) = error.as_db_error() else {
        let words = innermost(error);
        let advice = advice_on(&words);
        return Fault::Retry(format!("{address}: {words}{advice}"));
    };
    let code = db.code().code();
    if is_of_the_row(db) {
        let place = place(db);
        return Fault::Refused(format!(
            "{address} refuses the row{place}: {} (SQLSTATE {code})",
            words(code)
        ));
    }
    // Such words are about roles, tables and the server, not about a row.
    let message = db.message();
    let advice = advice(settings, db);
    Fault::Retry(format!("{address}: {message} (SQLSTATE {code}){advice}"))
}

fn is_of_the_row(db: &DbError) -> bool {
    let code = db.code().code();
    if is_for_want_of_a_partition(db) {
        return false;
    }
    ["22", "23", "54"].iter().any(|class| code.starts_with(class)) || code == "P0001"
}

/// That has the code of a check constraint, and no constraint.
fn is_for_want_of_a_partition(db: &DbError) -> bool {
    db.code().code() == "23514" && db.constraint().is_none()
}

fn place(db: &DbError) -> String {
    let named = [("column", db.column()), ("constraint", db.constraint())];
    let named = named.iter().filter_map(|(what, name)| Some((what, (*name)?)));
    named.map(|(what, name)| format!(", {what} \"{name}\"")).collect()
}

fn words(code: &str) -> &'static str {
    match code {
        "22021" => {
            "a text has a character that the database cannot store, NUL or one that its encoding lacks"
        }
        "22P05" => "a character cannot be stored: \\u0000 in jsonb, or one that its encoding lacks",
        "22P02" | "22032" => "a value is not of the column's type, or \"raw\" is no JSON for jsonb",
        "22003" => "a number is out of the column's range",
        "22001" => "a text is longer than the column allows",
        "22007" | "22008" | "22009" => "a time is out of the column's range",
        "23502" => "a value is missing that must be there",
        "23503" => "a foreign key of the table does not fit",
        "23505" => "another row has the same value where the table allows it once",
        "23514" | "23P01" => "a constraint of the table does not allow it",
        "P0001" => "a trigger of the table raised an exception; the server's log has its words",
        _ if code.starts_with("54") => "it is larger than the database can take",
        _ => "the table does not take it; the server's log has its words",
    }
}

/// The next step.
fn advice(settings: &Settings, db: &DbError) -> String {
    let init = |flag: &str| format!("cdrd sink init {} {flag}", settings.sink);
    let user = &settings.address.user;
    let told = match db.code().code() {
        "28P01" => "check user and password of this sink",
        "28000" => "check user and tls of this sink, and pg_hba.conf on the server",
        "3D000" => "create the database, or correct url",
        "25006" => "is it a standby? url must lead to the primary",
        "53100" => "make room on the server's disk",
        "53300" => "raise max_connections on the server, or the role's connection limit",
        "42P01" | "3F000" | "42703" | "42P10" | "42804" => {
            return format!(
                "; the tables are missing or not as they should be: {} shows the SQL that \
                 makes them. Events wait until they are there",
                init("--print-sql")
            );
        }
        "42501" => {
            return format!(
                "; grant role \"{user}\" what it lacks, or let an administrator run what {} \
                 prints; events wait until then",
                init("--print-sql")
            );
        }
        _ if is_for_want_of_a_partition(db) => "make a partition for its time; events wait for it",
        _ => return String::new(),
    };
    format!("; {told}")
}

/// The client library tells of its own errors in words alone; only advice depends on it.
fn advice_on(words: &str) -> &'static str {
    match words {
        "password missing" => ": the server wants one; set \"password\" of this sink",
        "server does not support TLS" => {
            "; switch it on at the server (ssl = on), or remove \"tls\" of this sink"
        }
        _ => "",
    }
}

/// The library shows only the outermost cause.
fn innermost(error: &Error) -> String {
    match error.is_closed() {
        true => "the server closed the connection".to_owned(),
        false => cause::root(error).to_string(),
    }
}
