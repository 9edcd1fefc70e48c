//! `cdrd sink init`, and what `cdrd check` says.

use insta::assert_snapshot;

use super::server::{Database, Server, shared};
use super::{config, print_sql};
use crate::harness::Bench;
use crate::process::{Outcome, Process, cdrd};

/// What a command says about the sink, with what differs from run to run replaced.
async fn said(database: &Database<'_>, arguments: &[&str], sink: &str, code: i32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, config(sink)).unwrap();
    let Outcome { stdout, stderr, .. } =
        Process::run(cdrd(arguments).arg("-c").arg(path), "").await.ended_with(code);
    let port = database.server.port().to_string();
    format!("{stdout}{stderr}").replace(&port, "PORT").replace(&database.name, "NAME")
}

/// The line of `check --connect` that is about the sink.
async fn checked(bench: &Bench, database: &Database<'_>, sink: &str, code: i32) -> String {
    let path = bench.path("config.toml");
    std::fs::write(&path, bench.patient_config_text(sink)).unwrap();
    let outcome =
        Process::run(cdrd(["check", "--connect", "-c"]).arg(path), "").await.ended_with(code);
    let line = outcome.stdout.lines().find(|line| line.contains("sink \"subject\""));
    let version = database.server.ask("postgres", "show server_version").unwrap();
    line.unwrap_or_else(|| panic!("{outcome:?}"))
        .replace(&database.server.port().to_string(), "PORT")
        .replace(&database.name, "NAME")
        .replace(version.trim(), "VERSION")
}

