//! Who is let in, and over what.

use async_nats::ConnectOptions;
use async_nats::jetstream::stream::Config;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};

use super::{RAW, Server, has_all, program, started, talkative};
use crate::harness::Bench;

/// A server that wants to know who we are lets nobody else in, and events wait for it.
async fn lets_in(server: Server, right: &str, wrong: &str, secrets: &[&str]) {
    let bench = Bench::new().await;
    server.make("CDR", Config::default());
    let lines = |auth| format!("{RAW}\nauth = {auth}");
    let mut stranger = talkative(&bench, &server, &lines(wrong)).await;
    bench.push(2).await;
    stranger.logs("the server refused the login; check this sink's auth").await;
    stranger.signal("TERM");
    let said = stranger.ended().await.stderr;
    assert!(said.contains("connecting to server"), "the library is at its most talkative, too");
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} is in the log");
    }
    assert_eq!(server.stored().len(), 0);
    let daemon = started(&bench, &server, &lines(right)).await;
    has_all(&bench, &server).await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_token() {
    let options = ConnectOptions::with_token("rosebud".to_owned());
    let server = Server::known_by("authorization { token: rosebud }", options);
    lets_in(server, "{ token = \"rosebud\" }", "{ token = \"PLANTED\" }", &["PLANTED"]).await;
}

#[tokio::test]
async fn user_name_and_password() {
    let options = ConnectOptions::with_user_and_password("ann".to_owned(), "rosebud".to_owned());
    let server = Server::known_by("authorization { user: ann, password: rosebud }", options);
    let auth = |password| format!("{{ username = \"ann\", password = \"{password}\" }}");
    lets_in(server, &auth("rosebud"), &auth("PLANTED"), &["PLANTED"]).await;
}

fn key(kind: KeyPairType, number: u8) -> KeyPair {
    KeyPair::new_from_raw(kind, [number; 32]).unwrap()
}

#[tokio::test]
async fn an_nkey() {
    let user = key(KeyPairType::User, 1);
    let options = ConnectOptions::with_nkey(user.seed().unwrap());
    let lines = format!("authorization {{ users: [{{ nkey: {} }}] }}", user.public_key());
    let auth = |key: KeyPair| format!("{{ nkey = \"{}\" }}", key.seed().unwrap());
    let seed = key(KeyPairType::User, 2).seed().unwrap();
    let wrong = format!("{{ nkey = \"{seed}\" }}");
    lets_in(Server::known_by(&lines, options), &auth(user), &wrong, &[&seed]).await;
}

