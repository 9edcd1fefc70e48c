//! What sinks that write lines (`exec`, `socket`) make of their keys.

use insta::assert_snapshot;

use super::*;
use crate::sink::Settings;

#[test]
fn an_exec_sink_is_told_what_is_wrong_with_its_command() {
    let command = |command: &str| sink_mistakes(&format!("type = \"exec\"\n{command}"));
    assert_snapshot!(command(""), @r#"cdrd.toml:5: sink.crm: no "command"; add command = ["/usr/local/bin/PROGRAM"]"#);
    assert_snapshot!(command("command = []"), @r#"cdrd.toml:7: sink.crm: "command" is empty; name the program, then its arguments"#);
    assert_snapshot!(command("command = \"bill --all\""), @r#"cdrd.toml:7: sink.crm: "command" must be a list of strings like ["a", "b"], found the string "bill --all""#);
    assert_snapshot!(command("command = [\"bin/bill\"]"), @r#"cdrd.toml:7: sink.crm: "command" names the program by a relative path: "bin/bill"; write the whole path, or a bare name to look for in PATH"#);
    assert_snapshot!(command("command = [\"/bin/bill\", 5, \"\\u0000\"]"), @r#"
    cdrd.toml:7: sink.crm: an element of "command" must be a string, found the integer 5
    cdrd.toml:7: sink.crm: an element of "command" must not contain a NUL character
    2 problems in cdrd.toml
    "#);
}

#[test]
fn an_exec_sink_is_told_what_is_wrong_with_its_environment() {
    let env = |env: &str| {
        sink_mistakes(&format!("type = \"exec\"\ncommand = [\"/bin/bill\"]\nenv = {env}"))
    };
    assert_snapshot!(env("\"hunter2\""), @r#"cdrd.toml:8: sink.crm: "env" must be a table of strings and secrets, found a string"#);
    assert_snapshot!(env("{ A = 5, \"B=C\" = \"hunter2\", D = \"hunter2\\u0000\" }"), @r#"
    cdrd.toml:8: sink.crm: the variable "A" must be { credential = "NAME" }, { file = "/PATH" }, { env = "VARIABLE" } or a string, found an integer
    cdrd.toml:8: sink.crm: "B=C" cannot be the name of an environment variable; use letters, digits and _
    cdrd.toml:8: sink.crm: the value of the variable "D" must not contain a NUL character
    3 problems in cdrd.toml
    "#);
    assert_snapshot!(env("{ A = { file = \"/nowhere\" }, B = { fiel = \"/x\" }, C = { } }"), @r#"
    cdrd.toml:8: sink.crm.env.A: cannot read the secret file /nowhere: no such file; create it, readable by the user that runs cdrd
    cdrd.toml:8: sink.crm.env.B: unknown key "fiel"; did you mean "file"?
    cdrd.toml:8: sink.crm.env.C: exactly one source is needed; write { credential = "NAME" }, { file = "/PATH" }, { env = "VARIABLE" } or a string
    3 problems in cdrd.toml
    "#);
}

#[test]
fn a_socket_sink_is_told_what_is_wrong_with_its_address_and_tls() {
    let socket = |lines: &str| sink_mistakes(&format!("type = \"socket\"\n{lines}"));
    assert_snapshot!(socket(""), @r#"cdrd.toml:5: sink.crm: no "address"; add address = "tcp://HOST:PORT" or "unix:///run/NAME.sock""#);
    assert_snapshot!(socket("address = \"collector:5170\""), @r#"cdrd.toml:7: sink.crm: "address" must start with tcp:// or unix://"#);
    assert_snapshot!(socket("address = \"tcp://collector\""), @r#"cdrd.toml:7: sink.crm: "address" must be tcp://HOST:PORT, and IPv6 addresses in [ ]"#);
    assert_snapshot!(socket("address = \"unix://run/x.sock\"\ntls = \"yes\""), @r#"
    cdrd.toml:7: sink.crm: "address" needs a whole path, with three slashes: unix:///run/NAME.sock
    cdrd.toml:8: sink.crm: "tls" must be true, false or a table like { ca_file = "/PATH" }, found the string "yes"
    2 problems in cdrd.toml
    "#);
    assert_snapshot!(socket("address = \"unix:///run/x.sock\"\ntls = true"), @r#"cdrd.toml:8: sink.crm: "tls" has no meaning at a unix:// address; remove it"#);
    assert_snapshot!(socket("address = \"tcp://h:1\"\ntls = { pin = \"ab\" }"), @r#"cdrd.toml:8: sink.crm.tls: unknown key "pin"; known here: "ca_file", "pin_sha256", "insecure_skip_verify""#);
}

#[test]
fn confirmation_needs_an_id_and_a_window() {
    assert_snapshot!(sink_mistakes("type = \"socket\"\naddress = \"tcp://h:1\"\nconfirm = \"line\"\nformat = \"raw\""), @r#"cdrd.toml:8: sink.crm: "confirm" = "line" needs the event's id on its line, and "format" = "raw" has none; use "cloudevents" or "record""#);
    assert_snapshot!(sink_mistakes("type = \"socket\"\naddress = \"tcp://h:1\"\nconfirm = \"ack\"\nwindow = 0\nretry = { initial = \"1m\" }"), @r#"
    cdrd.toml:8: sink.crm: "confirm" must be one of "write", "line", found the string "ack"
    cdrd.toml:9: sink.crm: "window" must be a whole number from 1 to 10000, found the integer 0
    cdrd.toml:10: sink.crm.retry: "initial" must not be longer than "max"; raise max
    3 problems in cdrd.toml
    "#);
}

#[test]
fn variables_of_every_kind_reach_the_command_and_are_not_shown() {
    let environment = Environment::empty()
        .with_file("/secret", "hunter2\n")
        .with_variable("TOKEN", "hunter2")
        .with_program("/bin/bill");
    let text = format!(
        "{PBX}[sink.bill]\ntype = \"exec\"\ncommand = [\"/bin/bill\"]\nenv = {{ A = \"\", B.file = \"/secret\", C.env = \"TOKEN\" }}\n"
    );
    let config = Config::parse("cdrd.toml", &text, &environment).unwrap();
    assert_eq!(config.warnings, [] as [&str; 0]);
    assert!(!format!("{config:?}").contains("hunter2"));
    let Settings::Exec(exec) = &config.sinks[0].settings else { panic!("not exec") };
    let env: Vec<_> = exec.env.iter().map(|(k, v)| (k.as_str(), v.reveal())).collect();
    assert_eq!(env, [("A", ""), ("B", "hunter2"), ("C", "hunter2")]);
    assert_eq!(&*exec.lines.sink, "bill");
}
