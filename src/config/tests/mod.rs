//! Tests of the whole way from text to configuration; pure parts are tested where they are.

mod admin;
mod example;
mod fingerprints;
mod lines;
mod load;
mod messages;
#[cfg(feature = "nats")]
mod nats;
mod results;
mod samples;

use super::*;

/// A PBX without a fault, for tests about something else.
const PBX: &str = r#"
[pbx.hq]
url = "wss://pbx.example.com/wsi"
login = { username = "cdr", domain = "example.com", password = "hunter2" }
"#;

/// A sink without a fault, for tests about something else.
const SINK: &str = r#"
[sink.out]
type = "stdout"
"#;

/// A CA file as far as the reader looks at it.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// A private key as far as the reader looks at it.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("cdrd.toml", text, &Environment::empty())
}

/// What an operator reads about a faulty text.
fn mistakes(text: &str) -> String {
    let told = parse(text).expect_err("the text is faulty").to_string();
    assert!(!told.contains("hunter2"), "a secret is shown: {told}");
    told
}

/// The same for lines added to a PBX without a fault, whose last line is the fourth.
fn pbx_mistakes(lines: &str) -> String {
    mistakes(&format!("{PBX}{lines}\n{SINK}"))
}

/// The same for lines of a sink; the first is the sixth of the file.
fn sink_mistakes(lines: &str) -> String {
    let told = mistakes(&format!("{PBX}[sink.crm]\n{lines}\n"));
    // Not in every build.
    told.replace("\"kafka\", ", "")
}

/// The warnings of a text without a fault.
fn warnings(text: &str) -> String {
    parse(text).expect("the text has no fault").warnings.join("\n")
}
