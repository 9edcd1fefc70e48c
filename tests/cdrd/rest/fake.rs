//! A PBX's REST interface as a test wants it: HTTP by hand, answers from a closure.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cdrd::clock::Clock;
use cdrd::config::Pbx;
use cdrd::pbx::lockout::{Lockout, Memory};
use cdrd::rest::Rest;
use reqwest::Url;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::harness;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET /api/calllogs`, without the query.
    pub line: String,
    pub query: BTreeMap<String, String>,
    pub authorization: Option<String>,
    pub body: String,
}

/// One answer.
pub enum Reply {
    /// Status, header lines, body.
    Whole(u16, Vec<String>, String),
    /// Some first bytes of a body, and then ever more.
    Endless,
    /// None, ever.
    Never,
    /// None, and the connection ends.
    Cut,
}

impl Reply {
    pub fn ok(body: impl Into<String>) -> Self {
        Self::Whole(200, Vec::new(), body.into())
    }

    pub fn status(status: u16) -> Self {
        Self::Whole(status, Vec::new(), String::new())
    }

    /// A token, as both forms of login give it.
    pub fn token(access: &str, expires_in: u64) -> Self {
        Self::ok(format!(
            r#"{{"access_token":"{access}","expires_in":{expires_in},"refresh_token":"r-{access}","token_type":"Bearer"}}"#
        ))
    }
}

type Judge = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// The interface on a port of its own.
pub struct Fake {
    pub port: u16,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<Request>>>,
    door: JoinHandle<()>,
}

impl Fake {
    pub async fn start(judge: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::open(None, Arc::new(judge)).await
    }

    pub async fn secure(
        tls: TlsAcceptor,
        judge: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::open(Some(tls), Arc::new(judge)).await
    }

    async fn open(tls: Option<TlsAcceptor>, judge: Judge) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let kept = Arc::clone(&requests);
        let door = tokio::spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, judge, kept) = (tls.clone(), Arc::clone(&judge), Arc::clone(&kept));
                guests.spawn(async move {
                    match tls {
                        None => serve(stream, judge, kept).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, judge, kept).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, scheme, requests, door }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests began like this.
    pub fn count(&self, start: &str) -> usize {
        self.requests().iter().filter(|request| request.line.starts_with(start)).count()
    }

    /// A configuration of this PBX; `keys` are added to its backfill table.
    pub fn pbx_with(&self, table: &str, keys: &str) -> Pbx {
        let text = format!(
            "[pbx.hq]\nurl = \"ws://127.0.0.1:1/wsi\"\nconnect_timeout = \"2s\"\n\
             login = {{ username = \"cdr\", domain = \"example.com\", password = \"hunter2 &\" }}\n{table}\n\
             [pbx.hq.backfill]\nurl = \"{}://localhost:{}/api\"\nrequests_per_minute = 1000\n{keys}\n\
             [sink.out]\ntype = \"stdout\"\n",
            self.scheme, self.port
        );
        harness::parse(&text).pbxs.remove(0)
    }

    pub fn rest(&self) -> Rest {
        let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
        Rest::new(&self.pbx_with("", ""), lockout, Clock::system()).unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.door.abort();
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    judge: Judge,
    kept: Arc<Mutex<Vec<Request>>>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        kept.lock().unwrap().push(request.clone());
        let sent = match judge(&request) {
            Reply::Whole(status, headers, body) => {
                let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await
            }
            Reply::Endless => endless(&mut stream).await,
            Reply::Cut => return,
            Reply::Never => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                return;
            }
        };
        if sent.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// A gibibyte of a list, in chunks.
async fn endless(stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
    for _ in 0..16_384 {
        stream.write_all(chunk.as_bytes()).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let of = |line: &String| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        lines[1..].iter().find_map(of)
    };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let mut words = lines[0].split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let url = Url::parse(&format!("http://h{target}")).ok()?;
    Some(Request {
        line: format!("{method} {}", url.path()),
        query: url.query_pairs().into_owned().collect(),
        authorization: header("authorization"),
        body: String::from_utf8(body).unwrap(),
    })
}
