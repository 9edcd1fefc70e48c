//! Authentication and TLS against a client that is not ours.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::{EVENT, hq, table};
use crate::harness::{Bench, Running, parse};

/// Posts with these options; the status, and how often curl had to ask.
async fn curl(url: &str, options: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--output", "/dev/null"]);
    command.args(["--write-out", "%{http_code} %{num_connects}", "--data-binary", EVENT]);
    let done = command.args(options).arg(url).stdin(Stdio::null()).output().await;
    let done = done.expect("curl is installed (scripts/check installs it)");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "curl: {told}");
    let out = String::from_utf8(done.stdout).unwrap();
    out.split(' ').next().unwrap().to_owned()
}

async fn started(bench: &Bench, auth: &str) -> (Running, String) {
    let daemon = Running::start(&parse(&hq(bench, auth)));
    let url = format!("http://{}/portsip/hq", daemon.webhooks[0]);
    (daemon, url)
}

#[tokio::test]
async fn curl_posts_with_basic() {
    let bench = Bench::new().await;
    let auth = "auth = { username = \"pbx\", password = \"pä:ss\" }";
    let (daemon, url) = started(&bench, auth).await;
    assert_eq!(curl(&url, &["--basic", "--user", "pbx:pä:ss"]).await, "200");
    for wrong in ["pbx:other", "other:pä:ss", "pbx:"] {
        assert_eq!(curl(&url, &["--basic", "--user", wrong]).await, "401");
    }
    assert_eq!(curl(&url, &["--digest", "--user", "pbx:pä:ss"]).await, "401");
    assert_eq!(bench.journalled(), 1);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn curl_posts_with_bearer() {
    let bench = Bench::new().await;
    let (daemon, url) = started(&bench, super::TOKEN).await;
    assert_eq!(curl(&url, &["--header", "Authorization: Bearer t0ken"]).await, "200");
    assert_eq!(curl(&url, &["--header", "Authorization: Bearer other"]).await, "401");
    assert_eq!(curl(&url, &[]).await, "401");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn curl_posts_with_digest() {
    let bench = Bench::new().await;
    let auth = "auth = { digest = { username = \"pbx\", password = \"pä:ss\" } }";
    let (daemon, url) = started(&bench, auth).await;
    for _ in 0..3 {
        assert_eq!(curl(&url, &["--digest", "--user", "pbx:pä:ss"]).await, "200");
    }
    assert_eq!(curl(&format!("{url}?tenant=1"), &["--digest", "--user", "pbx:pä:ss"]).await, "200");
    for wrong in ["pbx:other", "other:pä:ss"] {
        assert_eq!(curl(&url, &["--digest", "--user", wrong]).await, "401");
    }
    assert_eq!(curl(&url, &["--basic", "--user", "pbx:pä:ss"]).await, "401");
    assert_eq!(bench.journalled(), 1);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn curl_posts_over_tls() {
    let bench = Bench::new().await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key): (PathBuf, PathBuf) = (bench.path("cert.pem"), bench.path("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = format!("{}\ntls = {{ cert_file = {cert:?}, key_file = {key:?} }}", super::TOKEN);
    let text = format!(
        "{}{}{}",
        table("hq", "/portsip/hq", &tls).replace("127.0.0.1:0", "0.0.0.0:0"),
        bench.journal_table(),
        bench.raw_sink()
    );
    let daemon = Running::start(&parse(&text));
    let port = daemon.webhooks[0].port();
    let url = format!("https://localhost:{port}/portsip/hq");
    let trust = cert.to_str().unwrap();
    let bearer = "Authorization: Bearer t0ken";
    assert_eq!(curl(&url, &["--cacert", trust, "--ipv4", "--header", bearer]).await, "200");
    assert_eq!(bench.journalled(), 1);
    // Plain HTTP to a TLS port is no request.
    let plain = super::talk(([127, 0, 0, 1], port).into(), "POST / HTTP/1.1\r\n\r\n").await;
    assert!(!plain.starts_with("HTTP"), "{plain}");
    daemon.stop().await.unwrap();
}
