//! What an operator reads.

use insta::assert_snapshot;

use super::*;

#[test]
fn an_unknown_key_is_told_with_the_nearest_one() {
    assert_snapshot!(pbx_mistakes("ping_intervall = \"30s\""), @r#"cdrd.toml:5: pbx.hq: unknown key "ping_intervall"; did you mean "ping_interval"?"#);
}

#[test]
fn an_unknown_key_far_from_all_is_told_with_the_valid_ones() {
    assert_snapshot!(mistakes(&format!("banana = 1\n{PBX}{SINK}")), @r#"cdrd.toml:1: unknown key "banana"; known here: "pbx", "sink", "journal", "admin", "log""#);
}

#[test]
fn an_unknown_key_in_an_inline_table_is_told_with_its_path() {
    assert_snapshot!(pbx_mistakes("reconnect = { inital = \"1s\" }"), @r#"cdrd.toml:5: pbx.hq.reconnect: unknown key "inital"; did you mean "initial"?"#);
}

#[test]
fn a_wrong_type_is_told_with_what_was_found() {
    let lines = "type = \"file\"\npath = 5\nfsync = \"yes\"\nevents = \"call_cdr\"\npbx = [1]\nformat = [\"raw\"]";
    assert_snapshot!(sink_mistakes(lines), @r#"
    cdrd.toml:7: sink.crm: "path" must be a path in quotes, found the integer 5
    cdrd.toml:8: sink.crm: "fsync" must be true or false, found the string "yes"
    cdrd.toml:9: sink.crm: "events" must be a list of strings like ["a", "b"], found the string "call_cdr"
    cdrd.toml:10: sink.crm: an element of "pbx" must be a string, found the integer 1
    cdrd.toml:11: sink.crm: "format" must be one of "cloudevents", "raw", "record", "csv", found a list
    5 problems in cdrd.toml
    "#);
}

#[test]
fn a_wrong_type_at_a_secret_does_not_show_it() {
    let text = "[pbx.a]\nurl = \"wss://h/wsi\"\nlogin = { username = \"u\", password = [\"hunter2\"] }\n[pbx.b]\nurl = [\"wss://u:hunter2@h/wsi\"]\nlogin = { username = \"u\", password = { file = [\"hunter2\"] } }\n[pbx.c]\nurl = \"wss://u:hunter2@h/wsi\"\nlogin = \"u:hunter2\"\n";
    assert_snapshot!(mistakes(&format!("{text}{SINK}")), @r#"
    cdrd.toml:3: pbx.a.login: "password" must be a secret: { credential = "NAME" }, { file = "/PATH" }, { env = "VARIABLE" } or a string, found a list
    cdrd.toml:5: pbx.b: "url" must be a URL in quotes, found a list
    cdrd.toml:6: pbx.b.login.password: "file" must be a path in quotes, found a list
    cdrd.toml:8: pbx.c: "url" must not carry a user name or password; give them in their own keys
    cdrd.toml:9: pbx.c: "login" must be a table, found a string
    5 problems in cdrd.toml
    "#);
}

#[test]
fn a_sink_without_type_is_told_the_types() {
    assert_snapshot!(sink_mistakes("url = \"https://h/\""), @r#"cdrd.toml:5: sink.crm: no "type"; one of "exec", "file", "http", "nats", "postgres", "socket", "stdout""#);
    assert_snapshot!(sink_mistakes("type = \"htpp\"\nurl = \"https://h/\""), @r#"cdrd.toml:6: sink.crm: "type" must be one of "exec", "file", "http", "nats", "postgres", "socket", "stdout", found the string "htpp"; did you mean "http"?"#);
    #[cfg(not(feature = "kafka"))]
    assert_snapshot!(sink_mistakes("type = \"kafka\""), @r#"cdrd.toml:6: sink.crm: "type" cannot be "kafka": this cdrd was built without it; build one with cargo build --release --features kafka"#);
    assert_snapshot!(sink_mistakes("type = 1"), @r#"cdrd.toml:6: sink.crm: "type" must be one of "exec", "file", "http", "nats", "postgres", "socket", "stdout", found the integer 1"#);
}

#[test]
fn two_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text =
        format!("{PBX}dialects = \"22\"\n[sink.crm]\ntype = \"stdout\"\nstart = \"later\"\n");
    assert_snapshot!(mistakes(&text), @r#"
    cdrd.toml:5: pbx.hq: unknown key "dialects"; did you mean "dialect"?
    cdrd.toml:8: sink.crm: "start" must be one of "now", "beginning", found the string "later"
    2 problems in cdrd.toml
    "#);
}

#[test]
fn syntax_is_told_with_line_and_column_and_without_content() {
    assert_snapshot!(mistakes("[pbx.hq]\nlogin = { password = \"hunter2 }\n"), @r#"
    cdrd.toml:2: column 32: not valid TOML: unclosed inline table, expected `}`
    cdrd.toml:2: column 32: not valid TOML: invalid basic string, expected `"`
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(mistakes("[journal]\nretention = 7d\n"), @"cdrd.toml:2: column 13: not valid TOML: string values must be quoted, expected literal string");
    assert_snapshot!(mistakes("[pbx.hq]\n[pbx.hq]\n"), @"cdrd.toml:2: column 6: not valid TOML: duplicate key");
    assert_snapshot!(mistakes("[pbx.hq\nurl = 5 5\n"), @"cdrd.toml:1: column 8: not valid TOML: unclosed table, expected `]`");
}

#[test]
fn a_bad_duration_is_told_with_examples() {
    assert_snapshot!(pbx_mistakes("ping_interval = \"30 seconds\""), @r#"cdrd.toml:5: pbx.hq: "ping_interval" is not a duration: "30 seconds"; write numbers with units (d, h, m, s, ms) and no spaces, like "30s", "1h30m" or "7d""#);
    assert_snapshot!(pbx_mistakes("ping_interval = 30"), @r#"cdrd.toml:5: pbx.hq: "ping_interval" must be a duration like "30s", found the integer 30"#);
    assert_snapshot!(pbx_mistakes("ping_interval = \"0s\""), @r#"cdrd.toml:5: pbx.hq: "ping_interval" must be from 1ms to 1h, found 0s"#);
    assert_snapshot!(pbx_mistakes("reconnect = { initial = \"2m\" }"), @r#"cdrd.toml:5: pbx.hq.reconnect: "initial" must not be longer than "max"; raise max"#);
}

#[test]
fn a_bad_size_is_told_with_examples_or_bounds() {
    assert_snapshot!(pbx_mistakes("max_frame = \"4M\""), @r#"cdrd.toml:5: pbx.hq: "max_frame" is not a size: "4M"; write a whole number with a unit (B, KB, MB, GB, KiB, MiB, GiB) and no space, like "100MiB""#);
    assert_snapshot!(pbx_mistakes("max_frame = \"1GiB\""), @r#"cdrd.toml:5: pbx.hq: "max_frame" must be from 64KiB to 64MiB, found 1GiB"#);
    assert_snapshot!(mistakes(&format!("[journal]\nmax_size = \"1B\"\n{PBX}{SINK}")), @r#"cdrd.toml:2: journal: "max_size" must be from 1MiB to 1024TiB, found 1B"#);
}

#[test]
fn a_secret_that_cannot_be_had_is_told_with_the_next_step() {
    let login = |source: &str| {
        format!(
            "[pbx.hq]\nurl = \"wss://h/wsi\"\nlogin = {{ username = \"u\", password = {source} }}\n{SINK}"
        )
    };
    assert_snapshot!(mistakes(&login("{ file = \"/nowhere/password\" }")), @"cdrd.toml:3: pbx.hq.login.password: cannot read the secret file /nowhere/password: no such file; create it, readable by the user that runs cdrd");
    assert_snapshot!(mistakes(&login("{ env = \"CDR_PASSWORD\" }")), @"cdrd.toml:3: pbx.hq.login.password: the environment variable CDR_PASSWORD is not set; set it for the service");
    assert_snapshot!(mistakes(&login("{ credential = \"pbx-hq\" }")), @r#"cdrd.toml:3: pbx.hq.login.password: CREDENTIALS_DIRECTORY is not set; add LoadCredential=pbx-hq:/PATH to the systemd unit, or use { file = "/PATH" } outside of systemd"#);
    assert_snapshot!(mistakes(&login("{ credential = \"../shadow\" }")), @r#"cdrd.toml:3: pbx.hq.login.password: must be a bare name, not a path; use "file" for a path"#);
    assert_snapshot!(mistakes(&login("{ env = \"A\", file = \"/b\" }")), @r#"cdrd.toml:3: pbx.hq.login.password: exactly one source is needed; write { credential = "NAME" }, { file = "/PATH" }, { env = "VARIABLE" } or a string"#);
    assert_snapshot!(mistakes(&login("{ }")), @r#"cdrd.toml:3: pbx.hq.login.password: exactly one source is needed; write { credential = "NAME" }, { file = "/PATH" }, { env = "VARIABLE" } or a string"#);
    assert_snapshot!(mistakes(&login("{ fiel = \"/b\" }")), @r#"cdrd.toml:3: pbx.hq.login.password: unknown key "fiel"; did you mean "file"?"#);
    assert_snapshot!(mistakes(&login("\"\"")), @r#"cdrd.toml:3: pbx.hq.login: "password" must not be empty; give it a value or remove it"#);
}

#[test]
fn an_empty_secret_is_told_with_its_source() {
    let text = "[pbx.hq]\nurl = \"wss://h/wsi\"\nlogin = { username = \"u\", password = { env = \"P\" } }\n[sink.crm]\ntype = \"http\"\nurl = \"https://h/\"\nauth = { bearer = { credential = \"crm\" } }\n";
    let environment = Environment::empty()
        .with_variable("P", "")
        .with_variable("CREDENTIALS_DIRECTORY", "/run/credentials/cdrd.service")
        .with_file("/run/credentials/cdrd.service/crm", "\r\n");
    assert_snapshot!(Config::parse("cdrd.toml", text, &environment).unwrap_err(), @r#"
    cdrd.toml:3: pbx.hq.login.password: the environment variable P is empty; put the secret into it
    cdrd.toml:7: sink.crm.auth.bearer: the secret file /run/credentials/cdrd.service/crm is empty; put the secret into it
    2 problems in cdrd.toml
    "#);
}

#[test]
fn an_unknown_pbx_in_a_sink_is_told_with_the_nearest_name() {
    assert_snapshot!(sink_mistakes("type = \"stdout\"\npbx = [\"hp\", \"elsewhere\"]"), @r#"
    cdrd.toml:7: sink.crm: an element of "pbx" names no [pbx.NAME] of this file: "hp"; did you mean "hq"?
    cdrd.toml:7: sink.crm: an element of "pbx" names no [pbx.NAME] of this file: "elsewhere"; known: "hq"
    2 problems in cdrd.toml
    "#);
}

#[test]
fn a_wrong_login_is_told_the_forms_of_its_dialect() {
    let login = |dialect: &str, identity: &str| {
        mistakes(&format!(
            "[pbx.hq]\nurl = \"wss://h/wsi\"\ndialect = \"{dialect}\"\nlogin = {{ {identity}password = \"hunter2\" }}\n{SINK}"
        ))
    };
    assert_snapshot!(login("22", "extension = \"101\", domain = \"d\", "), @"cdrd.toml:4: pbx.hq.login: dialect 22 has no login with domain + extension; besides password give username (system administrator), or username + domain, or extension_number + domain");
    assert_snapshot!(login("16", "username = \"u\", "), @"cdrd.toml:4: pbx.hq.login: dialect 16 has no login with username; besides password give username + domain");
    assert_snapshot!(login("12", "username = \"u\", domain = \"d\", "), @"cdrd.toml:4: pbx.hq.login: dialect 12 has no login with username + domain; besides password give extension + domain, or name (a tenant's)");
    assert_snapshot!(login("22", ""), @"cdrd.toml:4: pbx.hq.login: dialect 22 has no login without a name; besides password give username (system administrator), or username + domain, or extension_number + domain");
    assert_snapshot!(login("22", "user = \"u\", domain = \"d\", "), @r#"cdrd.toml:4: pbx.hq.login: unknown key "user"; known here: "username", "domain", "extension_number", "extension", "name", "password""#);
    assert_snapshot!(login("23", "name = \"n\", "), @r#"cdrd.toml:3: pbx.hq: "dialect" must be one of "22", "16", "12", found the string "23"; did you mean "22"?"#);
}

#[test]
fn a_topic_without_its_selector_is_told_the_key_to_add() {
    assert_snapshot!(pbx_mistakes("topics = [\"cdr_events\", \"queue_events\", \"global_cdr_events\"]"), @r#"
    cdrd.toml:5: pbx.hq: topic "queue_events" needs "queues"; add queues = ["8000"]
    cdrd.toml:5: pbx.hq: topic "global_cdr_events" needs "tenants"; add tenants = ["2817491724"]
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(pbx_mistakes("topics = [\"queue_events\"]\nqueues = [8000]"), @r#"cdrd.toml:6: pbx.hq: an element of "queues" must be a string, found the integer 8000"#);
}

#[test]
fn a_topic_list_that_means_nothing_is_refused() {
    assert_snapshot!(pbx_mistakes("topics = []"), @r#"cdrd.toml:5: pbx.hq: "topics" is empty; leave it out for ["cdr_events"]"#);
    assert_snapshot!(pbx_mistakes("topics = [\"cdr_events\", \"cdr_events\"]"), @r#"cdrd.toml:5: pbx.hq: topic "cdr_events" is listed twice; remove one"#);
}

#[test]
fn a_file_without_pbx_or_sink_is_told_what_to_add() {
    assert_snapshot!(mistakes(SINK), @"cdrd.toml: no [pbx.NAME]; add a table [pbx.NAME] with url and login: there is nothing to listen to");
    assert_snapshot!(mistakes(PBX), @"cdrd.toml: no [sink.NAME]; add a table [sink.NAME] with a type: there is nowhere to deliver to");
    assert_snapshot!(mistakes(""), @r#"
    cdrd.toml: no [pbx.NAME]; add a table [pbx.NAME] with url and login: there is nothing to listen to
    cdrd.toml: no [sink.NAME]; add a table [sink.NAME] with a type: there is nowhere to deliver to
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(mistakes("[pbx]\n[[sink]]\n"), @r#"
    cdrd.toml:1: no [pbx.NAME]; add a table [pbx.NAME] with url and login: there is nothing to listen to
    cdrd.toml:2: "sink" must be a table: write [sink.NAME]
    2 problems in cdrd.toml
    "#);
}

#[test]
fn a_table_without_its_name_is_told_where_the_name_goes() {
    assert_snapshot!(mistakes(&format!("[pbx]\nurl = \"wss://h/wsi\"\n{SINK}")), @r#"cdrd.toml:2: pbx.url: a table is expected here; write [pbx.NAME] on a line of its own and "url" below it"#);
}

#[test]
fn a_name_that_cannot_be_one_is_refused() {
    assert_snapshot!(mistakes(&format!("{PBX}[sink.\"my sink\"]\ntype = \"stdout\"\n")), @r#"cdrd.toml:5: sink.my sink: "my sink" cannot be a name; use 1 to 64 of the letters A-Z and a-z, digits, - and _"#);
}

#[test]
fn names_with_line_ends_and_terminal_codes_stay_on_their_line() {
    let text = "[pbx.\"a\\n\\u001B[2J\"]\nurl = \"wss://h/wsi\"\nlogin = { username = \"u\", password = { file = \"/a\\nb\" } }\n";
    assert_snapshot!(mistakes(&format!("{text}{SINK}")), @r#"
    cdrd.toml:1: pbx.a\n\u{1b}[2J: "a\n\u{1b}[2J" cannot be a name; use 1 to 64 of the letters A-Z and a-z, digits, - and _
    cdrd.toml:3: pbx.a\n\u{1b}[2J.login.password: cannot read the secret file /a\nb: no such file; create it, readable by the user that runs cdrd
    2 problems in cdrd.toml
    "#);
}

#[test]
fn missing_keys_are_told_with_an_example() {
    assert_snapshot!(mistakes("[pbx.hq]\n[sink.a]\ntype = \"file\"\n[sink.b]\ntype = \"http\"\n"), @r#"
    cdrd.toml:1: pbx.hq: no "url"; add url = "wss://HOST:8887/wsi"
    cdrd.toml:1: pbx.hq: no "login"; add login = { username = "cdr", domain = "example.com", password = { credential = "NAME" } }
    cdrd.toml:2: sink.a: no "path"; add path = "/var/log/cdrd/cdr-%Y-%m-%d.jsonl"
    cdrd.toml:4: sink.b: no "url"; add url = "https://HOST/PATH"
    4 problems in cdrd.toml
    "#);
    assert_snapshot!(mistakes(&format!("[pbx.hq]\nurl = \"wss://h/wsi\"\nlogin = {{ username = \"u\" }}\n{SINK}")), @r#"cdrd.toml:3: pbx.hq.login: no "password"; add password = { credential = "NAME" }, or { file = "/PATH" }"#);
}

#[test]
fn a_url_that_cannot_be_used_is_told_why() {
    let url = |url: &str| {
        mistakes(&format!(
            "[pbx.hq]\nurl = \"{url}\"\nlogin = {{ username = \"u\", password = \"hunter2\" }}\n{SINK}"
        ))
    };
    assert_snapshot!(url("https://pbx.example.com:8887/wsi"), @r#"cdrd.toml:2: pbx.hq: "url" must start with wss:// or ws://"#);
    assert_snapshot!(url("wss://"), @r#"cdrd.toml:2: pbx.hq: "url" is not a URL: empty host; write it like wss://HOST/PATH"#);
    assert_snapshot!(url("wss://u:hunter2@pbx.example.com/wsi"), @r#"cdrd.toml:2: pbx.hq: "url" must not carry a user name or password; give them in their own keys"#);
    assert_snapshot!(url("wss://pbx.example.com/wsi#top"), @r#"cdrd.toml:2: pbx.hq: "url" must not have a fragment; remove the # and what follows"#);
    assert_snapshot!(url("wss://pbx.example.com:99999/wsi"), @r#"cdrd.toml:2: pbx.hq: "url" is not a URL: invalid port number; write it like wss://HOST/PATH"#);
    assert_snapshot!(url("wss://pbx example.com"), @r#"cdrd.toml:2: pbx.hq: "url" must not contain spaces, control characters or backslashes"#);
}

#[test]
fn tls_options_that_cannot_be_used_are_told_why() {
    assert_snapshot!(pbx_mistakes("tls = { ca_file = \"/nowhere/ca.pem\", pin_sha256 = \"12:34\" }"), @r#"
    cdrd.toml:5: pbx.hq.tls: "ca_file" /nowhere/ca.pem: cannot be read: no such file; put the CA's certificate there, readable by the user that runs cdrd
    cdrd.toml:5: pbx.hq.tls: "pin_sha256" must be 64 hex digits, colons allowed; openssl x509 -noout -fingerprint -sha256 -in CERT prints them
    2 problems in cdrd.toml
    "#);
    let pin = "ab".repeat(32);
    assert_snapshot!(pbx_mistakes(&format!("tls = {{ pin_sha256 = \"{pin}\", insecure_skip_verify = true }}")), @r#"cdrd.toml:5: pbx.hq.tls: "insecure_skip_verify" would make "pin_sha256" useless; remove one of them"#);
    let environment = Environment::empty().with_file("/ca.pem", "no certificate");
    let text = format!("{PBX}tls = {{ ca_file = \"/ca.pem\" }}\n{SINK}");
    assert_snapshot!(Config::parse("cdrd.toml", &text, &environment).unwrap_err(), @r#"cdrd.toml:5: pbx.hq.tls: "ca_file" /ca.pem: holds no certificate in PEM form; it must have a line -----BEGIN CERTIFICATE-----"#);
}

#[test]
fn a_file_sink_is_told_what_is_wrong_with_path_and_zone() {
    assert_snapshot!(sink_mistakes("type = \"file\"\npath = \"/var/log/%J\"\ntimezone = \"Berlin\""), @r#"
    cdrd.toml:7: sink.crm: "path" is not a strftime template: strftime formatting failed: found unrecognized specifier directive `J`; write %% for a percent sign
    cdrd.toml:8: sink.crm: "timezone" is not an IANA time zone: "Berlin"; write one like "Europe/Berlin"
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(sink_mistakes("type = \"file\"\npath = \"/var/log/%Y/\""), @r#"cdrd.toml:7: sink.crm: "path" names a folder; add a file name like "cdr-%Y-%m-%d.jsonl""#);
    assert_snapshot!(sink_mistakes("type = \"stdout\"\nfsync = true"), @r#"cdrd.toml:7: sink.crm: unknown key "fsync"; known here: "events", "pbx", "where", "start", "type", "timezone", "format", "mask", "mask_key""#);
}

#[test]
fn an_http_sink_is_told_which_headers_it_cannot_have() {
    let lines = "type = \"http\"\nurl = \"https://h/\"\n[sink.crm.headers]\nCe-Id = \"1\"\nContent-Type = \"text/plain\"\n\"a b\" = \"hunter2\"\nX-A = \"hunter2\\n\"\nX-B = [\"hunter2\"]\nX-C = \"1\"\nx-c = \"2\"";
    assert_snapshot!(sink_mistakes(lines), @r#"
    cdrd.toml:9: sink.crm: the header "Ce-Id" is set by cdrd itself; remove it
    cdrd.toml:10: sink.crm: the header "Content-Type" is set by cdrd itself; remove it
    cdrd.toml:11: sink.crm: "a b" is no header name; use letters, digits and -
    cdrd.toml:12: sink.crm: the value of the header "X-A" must be visible ASCII text
    cdrd.toml:13: sink.crm: the header "X-B" must be { credential = "NAME" }, { file = "/PATH" }, { env = "VARIABLE" } or a string, found a list
    cdrd.toml:15: sink.crm: the header "x-c" is given twice; remove one
    6 problems in cdrd.toml
    "#);
}

#[test]
fn an_http_sink_is_told_the_forms_of_auth() {
    let auth = |auth: &str| {
        sink_mistakes(&format!("type = \"http\"\nurl = \"https://h/\"\nauth = {auth}"))
    };
    assert_snapshot!(auth("{ }"), @"cdrd.toml:8: sink.crm.auth: give one of bearer, username with password, or digest");
    assert_snapshot!(auth("{ username = \"u\" }"), @"cdrd.toml:8: sink.crm.auth: give one of bearer, username with password, or digest");
    assert_snapshot!(auth("{ bearer = \"hunter2\", username = \"u\", password = \"p\" }"), @"cdrd.toml:8: sink.crm.auth: give one of bearer, username with password, or digest");
    assert_snapshot!(auth("{ bearer = \"hunter2\", digest = { username = \"u\", password = \"p\" } }"), @r#"cdrd.toml:8: sink.crm.auth: give one of bearer, username with password, or digest"#);
    assert_snapshot!(auth("{ digest = { username = \"u:v\" } }"), @r#"cdrd.toml:8: sink.crm.auth.digest: no "password"; add password = { credential = "NAME" }, or { file = "/PATH" }"#);
    assert_snapshot!(auth("{ digest = { username = \"u:v\", password = \"hunter2\" } }"), @r#"cdrd.toml:8: sink.crm.auth.digest: "username" must not contain a colon or control characters"#);
    assert_snapshot!(auth("{ bearer = \"hunter2 \" }"), @"cdrd.toml:8: sink.crm.auth: the token must be visible ASCII text without spaces");
    assert_snapshot!(auth("{ username = \"u:v\", password = \"p\" }"), @r#"cdrd.toml:8: sink.crm.auth: "username" must not contain a colon or control characters"#);
    assert_snapshot!(auth("{ bearer = { env = \"TOKEN\" } }"), @"cdrd.toml:8: sink.crm.auth.bearer: the environment variable TOKEN is not set; set it for the service");
    assert_snapshot!(auth("\"Bearer hunter2\""), @r#"cdrd.toml:8: sink.crm: "auth" must be a table, found a string"#);
    assert_snapshot!(auth("{ bearer = \"hunter2\" }\nheaders = { authorization = \"Bearer hunter2\" }"), @r#"cdrd.toml:9: sink.crm: the header "Authorization" is what "auth" sends; remove one"#);
}

#[test]
fn an_http_sink_is_told_what_else_cannot_be() {
    let http = |lines: &str| {
        sink_mistakes(&format!("type = \"http\"\nurl = \"https://h/?t=hunter2\"\n{lines}"))
    };
    assert_snapshot!(http("batch = 0\nin_flight = 257"), @r#"
    cdrd.toml:8: sink.crm: "batch" must be a whole number from 1 to 10000, found the integer 0
    cdrd.toml:9: sink.crm: "in_flight" must be a whole number from 1 to 256, found the integer 257
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(http("batch = 10001\nin_flight = \"many\""), @r#"
    cdrd.toml:8: sink.crm: "batch" must be a whole number from 1 to 10000, found the integer 10001
    cdrd.toml:9: sink.crm: "in_flight" must be a whole number from 1 to 256, found the string "many"
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(http("fallback_urls = [\"ftp://h/hunter2\", \"https://u:hunter2@h/\", \"https://h/?t=hunter2\"]"), @r#"
    cdrd.toml:8: sink.crm: an element of "fallback_urls" must start with https:// or http://
    cdrd.toml:8: sink.crm: an element of "fallback_urls" must not carry a user name or password; give them in their own keys
    cdrd.toml:8: sink.crm: "fallback_urls" has https://h/ for a second time; remove it
    3 problems in cdrd.toml
    "#);
    assert_snapshot!(http("fallback_urls = \"https://h/hunter2\""), @r#"cdrd.toml:8: sink.crm: "fallback_urls" must be a list of strings like ["a", "b"], found a string"#);
    assert_snapshot!(http("signing_secret = \"hunter2!\""), @r#"cdrd.toml:8: sink.crm: "signing_secret" must be "whsec_" and base64, as the receiver's side shows it; to make one: echo whsec_$(openssl rand -base64 32)"#);
    assert_snapshot!(http("signing_secret = []"), @r#"cdrd.toml:8: sink.crm: "signing_secret" is empty; give a secret or remove it"#);
    assert_snapshot!(http("signing_secret = [\"whsec_hunter2!\", 5, { env = \"A\" }, \"\"]"), @r#"
    cdrd.toml:8: sink.crm: "signing_secret" must hold secrets: { credential = "NAME" }, { file = "/PATH" }, { env = "VARIABLE" } or a string; found an integer
    cdrd.toml:8: sink.crm.signing_secret[2]: the environment variable A is not set; set it for the service
    cdrd.toml:8: sink.crm: "signing_secret" must hold secrets: { credential = "NAME" }, { file = "/PATH" }, { env = "VARIABLE" } or a string; found an empty string
    cdrd.toml:8: sink.crm: "signing_secret" must be "whsec_" and base64, as the receiver's side shows it; to make one: echo whsec_$(openssl rand -base64 32)
    4 problems in cdrd.toml
    "#);
    assert_snapshot!(http("signing_secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nheaders = { webhook-id = \"1\" }"), @r#"cdrd.toml:9: sink.crm: the headers "Webhook-…" are what "signing_secret" sends; remove them"#);
    assert_snapshot!(http("tls = { cert_file = \"/nowhere/cert.pem\" }"), @r#"cdrd.toml:8: sink.crm.tls: "cert_file" and "key_file" go together; give both or none"#);
    assert_snapshot!(http("tls = { cert_file = \"/nowhere/cert.pem\", key_file = \"/nowhere/key.pem\" }"), @r#"
    cdrd.toml:8: sink.crm.tls: "cert_file" /nowhere/cert.pem: cannot be read: no such file; put your certificate there, readable by the user that runs cdrd
    cdrd.toml:8: sink.crm.tls: "key_file" /nowhere/key.pem: cannot be read: no such file; put its private key there, readable by the user that runs cdrd
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(http("headers = { X-Key = { env = \"KEY\" }, X-Other = { file = 5 } }"), @r#"
    cdrd.toml:8: sink.crm.headers.X-Key: the environment variable KEY is not set; set it for the service
    cdrd.toml:8: sink.crm.headers.X-Other: "file" must be a path in quotes, found an integer
    2 problems in cdrd.toml
    "#);
}

#[test]
fn an_http_sink_is_warned_of_what_is_probably_not_meant() {
    let http = |lines: &str| {
        warnings(&format!("{PBX}[sink.crm]\ntype = \"http\"\nurl = \"https://h/\"\n{lines}\n"))
    };
    assert_snapshot!(http("signing_secret = \"whsec_b3RoZXI=\""), @r#"cdrd.toml:8: sink.crm: "signing_secret" has fewer than 24 bytes, so it may be guessed; make one with: echo whsec_$(openssl rand -base64 32)"#);
    assert_snapshot!(http("fallback_urls = [\"http://h/\"]\nauth = { bearer = \"t\" }"), @r#"cdrd.toml:8: sink.crm: http:// sends the secret of "auth" unencrypted; use https://"#);
    assert_snapshot!(http("tls = { insecure_skip_verify = true }"), @r#"cdrd.toml:8: sink.crm.tls: "insecure_skip_verify" accepts any certificate, so anyone on the way can read along; use pin_sha256 or ca_file"#);
    let plain = "[sink.crm]\ntype = \"http\"\nurl = \"http://127.0.0.1/\"\ntls = { insecure_skip_verify = true }\n";
    assert_snapshot!(warnings(&format!("{PBX}{plain}")), @r#"cdrd.toml:8: sink.crm.tls: has no effect on an http:// URL; use https:// or remove it"#);
}

#[test]
fn events_and_their_patterns_are_checked() {
    assert_snapshot!(sink_mistakes("type = \"stdout\"\nevents = [\"call cdr\",\n  \"\"]"), @r#"
    cdrd.toml:7: sink.crm: an element of "events" is no pattern of event types: "call cdr"; write one like "call_*"
    cdrd.toml:8: sink.crm: an element of "events" must not be empty; give it a value or remove it
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(sink_mistakes("type = \"stdout\"\nevents = []\npbx = []"), @r#"
    cdrd.toml:7: sink.crm: "events" is empty; leave it out to deliver everything
    cdrd.toml:8: sink.crm: "pbx" is empty; leave it out to deliver from every PBX
    2 problems in cdrd.toml
    "#);
}

#[test]
fn csv_is_told_where_it_belongs() {
    assert_snapshot!(sink_mistakes("type = \"http\"\nurl = \"https://h/\"\nformat = \"csv\""), @r#"cdrd.toml:8: sink.crm: "format" = "csv" is for sinks of type "file" and "stdout" only; use one of "cloudevents", "raw", "record""#);
    assert_snapshot!(sink_mistakes("type = \"http\"\nurl = \"https://h/\"\nformat = \"recrod\""), @r#"cdrd.toml:8: sink.crm: "format" must be one of "cloudevents", "raw", "record", found the string "recrod"; did you mean "record"?"#);
}

#[test]
fn conditions_are_checked() {
    let lines = "type = \"stdout\"\nwhere = { directon = [\"in\"], answered = \"yes\", tenant_id = 7, trunk = [],\n  outcome = [\"anwsered\", \"no*\"], origin = [\"rest\"], started_at = [\"x\"] }";
    assert_snapshot!(sink_mistakes(lines), @r#"
    cdrd.toml:7: sink.crm.where: "tenant_id" must be a list of strings like ["a", "b"], found the integer 7
    cdrd.toml:7: sink.crm.where: "trunk" is empty; leave it out to accept any
    cdrd.toml:7: sink.crm.where: "answered" must be true or false, found the string "yes"
    cdrd.toml:7: sink.crm.where: unknown key "directon"; did you mean "direction"?
    cdrd.toml:8: sink.crm.where: an element of "origin" must be one of "live", "webhook", "backfill", found the string "rest"
    cdrd.toml:8: sink.crm.where: an element of "outcome" must be one of "answered", "no_answer", "busy", "cancelled", "failed", found the string "anwsered"; did you mean "answered"?
    cdrd.toml:8: sink.crm.where: unknown key "started_at"; known here: "origin", "tenant_id", "tenant_name", "direction", "caller", "caller_name", "caller_domain", "callee", "callee_name", "callee_domain", "did", "outbound_caller_id", "trunk", "outcome", "end_reason", "status_code", "queue", "agent", "user_data", "cost", "answered"
    7 problems in cdrd.toml
    "#);
    assert_snapshot!(sink_mistakes("type = \"stdout\"\nwhere = {}"), @"cdrd.toml:7: sink.crm.where: is empty; leave it out to deliver everything");
    assert_snapshot!(sink_mistakes("type = \"stdout\"\nwhere = \"direction = inbound\""), @r#"cdrd.toml:7: sink.crm: "where" must be a table, found a string"#);
    let lines = "[sink.crm]\ntype = \"stdout\"\nwhere = { direction = [\"in*\", \"in\"] }";
    assert_snapshot!(warnings(&format!("{PBX}{lines}\n")), @r#"cdrd.toml:7: sink.crm.where: "in" matches only if the PBX has directions of its own; records have "internal", "inbound", "outbound", "inbound_outbound""#);
}

#[test]
fn masks_are_checked() {
    let sink = |lines: &str| sink_mistakes(&format!("type = \"stdout\"\n{lines}"));
    assert_snapshot!(sink("mask = { caller = \"last5\", user_data = \"last4\", calee = \"drop\", did = true }"), @r#"
    cdrd.toml:7: sink.crm.mask: "caller" must be one of "last4", "hash", "drop", found the string "last5"; did you mean "last4"?
    cdrd.toml:7: sink.crm.mask: "did" must be one of "last4", "hash", "drop", found the boolean true
    cdrd.toml:7: sink.crm.mask: "user_data" must be one of "hash", "drop", found the string "last4"
    cdrd.toml:7: sink.crm.mask: unknown key "calee"; did you mean "callee"?
    4 problems in cdrd.toml
    "#);
    assert_snapshot!(sink("mask = {}"), @r#"cdrd.toml:7: sink.crm.mask: hides nothing; name a field, as in { caller = "last4" }"#);
    assert_snapshot!(sink("mask = [\"caller\"]"), @r#"cdrd.toml:7: sink.crm: "mask" must be a table, found a list"#);
    assert_snapshot!(sink("mask = { caller = \"hash\" }"), @r#"cdrd.toml:5: sink.crm: no "mask_key"; add mask_key = { credential = "NAME" }: "hash" in "mask" needs a key"#);
    assert_snapshot!(sink("mask = { caller = \"hash\" }\nmask_key = \"hunter2\""), @r#"cdrd.toml:8: sink.crm: "mask_key" is too short; give it at least 16 random characters, as from "openssl rand -hex 32""#);
    assert_snapshot!(sink("mask = { caller = \"hash\" }\nmask_key = { env = \"KEY\" }"), @"cdrd.toml:8: sink.crm.mask_key: the environment variable KEY is not set; set it for the service");
    let lines = "[sink.crm]\ntype = \"stdout\"\nmask = { caller = \"drop\" }\nmask_key = \"hunter2 hunter2 hunter2\"";
    assert_snapshot!(warnings(&format!("{PBX}{lines}\n")), @r#"cdrd.toml:8: sink.crm: "mask_key" has no effect: nothing in "mask" is "hash""#);
}

#[test]
fn what_is_legal_but_probably_not_meant_is_a_warning() {
    let pbx = |lines: &str| warnings(&format!("{PBX}{lines}\n{SINK}"));
    assert_snapshot!(pbx("topics = [\"cdr_event\", \"future_events\"]\ntenants = [\"1\"]"), @r#"
    cdrd.toml:5: pbx.hq: topic "cdr_event" is not documented for dialect 22; it is sent as it is; did you mean "cdr_events"?
    cdrd.toml:5: pbx.hq: topic "future_events" is not documented for dialect 22; it is sent as it is; did you mean "queue_events"?
    "#);
    assert_snapshot!(pbx("queues = [\"8000\"]"), @r#"cdrd.toml:5: pbx.hq: no topic of this PBX takes "queues"; it is not sent"#);
    assert_snapshot!(pbx("topics = [\"cdr_events\", \"global_cdr_events\"]\ntenants = [\"1\"]"), @"cdrd.toml:5: pbx.hq: global_* and tenant topics over one connection can make each other fail on PBXs before 22.3.23; give each kind its own [pbx.NAME] table");
    assert_snapshot!(pbx("tls = { insecure_skip_verify = true }"), @r#"cdrd.toml:5: pbx.hq.tls: "insecure_skip_verify" accepts any certificate, so anyone on the way can read along; use pin_sha256 or ca_file"#);
    let plain = "[pbx.hq]\nurl = \"ws://pbx.example.com\"\ntls = { insecure_skip_verify = true }\nlogin = { username = \"u\", password = \"p\" }\n[sink.crm]\ntype = \"http\"\nurl = \"http://crm.example.com/\"\nauth = { bearer = \"t\" }\n";
    assert_snapshot!(warnings(plain), @r#"
    cdrd.toml:2: pbx.hq: ws:// sends the password unencrypted over the network; use wss://
    cdrd.toml:2: pbx.hq: the URL has no path; PBXs of dialect 22 answer at /wsi
    cdrd.toml:3: pbx.hq.tls: has no effect on a ws:// URL; use wss:// or remove it
    cdrd.toml:7: sink.crm: http:// sends the secret of "auth" unencrypted; use https://
    "#);
    let ca = format!(
        "{PBX}tls = {{ ca_file = \"/ca.pem\", pin_sha256 = \"{}\" }}\n{SINK}",
        "ab".repeat(32)
    );
    let environment = Environment::empty().with_file("/ca.pem", CERTIFICATE);
    assert_snapshot!(Config::parse("cdrd.toml", &ca, &environment).unwrap().warnings.join("\n"), @r#"cdrd.toml:5: pbx.hq.tls: "ca_file" has no effect beside pin_sha256 or insecure_skip_verify; remove one of them"#);
}
