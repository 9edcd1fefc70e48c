//! The commands of one connection: `auth`, `subscribe`, `unsubscribe`.
//!
//! Turns a command into a [`Response`]; writing it is the connection's work.
//! Shapes of answers are the protocol page's, 1.2 and 1.3.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::auth;
use super::events::{self, Event};
use super::hub::Hub;
use super::ledger::{Login, LoginResult, Subscribe};
use super::notice::Notice;
use super::object::Object;
use super::options::{Account, Dialect};
use super::presence;
use super::topics::{self, Wish};

/// What a command brings about, in the order of the fields.
#[derive(Debug, Default)]
pub struct Response {
    /// Events that wrongly come first.
    pub before: Vec<Event>,
    /// The answer; `None` stays silent.
    pub answer: Option<String>,
    /// Topics that are in force from here on.
    pub granted: Vec<Wish>,
    /// Topics that no longer are.
    pub withdrawn: Vec<Wish>,
    /// The current state, pushed after a subscription.
    pub after: Vec<Event>,
    /// Drop the connection now.
    pub hang_up: bool,
}

/// One connection's login and its answers so far.
#[derive(Debug, Default)]
pub struct Session {
    number: u64,
    account: Option<Account>,
    answers: u64,
}

impl Session {
    /// Nobody has logged in yet.
    pub fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Handles one text message.
    pub fn handle(&mut self, hub: &Hub, text: &[u8]) -> Response {
        let Ok(Value::Object(command)) = serde_json::from_slice(text) else {
            return self.reject(hub, "", "The command is not a JSON object.");
        };
        let name = command.get("command").and_then(Value::as_str).unwrap_or_default();
        match (name, &self.account) {
            ("auth", None) => self.auth(hub, &command),
            ("auth", Some(_)) => self.reject(hub, name, "Already authenticated."),
            (_, None) => self.reject(hub, name, "Not authenticated."),
            ("subscribe", Some(_)) => self.subscribe(hub, &command),
            ("unsubscribe", Some(_)) => self.unsubscribe(hub, &command),
            _ => self.reject(hub, name, "Unknown command."),
        }
    }

    fn reject(&mut self, hub: &Hub, name: &str, words: &str) -> Response {
        hub.tell(Notice::BadCommand(self.number, format!("{name:?}: {words}")));
        Response { answer: Some(self.answer(hub, name, Err(words))), ..Response::default() }
    }

    fn auth(&mut self, hub: &Hub, command: &Map<String, Value>) -> Response {
        let mut response = Response { before: self.stray(hub), ..Response::default() };
        let who = auth::identity(command);
        if hub.faults().mute_auth {
            self.note_login(hub, who, LoginResult::Unanswered);
            return response;
        }
        match self.decide(hub, command) {
            Ok(account) => {
                self.account = Some(account);
                response.hang_up = hub.faults().take_drop_after_login();
                response.answer = Some(self.answer(hub, "auth", Ok(())));
                self.note_login(hub, who, LoginResult::Accepted);
            }
            Err(words) => {
                response.answer = Some(self.answer(hub, "auth", Err(&words)));
                self.note_login(hub, who, LoginResult::Refused(words));
            }
        }
        response
    }

    fn decide(&self, hub: &Hub, command: &Map<String, Value>) -> Result<Account, String> {
        if let Some(words) = hub.faults().take_login_refusal() {
            return Err(words);
        }
        auth::check(hub.options.dialect, &hub.options.accounts, command)
            .cloned()
            .map_err(Into::into)
    }

    fn note_login(&self, hub: &Hub, who: String, result: LoginResult) {
        hub.ledger().logins.push(Login {
            connection: self.number,
            at: Instant::now(),
            wall: SystemTime::now(),
            who: who.clone(),
            result: result.clone(),
        });
        hub.tell(Notice::Login(self.number, who, result));
        hub.touch();
    }

    fn subscribe(&mut self, hub: &Hub, command: &Map<String, Value>) -> Response {
        let wishes = match topics::wishes(hub.options.dialect, command) {
            Ok(wishes) => wishes,
            Err(words) => return self.reject(hub, "subscribe", &words),
        };
        let verdict = self.admit(hub, &wishes);
        self.note_subscribe(hub, &wishes, verdict.as_ref().err());
        let result = verdict.as_ref().copied().map_err(String::as_str);
        let answer = self.answer(hub, "subscribe", result);
        let mut response = Response {
            before: self.stray(hub),
            answer: (!hub.faults().mute_subscribe).then_some(answer),
            ..Response::default()
        };
        if verdict.is_ok() {
            response.after = initial_state(hub, &wishes);
            response.granted = wishes;
        }
        response
    }

    /// One refused topic takes the others of its command with it.
    fn admit(&self, hub: &Hub, wishes: &[Wish]) -> Result<(), String> {
        let account = self.account.as_ref().ok_or("Not authenticated.")?;
        let (dialect, extra) = (hub.options.dialect, &hub.options.extra_topics);
        for wish in wishes {
            topics::admit(dialect, account, wish, extra)?;
            if let Some(words) = hub.faults().take_topic_refusal(&wish.topic) {
                return Err(words);
            }
        }
        Ok(())
    }

    fn note_subscribe(&self, hub: &Hub, wishes: &[Wish], error: Option<&String>) {
        for wish in wishes {
            hub.ledger().subscribes.push(Subscribe {
                connection: self.number,
                topic: wish.topic.clone(),
                selector: wish.selector.clone(),
                accepted: error.is_none(),
                error: error.cloned(),
            });
            hub.tell(Notice::Subscribe(self.number, wish.topic.clone(), error.cloned()));
        }
    }

    fn unsubscribe(&mut self, hub: &Hub, command: &Map<String, Value>) -> Response {
        match topics::wishes(hub.options.dialect, command) {
            Ok(withdrawn) => Response {
                answer: Some(self.answer(hub, "unsubscribe", Ok(()))),
                withdrawn,
                ..Response::default()
            },
            Err(words) => self.reject(hub, "unsubscribe", &words),
        }
    }

    fn stray(&self, hub: &Hub) -> Vec<Event> {
        if !hub.faults().event_before_answer {
            return Vec::new();
        }
        let now = hub.now_ms();
        let due = hub.exchange().stray(now);
        hub.archive().file(Arc::clone(&due.call));
        events::cdr_event(hub.spelling(), &due).into_iter().collect()
    }

    fn answer(&mut self, hub: &Hub, name: &str, result: Result<(), &str>) -> String {
        self.answers += 1;
        let mut object = Object::new();
        if hub.options.dialect == Dialect::V22 {
            object = object.put("command", name).put("id", self.answers.to_string());
        }
        let status = if result.is_ok() { 0 } else { -1 };
        object = if hub.options.status_as_string {
            object.put("status", status.to_string())
        } else {
            object.put("status", status)
        };
        object.put_some("error", result.err()).finish()
    }
}

fn initial_state(hub: &Hub, wishes: &[Wish]) -> Vec<Event> {
    let now = hub.now_ms() / 1000;
    let state = |wish: &Wish| match wish.family() {
        Some(family) => {
            let mut events = presence::initial_state(hub.spelling(), family, now);
            events.retain(|event| wish.wants(event));
            events
        }
        None => Vec::new(),
    };
    wishes.iter().flat_map(state).collect()
}
