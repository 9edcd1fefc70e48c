//! Reads one `[pbx.NAME]`.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::nearest::nearest;
use super::section::Section;
use super::topics::{self, Resolved, SELECTORS, Selectors};
use super::{Dialect, Pbx, Reconnect, Tls, Topic, Webhook, address, backfill, login, tls, webhook};

const DIALECTS: &[(&str, Dialect)] =
    &[("22", Dialect::V22), ("16", Dialect::V16), ("12", Dialect::V12)];

/// Bounds of the waits and limits of a connection; tests go down to milliseconds.
const SHORT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

/// Reads the table of the PBX called `name`.
pub(super) fn read(name: &str, section: &mut Section) -> Pbx {
    let dialect = section.choice("dialect", Dialect::V22, DIALECTS);
    let known_dialect = (!section.is_faulty("dialect")).then_some(dialect);
    let wsi = section.flag("wsi", true);
    let asks = wsi || backfill::is_wanted(section, dialect);
    let url = if asks || section.has("url") { read_url(section, dialect) } else { nowhere() };
    let selectors = SELECTORS.map(|(key, _)| (key, section.strings(key).unwrap_or_default()));
    let topics = read_topics(section, dialect, &selectors);
    let [tenants, extensions, queues] = selectors.map(|(_, values)| values);
    let login = if asks || section.has("login") {
        section.required_table("login", login::EXAMPLE, |login| login::read(login, known_dialect))
    } else {
        login::nobody()
    };
    let around = backfill::Around {
        dialect,
        url: &url,
        login: &login,
        login_is_faulty: section.is_faulty("login"),
    };
    let backfill = section.table("backfill", |section| backfill::read(section, &around));
    Pbx {
        name: Arc::from(name),
        dialect,
        topics,
        tenants,
        extensions,
        queues,
        login,
        no_backfill: backfill.as_ref().err().copied(),
        backfill: backfill.ok(),
        wsi,
        webhook: read_webhook(section, name, wsi),
        tls: read_tls(section, &url),
        url,
        connect_timeout: section.duration("connect_timeout", Duration::from_secs(10), SHORT),
        ping_interval: section.duration("ping_interval", Duration::from_secs(30), SHORT),
        ping_timeout: section.duration("ping_timeout", Duration::from_secs(10), SHORT),
        reconnect: section.table("reconnect", read_reconnect),
        max_frame: read_max_frame(section),
    }
}

/// Nobody asks there.
fn nowhere() -> Url {
    Url::parse("wss://nowhere.invalid/").expect("a constant URL is valid")
}

fn read_webhook(section: &mut Section, name: &str, wsi: bool) -> Option<Webhook> {
    let webhook = section.optional_table("webhook", |section| webhook::read(name, section));
    if !wsi && webhook.is_none() {
        let message = "\"wsi\" is off and there is no [pbx.NAME.webhook]: there is nothing to listen to; add one of them";
        section.problem("wsi", message);
    }
    if !wsi && section.has("topics") {
        section.warn(
            "topics",
            "\"topics\" has no effect without \"wsi\"; what the webhook posts is chosen in the PBX",
        );
    }
    webhook
}

fn read_url(section: &mut Section, dialect: Dialect) -> Url {
    let mut url = section.required_url("url", &["wss", "ws"], "\"wss://HOST:8887/wsi\"");
    if section.is_faulty("url") {
        return url;
    }
    if !section.peek("url").is_some_and(address::names_a_port) {
        let port = if dialect == Dialect::V22 { 8887 } else { 8885 };
        url.set_port(Some(port)).expect("a ws URL has a host and takes a port");
    }
    if url.scheme() == "ws" && !address::is_loopback(&url) {
        section.warn("url", "ws:// sends the password unencrypted over the network; use wss://");
    }
    if dialect == Dialect::V22 && url.path() == "/" {
        section.warn("url", "the URL has no path; PBXs of dialect 22 answer at /wsi");
    }
    url
}

fn read_tls(section: &mut Section, url: &Url) -> Tls {
    let scheme = if url.scheme() == "ws" { "ws" } else { "wss" };
    section.table("tls", |tls| tls::read(tls, scheme))
}

fn read_reconnect(section: &mut Section) -> Reconnect {
    let longest = Duration::from_secs(24 * 3600);
    let max = section.duration("max", Duration::from_secs(60), *SHORT.start()..=longest);
    let default = Duration::from_secs(1).min(max);
    let initial = section.duration("initial", default, *SHORT.start()..=longest);
    if initial > max && !section.has_faults() {
        section.problem("initial", "\"initial\" must not be longer than \"max\"; raise max");
    }
    Reconnect { initial, max }
}

fn read_max_frame(section: &mut Section) -> usize {
    let size = section.size("max_frame", 4 << 20, 64 << 10..=64 << 20);
    usize::try_from(size).expect("at most 64 MiB fit into usize")
}

fn read_topics(section: &mut Section, dialect: Dialect, selectors: &Selectors) -> Vec<Topic> {
    let names = section.strings("topics").unwrap_or_else(|| vec!["cdr_events".to_owned()]);
    check_topic_list(section, &names);
    let topics: Vec<Topic> =
        names.iter().filter_map(|name| read_topic(section, name, dialect, selectors)).collect();
    warn_unused(section, &topics, selectors);
    topics
}

fn check_topic_list(section: &mut Section, names: &[String]) {
    if names.is_empty() && !section.is_faulty("topics") {
        section.problem("topics", "\"topics\" is empty; leave it out for [\"cdr_events\"]");
    }
    for (position, name) in names.iter().enumerate() {
        if names[..position].contains(name) {
            section.problem("topics", format!("topic {name:?} is listed twice; remove one"));
        }
    }
    let globals = names.iter().filter(|name| topics::is_global(name)).count();
    if globals > 0 && globals < names.len() {
        section.warn(
            "topics",
            "global_* and tenant topics over one connection can make each other fail on PBXs \
             before 22.3.23; give each kind its own [pbx.NAME] table",
        );
    }
}

fn read_topic(
    section: &mut Section,
    name: &str,
    dialect: Dialect,
    selectors: &Selectors,
) -> Option<Topic> {
    match topics::resolve(name, dialect, selectors) {
        Resolved::Known(topic) => Some(topic),
        Resolved::Unknown(topic) => {
            section.warn("topics", unknown_topic(name, dialect));
            Some(topic)
        }
        Resolved::NeedsSelector(key) => {
            if !section.is_faulty(key) {
                section.problem("topics", needs_selector(name, key));
            }
            None
        }
    }
}

fn unknown_topic(name: &str, dialect: Dialect) -> String {
    let near = nearest(name, &topics::names(dialect))
        .map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
    format!("topic {name:?} is not documented for dialect {dialect}; it is sent as it is{near}")
}

fn needs_selector(name: &str, key: &str) -> String {
    let example = SELECTORS.iter().find(|(k, _)| *k == key).map_or("", |(_, example)| example);
    format!("topic {name:?} needs \"{key}\"; add {key} = [{example}]")
}

fn warn_unused(section: &mut Section, topics: &[Topic], selectors: &Selectors) {
    for (key, values) in selectors {
        let used = topics.iter().flat_map(|topic| &topic.selectors).any(|(used, _)| used == key);
        if !values.is_empty() && !used {
            section.warn(key, format!("no topic of this PBX takes \"{key}\"; it is not sent"));
        }
    }
}
