//! The `auth` command, in every form that the vendor documents, and its answer.

use serde_json::{Value, json};

use crate::config::{Login, Who};
use crate::event::decode::Answer;

/// The text of the `auth` command. It holds the password: never log it.
///
/// Requests carry no `id` in any documented example, so none is sent.
pub fn command(login: &Login) -> String {
    let mut command = json!({ "command": "auth", "password": login.password.reveal() });
    for (key, value) in keys(&login.who) {
        command[key] = Value::from(value);
    }
    command.to_string()
}

fn keys(who: &Who) -> Vec<(&'static str, &str)> {
    match who {
        Who::Administrator { username } => vec![("username", username)],
        Who::User { username, domain } => vec![("username", username), ("domain", domain)],
        Who::ExtensionNumber { extension_number, domain } => {
            vec![("extension_number", extension_number), ("domain", domain)]
        }
        Who::Extension { extension, domain } => {
            vec![("extension", extension), ("domain", domain)]
        }
        Who::Tenant { name } => vec![("name", name)],
    }
}

/// Whether an answer can be the one to `auth`.
pub fn answers_auth(answer: &Answer) -> bool {
    answer.command.as_deref().is_none_or(|command| command == "auth")
}

/// The PBX's words on a refusal, or ours where it gave none.
pub fn words(answer: &Answer) -> String {
    match answer.error.as_deref() {
        Some(words) if !words.trim().is_empty() => words.trim().to_owned(),
        _ => format!("status {} without a reason", answer.status),
    }
}

/// What to look at after a refused login.
pub const HINT: &str = "check user, domain and password of the login, that the user may see \
     CDRs, and that two-factor login is off for it (a user with it cannot log in here)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn sent(who: Who) -> String {
        command(&Login { who, password: Secret::new("p\"w") })
    }

    #[test]
    fn every_documented_form_has_its_keys_and_no_id() {
        let s = str::to_owned;
        assert_eq!(
            sent(Who::Administrator { username: s("admin") }),
            r#"{"command":"auth","password":"p\"w","username":"admin"}"#
        );
        assert_eq!(
            sent(Who::User { username: s("cdr"), domain: s("test.io") }),
            r#"{"command":"auth","domain":"test.io","password":"p\"w","username":"cdr"}"#
        );
        assert_eq!(
            sent(Who::ExtensionNumber { extension_number: s("101"), domain: s("test.io") }),
            r#"{"command":"auth","domain":"test.io","extension_number":"101","password":"p\"w"}"#
        );
        assert_eq!(
            sent(Who::Extension { extension: s("101"), domain: s("test.io") }),
            r#"{"command":"auth","domain":"test.io","extension":"101","password":"p\"w"}"#
        );
        assert_eq!(
            sent(Who::Tenant { name: s("acme") }),
            r#"{"command":"auth","name":"acme","password":"p\"w"}"#
        );
    }
}
