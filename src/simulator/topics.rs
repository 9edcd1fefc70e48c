//! Topics: which there are, who may subscribe, what a subscription lets through.
//!
//! The table is the protocol page's, 1.3. Pure: no I/O, no clock.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::events::{Event, Family};
use super::options::{Account, Dialect, TENANT_ID, Who};

/// Whom a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Analytics,
    Users,
    Administrator,
    TenantItself,
}

struct Rule {
    topic: &'static str,
    family: Family,
    /// Key of the selector array, if the topic needs one.
    selector: Option<&'static str>,
    may: May,
    only_in: Option<Dialect>,
}

const fn rule(
    topic: &'static str,
    family: Family,
    selector: Option<&'static str>,
    may: May,
    only_in: Option<Dialect>,
) -> Rule {
    Rule { topic, family, selector, may, only_in }
}

const NEW: Option<Dialect> = Some(Dialect::V22);
const TENANTS: Option<&str> = Some("tenants");

const RULES: [Rule; 11] = [
    rule("cdr_events", Family::Cdr, None, May::Analytics, None),
    rule("global_cdr_events", Family::Cdr, TENANTS, May::Administrator, NEW),
    rule("extension_events", Family::Extension, Some("extensions"), May::Users, None),
    rule("global_extension_events", Family::Extension, TENANTS, May::Administrator, NEW),
    rule("extension_management_events", Family::Management, None, May::Users, NEW),
    rule(
        "global_extension_management_events",
        Family::Management,
        TENANTS,
        May::Administrator,
        NEW,
    ),
    rule("queue_events", Family::Queue, Some("queues"), May::Analytics, None),
    rule("global_queue_events", Family::Queue, TENANTS, May::Administrator, NEW),
    rule("queue_management_events", Family::Management, None, May::Analytics, NEW),
    rule("global_queue_management_events", Family::Management, TENANTS, May::Administrator, NEW),
    rule("trunk_events", Family::Trunk, None, May::TenantItself, Some(Dialect::V12)),
];

/// One topic of a `subscribe` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The topic.
    pub topic: String,
    /// The values of its selector array; empty where it has none.
    pub selector: Vec<String>,
    /// Event types asked for, dialect 12 only.
    pub keys: Option<Vec<String>>,
}

/// Reads the topics out of a `subscribe` or `unsubscribe` command.
///
/// Errors are the words of the refusal.
pub fn wishes(dialect: Dialect, command: &Map<String, Value>) -> Result<Vec<Wish>, String> {
    let topics = command
        .get("topics")
        .and_then(Value::as_array)
        .filter(|topics| !topics.is_empty())
        .ok_or("The topics array is missing.")?;
    topics.iter().map(|topic| wish(dialect, command, topic)).collect()
}

fn wish(dialect: Dialect, command: &Map<String, Value>, topic: &Value) -> Result<Wish, String> {
    let nothing = Map::new();
    let (name, own) = match (dialect, topic) {
        (Dialect::V12, Value::Object(own)) => (own.get("topic").and_then(Value::as_str), own),
        (Dialect::V12, _) => return Err("A topic must be an object.".into()),
        (_, topic) => (topic.as_str(), &nothing),
    };
    let name = name.ok_or("A topic must be a string.")?;
    let key = find(name).and_then(|rule| rule.selector);
    let selector = match key.and_then(|key| own.get(key).or_else(|| command.get(key))) {
        Some(value) => strings(value)?,
        None => Vec::new(),
    };
    let keys = own.get("keys").map(strings).transpose()?;
    Ok(Wish { topic: name.into(), selector, keys })
}

fn strings(value: &Value) -> Result<Vec<String>, String> {
    let items = value.as_array().ok_or("A selector must be an array.")?;
    items
        .iter()
        .map(|item| item.as_str().map(Into::into))
        .collect::<Option<_>>()
        .ok_or_else(|| "A selector must hold strings.".into())
}

/// Whether the account may have the topic; if not, the words of the refusal.
pub fn admit(
    dialect: Dialect,
    account: &Account,
    wish: &Wish,
    extra_topics: &[String],
) -> Result<(), String> {
    if extra_topics.contains(&wish.topic) {
        return Ok(());
    }
    let known = find(&wish.topic).filter(|rule| rule.only_in.is_none_or(|only| only == dialect));
    let rule = known.ok_or_else(|| format!("Unknown topic {}.", wish.topic))?;
    if !allowed(rule.may, account) {
        return Err(format!("Permission denied for topic {}.", rule.topic));
    }
    match rule.selector {
        Some(key) if wish.selector.is_empty() => {
            Err(format!("Topic {} needs the array {key}.", rule.topic))
        }
        Some("tenants") if !wish.selector.iter().any(|id| id == TENANT_ID) => {
            Err("The tenant does not exist.".into())
        }
        _ => Ok(()),
    }
}

fn allowed(may: May, account: &Account) -> bool {
    let tenant = matches!(account.who, Who::Tenant { .. });
    let administrator = matches!(account.who, Who::Administrator { .. });
    match may {
        May::Administrator => administrator,
        May::TenantItself => tenant,
        May::Analytics => tenant || !administrator && account.permissions.analytics,
        May::Users => tenant || !administrator && account.permissions.users,
    }
}

fn find(topic: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.topic == topic)
}

/// What one connection has subscribed to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    wishes: HashMap<String, Wish>,
}

impl Subscriptions {
    /// Adds a topic, or widens its selector.
    pub fn add(&mut self, wish: Wish) {
        match self.wishes.get_mut(&wish.topic) {
            Some(held) => held.selector.extend(wish.selector),
            None => {
                self.wishes.insert(wish.topic.clone(), wish);
            }
        }
    }

    /// Takes a topic away, or the named part of its selector.
    pub fn remove(&mut self, wish: &Wish) {
        if let Some(held) = self.wishes.get_mut(&wish.topic) {
            held.selector.retain(|value| !wish.selector.contains(value));
            if held.selector.is_empty() || wish.selector.is_empty() {
                self.wishes.remove(&wish.topic);
            }
        }
    }

    /// Topics held.
    pub fn len(&self) -> usize {
        self.wishes.len()
    }

    /// Whether nothing is subscribed to.
    pub fn is_empty(&self) -> bool {
        self.wishes.is_empty()
    }

    /// Whether any topic of the family is subscribed to.
    pub fn hears(&self, family: Family) -> bool {
        self.wishes.values().any(|wish| wish.family() == Some(family))
    }

    /// Whether the event is to be pushed.
    pub fn wants(&self, event: &Event) -> bool {
        self.wishes.values().any(|wish| wish.wants(event))
    }
}

impl Wish {
    /// The family of events that the topic carries; none for names outside the table.
    pub fn family(&self) -> Option<Family> {
        find(&self.topic).map(|rule| rule.family)
    }

    /// Whether the event is to be pushed under this topic.
    pub fn wants(&self, event: &Event) -> bool {
        let Some(rule) = find(&self.topic) else {
            return false;
        };
        let keyed = |keys: &Vec<String>| keys.iter().any(|key| key == event.event_type);
        let chosen = match rule.selector {
            None | Some("tenants") => true,
            Some(_) => event.subject.as_ref().is_some_and(|s| self.selector.contains(s)),
        };
        rule.family == event.family && chosen && self.keys.as_ref().is_none_or(keyed)
    }
}