/// What the tools of NATS sign.
fn jwt(by: &KeyPair, of: &KeyPair, mut nats: Value) -> String {
    nats["version"] = json!(2);
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "jti": "1", "iat": 1_700_000_000, "iss": by.public_key(), "name": "test",
        "sub": of.public_key(), "nats": nats,
    });
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(by.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

fn creds(jwt: &str, user: &KeyPair) -> String {
    let (seed, line) = (user.seed().unwrap(), "-----");
    format!(
        "{line}BEGIN NATS USER JWT{line}\n{jwt}\n{line}-END NATS USER JWT{line}-\n\n\
         {line}BEGIN USER NKEY SEED{line}\n{seed}\n{line}-END USER NKEY SEED{line}-\n"
    )
}

#[tokio::test]
async fn a_credentials_file() {
    let operator = key(KeyPairType::Operator, 3);
    let [account, system] = [4, 5].map(|number| key(KeyPairType::Account, number));
    let [user, stranger] = [6, 7].map(|number| key(KeyPairType::User, number));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = json!({ "type": "account", "limits": limits });
    let of_operator = json!({ "type": "operator", "system_account": system.public_key() });
    let lines = format!(
        "operator: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
        jwt(&operator, &operator, of_operator),
        account.public_key(),
        jwt(&operator, &account, of_account.clone()),
        system.public_key(),
        jwt(&operator, &system, json!({ "type": "account", "limits": { "conn": -1 } })),
    );
    let of_user =
        json!({ "type": "user", "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {} });
    let good = creds(&jwt(&account, &user, of_user.clone()), &user);
    // Signed by nobody that the operator knows.
    let by_nobody = jwt(&key(KeyPairType::Account, 8), &stranger, of_user);
    let forged = creds(&by_nobody, &stranger);
    let server = Server::known_by(&lines, ConnectOptions::with_credentials(&good).unwrap());
    let file = |name: &str, text: &str| {
        let path = server.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("{{ credentials = {{ file = {path:?} }} }}")
    };
    let (good, forged) = (file("good.creds", &good), file("forged.creds", &forged));
    let seed = stranger.seed().unwrap();
    lets_in(server, &good, &forged, &[&seed, &by_nobody]).await;
}

#[tokio::test]
async fn a_user_who_may_not_publish_is_told_so_and_its_events_wait() {
    let bench = Bench::new().await;
    let users = "authorization { users: [\
        { user: all, password: p }, \
        { user: plain, password: p, permissions: { publish: \"cdr.>\", subscribe: \"_INBOX.>\" } }, \
        { user: mute, password: p, permissions: { publish: \"$JS.API.>\", subscribe: \"_INBOX.>\" } }] }";
    let options = ConnectOptions::with_user_and_password("all".to_owned(), "p".to_owned());
    let server = Server::known_by(users, options);
    server.make("CDR", Config::default());
    let lines = |user| format!("{RAW}\nauth = {{ username = \"{user}\", password = \"p\" }}");
    let mut daemon = program(&bench, &server, &lines("mute")).await;
    bench.push(2).await;
    let log = daemon.logs("allow this sink's user to publish its subjects").await;
    assert!(!log.contains("cdr.hq"), "{log}");
    daemon.signal("TERM");
    drop(daemon.ended().await);
    // Whoever may not look for the stream may publish all the same.
    let daemon = started(&bench, &server, &lines("plain")).await;
    has_all(&bench, &server).await;
    daemon.stop().await.unwrap();
}

/// A server with a certificate of its own making for `localhost`, and its fingerprint.
fn secure_server() -> (Server, String, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let lines = format!(
        "jetstream {{ store_dir: STORE }}\ntls {{ cert_file: {cert_file:?}, key_file: {key_file:?} }}"
    );
    let options = ConnectOptions::new().add_root_certificates(cert_file);
    let server = Server::named("localhost", &lines, options);
    (server, cdrd::tls::fingerprint(certificate.der()), directory)
}

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_its_ca_or_its_pin_and_not_otherwise() {
    let bench = Bench::new().await;
    let (server, pin, directory) = secure_server();
    server.make("CDR", Config::default());
    let mut untrusting = program(&bench, &server, RAW).await;
    bench.push(1).await;
    untrusting.logs(&format!("tls.pin_sha256 = \\\"{pin}\\\"")).await;
    untrusting.signal("TERM");
    drop(untrusting.ended().await);
    assert_eq!(server.stored().len(), 0);
    for tls in [
        format!("tls = {{ pin_sha256 = \"{pin}\" }}"),
        format!("tls = {{ ca_file = {:?} }}", directory.path().join("cert.pem")),
    ] {
        let daemon = started(&bench, &server, &format!("{RAW}\n{tls}")).await;
        bench.push(1).await;
        has_all(&bench, &server).await;
        daemon.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_nothing_if_tls_is_wanted() {
    let bench = Bench::new().await;
    let server = Server::with_stream();
    let mut daemon = program(&bench, &server, "tls = { insecure_skip_verify = true }").await;
    bench.push(1).await;
    daemon.logs("delivery failed").await;
    daemon.signal("TERM");
    drop(daemon.ended().await);
    assert_eq!(server.stored().len(), 0);
}
