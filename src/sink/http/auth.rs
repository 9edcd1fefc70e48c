//! How the receiver knows us: a token, a user name with its password, or Digest.

use std::sync::Mutex;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Request, Url};

use crate::config::{Auth, User};
use crate::digest::{Asked, Challenge};

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
