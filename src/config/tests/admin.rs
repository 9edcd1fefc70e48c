//! What `[admin]` and `[log]` say about mistakes.

use insta::assert_snapshot;

use super::*;

#[test]
fn an_admin_endpoint_that_others_can_reach_needs_a_token() {
    let admin = |lines: &str| mistakes(&format!("{PBX}{SINK}[admin]\n{lines}\n"));
    assert_snapshot!(admin("listen = \"0.0.0.0:9187\""), @r#"cdrd.toml:9: admin: 0.0.0.0:9187 can be reached from other machines, and there is no "token"; add token = { credential = "NAME" }, or listen on "127.0.0.1:9187""#);
    assert_snapshot!(admin("listen = \"localhost:9187\"\ntoken = \"\"\nshow_numbers = 1"), @r#"
    cdrd.toml:9: admin: "listen" must be an IP address and a port, like "127.0.0.1:9187" or "[::1]:9187"
    cdrd.toml:10: admin: "token" must not be empty; give it a value or remove it
    cdrd.toml:11: admin: "show_numbers" must be true or false, found the integer 1
    3 problems in cdrd.toml
    "#);
    let text = format!("{PBX}{SINK}[admin]\nlisten = \"0.0.0.0:9187\"\ntoken = \"hunter2\"\n");
    assert!(!format!("{:?}", parse(&text).unwrap()).contains("hunter2"));
}

#[test]
fn a_log_level_that_is_none_is_told() {
    let log = |level: &str| mistakes(&format!("{PBX}{SINK}[log]\nlevel = {level:?}\n"));
    assert_snapshot!(log("verbose"), @r#"cdrd.toml:9: log: "level" is no log level: "verbose" is none of error, warn, info, debug, trace, off, nor TARGET=LEVEL"#);
}
