//! `config.example.toml` is loadable, complete and true.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeTable;

use super::*;
use crate::config::load::read_root;
use crate::config::reading::Reading;

const EXAMPLE: &str = include_str!("../../../config.example.toml");

/// A file as NATS's tools write it. Nobody lets this user in.
const CREDENTIALS: &str = "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\nSUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n------END USER NKEY SEED------\n";

const NKEY: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

/// What the example refers to.
fn environment() -> Environment {
    Environment::empty()
        .with_variable("CREDENTIALS_DIRECTORY", "/c")
        .with_variable("FRONT_DESK_PASSWORD", "p")
        .with_file("/c/pbx-hq", "p")
        .with_file("/c/pbx-branch", "p")
        .with_file("/c/pbx-warehouse", "p")
        .with_file("/c/pbx-museum", "p")
        .with_file("/c/billing", "p")
        .with_file("/c/admin", "p")
        .with_file("/c/billing-database", "p")
        .with_program("/usr/local/bin/bill")
        .with_file("/c/mask", "0123456789abcdef")
        .with_file("/c/erp", "p")
        .with_file("/c/crm-key", "p")
        .with_file("/c/nats-creds", CREDENTIALS)
        .with_file("/c/calls", "p")
        .with_file("/c/kafka", "p")
        .with_file("/c/nats-token", "p")
        .with_file("/c/nats-password", "p")
        .with_file("/c/nats-nkey", NKEY)
        .with_file("/etc/cdrd/nats-ca.pem", CERTIFICATE)
        .with_file("/c/crm-hook", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .with_file("/etc/cdrd/crm-ca.pem", CERTIFICATE)
        .with_file("/etc/cdrd/cdrd.pem", CERTIFICATE)
        .with_file("/etc/cdrd/cdrd-key.pem", KEY)
        .with_file("/etc/cdrd/admin-password", "p")
        .with_file("/etc/cdrd/webhook-token", "p")
        .with_file("/etc/cdrd/crm-token", "p")
        .with_file("/etc/cdrd/pbx-ca.pem", CERTIFICATE)
}

/// Without the sink that this build does not have.
fn built() -> impl Iterator<Item = &'static str> {
    let mut here = true;
    EXAMPLE.lines().filter(move |line| {
        if line.starts_with("# A topic of Apache Kafka") {
            here = cfg!(feature = "kafka");
        } else if line.starts_with("# A PostgreSQL database") {
            here = true;
        }
        here
    })
}

