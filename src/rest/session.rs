//! Requests with a token: logs in, renews, logs in again once after a 401, and finds
//! out which of the doors is there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{StatusCode, Url};
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::client::{self, Answer, Client, Tries};
use super::error::RestError;
use super::item::Call;
use super::query::Question;
use super::quirks::{Quirk, Quirks};
use super::token::{Form, Token};
use super::words;
use crate::clock::Clock;
use crate::config::{Account, Pbx};
use crate::pbx::lockout::{Lockout, Permit};

/// Nothing is sent for so long after a refused login. The PBX counts refusals of both
/// doors together, and forgives few in an hour: most of them are left to the WebSocket
/// interface, without which live calls are lost.
const REFUSED_REST: Duration = Duration::from_secs(20 * 60);
/// No login for so long after one that had no answer: three in a row count as a refusal,
/// and a network that is bad for some seconds shall not look like one.
const AFTER_SILENCE: Duration = Duration::from_secs(15);
/// How long the end of a session may take.
const CLOSING: Duration = Duration::from_secs(3);
/// So many calls in a row without details mean that there are none at all.
const MISSES: u32 = 3;

/// Where calls are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    CallLogs,
    Cdrs,
}

/// One user at one PBX.
pub(super) struct Session {
    client: Client,
    account: Account,
    lockout: Lockout,
    host: String,
    /// Waits grow by the refusals of one door, so that a user who may not use REST
    /// does not keep the WebSocket interface waiting. The host's five are common.
    name: String,
    form: Option<Form>,
    token: Option<Token>,
    refused: Option<(Instant, String)>,
    /// When a login last had no answer, and what happened.
    unanswered: Option<(Instant, String)>,
    role: Option<String>,
    door: Option<Door>,
    misses: u32,
    quirks: Quirks,
    /// Items of the longest list that ever came: more may be more than the PBX gives.
    pub(super) largest: usize,
    /// The PBX's count is known to be of all that match, not of what is on the page.
    pub(super) counts_all: bool,
    /// The PBX's count is known to be of something else.
    pub(super) miscounts: bool,
}

impl Session {
    pub(super) fn new(pbx: &Pbx, lockout: Lockout, clock: Clock) -> Result<Self, RestError> {
        let backfill = pbx.backfill.as_ref().ok_or_else(|| RestError::Setup {
            words: pbx.no_backfill.map_or_else(|| "no backfill".to_owned(), |why| why.to_string()),
        })?;
        Ok(Self {
            client: Client::new(pbx, backfill, clock)?,
            account: backfill.account.clone(),
            lockout,
            host: backfill.url.host_str().unwrap_or_default().to_owned(),
            name: format!("{}/rest", pbx.name),
            form: None,
            token: None,
            refused: None,
            unanswered: None,
            role: None,
            door: None,
            misses: 0,
            quirks: Quirks::default(),
            largest: 0,
            counts_all: false,
            miscounts: false,
        })
    }

    pub(super) fn pbx(&self) -> &Arc<str> {
        self.client.pbx()
    }

    pub(super) fn clock_offset_ms(&self) -> Option<i64> {
        self.client.offset_ms()
    }

    pub(super) fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    pub(super) fn quirks(&self) -> impl Iterator<Item = Quirk> {
        self.quirks.iter()
    }

    pub(super) fn note(&mut self, quirk: Quirk) {
        self.quirks.note(self.client.pbx(), quirk);
    }

    /// The list of calls that answers a question.
    pub(super) async fn list(&mut self, question: &Question) -> Result<Bytes, RestError> {
        let doors: &[Door] = match self.door {
            None => &[Door::CallLogs, Door::Cdrs],
            Some(Door::CallLogs) => &[Door::CallLogs],
            Some(Door::Cdrs) => &[Door::Cdrs],
        };
        for door in doors {
            let name = if *door == Door::CallLogs { "calllogs" } else { "cdrs" };
            let mut url = self.client.url(&[name]);
            url.set_query(Some(&question.text()));
            let answer = self.get(&url).await?;
            match answer.status {
                StatusCode::OK => {
                    self.door = Some(*door);
                    if *door == Door::Cdrs {
                        self.note(Quirk::NoCallLogs);
                    }
                    return Ok(answer.body);
                }
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {}
                status => {
                    let words = words::of_refusal(status, &answer.body);
                    let url = client::shown(&url);
                    return Err(RestError::invalid(format!("{url} answers {status}: {words}")));
                }
            }
        }
        Err(match self.door {
            None => RestError::NotFound { url: client::shown(&self.client.url(&["calllogs"])) },
            // It was there before. The other door's calls would have other ids.
            Some(_) => RestError::unavailable("the call logs have gone (404)"),
        })
    }

