//! How one HTTP peer knows the other: what a sink shows to its receiver, or what a
//! webhook wants from the PBX.

use super::section::Section;
use crate::secret::Secret;

/// For messages.
const FORMS: &str = "give one of bearer, username with password, or digest";

/// How a request is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// `Authorization: Basic …`.
    Basic(User),
    /// `Authorization: Digest …`, after the receiver's challenge.
    Digest(User),
}

/// Who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user name, without a colon.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// Reads `auth`.
pub fn read(section: &mut Section) -> Option<Auth> {
    let bearer = section.secret("bearer");
    let basic = (section.string("username"), section.secret("password"));
    let digest = section.optional_table("digest", read_user);
    if section.has_faults() || section.has_unknown() {
        return None;
    }
    match (bearer, basic, digest) {
        (Some(token), (None, None), None) => read_bearer(section, token),
        (None, (Some(username), Some(password)), None) => {
            checked(section, username, password).map(Auth::Basic)
        }
        (None, (None, None), Some(user)) => user.map(Auth::Digest),
        _ => {
            section.problem_here(FORMS);
            None
        }
    }
}

fn read_user(section: &mut Section) -> Option<User> {
    let username = section.required_string("username", "\"NAME\"");
    let password = section.required_secret("password");
    if section.has_faults() { None } else { checked(section, username, password) }
}

fn checked(section: &mut Section, username: String, password: Secret) -> Option<User> {
    if username.contains(|c: char| c == ':' || c.is_control()) {
        let message = "\"username\" must not contain a colon or control characters";
        section.problem("username", message);
        return None;
    }
    Some(User { username, password })
}

fn read_bearer(section: &mut Section, token: Secret) -> Option<Auth> {
    if token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(Auth::Bearer(token));
    }
    section.problem("bearer", "the token must be visible ASCII text without spaces");
    None
}
