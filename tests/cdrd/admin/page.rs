//! The page for people, in a real browser.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{ADMIN, ask, daemon, get};
use tokio::time::Instant;

use crate::harness::{Bench, PATIENCE, until};
use crate::process::Process;

/// What the browser shows once the page's script has run; `scripts/check` installs it.
async fn shown(address: SocketAddr, profile: &Path) -> String {
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--virtual-time-budget=3000",
        "--dump-dom",
    ]);
    chromium.arg(format!("--user-data-dir={}", profile.display()));
    chromium.arg(format!("http://{address}/"));
    Process::run(&mut chromium, "").await.ended_with(0).stdout
}

/// The text of a page, without its tags.
fn text(dom: &str) -> String {
    let body = dom.split_once("<body").map_or(dom, |(_, body)| body);
    let body = body.split_once("<script").map_or(body, |(body, _)| body);
    let parts = body.split('<').filter_map(|part| part.split_once('>'));
    parts.map(|(_, text)| text).filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join("|")
}

#[tokio::test]
async fn a_browser_shows_pbxs_sinks_and_calls_with_masked_numbers() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    bench.push(5).await;
    let profile = bench.path("profile");
    let deadline = Instant::now() + PATIENCE * 3;
    let dom = loop {
        let dom = shown(address, &profile).await;
        if dom.matches("<tr>").count() == 6 {
            break dom;
        }
        assert!(Instant::now() < deadline, "never five calls: {dom}");
    };
    let text = text(&dom);
    for words in [
        "1 of 1 PBXs subscribed",
        "|hq|",
        "subscribed for",
        "|raw|",
        "delivering",
        "nothing waits",
        "inbound",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(
        !text.contains("What is wrong") || dom.contains("id=\"problems-card\" hidden"),
        "{dom}"
    );
    let (_, table) = text.split_once("|Outcome|").expect("there is a table of calls");
    assert!(table.contains('•'), "{table}");
    let longest = table.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap();
    assert!(longest <= 3, "a number in full: {table}");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn the_page_runs_its_own_script_and_loads_nothing_from_elsewhere() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    let page = get(address, "/").await;
    assert_eq!(page.code, 200);
    assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'sha256-"));
    assert!(!page.head.contains("unsafe"), "{}", page.head);
    let outside = ["src=", "href=", "@import", "url(", "innerHTML"];
    assert!(outside.iter().all(|word| !page.body.contains(word)), "{}", page.body);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn too_many_open_pages_are_refused_and_a_closed_one_makes_room() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    let mut open = Vec::new();
    let refused = loop {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        if start.ends_with(b"503") {
            break open.len();
        }
        open.push(stream);
    };
    assert_eq!(refused, 16);
    // Others are answered as before.
    assert_eq!(get(address, "/healthz").await.code, 200);
    open.clear();
    until("there is room again", || async {
        // A stream ends by itself only with the client, so only its start is read.
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        start.ends_with(b"200")
    })
    .await;
    assert_eq!(ask(address, "GET /healthz", &[]).await.code, 200);
    daemon.stop().await.unwrap();
}
