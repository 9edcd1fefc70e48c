//! Both documented ways to a token, its renewal and its end (protocol page, 2).
//!
//! A two-factor user is answered alike in both forms; the page shows it for the
//! second. Words of refusals are the simulator's own.

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use tokio::time::Instant;

use super::answer::Answer;
use super::log::RestLogin;
use super::route::Asked;
use super::tokens::Grant;
use crate::simulator::hub::Hub;
use crate::simulator::object::Object;
use crate::simulator::options::{Account, Who};

/// The documented constant that every client sends.
const CLIENT_ID: &str = "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a";

/// `POST /login/oauth/token`: a login, or a renewal.
pub fn oauth_token(hub: &Hub, asked: &Asked) -> Answer {
    let fields = match Fields::of_form(asked) {
        Ok(fields) => fields,
        Err(answer) => return answer,
    };
    if fields.get("client_id") != Some(CLIENT_ID) {
        return Answer::error(StatusCode::BAD_REQUEST, "INVALID_CLIENT", "Unknown client_id.");
    }
    match fields.get("grant_type") {
        Some("password") if fields.get("scope") == Some("all") => log_in(hub, &fields),
        Some("password") => Answer::bad_request("The scope must be all."),
        Some("refresh_token") => renew(hub, &fields),
        _ => Answer::bad_request("The grant_type must be password or refresh_token."),
    }
}

/// `POST /login/oauth/revoke`: by any token, in the form or as the bearer's.
pub fn oauth_revoke(hub: &Hub, asked: &Asked) -> Answer {
    let fields = Fields::of_form(asked).unwrap_or_default();
    let named = ["token", "refresh_token", "access_token"].map(|key| fields.get(key));
    let mut tokens = named.into_iter().flatten().chain(bearer(asked)).peekable();
    if tokens.peek().is_none() {
        return Answer::bad_request("The token is missing.");
    }
    let mut rest = hub.rest();
    tokens.for_each(|token| rest.tokens.revoke(token));
    Answer::ok(Object::new())
}

/// `POST /auth/sign_in`.
pub fn sign_in(hub: &Hub, asked: &Asked) -> Answer {
    match Fields::of_json(asked) {
        Ok(fields) => log_in(hub, &fields),
        Err(answer) => answer,
    }
}

/// `POST /auth/refresh_token`.
pub fn refresh_token(hub: &Hub, asked: &Asked) -> Answer {
    match Fields::of_json(asked) {
        Ok(fields) => renew(hub, &fields),
        Err(answer) => answer,
    }
}

/// `POST /auth/sign_out`.
pub fn sign_out(hub: &Hub, asked: &Asked) -> Answer {
    match bearer(asked).filter(|token| hub.rest().tokens.account(token).is_some()) {
        Some(token) => {
            hub.rest().tokens.revoke(token);
            Answer::ok(Object::new())
        }
        None => Answer::unauthorized(),
    }
}

/// `GET /auth/user`.
pub fn user(hub: &Hub, account: &Account) -> Answer {
    let (name, role) = match &account.who {
        Who::Administrator { username } => (username, "SystemAdmin"),
        Who::User { username, .. } if sees_all(hub, account) => (username, "Admin"),
        Who::User { username, .. } => (username, "StandardUser"),
        Who::Tenant { name } => (name, "Admin"),
    };
    let user = Object::new()
        .put("name", name)
        .put("role", role)
        .put("password_force_reset", must_reset(hub, account));
    Answer::ok(user)
}

/// Whether the account sees the tenant's calls, and not its own alone.
pub fn sees_all(hub: &Hub, account: &Account) -> bool {
    let administrator = matches!(account.who, Who::Administrator { .. });
    administrator || account.permissions.analytics && !hub.faults().rest.own_calls_only
}

/// Whether the password has to be changed before anything else.
pub fn must_reset(hub: &Hub, account: &Account) -> bool {
    account.password_force_reset || hub.faults().rest.password_force_reset
}

/// The account behind a request's token.
pub fn account(hub: &Hub, asked: &Asked) -> Option<Account> {
    hub.rest().tokens.account(bearer(asked)?)
}

fn bearer(asked: &Asked) -> Option<&str> {
    let value = asked.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn log_in(hub: &Hub, fields: &Fields) -> Answer {
    let who = match (fields.get("username").unwrap_or("nobody"), fields.get("domain")) {
        (user, Some(domain)) => format!("{user}@{domain}"),
        (user, None) => user.into(),
    };
    let decided = decide(hub, fields);
    let refused = decided.as_ref().err().cloned();
    hub.rest().log.logins.push(RestLogin { at: Instant::now(), who, refused });
    match decided {
        Err(words) => Answer::refused_login(&words),
        Ok(account) if account.two_factor || hub.faults().rest.two_factor => {
            let token = format!("sim-2fa-{:016x}", fastrand::u64(..));
            Answer::ok(Object::new().put("two_factor_enabled", true).put("token", token))
        }
        Ok(account) => granted(&hub.rest().tokens.issue(account, hub.options.token_life)),
    }
}

fn decide(hub: &Hub, fields: &Fields) -> Result<Account, String> {
    if let Some(words) = hub.faults().rest.take_login_refusal() {
        return Err(words);
    }
    let (name, realm) = (fields.get("username"), fields.get("domain"));
    let named = |account: &&Account| match &account.who {
        Who::Administrator { username } => name == Some(username) && realm.is_none(),
        Who::User { username, domain, .. } => name == Some(username) && realm == Some(domain),
        // Dialect 12 alone logs a tenant in, and has no REST.
        Who::Tenant { .. } => false,
    };
    let found = hub.options.accounts.iter().find(named);
    let right = found.filter(|account| fields.get("password") == Some(&account.password));
    right.cloned().ok_or_else(|| "Invalid username or password.".into())
}

fn renew(hub: &Hub, fields: &Fields) -> Answer {
    let token = fields.get("refresh_token").unwrap_or_default();
    match hub.rest().tokens.renew(token, hub.options.token_life) {
        Some(grant) => granted(&grant),
        None => Answer::refused_login("The refresh token is not valid."),
    }
}

fn granted(grant: &Grant) -> Answer {
    let object = Object::new()
        .put("access_token", &grant.access)
        .put("expires_in", grant.life.as_secs())
        .put("refresh_token", &grant.refresh)
        .put("token_type", "Bearer");
    Answer::ok(object)
}

/// The fields of a request's body.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn of_form(asked: &Asked) -> Result<Self, Answer> {
        has_type(asked, "application/x-www-form-urlencoded")?;
        let text = String::from_utf8_lossy(&asked.body);
        Ok(Self(super::query::pairs(&text)))
    }

    fn of_json(asked: &Asked) -> Result<Self, Answer> {
        has_type(asked, "application/json")?;
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&asked.body)
                .map_err(|_| Answer::bad_request("The body is not a JSON object."))?;
        let text = |(key, value): (String, serde_json::Value)| {
            value.as_str().map(|value| (key, value.to_string()))
        };
        Ok(Self(object.into_iter().filter_map(text).collect()))
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

fn has_type(asked: &Asked, wanted: &str) -> Result<(), Answer> {
    let given = asked.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split(';').next()).unwrap_or_default();
    if given.trim().eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let message = format!("The content type must be {wanted}.");
    Err(Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", &message))
}
