//! The page for people, in a real browser.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ADMIN, ask, daemon, get};
use crate::browser::Browser;
use crate::harness::{Bench, PATIENCE, until};

#[tokio::test]
async fn a_browser_shows_pbxs_sinks_and_calls_with_masked_numbers_and_keeps_them_up_to_date() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    bench.push(3).await;
    let mut browser = Browser::start(&bench.path("profile")).await;
    browser.open(&format!("http://{address}/")).await;
    let rows = "document.querySelectorAll('#calls tbody tr').length";
    browser.until(rows, |rows| *rows == 3).await;
    bench.push(2).await;
    browser.until(rows, |rows| *rows == 5).await;
    let page = browser.evaluate("document.body.innerText").await;
    let page = page.as_str().unwrap();
    for words in ["1 of 1 PBXs subscribed", "hq\n", "subscribed for", "raw\n", "delivering"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let problems = browser.evaluate("document.getElementById('problems').innerText").await;
    let hidden = browser.evaluate("document.getElementById('problems-card').hidden").await;
    assert_eq!(hidden, true, "{problems}");
    let bars = browser.evaluate("document.querySelectorAll('#chart rect').length").await;
    assert!(bars.as_u64().unwrap() > 0, "{page}");
    let table = browser.evaluate("document.getElementById('calls').innerText").await;
    let parties = "[...document.querySelectorAll('#calls tbody tr')]\
        .flatMap((row) => [row.cells[3].innerText, row.cells[4].innerText])";
    for party in browser.evaluate(parties).await.as_array().unwrap() {
        let party = party.as_str().unwrap();
        let digits = party.chars().filter(char::is_ascii_digit).count();
        assert!(party.is_empty() || party.contains('•') && digits <= 3, "{party} in {table}");
    }
    assert_eq!(browser.complaints, [] as [&str; 0]);
    daemon.stop().await.unwrap();
    browser.until("document.getElementById('gone').hidden", |hidden| *hidden == false).await;
}

#[tokio::test]
async fn a_browser_shows_what_is_wrong_as_text_and_numbers_if_told_to() {
    let bench = Bench::new().await;
    let more = format!(
        "{ADMIN}show_numbers = true\n[sink.down]\ntype = \"http\"\nurl = \"http://127.0.0.1:1/<b>bold</b>\"\n"
    );
    let (daemon, address) = daemon(&bench, &more).await;
    bench.push(3).await;
    let mut browser = Browser::start(&bench.path("profile")).await;
    browser.open(&format!("http://{address}/")).await;
    let problems = "document.getElementById('problems').innerText";
    let has = |words: &'static str| {
        move |text: &serde_json::Value| text.as_str().is_some_and(|text| text.contains(words))
    };
    browser.until(problems, has("sink \"down\": delivery fails")).await;
    assert_eq!(browser.evaluate("document.querySelectorAll('b').length").await, 0);
    browser.until("document.querySelectorAll('#calls tbody tr').length", |n| *n == 3).await;
    let table = browser.evaluate("document.getElementById('calls').innerText").await;
    assert!(!table.as_str().unwrap().contains('•'), "{table}");
    assert_eq!(browser.complaints, [] as [&str; 0]);
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

/// What an open page listens to.
async fn news(address: SocketAddr) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

/// Calls that the next news show.
async fn calls(news: &mut BufReader<TcpStream>) -> usize {
    let mut line = String::new();
    loop {
        line.clear();
        let read = timeout(PATIENCE, news.read_line(&mut line)).await.expect("news in time");
        assert!(read.unwrap() > 0, "the stream goes on");
        if let Some(text) = line.strip_prefix("data: ") {
            let news: serde_json::Value = serde_json::from_str(text).unwrap();
            return news["calls"]["last"].as_array().unwrap().len();
        }
    }
}

#[tokio::test]
async fn a_page_shows_at_once_what_came_while_none_was_open() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    let mut all = 0;
    for _ in 0..3 {
        bench.push(3).await;
        all += 3;
        // The page that is opened then has them in its first news.
        until("they are shown", async || calls(&mut news(address).await).await == all).await;
        let mut open = news(address).await;
        bench.push(2).await;
        all += 2;
        until("the open page has them", async || calls(&mut open).await == all).await;
    }
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn too_many_open_pages_are_refused_and_a_closed_one_makes_room() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    let mut open = Vec::new();
    let refused = loop {
        let mut stream = news(address).await;
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
        let mut stream = news(address).await;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        start.ends_with(b"200")
    })
    .await;
    assert_eq!(ask(address, "GET /healthz", &[]).await.code, 200);
    daemon.stop().await.unwrap();
}
