//! How the receiver knows us: a token, a user name with its password, or Digest.

use std::sync::Mutex;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Request, Url};

use super::digest::{Asked, Challenge};
use crate::config::Section;
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

/// What goes with each request to one receiver.
#[derive(Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// Always the same.
    Fixed(HeaderValue),
    /// An answer to the last challenge.
    Digest(DigestUser),
}

impl Credentials {
    /// Of a receiver that we know nothing of yet.
    pub fn new(auth: Option<&Auth>) -> Self {
        let fixed = |text: String| {
            let mut value = HeaderValue::try_from(text).expect("tokens and base64 are ASCII");
            value.set_sensitive(true);
            Self::Fixed(value)
        };
        match auth {
            None => Self::None,
            Some(Auth::Bearer(token)) => fixed(format!("Bearer {}", token.reveal())),
            Some(Auth::Basic(User { username, password })) => {
                let pair = format!("{username}:{}", password.reveal());
                fixed(format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
            Some(Auth::Digest(user)) => {
                Self::Digest(DigestUser { user: user.clone(), current: Mutex::default() })
            }
        }
    }

    /// Adds `Authorization`; tells the nonce that was used, if one was.
    pub fn add_to(&self, request: &mut Request) -> Option<String> {
        let (value, nonce) = match self {
            Self::None => return None,
            Self::Fixed(value) => (value.clone(), None),
            Self::Digest(digest) => {
                let (value, nonce) = digest.answer(request.method(), request.url())?;
                (value, Some(nonce))
            }
        };
        request.headers_mut().insert(AUTHORIZATION, value);
        nonce
    }

    /// After a 401: whether sending again, with what its headers say, may help.
    /// `used` is the nonce of the request, `first` whether it was not sent again yet.
    pub fn learn(&self, headers: &HeaderMap, used: Option<&str>, first: bool) -> bool {
        match self {
            Self::Digest(digest) => digest.learn(headers, used, first),
            Self::None | Self::Fixed(_) => false,
        }
    }
}

/// A user with the receiver's last challenge and how often it was answered.
#[derive(Debug)]
pub struct DigestUser {
    user: User,
    current: Mutex<Option<(Challenge, u32)>>,
}

impl DigestUser {
    fn answer(&self, method: &Method, url: &Url) -> Option<(HeaderValue, String)> {
        let mut current = self.current.lock().expect("no panic while locked");
        let (challenge, count) = current.as_mut()?;
        *count += 1;
        let uri = url.query().map_or(url.path().to_owned(), |q| format!("{}?{q}", url.path()));
        let answer = challenge.answer(Asked {
            method: method.as_str(),
            uri: &uri,
            username: &self.user.username,
            password: self.user.password.reveal(),
            cnonce: &cnonce(),
            count: *count,
        });
        // A challenge cannot hold what a header cannot; neither can the user name.
        let mut value = HeaderValue::from_bytes(answer.as_bytes()).ok()?;
        value.set_sensitive(true);
        Some((value, challenge.nonce.clone()))
    }

    fn learn(&self, headers: &HeaderMap, used: Option<&str>, first: bool) -> bool {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        let Some(challenge) = Challenge::strongest(values) else { return false };
        // Without `stale` a new nonce may still mean that the old one was too old; but
        // if a fresh one was refused, it is the password.
        let helps = used.is_none_or(|used| challenge.stale || (first && used != challenge.nonce));
        let mut current = self.current.lock().expect("no panic while locked");
        match &*current {
            // Requests that ran side by side were challenged alike: go on counting.
            Some((known, _)) if known.nonce == challenge.nonce => {}
            _ => *current = Some((challenge, 0)),
        }
        helps
    }
}

/// Unpredictable, so that a server cannot choose what is hashed with the password.
fn cnonce() -> String {
    let mut random = [0; 16];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source.fill(&mut random).expect("the system has random numbers");
    BASE64_STANDARD.encode(random)
}
