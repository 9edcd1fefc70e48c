//! Who is let in: whoever shows the secret that the operator gave the PBX.
//!
//! Secrets are compared by keyed hashes, so that the time it takes tells nothing.

use std::sync::{Mutex, PoisonError};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::HeaderValue;
use sha2::Sha256;

use super::nonce::{Judged, Nonces};
use crate::config::{Auth, User};
use crate::digest::Answer;

/// Named in challenges.
const REALM: &str = "cdrd";

/// Judges the `Authorization` of requests to one path.
pub(super) struct Guard {
    auth: Auth,
    key: [u8; 32],
    nonces: Mutex<Nonces>,
}

/// The values of `WWW-Authenticate` that go with a refusal.
pub(super) type Challenges = Vec<HeaderValue>;

impl Guard {
    pub(super) fn new(auth: Auth) -> Self {
        Self { auth, key: random(), nonces: Mutex::new(Nonces::new()) }
    }

    /// Lets a request in, or says what is wanted.
    pub(super) fn judge(
        &self,
        authorization: Option<&str>,
        method: &str,
        target: &str,
    ) -> Result<(), Challenges> {
        let shown = authorization.unwrap_or_default();
        let (scheme, rest) = shown.split_once(' ').unwrap_or((shown, ""));
        let is = |name: &str| scheme.eq_ignore_ascii_case(name);
        match &self.auth {
            Auth::Bearer(token) if is("bearer") && self.same(rest.trim(), token.reveal()) => Ok(()),
            Auth::Bearer(_) => Err(vec![value("Bearer realm=\"cdrd\"".to_owned())]),
            Auth::Basic(user) if is("basic") && self.is_user(rest.trim(), user) => Ok(()),
            Auth::Basic(_) => {
                Err(vec![value(format!("Basic realm=\"{REALM}\", charset=\"UTF-8\""))])
            }
            Auth::Digest(user) => self.judge_digest(Answer::read(shown), user, method, target),
        }
    }

    fn is_user(&self, shown: &str, user: &User) -> bool {
        let Ok(pair) = BASE64_STANDARD.decode(shown) else { return false };
        let User { username, password } = user;
        let expected = format!("{username}:{}", password.reveal());
        self.same(pair, expected)
    }

    fn judge_digest(
        &self,
        answer: Option<Answer>,
        user: &User,
        method: &str,
        target: &str,
    ) -> Result<(), Challenges> {
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answer) = answer else { return Err(challenges(&nonces, false)) };
        let (told, expected) = answer.responses(method, REALM, user.password.reveal());
        let right = self.same(told, expected)
            & self.same(&answer.username, &user.username)
            & concerns(&answer.uri, target);
        let judged = match right {
            true => nonces.take(&answer.nonce, answer.count),
            false => Judged::Foreign,
        };
        match judged {
            Judged::Good => Ok(()),
            // Only who knows the password learns that it was right.
            Judged::Stale => Err(challenges(&nonces, true)),
            Judged::Foreign => Err(challenges(&nonces, false)),
        }
    }

    fn same(&self, a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
        let tag = |text: &[u8]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length will do");
            mac.update(text);
            mac.finalize()
        };
        tag(a.as_ref()) == tag(b.as_ref())
    }
}

/// Whether the URI of an answer is that of its request; some write it in full.
fn concerns(uri: &str, target: &str) -> bool {
    let in_full = || uri.parse::<hyper::Uri>().ok()?.path_and_query().map(|p| p.as_str() == target);
    uri == target || in_full().unwrap_or(false)
}

/// The stronger first; who knows it alone takes the other.
fn challenges(nonces: &Nonces, stale: bool) -> Challenges {
    let (nonce, stale) = (nonces.make(), if stale { ", stale=true" } else { "" });
    ["SHA-256", "MD5"]
        .map(|algorithm| {
            value(format!(
                "Digest realm=\"{REALM}\", qop=\"auth\", algorithm={algorithm}, nonce=\"{nonce}\"{stale}"
            ))
        })
        .into()
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("challenges are ASCII")
}

/// Bytes that nobody can guess.
pub(super) fn random() -> [u8; 32] {
    let mut random = [0; 32];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source.fill(&mut random).expect("the system has random numbers");
    random
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Asked, Challenge};
    use crate::secret::Secret;

    fn user() -> User {
        User { username: "pbx".to_owned(), password: Secret::new("ü: p") }
    }

    fn lets_in(guard: &Guard, authorization: &str) -> bool {
        guard.judge(Some(authorization), "POST", "/hook").is_ok()
    }

    #[tokio::test]
    async fn a_bearer_is_let_in_by_the_token_alone() {
        let guard = Guard::new(Auth::Bearer(Secret::new("t0ken")));
        assert!(lets_in(&guard, "Bearer t0ken") && lets_in(&guard, "bearer  t0ken"));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer t0ke", "Bearer t0kenn", "Basic t0ken", "t0ken"]
        {
            assert!(!lets_in(&guard, wrong), "{wrong}");
        }
        let challenges = guard.judge(None, "POST", "/hook").unwrap_err();
        assert_eq!(challenges, ["Bearer realm=\"cdrd\""]);
    }

    #[tokio::test]
    async fn a_user_is_let_in_by_name_and_password() {
        let guard = Guard::new(Auth::Basic(user()));
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        assert!(lets_in(&guard, &basic("pbx:ü: p")));
        for wrong in [basic("pbx:"), basic("px:ü: p"), basic(""), "Basic %%".to_owned()] {
            assert!(!lets_in(&guard, &wrong), "{wrong}");
        }
    }

    fn challenge(challenges: &Challenges, algorithm: &str) -> Challenge {
        let texts = challenges.iter().map(|value| value.to_str().unwrap());
        Challenge::strongest(texts.filter(|text| text.contains(algorithm))).unwrap()
    }

    fn asked<'a>(uri: &'a str, password: &'a str, count: u32) -> Asked<'a> {
        Asked { method: "POST", uri, username: "pbx", password, cnonce: "c", count }
    }

    #[tokio::test(start_paused = true)]
    async fn digest_takes_each_answer_once_and_says_when_the_token_was_too_old() {
        let guard = Guard::new(Auth::Digest(user()));
        for algorithm in ["MD5", "SHA-256"] {
            let first = challenge(&guard.judge(None, "POST", "/hook").unwrap_err(), algorithm);
            assert!(!first.stale);
            let answer = |count| first.answer(asked("/hook", "ü: p", count));
            assert!(lets_in(&guard, &answer(1)) && lets_in(&guard, &answer(2)));
            let again = guard.judge(Some(&answer(2)), "POST", "/hook").unwrap_err();
            assert!(challenge(&again, algorithm).stale);
            let full = first.answer(asked("https://h:1/hook", "ü: p", 3));
            assert!(lets_in(&guard, &full));
            for wrong in [
                first.answer(asked("/hook", "other", 4)),
                first.answer(asked("/other", "ü: p", 5)),
                answer(6).replace("username=\"pbx\"", "username=\"px\""),
            ] {
                let refused = guard.judge(Some(&wrong), "POST", "/hook").unwrap_err();
                assert!(!challenge(&refused, algorithm).stale, "{wrong}");
            }
            tokio::time::advance(std::time::Duration::from_secs(301)).await;
            let late = guard.judge(Some(&answer(7)), "POST", "/hook").unwrap_err();
            assert!(challenge(&late, algorithm).stale);
        }
    }
}
