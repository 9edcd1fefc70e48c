//! Login: which keys a dialect takes, and whether they fit an account.
//!
//! Forms are the protocol page's, 1.2. The words of a refusal are the
//! simulator's own; the page shows none. Pure: no I/O, no clock.

use serde_json::{Map, Value};

use super::options::{Account, Dialect, Who};

/// Who tried to log in, in words: `cdr@example.com`, `admin`.
pub fn identity(command: &Map<String, Value>) -> String {
    let text = |key| command.get(key).and_then(Value::as_str);
    let user = ["username", "extension_number", "extension", "name"].into_iter().find_map(text);
    match (user, text("domain")) {
        (Some(user), Some(domain)) => format!("{user}@{domain}"),
        (Some(user), None) => user.into(),
        _ => "nobody".into(),
    }
}

/// The account that the keys of an `auth` command log in, or the words of the refusal.
pub fn check<'a>(
    dialect: Dialect,
    accounts: &'a [Account],
    command: &Map<String, Value>,
) -> Result<&'a Account, &'static str> {
    let claim = Claim::read(dialect, command)?;
    if let Some(domain) = claim.domain()
        && !accounts.iter().any(|account| account.domain() == Some(domain))
    {
        return Err("The domain does not exist.");
    }
    let password = command.get("password").and_then(Value::as_str);
    let account = accounts
        .iter()
        .find(|account| claim.names(&account.who))
        .filter(|account| Some(account.password.as_str()) == password)
        .ok_or("Invalid username or password.")?;
    if account.two_factor {
        return Err("Two-factor authentication is enabled for this user.");
    }
    Ok(account)
}

impl Account {
    fn domain(&self) -> Option<&str> {
        match &self.who {
            Who::User { domain, .. } => Some(domain),
            _ => None,
        }
    }
}

enum Claim<'a> {
    Administrator(&'a str),
    User(&'a str, &'a str),
    Extension(&'a str, &'a str),
    Tenant(&'a str),
}

impl<'a> Claim<'a> {
    fn read(dialect: Dialect, command: &'a Map<String, Value>) -> Result<Self, &'static str> {
        let text = |key| command.get(key).and_then(Value::as_str);
        let domain = text("domain");
        let claim = match dialect {
            Dialect::V22 => match (text("username"), text("extension_number"), domain) {
                (Some(user), None, Some(domain)) => Some(Self::User(user, domain)),
                (Some(user), None, None) => Some(Self::Administrator(user)),
                (None, Some(number), Some(domain)) => Some(Self::Extension(number, domain)),
                _ => None,
            },
            Dialect::V16 => text("username").zip(domain).map(|(u, d)| Self::User(u, d)),
            Dialect::V12 => match (text("extension").zip(domain), text("name")) {
                (Some((number, domain)), None) => Some(Self::Extension(number, domain)),
                (None, Some(name)) => Some(Self::Tenant(name)),
                _ => None,
            },
        };
        claim.ok_or("Invalid parameters.")
    }

    fn domain(&self) -> Option<&str> {
        match self {
            Self::User(_, domain) | Self::Extension(_, domain) => Some(domain),
            Self::Administrator(_) | Self::Tenant(_) => None,
        }
    }

    fn names(&self, who: &Who) -> bool {
        match (self, who) {
            (Self::Administrator(name), Who::Administrator { username }) => name == username,
            (Self::User(name, realm), Who::User { username, domain, .. }) => {
                name == username && realm == domain
            }
            (Self::Extension(number, realm), Who::User { extension, domain, .. }) => {
                number == extension && realm == domain
            }
            (Self::Tenant(name), Who::Tenant { name: tenant }) => name == tenant,
            _ => false,
        }
    }
}
