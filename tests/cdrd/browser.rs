//! A real browser: headless Chromium, told what to do over its DevTools protocol.
//!
//! `--dump-dom` would not do: it waits for a stream of events that never ends.

use std::path::Path;
use std::process::Command;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::PATIENCE;
use crate::process::Process;

/// A browser with one page.
pub struct Browser {
    socket: WebSocketStream<TcpStream>,
    session: Option<String>,
    last: u64,
    /// What the page complained about: faults of its script, what its policy forbids.
    pub complaints: Vec<String>,
    _process: Process,
}

impl Browser {
    /// Starts one that knows nothing; `scripts/check` installs it.
    pub async fn start(profile: &Path) -> Self {
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
            "--remote-debugging-port=0",
        ]);
        chromium.arg(format!("--user-data-dir={}", profile.display())).arg("about:blank");
        let mut process = Process::start(&mut chromium);
        let said = process.logs("/devtools/browser/").await;
        let url = said.split("DevTools listening on ").nth(1).expect("it says where");
        let url = url.split_whitespace().next().expect("it says where");
        let address = url.trim_start_matches("ws://").split('/').next().expect("a host");
        let stream = TcpStream::connect(address).await.expect("the browser listens");
        let (socket, _) = client_async(url, stream).await.expect("the browser answers");
        let (session, complaints) = (None, Vec::new());
        let mut browser = Self { socket, session, last: 0, complaints, _process: process };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let target = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", target).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    pub async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
    }

    /// What an expression is in the page.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        self.call("Runtime.evaluate", parameters).await["result"]["value"].take()
    }

    /// Waits until an expression is as wanted; returns what it is.
    pub async fn until(&mut self, expression: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waiting = async {
            loop {
                last = self.evaluate(expression).await;
                if is_so(&last) {
                    return;
                }
                sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let waited = timeout(PATIENCE * 2, waiting).await;
        assert!(waited.is_ok(), "{expression} is {last}, never as wanted");
        last
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut call = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(call.to_string())).await.expect("the browser listens");
        timeout(PATIENCE, self.answer(method)).await.expect("the browser answers in time")
    }

    async fn answer(&mut self, method: &str) -> Value {
        loop {
            let message = self.socket.next().await.expect("the browser lives").unwrap();
            let Ok(text) = message.to_text() else { continue };
            let Ok(mut said) = serde_json::from_str::<Value>(text) else { continue };
            if said["id"] == self.last {
                assert!(said.get("error").is_none(), "{method}: {said}");
                return said["result"].take();
            }
            if said["method"] == "Runtime.exceptionThrown" || said["method"] == "Log.entryAdded" {
                self.complaints.push(said["params"].to_string());
            }
        }
    }
}