    /// A call with its targets, where the PBX tells them; otherwise as it was.
    pub(super) async fn with_details(&mut self, call: &Call) -> Result<Call, RestError> {
        let details = match &call.id {
            Some(id) => self.details(id).await?,
            None => None,
        };
        Ok(Call { details, ..call.clone() })
    }

    /// The targets of a call; `None` where the PBX does not tell.
    async fn details(&mut self, id: &str) -> Result<Option<Bytes>, RestError> {
        if self.misses >= MISSES {
            return Ok(None);
        }
        let answer = match self.get(&self.client.url(&["cdrs", id])).await {
            Ok(answer) => answer,
            // Calls may be listed and their targets not: the call counts.
            Err(RestError::Denied { .. }) => return Ok(self.miss()),
            Err(e) => return Err(e),
        };
        let items = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        if answer.status == StatusCode::OK && items["items"].is_array() {
            self.misses = 0;
            return Ok(Some(answer.body));
        }
        Ok(self.miss())
    }

    fn miss(&mut self) -> Option<Bytes> {
        self.misses += 1;
        if self.misses == MISSES {
            self.note(Quirk::NoTargets);
        }
        None
    }

    /// Asks with a token, several times if need be. Any answer but those that mean the
    /// same everywhere.
    async fn get(&mut self, url: &Url) -> Result<Answer, RestError> {
        let mut tries = Tries::new();
        loop {
            match self.get_once(url).await {
                Ok(answer) => return Ok(answer),
                Err(e) => tries.after(e).await?,
            }
        }
    }

