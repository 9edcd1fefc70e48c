//! What a file without a fault becomes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::sink::filter::Filter;
use crate::sink::format::Format;
use crate::sink::http::Auth;
use crate::sink::{Settings, stdout};

fn one_pbx(lines: &str) -> Pbx {
    parse(&format!("{PBX}{lines}\n{SINK}")).unwrap().pbxs.remove(0)
}

fn one_sink(lines: &str) -> Sink {
    parse(&format!("{PBX}[sink.crm]\n{lines}\n")).unwrap().sinks.remove(0)
}

fn topic(name: &str, selectors: &[(&'static str, &str)]) -> Topic {
    let selectors = selectors.iter().map(|(key, value)| (*key, vec![(*value).to_owned()]));
    Topic { name: name.to_owned(), selectors: selectors.collect() }
}

#[test]
fn a_minimal_pbx_gets_every_default() {
    let pbx = one_pbx("");
    assert_eq!((&*pbx.name, pbx.dialect), ("hq", Dialect::V22));
    assert_eq!(pbx.url.as_str(), "wss://pbx.example.com:8887/wsi");
    assert_eq!(pbx.topics, [topic("cdr_events", &[])]);
    let user = Who::User { username: "cdr".into(), domain: "example.com".into() };
    assert_eq!((pbx.login.who, pbx.login.password.reveal()), (user, "hunter2"));
    assert_eq!(pbx.tls, Tls::default());
    assert_eq!(pbx.connect_timeout, Duration::from_secs(10));
    assert_eq!(pbx.ping_interval, Duration::from_secs(30));
    assert_eq!(pbx.ping_timeout, Duration::from_secs(10));
    let reconnect = Reconnect { initial: Duration::from_secs(1), max: Duration::from_secs(60) };
    assert_eq!(pbx.reconnect, reconnect);
    assert_eq!(pbx.max_frame, 4 << 20);
    let backfill = pbx.backfill.unwrap();
    assert_eq!(backfill.url.as_str(), "https://pbx.example.com:8887/api");
    assert_eq!(backfill.lookback, Duration::from_secs(6 * 3600));
    assert_eq!(backfill.settle, Duration::from_secs(30));
    assert_eq!(backfill.reconcile_every, Duration::from_secs(3600));
    assert_eq!(backfill.requests_per_minute, 60);
    let account = Account {
        username: "cdr".into(),
        domain: Some("example.com".into()),
        password: Secret::new("hunter2"),
    };
    assert_eq!(backfill.account, account);
}

#[test]
fn there_is_a_backfill_where_rest_is_documented_and_wanted_and_a_user_can_ask() {
    let pbx = |dialect: &str, login: &str, lines: &str| {
        let text = format!(
            "[pbx.a]\nurl = \"wss://h:1/wsi\"\ndialect = \"{dialect}\"\nlogin = {{ {login}, password = \"p\" }}\n{lines}\n{SINK}"
        );
        let pbx = parse(&text).unwrap().pbxs.remove(0);
        (pbx.backfill.map(|backfill| backfill.url.to_string()), pbx.no_backfill)
    };
    let (user, desk) =
        ("username = \"u\", domain = \"d\"", "extension_number = \"1\", domain = \"d\"");
    let url = Some("https://h:1/api".to_owned());
    assert_eq!(pbx("22", user, ""), (url.clone(), None));
    assert_eq!(pbx("22", user, "backfill.enabled = false"), (None, Some(NoBackfill::Disabled)));
    assert_eq!(pbx("16", user, ""), (None, Some(NoBackfill::Dialect(Dialect::V16))));
    assert_eq!(pbx("12", "name = \"n\"", ""), (None, Some(NoBackfill::Dialect(Dialect::V12))));
    assert_eq!(pbx("22", desk, ""), (None, Some(NoBackfill::NoUserName)));
    assert_eq!(pbx("22", desk, "backfill.enabled = false"), (None, Some(NoBackfill::Disabled)));
    let own = "backfill.login = { username = \"u\", password = \"p\" }";
    assert_eq!(pbx("22", desk, own), (url, None));
    let plain = parse(&format!(
        "[pbx.a]\nurl = \"ws://[::1]:1/wsi\"\nlogin = {{ username = \"u\", password = \"p\" }}\n{SINK}"
    ));
    let plain = plain.unwrap().pbxs.remove(0).backfill.unwrap();
    assert_eq!(plain.url.as_str(), "http://[::1]:1/api");
}

#[test]
fn the_port_follows_the_dialect_unless_the_url_names_one() {
    let port = |url: &str, dialect: &str, login: &str| {
        let text = format!(
            "[pbx.a]\nurl = \"{url}\"\ndialect = \"{dialect}\"\nlogin = {{ {login}, password = \"p\" }}\n{SINK}"
        );
        parse(&text).unwrap().pbxs[0].url.port_or_known_default()
    };
    assert_eq!(port("wss://h/wsi", "22", "username = \"u\""), Some(8887));
    assert_eq!(port("ws://127.0.0.1/wsi", "22", "username = \"u\""), Some(8887));
    assert_eq!(port("wss://h", "16", "username = \"u\", domain = \"d\""), Some(8885));
    assert_eq!(port("wss://[::1]", "12", "name = \"n\""), Some(8885));
    assert_eq!(port("wss://h:443/wsi", "22", "username = \"u\""), Some(443));
    assert_eq!(port("wss://h:9443/wsi", "22", "username = \"u\""), Some(9443));
}

#[test]
fn every_documented_login_is_taken() {
    let who = |dialect: &str, identity: &str| {
        let text = format!(
            "[pbx.a]\nurl = \"wss://h/wsi\"\ndialect = \"{dialect}\"\nlogin = {{ {identity}, password = \"p\" }}\n{SINK}"
        );
        parse(&text).unwrap().pbxs.remove(0).login.who
    };
    let (username, domain) = ("u".to_owned(), "d".to_owned());
    let (extension, name) = ("101".to_owned(), "n".to_owned());
    let user = Who::User { username: username.clone(), domain: domain.clone() };
    assert_eq!(who("22", "username = \"u\""), Who::Administrator { username });
    assert_eq!(who("22", "username = \"u\", domain = \"d\""), user);
    assert_eq!(who("16", "username = \"u\", domain = \"d\""), user);
    assert_eq!(
        who("22", "extension_number = \"101\", domain = \"d\""),
        Who::ExtensionNumber { extension_number: extension.clone(), domain: domain.clone() }
    );
    assert_eq!(
        who("12", "extension = \"101\", domain = \"d\""),
        Who::Extension { extension, domain }
    );
    assert_eq!(who("12", "name = \"n\""), Who::Tenant { name });
}

#[test]
fn topics_carry_their_selectors() {
    let pbx = one_pbx(
        "topics = [\"queue_events\", \"extension_events\", \"new_events\"]\nqueues = [\"8000\"]\nextensions = [\"0101\"]",
    );
    let expected = [
        topic("queue_events", &[("queues", "8000")]),
        topic("extension_events", &[("extensions", "0101")]),
        topic("new_events", &[("extensions", "0101"), ("queues", "8000")]),
    ];
    assert_eq!(pbx.topics, expected);
}

#[test]
fn pbxs_and_sinks_keep_the_order_of_the_file() {
    let login = "login = { username = \"u\", password = \"p\" }";
    let text = format!(
        "[sink.z]\ntype = \"stdout\"\n[pbx.z]\nurl = \"wss://h/wsi\"\n{login}\n[sink.a]\ntype = \"stdout\"\n[pbx.a]\nurl = \"wss://h/wsi\"\n{login}\n"
    );
    let config = parse(&text).unwrap();
    assert_eq!(config.pbxs.iter().map(|pbx| &*pbx.name).collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!(config.sinks.iter().map(|sink| &*sink.name).collect::<Vec<_>>(), ["z", "a"]);
}

#[test]
fn secrets_come_from_every_source_without_their_line_end() {
    let text = "[pbx.a]\nurl = \"wss://h/wsi\"\nlogin = { username = \"u\", password = { file = \"/secret\" } }\n[pbx.b]\nurl = \"wss://h/wsi\"\nlogin = { username = \"u\", password = { env = \"SECRET\" } }\n[pbx.c]\nurl = \"wss://h/wsi\"\nlogin = { username = \"u\", password = { credential = \"pbx\" } }\n[sink.out]\ntype = \"stdout\"\n";
    let environment = Environment::empty()
        .with_file("/secret", " from file \n")
        .with_variable("SECRET", "from env")
        .with_variable("CREDENTIALS_DIRECTORY", "/run/credentials/cdrd")
        .with_file("/run/credentials/cdrd/pbx", "from credential\r\n");
    let config = Config::parse("cdrd.toml", text, &environment).unwrap();
    let secrets: Vec<_> = config.pbxs.iter().map(|pbx| pbx.login.password.reveal()).collect();
    assert_eq!(secrets, [" from file ", "from env", "from credential"]);
    assert!(!format!("{config:?}").contains("from file"));
}

#[test]
fn the_journal_is_where_systemd_says() {
    let path = |variable: Option<&str>, lines: &str| {
        let environment = Environment::empty();
        let environment = match variable {
            Some(value) => environment.with_variable("STATE_DIRECTORY", value),
            None => environment,
        };
        let text = format!("{PBX}{SINK}[journal]\n{lines}\n");
        Config::parse("cdrd.toml", &text, &environment).unwrap().journal.path
    };
    assert_eq!(path(None, ""), PathBuf::from("./cdrd.db"));
    assert_eq!(path(Some(""), ""), PathBuf::from("./cdrd.db"));
    assert_eq!(path(Some("/var/lib/cdrd"), ""), PathBuf::from("/var/lib/cdrd/journal.db"));
    assert_eq!(path(Some("/a:/b"), ""), PathBuf::from("/a/journal.db"));
    assert_eq!(path(Some("/a"), "path = \"x.db\""), PathBuf::from("x.db"));
}

#[test]
fn the_journal_has_defaults_without_a_table() {
    let journal = parse(&format!("{PBX}{SINK}")).unwrap().journal;
    assert_eq!(journal.retention, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(journal.max_size, 2 << 30);
    assert_eq!(journal.when_full, WhenFull::Pause);
}

#[test]
fn a_minimal_sink_gets_every_default() {
    let sink = one_sink("type = \"stdout\"");
    assert_eq!((&*sink.name, sink.start), ("crm", Start::Now));
    assert_eq!(sink.filter, Filter::default());
    let Settings::Stdout(stdout::Settings { encoder }) = sink.settings else { panic!() };
    assert_eq!(encoder.format(), Format::CloudEvents);
}

#[test]
fn the_keys_common_to_all_sinks_are_read() {
    let sink = one_sink(
        "type = \"stdout\"\nevents = [\"call_cdr\", \"cdr_*\"]\npbx = [\"hq\"]\nstart = \"beginning\"\nformat = \"raw\"",
    );
    assert_eq!(sink.filter.patterns, ["call_cdr", "cdr_*"]);
    assert_eq!(sink.filter.pbxs, BTreeSet::from(["hq".to_owned()]));
    assert_eq!(sink.start, Start::Beginning);
    let Settings::Stdout(stdout::Settings { encoder }) = sink.settings else { panic!() };
    assert_eq!(encoder.format(), Format::Raw);
}

#[test]
fn a_file_sink_keeps_its_template() {
    let sink = one_sink("type = \"file\"\npath = \"cdr-%Y%%.jsonl\"");
    let Settings::File(settings) = sink.settings else { panic!() };
    assert_eq!((settings.path.as_str(), settings.fsync), ("cdr-%Y%%.jsonl", true));
    assert_eq!(settings.encoder.format(), Format::CloudEvents);
    assert_eq!(*settings.encoder.zone(), jiff::tz::TimeZone::UTC);
}

#[test]
fn an_http_sink_gets_every_default() {
    let sink = one_sink("type = \"http\"\nurl = \"https://crm.example.com/cdr?a=b\"");
    let Settings::Http(settings) = sink.settings else { panic!() };
    let urls: Vec<_> = settings.endpoints.iter().map(|e| e.url().as_str()).collect();
    assert_eq!(urls, ["https://crm.example.com/cdr?a=b"]);
    assert!(settings.headers.is_empty() && settings.auth.is_none() && settings.keys.is_empty());
    assert_eq!((settings.batch, settings.in_flight), (1, 1));
    assert_eq!(settings.tls, Tls::default());
    assert_eq!(settings.timeout, Duration::from_secs(15));
    assert_eq!(settings.retry.initial, Duration::from_secs(1));
    assert_eq!(settings.retry.max, Duration::from_secs(300));
    assert_eq!(settings.retry.give_up_after, Some(Duration::from_secs(24 * 3600)));
    assert_eq!(settings.encoder.format(), Format::Raw);
}

#[test]
fn an_http_sink_hides_tokens_and_headers_in_debug_output() {
    let sink = one_sink(
        "type = \"http\"\nurl = \"https://h/?token=hunter4\"\nfallback_urls = [\"https://h/2?token=hunter4\"]\nheaders = { X-Key = \"hunter3\" }\nauth = { bearer = \"hunter2\" }\nsigning_secret = \"hunter5hunter5hunter5hunter5hunter5hunte\"",
    );
    assert!(!format!("{sink:?}").contains("hunter"), "{sink:?}");
    let Settings::Http(settings) = sink.settings else { panic!() };
    let sink = settings.open().unwrap();
    assert!(!format!("{sink:?}").contains("hunter"), "{sink:?}");
    assert_eq!(settings.headers["x-key"], "hunter3");
    assert_eq!(settings.auth, Some(Auth::Bearer(Secret::new("hunter2"))));
}

#[test]
fn a_command_without_secrets_reads_a_sink_that_has_many() {
    let text = format!(
        "{PBX}[sink.crm]\ntype = \"http\"\nurl = \"https://h/\"\nheaders = {{ X-Key = {{ file = \"/a\" }} }}\n\
         signing_secret = [{{ file = \"/b\" }}, {{ credential = \"c\" }}]\n\
         auth = {{ digest = {{ username = \"u\", password = {{ env = \"D\" }} }} }}\n\
         tls = {{ cert_file = \"/cert.pem\", key_file = \"/key.pem\" }}\n"
    );
    let environment = Environment::empty().with_file("/cert.pem", CERTIFICATE).without_secrets();
    let config = Config::parse("cdrd.toml", &text, &environment).unwrap();
    assert_eq!(config.sinks.len(), 1);
}

#[test]
fn deep_nesting_overflows_nothing() {
    for (open, close) in [("[", "]"), ("{ a = ", "}"), ("a.", "b = 1")] {
        for depth in [10, 1_000, 100_000] {
            let nested = format!("{}{}", open.repeat(depth), close.repeat(depth));
            assert!(parse(&nested).is_err());
            assert!(parse(&format!("a = {nested}\n{PBX}{SINK}")).is_err());
            assert!(parse(&format!("[{}]", open.repeat(depth))).is_err());
        }
    }
}

#[test]
fn whole_numbers_are_read_within_their_bounds() {
    let text = "a = 5\nb = 7\nc = -1\nd = 0x6\ne = \"hunter\"\nf = 1.0";
    let environment = Environment::empty();
    let reading = reading::Reading::new(text, &environment);
    let table = toml::de::DeTable::parse(text).unwrap();
    let mut section = Section::root(&reading, table.get_ref());
    let read = ["a", "b", "c", "d", "e", "f", "g"].map(|key| section.integer(key, 0, 1..=6));
    assert_eq!(read, [5, 0, 0, 6, 0, 0, 0]);
    let told: Vec<_> = reading.problems.take().into_iter().map(|p| p.message).collect();
    let wanted = "must be a whole number from 1 to 6, found";
    assert_eq!(
        told,
        [
            format!("\"b\" {wanted} the integer 7"),
            format!("\"c\" {wanted} the integer -1"),
            format!("\"e\" {wanted} the string \"hunter\""),
            format!("\"f\" {wanted} the float 1.0"),
        ]
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text: String) {
        let _ = parse(&text);
    }

    #[test]
    fn no_text_made_of_toml_makes_the_reader_panic(
        parts in prop::collection::vec(prop::sample::select(PARTS), 0..30)
    ) {
        let _ = parse(&parts.concat());
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(
        at: prop::sample::Index, length in 0..40usize, part in prop::sample::select(PARTS)
    ) {
        let mut text: Vec<char> = include_str!("../../../config.example.toml").chars().collect();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, part.chars());
        let _ = parse(&text.into_iter().collect::<String>());
    }
}

/// Pieces from which files are made that are TOML in part.
const PARTS: &[&str] = &[
    "[pbx.a]\n",
    "[pbx.a.tls]\n",
    "[[pbx]]\n",
    "[pbx]\n",
    "[sink.b]\n",
    "[sink.\"\"]\n",
    "[journal]\n",
    "[sink.b.auth]\n",
    "pbx.a.url = ",
    "url = ",
    "login = ",
    "type = ",
    "tls = ",
    "password = ",
    "topics = ",
    "events = ",
    "headers = ",
    "reconnect = ",
    "max_size = ",
    "path = ",
    "auth = ",
    "\"wss://h\"",
    "\"http\"",
    "\"file\"",
    "\"stdout\"",
    "\"30s\"",
    "\"é\\u0000\"",
    "'%'",
    "5",
    "-1",
    "1.5",
    "true",
    "1979-05-27",
    "[\"a\"]",
    "[",
    "]",
    "{ }",
    "{ a = 1 }",
    "{ username = \"u\" }",
    "{ password = { env = \"X\" } }",
    "{",
    "}",
    "\n",
    "\n",
    "\n",
    " ",
    ".",
    "=",
    "\"",
    "#",
    "\u{feff}",
];

#[test]
fn a_command_that_reads_no_secrets_accepts_a_mask_whose_key_it_does_not_know() {
    let lines = "[sink.out]\ntype = \"stdout\"\nmask = { caller = \"hash\" }\nmask_key = { credential = \"mask\" }\n";
    let text = format!("{PBX}{lines}");
    Config::parse("c", &text, &Environment::empty().without_secrets()).unwrap();
    Config::parse("c", &text, &Environment::empty()).unwrap_err();
}
