//! Tokens: the two documented forms of login, renewal and sign-out, as requests, and
//! what their answers hold. Pure; who sends them is `session`'s business.

use std::time::Duration;

use reqwest::Request;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{self, Answer, Client};
use super::error::RestError;
use super::query::encode;
use crate::config::Account;
use crate::secret::Secret;

/// The same documented constant for everyone.
const CLIENT_ID: &str = "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// The shortest life that was ever seen, for tokens that do not tell theirs.
const DEFAULT_LIFE: u64 = 1800;
/// A token is renewed this long before it expires, or a fifth of its life.
const MARGIN: Duration = Duration::from_secs(60);

/// Which of the two interfaces a release has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `/login/oauth/token`
    OAuth,
    /// `/auth/sign_in`
    SignIn,
}

/// What lets us ask.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) form: Form,
    pub(super) access: Secret,
    pub(super) refresh: Option<Secret>,
    pub(super) renew_at: Instant,
}

impl Form {
    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::OAuth => Self::SignIn,
            Self::SignIn => Self::OAuth,
        }
    }

    /// Holds the password: never log it.
    pub(super) fn login(self, client: &Client, account: &Account) -> Request {
        let Account { username, domain, password } = account;
        match self {
            Self::OAuth => {
                let mut fields = vec![
                    ("grant_type", "password"),
                    ("username", username),
                    ("password", password.reveal()),
                    ("scope", "all"),
                    ("client_id", CLIENT_ID),
                ];
                fields.extend(domain.as_deref().map(|domain| ("domain", domain)));
                client::post(client.url(&["login", "oauth", "token"]), FORM, encode(&fields))
            }
            Self::SignIn => {
                let mut body = json!({ "username": username, "password": password.reveal() });
                if let Some(domain) = domain {
                    body["domain"] = json!(domain);
                }
                client::post(client.url(&["auth", "sign_in"]), JSON, body.to_string())
            }
        }
    }

    fn renew(self, client: &Client, refresh: &Secret) -> Request {
        let refresh = refresh.reveal();
        match self {
            Self::OAuth => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", refresh),
                    ("client_id", CLIENT_ID),
                ];
                client::post(client.url(&["login", "oauth", "token"]), FORM, encode(&fields))
            }
            Self::SignIn => {
                let body = json!({ "refresh_token": refresh }).to_string();
                client::post(client.url(&["auth", "refresh_token"]), JSON, body)
            }
        }
    }
}

impl Token {
    /// From a successful answer.
    pub(super) fn read(form: Form, answer: &Answer) -> Result<Self, RestError> {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |key: &str| body[key].as_str().filter(|text| !text.is_empty());
        let Some(access) = text("access_token") else {
            return Err(match body["two_factor_enabled"].as_bool() {
                Some(true) => RestError::TwoFactor,
                _ => RestError::invalid("the PBX takes the REST login and gives no access token"),
            });
        };
        let life = Duration::from_secs(seconds(&body["expires_in"]).unwrap_or(DEFAULT_LIFE));
        Ok(Self {
            form,
            access: Secret::new(access),
            refresh: text("refresh_token").map(Secret::new),
            renew_at: Instant::now() + (life - MARGIN.min(life / 5)),
        })
    }

    /// A request for its successor, if that can be had without the password.
    pub(super) fn renewal(&self, client: &Client) -> Option<Request> {
        self.refresh.as_ref().map(|refresh| self.form.renew(client, refresh))
    }

    /// A request that ends it.
    pub(super) fn revocation(&self, client: &Client) -> Result<Request, RestError> {
        let mut request = match self.form {
            Form::OAuth => {
                let fields = [("token", self.access.reveal()), ("client_id", CLIENT_ID)];
                client::post(client.url(&["login", "oauth", "revoke"]), FORM, encode(&fields))
            }
            Form::SignIn => client::post(client.url(&["auth", "sign_out"]), JSON, "{}".to_owned()),
        };
        client::authorize(&mut request, &self.access)?;
        Ok(request)
    }
}

/// A number or its digits in quotes; zero is no life to go by.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    seconds.filter(|seconds| (1..=31_536_000).contains(seconds))
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn read(body: &str) -> Result<Token, RestError> {
        let body = bytes::Bytes::from(body.to_owned());
        Token::read(Form::OAuth, &Answer { status: StatusCode::OK, after: None, body })
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_expires() {
        let life = |expires: &str| {
            let token = read(&format!(r#"{{"access_token":"a"{expires}}}"#)).unwrap();
            (token.renew_at - Instant::now()).as_secs_f32()
        };
        assert_eq!(life(r#","expires_in":3600"#), 3540.0);
        assert_eq!(life(r#","expires_in":"3600""#), 3540.0);
        assert_eq!(life(r#","expires_in":10"#), 8.0);
        assert_eq!(life(r#","expires_in":0"#), 1740.0);
        assert_eq!(life(""), 1740.0);
    }

    #[tokio::test]
    async fn an_answer_without_a_token_is_told_by_its_reason() {
        let two_factor = r#"{"two_factor_enabled":true,"token":"t"}"#;
        assert!(matches!(read(two_factor), Err(RestError::TwoFactor)));
        assert!(matches!(read("{}"), Err(RestError::Invalid { .. })));
        assert!(matches!(read("<html>"), Err(RestError::Invalid { .. })));
        let shown = format!("{:?}", read(r#"{"access_token":"hunter2"}"#));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