    async fn get_once(&mut self, url: &Url) -> Result<Answer, RestError> {
        let first = self.get_with_token(url).await?;
        let answer = if first.status == StatusCode::UNAUTHORIZED {
            debug!(pbx = %self.pbx(), "the PBX no longer takes the token; logging in again");
            self.token = None;
            self.get_with_token(url).await?
        } else {
            first
        };
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(RestError::Denied { words: words::of_refusal(answer.status, &answer.body) })
            }
            _ => Ok(answer),
        }
    }

    async fn get_with_token(&mut self, url: &Url) -> Result<Answer, RestError> {
        let request = client::get(url, self.valid_token().await?)?;
        self.client.ready().await;
        self.client.exchange(request).await?.usable(url)
    }

    async fn valid_token(&mut self) -> Result<&crate::secret::Secret, RestError> {
        let valid = match &self.token {
            Some(token) if Instant::now() < token.renew_at => true,
            Some(token) => match token.renewal(&self.client) {
                Some(request) => self.renew(token.form, request).await?,
                None => false,
            },
            None => false,
        };
        if !valid {
            self.log_in().await?;
        }
        let token = self.token.as_ref();
        token.map(|token| &token.access).ok_or_else(|| RestError::invalid("no token"))
    }

    /// Whether there is a new token now. No password goes out, so that a refusal counts
    /// nowhere.
    async fn renew(&mut self, form: Form, request: reqwest::Request) -> Result<bool, RestError> {
        self.client.ready().await;
        let url = request.url().clone();
        let answer = self.client.exchange(request).await?.usable(&url)?;
        let new = match answer.status {
            StatusCode::OK => Token::read(form, &answer).ok(),
            _ => None,
        };
        let old = self.token.take().and_then(|token| token.refresh);
        self.token = new.map(|new| Token { refresh: new.refresh.or(old), ..new });
        Ok(self.token.is_some())
    }

    /// Logs in by the form that worked last, else by the other.
    async fn log_in(&mut self) -> Result<(), RestError> {
        if let Some((at, words)) = &self.refused
            && at.elapsed() < REFUSED_REST
        {
            return Err(RestError::Refused { words: words.clone() });
        }
        if let Some((at, words)) = &self.unanswered
            && at.elapsed() < AFTER_SILENCE
        {
            return Err(RestError::Unanswered { words: words.clone() });
        }
        let first = self.form.unwrap_or(Form::OAuth);
        for form in [first, first.other()] {
            let Some(token) = self.log_in_by(form).await? else { continue };
            (self.form, self.token) = (Some(form), Some(token));
            (self.refused, self.unanswered) = (None, None);
            return self.look_at_user().await;
        }
        let url = Form::OAuth.login(&self.client, &self.account).url().clone();
        Err(RestError::NotFound { url: client::shown(&url) })
    }

    /// `None` if the PBX has no such form.
    async fn log_in_by(&mut self, form: Form) -> Result<Option<Token>, RestError> {
        self.client.ready().await;
        let permit = match self.lockout.begin(&self.host, &self.name).await? {
            Ok(permit) => permit,
            Err(wait) => return Err(RestError::Locked(wait)),
        };
        let request = form.login(&self.client, &self.account);
        let url = request.url().clone();
        match self.client.exchange(request).await {
            Ok(answer) => self.judge_login(form, &url, permit, answer).await,
            Err(e @ (RestError::Connect { .. } | RestError::Tls { .. })) => {
                // The password has not gone out.
                permit.cleared().await?;
                self.lockout.unreached(&self.name);
                Err(e)
            }
            Err(e) => {
                let counts = permit.unanswered().await?;
                let wait = self.lockout.blocked(&self.host, &self.name).filter(|_| counts);
                let words = e.to_string();
                self.unanswered = Some((Instant::now(), words.clone()));
                Err(wait.map_or(RestError::Unanswered { words }, RestError::Silent))
            }
        }
    }

    async fn judge_login(
        &mut self,
        form: Form,
        url: &Url,
        permit: Permit,
        answer: Answer,
    ) -> Result<Option<Token>, RestError> {
        match answer.status {
            status if status.is_success() => {
                // No refusal, whatever else it is.
                permit.accepted().await?;
                Token::read(form, &answer).map(Some)
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                permit.cleared().await?;
                Ok(None)
            }
            StatusCode::TOO_MANY_REQUESTS => {
                permit.cleared().await?;
                Err(RestError::Throttled { after: answer.after })
            }
            status if status.is_client_error() => {
                permit.refused().await?;
                Err(self.refused(words::of_refusal(status, &answer.body)))
            }
            status => {
                permit.cleared().await?;
                let words = format!("{} answers {status} to the login", client::shown(url));
                answer.usable(url)?;
                Err(RestError::invalid(words))
            }
        }
    }

    fn refused(&mut self, words: String) -> RestError {
        self.refused = Some((Instant::now(), words.clone()));
        RestError::Refused { words }
    }

    /// Who the PBX thinks that we are, where it tells. It explains what calls cannot:
    /// no answer to this is no reason not to ask for them.
    async fn look_at_user(&mut self) -> Result<(), RestError> {
        let url = self.client.url(&["auth", "user"]);
        let Some(token) = &self.token else { return Ok(()) };
        let request = client::get(&url, &token.access)?;
        self.client.ready().await;
        let user = match self.client.exchange(request).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
            }
            _ => Value::Null,
        };
        if user["password_force_reset"].as_bool() == Some(true) {
            self.token = None;
            return Err(RestError::PasswordReset);
        }
        let role = user["role"].as_str().or(user["role"]["name"].as_str()).map(str::to_owned);
        info!(pbx = %self.pbx(), role = role.as_deref().unwrap_or("unknown"), "logged in to REST");
        self.role = role;
        Ok(())
    }

    pub(super) async fn close(mut self) {
        let Some(token) = self.token.take() else { return };
        let Ok(request) = token.revocation(&self.client) else { return };
        let goodbye = async {
            self.client.ready().await;
            self.client.exchange(request).await
        };
        // A token that is not revoked expires by itself.
        match timeout(CLOSING, goodbye).await {
            Ok(Ok(answer)) if answer.status.is_success() => {}
            Ok(Ok(answer)) => {
                debug!(status = %answer.status, "the PBX does not end the REST session")
            }
            Ok(Err(e)) => debug!(error = %e, "the REST session could not be ended"),
            Err(_) => debug!("no time to end the REST session"),
        }
    }
}