/// The example with every setting that is commented out put into force.
fn with_every_setting() -> String {
    let setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let lines = built().map(|line| if setting(line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_loads_as_it_is_without_a_warning() {
    let config = Config::parse("config.example.toml", EXAMPLE, &environment()).unwrap();
    assert_eq!(config.warnings, [] as [&str; 0]);
    assert_eq!((config.pbxs.len(), config.sinks.len()), (1, 1));
}

#[test]
fn the_example_loads_with_every_setting_in_force() {
    let text = with_every_setting();
    let config = Config::parse("config.example.toml", &text, &environment()).unwrap();
    assert_eq!(
        (config.pbxs.len(), config.sinks.len()),
        (7, 13 + usize::from(cfg!(feature = "kafka")))
    );
    // The last resort is shown, so it warns; nothing else does.
    assert_eq!(config.warnings.len(), 1, "{:#?}", config.warnings);
    assert!(config.warnings[0].contains("insecure_skip_verify"));
}

/// The values that the example calls defaults are the defaults.
#[test]
fn settings_that_are_commented_out_in_the_first_tables_are_the_defaults() {
    let plain = Config::parse("e", EXAMPLE, &environment()).unwrap();
    let full = Config::parse("e", &with_every_setting(), &environment()).unwrap();
    let without_ca = Tls { ca_file: None, ..full.pbxs[0].tls.clone() };
    let full_pbx = Pbx { tls: without_ca, ..full.pbxs[0].clone() };
    assert_eq!(format!("{:?}", plain.pbxs[0]), format!("{full_pbx:?}"));
    let path = plain.journal.path.clone();
    let full_journal = Journal { path, ..full.journal };
    assert_eq!(format!("{:?}", plain.journal), format!("{full_journal:?}"));
    let archive = |config: &Config| format!("{:?}", config.sinks[0].settings);
    assert_eq!(archive(&plain), archive(&full));
    let bare = "[pbx.a]\nurl = \"wss://h/wsi\"\nlogin = { username = \"u\", password = \"p\" }\n[sink.bill]\ntype = \"exec\"\ncommand = [\"/usr/local/bin/bill\", \"--tenant\", \"main\"]\n[sink.collector]\ntype = \"socket\"\naddress = \"tcp://collector.example.com:5170\"\n[sink.calls]\ntype = \"postgres\"\nurl = \"postgres://u@localhost/d\"\n";
    let sinks = |config: &Config| {
        config
            .sinks
            .iter()
            .filter_map(|sink| match &sink.settings {
                crate::sink::Settings::Exec(exec) => {
                    Some(format!("{:?} {:?}", exec.stop_timeout, exec.lines))
                }
                crate::sink::Settings::Socket(socket) => {
                    Some(format!("{:?} {:?}", socket.connect_timeout, socket.lines))
                }
                #[cfg(feature = "postgres")]
                crate::sink::Settings::Postgres(postgres) => {
                    let (times, batch) = (postgres.connect_timeout, postgres.batch);
                    let names = &postgres.names.table;
                    let (limit, retry) = (postgres.timeout, postgres.retry);
                    Some(format!("{times:?} {limit:?} {batch} {names} {retry:?}"))
                }
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let shown = sinks(&full).join("\n").replace("Some(86400s)", "None");
    assert_eq!(shown, sinks(&parse(bare).unwrap()).join("\n"));
    let crm = "[pbx.a]\nurl = \"wss://h/wsi\"\nlogin = { username = \"u\", password = \"p\" }\n[sink.crm]\ntype = \"http\"\nurl = \"https://h/\"\n";
    let (crate::sink::Settings::Http(shown), crate::sink::Settings::Http(default)) =
        (full.sinks[2].settings.clone(), parse(crm).unwrap().sinks.remove(0).settings)
    else {
        panic!("the third sink of the example is of type http")
    };
    assert_eq!(
        (shown.timeout, shown.retry, shown.encoder.format(), shown.batch, shown.in_flight),
        (
            default.timeout,
            default.retry,
            default.encoder.format(),
            default.batch,
            default.in_flight
        )
    );
}

#[test]
fn the_example_shows_every_key_that_the_reader_knows() {
    let (text, environment) = (with_every_setting(), environment());
    let reading = Reading::new(&text, &environment);
    let (table, _) = DeTable::parse_recoverable(&text);
    let config = read_root(super::super::Section::root(&reading, table.get_ref()));
    let types: BTreeMap<String, &str> =
        config.sinks.iter().map(|sink| (sink.name.to_string(), kind(&sink.settings))).collect();
    let (mut known, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for (path, keys) in reading.known.borrow().iter() {
        for key in keys {
            let place = (general(path, key, &types), *key);
            known.insert(place.clone());
            if is_present(table.get_ref(), path, key) {
                shown.insert(place);
            }
        }
    }
    let missing: Vec<_> = known.difference(&shown).collect();
    assert!(missing.is_empty(), "the example does not show {missing:?}");
    assert!(known.len() > 50, "only {} keys were asked for", known.len());
}

fn kind(settings: &crate::sink::Settings) -> &'static str {
    match settings {
        crate::sink::Settings::Exec(_) => "exec",
        crate::sink::Settings::File(_) => "file",
        crate::sink::Settings::Http(_) => "http",
        #[cfg(feature = "kafka")]
        crate::sink::Settings::Kafka(_) => "kafka",
        #[cfg(feature = "postgres")]
        crate::sink::Settings::Postgres(_) => "postgres",
        crate::sink::Settings::Socket(_) => "socket",
        #[cfg(feature = "nats")]
        crate::sink::Settings::Nats(_) => "nats",
        crate::sink::Settings::Stdout(_) => "stdout",
    }
}

/// The keys that all sinks have.
const COMMON: &[&str] = &["type", "events", "pbx", "where", "start", "mask", "mask_key"];

/// A path without the names that the example chose; secrets are the same
/// everywhere, and so are the keys that all sinks have.
fn general(path: &str, key: &str, types: &BTreeMap<String, &str>) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        [
            ..,
            "password" | "bearer" | "token" | "mask_key" | "signing_secret" | "nkey"
            | "credentials",
        ]
        | [.., "headers", _]
        | ["sink", _, "env", _] => "secret".to_owned(),
        ["sink", _, "tls"] => "pbx.*.tls".to_owned(),
        ["pbx", _, "webhook", rest @ ..] if rest != ["tls"] && !rest.is_empty() => {
            format!("sink.http.{}", rest.join("."))
        }
        ["pbx", _, rest @ ..] => format!("pbx.*.{}", rest.join(".")),
        ["sink", _] if COMMON.contains(&key) => "sink.*".to_owned(),
        ["sink", _, "where" | "mask"] => format!("sink.*.{}", parts[2]),
        ["sink", name, rest @ ..] => format!("sink.{}.{}", types[*name], rest.join(".")),
        _ => path.to_owned(),
    }
}

fn is_present(root: &DeTable<'_>, path: &str, key: &str) -> bool {
    let mut table = root;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        match table.get(part).and_then(|value| value.get_ref().as_table()) {
            Some(inner) => table = inner,
            None => return false,
        }
    }
    table.contains_key(key)
}
