//! Who logs in: the login forms that the vendor documents for each dialect.

use super::section::Section;
use super::{Dialect, Login, Who};

/// An example of the whole key, for messages.
pub(super) const EXAMPLE: &str =
    "{ username = \"cdr\", domain = \"example.com\", password = { credential = \"NAME\" } }";

/// Every key that names an identity; `password` goes with each form.
const KEYS: [&str; 5] = ["username", "domain", "extension_number", "extension", "name"];

/// Reads `login`; `dialect` is `None` where the file's own is unusable.
pub(super) fn read(section: &mut Section, dialect: Option<Dialect>) -> Login {
    let given = KEYS.map(|key| section.string(key));
    let keys: Vec<&str> = KEYS.into_iter().filter(|key| section.has(key)).collect();
    let password = section.required_secret("password");
    let who = who(given);
    let fits = who.as_ref().is_some_and(|who| dialect.is_none_or(|d| is_documented(d, who)));
    let told_anyway = section.has_unknown() || KEYS.iter().any(|key| section.is_faulty(key));
    if !fits && !told_anyway {
        section.problem_here(wrong_form(&keys, dialect));
    }
    let stand_in = Who::Tenant { name: String::new() };
    Login { who: who.unwrap_or(stand_in), password }
}

/// For a PBX that nobody logs in to.
pub(super) fn nobody() -> Login {
    let who = Who::Tenant { name: String::new() };
    Login { who, password: crate::secret::Secret::new("") }
}

/// The form that has exactly the given values, in the order of [`KEYS`].
fn who(given: [Option<String>; 5]) -> Option<Who> {
    match given {
        [Some(username), None, None, None, None] => Some(Who::Administrator { username }),
        [Some(username), Some(domain), None, None, None] => Some(Who::User { username, domain }),
        [None, Some(domain), Some(extension_number), None, None] => {
            Some(Who::ExtensionNumber { extension_number, domain })
        }
        [None, Some(domain), None, Some(extension), None] => {
            Some(Who::Extension { extension, domain })
        }
        [None, None, None, None, Some(name)] => Some(Who::Tenant { name }),
        _ => None,
    }
}

fn is_documented(dialect: Dialect, who: &Who) -> bool {
    match who {
        Who::Administrator { .. } | Who::ExtensionNumber { .. } => dialect == Dialect::V22,
        Who::User { .. } => dialect != Dialect::V12,
        Who::Extension { .. } | Who::Tenant { .. } => dialect == Dialect::V12,
    }
}

fn wrong_form(keys: &[&str], dialect: Option<Dialect>) -> String {
    let given = match keys {
        [] => "without a name".to_owned(),
        keys => format!("with {}", keys.join(" + ")),
    };
    let dialect = dialect.unwrap_or(Dialect::V22);
    format!("dialect {dialect} has no login {given}; besides password give {}", forms(dialect))
}

fn forms(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::V22 => {
            "username (system administrator), or username + domain, or extension_number + domain"
        }
        Dialect::V16 => "username + domain",
        Dialect::V12 => "extension + domain, or name (a tenant's)",
    }
}
