//! What an operator reads about a sink of type `nats`.

use insta::assert_snapshot;

use super::*;

fn nats(lines: &str) -> String {
    sink_mistakes(&format!("type = \"nats\"\n{lines}"))
}

const URL: &str = "url = \"nats://h:4222\"\n";

#[test]
fn a_nats_sink_is_told_what_is_wrong_with_its_url() {
    assert_snapshot!(nats(""), @r#"cdrd.toml:5: sink.crm: no "url"; add url = "tls://HOST:4222", or a list of them"#);
    assert_snapshot!(nats("url = []"), @r#"cdrd.toml:7: sink.crm: "url" is empty; add url = "tls://HOST:4222", or a list of them"#);
    assert_snapshot!(nats("url = [\"nats://a\", 5, \"https://b\", \"nats://u:hunter2@h\"]"), @r#"
    cdrd.toml:7: sink.crm: an element of "url" must be a string, found an integer
    cdrd.toml:7: sink.crm: an element of "url" must start with nats:// or tls://
    cdrd.toml:7: sink.crm: an element of "url" must not carry a user name or password; give them in their own keys
    3 problems in cdrd.toml
    "#);
    assert_snapshot!(nats("url = \"tls://h/x\""), @r#"cdrd.toml:7: sink.crm: "url" must end after the port: NATS has no paths"#);
}

#[test]
fn a_nats_sink_is_told_the_forms_of_auth() {
    let auth = |auth: &str| nats(&format!("{URL}auth = {auth}"));
    assert_snapshot!(auth("{ token = \"a\", nkey = \"b\" }"), @r#"cdrd.toml:8: sink.crm.auth: give one of credentials, token, nkey, or username with password"#);
    assert_snapshot!(auth("{ username = \"a\" }"), @r#"cdrd.toml:8: sink.crm.auth: give one of credentials, token, nkey, or username with password"#);
    assert_snapshot!(auth("{ nkey = \"hunter2\" }"), @r#"cdrd.toml:8: sink.crm.auth: "nkey" is not the seed of a user's nkey, which has 58 capitals and digits and begins with SU"#);
    assert_snapshot!(auth("{ credentials = \"hunter2\" }"), @r#"cdrd.toml:8: sink.crm.auth: "credentials" is not the content of a .creds file; it must have a user's JWT and its nkey seed, as "nsc generate creds" writes them"#);
}

#[test]
fn a_nats_sink_is_told_what_is_no_subject_and_no_stream() {
    let with = |lines: &str| nats(&format!("{URL}{lines}"));
    assert_snapshot!(with("subject = \"cdr.{pbx}..x\""), @r#"cdrd.toml:8: sink.crm: "subject" must have something between its dots, and before and after them"#);
    assert_snapshot!(with("subject = \"cdr.{tenantid}\""), @r#"cdrd.toml:8: sink.crm: "subject" has a field that must be one of "pbx", "event_type", "origin", "id", "session_id", "tenant_id", "tenant_name", "direction", "trunk", "queue", "outcome", found the string "tenantid"; did you mean "tenant_id"?"#);
    assert_snapshot!(with("subject = \"cdr.>\"\nin_flight = 0"), @r#"
    cdrd.toml:8: sink.crm: "subject" must not contain '>'; a subject is tokens between dots
    cdrd.toml:9: sink.crm: "in_flight" must be a whole number from 1 to 4096, found the integer 0
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(with("create_stream = { subjects = [\"calls.>\"], replicas = 6 }"), @r#"
    cdrd.toml:8: sink.crm.create_stream: no "name"; add name = "CDR"
    cdrd.toml:8: sink.crm.create_stream: "replicas" must be a whole number from 1 to 5, found the integer 6
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(with("create_stream = { name = \"C.D\", subjects = [\"calls.>\"] }"), @r#"cdrd.toml:8: sink.crm.create_stream: "name" is no name of a stream; use letters, digits, - and _"#);
    assert_snapshot!(with("create_stream = { name = \"CDR\", subjects = [\"calls.>\"] }"), @r#"cdrd.toml:8: sink.crm.create_stream: "subjects" must take what this sink sends; add "cdr.*.*.*""#);
    assert_snapshot!(with("create_stream = { name = \"CDR\", max_age = \"1m\", duplicate_window = \"2m\" }"), @r#"cdrd.toml:8: sink.crm.create_stream: "duplicate_window" must not be longer than "max_age""#);
}

#[test]
fn a_secret_that_would_go_unencrypted_is_warned_about() {
    let text = |url: &str| {
        let text = format!(
            "{PBX}[sink.crm]\ntype = \"nats\"\nurl = \"{url}\"\nauth = {{ token = {{ env = \"T\" }} }}\n"
        );
        let environment = Environment::empty().with_variable("T", "hunter2");
        Config::parse("cdrd.toml", &text, &environment).unwrap().warnings.join("\n")
    };
    assert_snapshot!(text("nats://nats.example.com"), @r#"cdrd.toml:7: sink.crm: nats:// sends the secret of "auth" unencrypted unless the server insists on TLS; use tls://"#);
    assert_eq!(text("tls://nats.example.com"), "");
    assert_eq!(text("nats://127.0.0.1:4222"), "");
}
