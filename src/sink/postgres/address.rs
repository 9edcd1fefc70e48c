//! Where the database is: `postgres://USER@HOST:PORT/DATABASE`.

use std::fmt;
use std::path::PathBuf;

use crate::sink::socket::bare_host;

/// The port of PostgreSQL.
const PORT: u16 = 5432;
/// What a URL may begin with; both mean the same.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// A database, and who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The role that logs in.
    pub user: String,
    /// Where the server listens.
    pub server: Server,
    /// The name of the database.
    pub database: String,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// A name or an address; IPv6 without brackets.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The folder of its Unix socket, and the port that the socket is named after.
    Unix {
        /// The folder.
        folder: PathBuf,
        /// The port.
        port: u16,
    },
}

impl Address {
    /// Reads a URL; an error is the second half of a sentence, and does not repeat what
    /// may be a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "must be postgres://USER@HOST:PORT/DATABASE, or \
                            postgres://USER@/DATABASE?host=/FOLDER for a Unix socket";
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
        let rest = rest.ok_or("must start with postgres://")?;
        if rest.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            return Err("must not contain spaces, control characters or #".to_owned());
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(r, q)| (r, Some(q)));
        let (authority, database) = rest.split_once('/').ok_or(FORM)?;
        let (user, peer) = authority.rsplit_once('@').ok_or(
            "names no user; write postgres://USER@HOST/DATABASE, the password goes into \"password\"",
        )?;
        if user.contains(':') {
            return Err("must not carry a password; give it in \"password\"".to_owned());
        }
        let (user, database) = (decode(user)?, decode(database)?);
        if user.is_empty() || database.is_empty() {
            return Err(FORM.to_owned());
        }
        let (host, port) = split_port(peer).ok_or(FORM)?;
        let server = match (query, host) {
            (Some(query), "") => Server::Unix { folder: socket_folder(query)?, port },
            (Some(_), _) => {
                return Err("must have no parameters after a host; tls, timeouts and the rest \
                            have keys of their own"
                    .to_owned());
            }
            (None, host) => Server::Tcp { host: bare_host(host).ok_or(FORM)?.to_owned(), port },
        };
        Ok(Self { user, server, database })
    }

    /// Whether what is sent there stays on this machine.
    pub fn is_local(&self) -> bool {
        match &self.server {
            Server::Unix { .. } => true,
            Server::Tcp { host, .. } => {
                host == "localhost"
                    || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

/// Host and port; `None` if the port is none.
fn split_port(peer: &str) -> Option<(&str, u16)> {
    let after_host = peer.rfind(']').map_or(0, |at| at + 1);
    match peer[after_host..].rfind(':') {
        None => Some((peer, PORT)),
        Some(at) => {
            let (host, port) = peer.split_at(after_host + at);
            port[1..].parse().ok().filter(|port| *port > 0).map(|port| (host, port))
        }
    }
}

fn socket_folder(query: &str) -> Result<PathBuf, String> {
    let folder = query.strip_prefix("host=").map(decode).transpose()?;
    folder
        .filter(|folder| folder.starts_with('/'))
        .map(PathBuf::from)
        .ok_or_else(|| "may have ?host=/FOLDER only, the folder of a Unix socket".to_owned())
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let pair = digit().zip(digit()).map(|(high, low)| (high << 4 | low) as u8);
        bytes.push(pair.filter(|byte| *byte != 0).ok_or("has a % without two hex digits")?);
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 once its % are decoded".to_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, server, database } = self;
        match server {
            Server::Tcp { host, port } if host.contains(':') => {
                write!(f, "postgres://{user}@[{host}]:{port}/{database}")
            }
            Server::Tcp { host, port } => write!(f, "postgres://{user}@{host}:{port}/{database}"),
            Server::Unix { folder, port } => {
                write!(f, "postgres://{user}@:{port}/{database}?host={}", folder.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_alike() {
        for text in [
            "postgres://cdrd@db.example.com:5432/calls",
            "postgres://cdrd@127.0.0.1:5433/calls",
            "postgres://cdrd@[::1]:5432/calls",
            "postgres://cdrd@:5432/calls?host=/run/postgresql",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        let short = Address::parse("postgresql://c%40d@db/a%20b").unwrap();
        assert_eq!(short.to_string(), "postgres://c@d@db:5432/a b");
        assert!(!short.is_local());
        assert!(Address::parse("postgres://u@/d?host=/tmp").unwrap().is_local());
    }

    #[test]
    fn what_is_no_database_is_refused_and_not_repeated() {
        for text in [
            "mysql://hunter2@h/d",
            "postgres://h/hunter2",
            "postgres://u:hunter2@h/d",
            "postgres://u:hunter2@:5432/d?host=/x",
            "postgres://hunter2@h",
            "postgres://hunter2@h/",
            "postgres://hunter2@h:0/d",
            "postgres://hunter2@h:x/d",
            "postgres://hunter2@/d",
            "postgres://hunter2@/d?host=x",
            "postgres://u@h/d?password=hunter2",
            "postgres://u@[h]/hunter2",
            "postgres://u@h/d%zzhunter2",
            "postgres://u@h/hunter2%00",
            "postgres://u@h,i/hunter2",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}