#[tokio::test]
async fn init_makes_the_tables_and_a_second_time_does_no_harm() {
    let database = shared().database();
    let sink = database.sink("schema = \"telephony\"\ntable = \"call\"\n");
    let apply = ["sink", "init", "subject", "--apply"];
    let first = said(&database, &apply, &sink, 0).await;
    assert_snapshot!(first, @r#"postgres://NAME@127.0.0.1:PORT/NAME: tables "telephony"."call" and "telephony"."call_target" are there"#);
    database.ask("alter table telephony.call add column mine text");
    assert_eq!(said(&database, &apply, &sink, 0).await, first);
    let columns = "select count(*) from information_schema.columns where table_name = 'call'";
    assert_eq!(database.ask(columns).trim(), "40");
}

#[tokio::test]
async fn init_prints_what_it_would_do() {
    let database = shared().database();
    let sql = print_sql(&config(&database.sink("")), &[]).replace(&database.name, "NAME");
    assert_snapshot!(sql, @r#"
    create table if not exists "cdr" (
        "id" uuid not null,
        "event_time" timestamptz not null,
        "event_type" text not null,
        "schema" text not null,
        "pbx" text not null,
        "origin" text not null,
        "received_at" timestamptz not null,
        "tenant_id" text,
        "tenant_name" text,
        "session_id" text,
        "cdr_id" text,
        "call_id" text,
        "direction" text,
        "caller" text,
        "caller_name" text,
        "caller_domain" text,
        "callee" text,
        "callee_name" text,
        "callee_domain" text,
        "did" text,
        "outbound_caller_id" text,
        "trunk" text,
        "started_at" timestamptz,
        "rang_at" timestamptz,
        "answered_at" timestamptz,
        "ended_at" timestamptz,
        "ring_seconds" integer,
        "talk_seconds" integer,
        "duration_seconds" integer,
        "answered" boolean,
        "outcome" text,
        "end_reason" text,
        "status_code" integer,
        "queue" text,
        "agent" text,
        "user_data" text,
        "cost" text,
        "targets" integer not null,
        "raw" jsonb not null,
        primary key (id)
    );

    create table if not exists "cdr_target" (
        "id" uuid not null,
        "position" integer not null,
        "event_time" timestamptz not null,
        "number" text,
        "destination" text,
        "caller" text,
        "call_type" text,
        "started_at" timestamptz,
        "rang_at" timestamptz,
        "answered_at" timestamptz,
        "ended_at" timestamptz,
        "ring_seconds" integer,
        "talk_seconds" integer,
        "answered" boolean,
        "end_reason" text,
        "status_code" integer,
        "trunk" text,
        "did" text,
        "outbound_caller_id" text,
        "cost" text,
        primary key (id, position),
        foreign key (id) references "cdr" (id) on delete cascade
    );

    create index if not exists "cdr_event_time" on "cdr" (event_time);

    grant insert, select on "cdr", "cdr_target" to "NAME";
    "#);
}

#[tokio::test]
async fn init_by_a_role_that_may_not_says_so() {
    let database = shared().database();
    database.ask("alter database NAME owner to postgres".replace("NAME", &database.name).as_str());
    let apply = ["sink", "init", "subject", "--apply"];
    let sink = database.sink("schema = \"telephony\"\n");
    assert_snapshot!(said(&database, &apply, &sink, 69).await, @r#"cdrd: sink "subject": postgres://NAME@127.0.0.1:PORT/NAME: permission denied for database NAME (SQLSTATE 42501); grant role "NAME" what it lacks, or let an administrator run what cdrd sink init subject --print-sql prints; events wait until then"#);
}

#[tokio::test]
async fn init_of_another_sink_or_without_a_wish_is_a_usage_error() {
    let database = shared().database();
    let sink = format!("{}[sink.out]\ntype = \"stdout\"\n", database.sink(""));
    let other = said(&database, &["sink", "init", "out", "--apply"], &sink, 64).await;
    assert_snapshot!(other, @r#"cdrd: sink "out" needs nothing made; only sinks of type "postgres" do"#);
    let unknown = said(&database, &["sink", "init", "x", "--apply"], &sink, 64).await;
    assert_snapshot!(unknown, @r#"cdrd: no sink "x" in the configuration; there is "subject", "out""#);
    let neither = said(&database, &["sink", "init", "subject"], &sink, 64).await;
    assert!(neither.contains("<--print-sql|--apply>"), "{neither}");
}

#[tokio::test]
async fn check_says_what_is_missing_and_how_to_get_it() {
    let (bench, database) = (Bench::new().await, shared().database());
    let missing = checked(&bench, &database, &database.sink(""), 69).await;
    assert_snapshot!(missing, @r#"FAILED  sink "subject": postgres://NAME@127.0.0.1:PORT/NAME: there is no table "cdr" with its "cdr_target"; make them with: cdrd sink init subject --apply, or let an administrator run what cdrd sink init subject --print-sql prints"#);
    database.make_tables();
    assert_snapshot!(checked(&bench, &database, &database.sink(""), 0).await, @r#"ok      sink "subject": postgres://NAME@127.0.0.1:PORT/NAME takes rows into "cdr" (PostgreSQL VERSION)"#);
    database.ask(&format!("revoke insert on cdr_target from {}", database.name));
    let rights = checked(&bench, &database, &database.sink(""), 69).await;
    assert_snapshot!(rights, @r#"FAILED  sink "subject": postgres://NAME@127.0.0.1:PORT/NAME: role "NAME" may not write; let the tables' owner run: grant insert, select on "cdr", "cdr_target" to "NAME""#);
    let no_tls = checked(&bench, &database, &database.sink("tls = true\n"), 69).await;
    assert_snapshot!(no_tls, @r#"FAILED  sink "subject": postgres://NAME@127.0.0.1:PORT/NAME: server does not support TLS; switch it on at the server (ssl = on), or remove "tls" of this sink"#);
    let elsewhere = database.sink("").replace(&format!("/{}\"", database.name), "/nowhere\"");
    assert_snapshot!(checked(&bench, &database, &elsewhere, 69).await, @r#"FAILED  sink "subject": postgres://NAME@127.0.0.1:PORT/nowhere: database "nowhere" does not exist (SQLSTATE 3D000); create the database, or correct url"#);
}

#[tokio::test]
async fn check_says_what_is_wrong_with_a_password_and_never_shows_it() {
    let (bench, database) = (Bench::new().await, shared().database());
    database.make_tables();
    let name = &database.name;
    // Another test may have made it.
    let _ = database.server.ask("postgres", "create role guarded");
    database.ask(&format!("grant guarded to {name}; alter role {name} password 'right'"));
    let none = checked(&bench, &database, &database.sink(""), 69).await;
    assert_snapshot!(none, @r#"FAILED  sink "subject": postgres://NAME@127.0.0.1:PORT/NAME: password missing: the server wants one; set "password" of this sink"#);
    let wrong = checked(&bench, &database, &database.sink("password = \"hunter2\"\n"), 69).await;
    assert_snapshot!(wrong, @r#"FAILED  sink "subject": postgres://NAME@127.0.0.1:PORT/NAME: password authentication failed for user "NAME" (SQLSTATE 28P01); check user and password of this sink"#);
    let right = checked(&bench, &database, &database.sink("password = \"right\"\n"), 0).await;
    assert_snapshot!(right, @r#"ok      sink "subject": postgres://NAME@127.0.0.1:PORT/NAME takes rows into "cdr" (PostgreSQL VERSION)"#);
}

#[tokio::test]
async fn tls_is_checked_as_everywhere() {
    let (bench, mut server) = (Bench::new().await, Server::create());
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = server.private_file("cert.pem", &made.cert.pem());
    let key = server.private_file("key.pem", &made.signing_key.serialize_pem());
    server.set("ssl=on");
    server.set(format!("ssl_cert_file={}", certificate.display()));
    server.set(format!("ssl_key_file={}", key.display()));
    server.start();
    let database = server.database();
    database.make_tables();
    let unknown = checked(&bench, &database, &database.sink("tls = true\n"), 69).await;
    assert!(unknown.contains("signed by nobody that this system trusts"), "{unknown}");
    let pin = cdrd::tls::fingerprint(made.cert.der());
    assert!(unknown.contains(&pin), "{unknown}");
    let pinned = database.sink(&format!("tls = {{ pin_sha256 = \"{pin}\" }}\n"));
    checked(&bench, &database, &pinned, 0).await;
    let ca = format!("tls = {{ ca_file = {certificate:?} }}\n");
    checked(&bench, &database, &database.sink(&ca), 0).await;
}

#[tokio::test]
async fn a_socket_of_this_machine_needs_no_network() {
    let (bench, database) = (Bench::new().await, shared().database());
    database.make_tables();
    let peer = format!("@127.0.0.1:{}/{}", database.server.port(), database.name);
    let folder = database.server.data().parent().unwrap().display().to_string();
    let socket = format!("@:{}/{}?host={folder}", database.server.port(), database.name);
    let sink = database.sink("").replace(&peer, &socket);
    let line = checked(&bench, &database, &sink, 0).await;
    assert_snapshot!(line.replace(&folder, "/FOLDER"), @r#"ok      sink "subject": postgres://NAME@:PORT/NAME?host=/FOLDER takes rows into "cdr" (PostgreSQL VERSION)"#);
}
