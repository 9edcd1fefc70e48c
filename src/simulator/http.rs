//! The HTTP request that every connection opens with, and where its path leads.
//!
//! WSI is one path on this port, and of a 22.x PBX everything below `/api` is REST.

use std::io;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::object::Object;
use super::options::Dialect;

/// Longest request head that is read.
const LONGEST_HEAD: usize = 16 * 1024;

/// A request up to its blank line.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The same as bytes, for whoever reads it again.
    pub raw: Bytes,
}

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// The WebSocket interface; the accept key answers the client's.
    Wsi(String),
    /// The REST side.
    Rest,
    /// WSI's path, but no WebSocket upgrade.
    NoUpgrade,
    /// Nowhere.
    NotFound,
}

impl Head {
    /// Reads a head, leaving in `buffer` what came after it.
    pub async fn read<R: AsyncRead + Unpin>(
        stream: &mut R,
        buffer: &mut BytesMut,
    ) -> io::Result<Self> {
        loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = buffer.split_to(end + 4);
                return Self::parse(head.freeze()).ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
            if buffer.len() > LONGEST_HEAD || stream.read_buf(buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn parse(raw: Bytes) -> Option<Self> {
        let text = std::str::from_utf8(&raw).ok()?;
        let mut lines = text.trim_end().split("\r\n");
        let mut request = lines.next()?.split(' ');
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().into()))
        };
        Some(Self {
            method: request.next()?.into(),
            target: request.next()?.into(),
            headers: lines.map(header).collect::<Option<_>>()?,
            raw: raw.clone(),
        })
    }

    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Where this leads: `/wsi`, and for 12 and 16, whose URL has no path, `/`. REST
    /// came with 22.
    pub fn route(&self, dialect: Dialect) -> Route {
        if dialect == Dialect::V22 && (self.path() == "/api" || self.path().starts_with("/api/")) {
            return Route::Rest;
        }
        let wsi = match self.path() {
            "/wsi" => true,
            "/" => dialect != Dialect::V22,
            _ => false,
        };
        let upgrade =
            self.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
        match (wsi, self.header("sec-websocket-key")) {
            (true, Some(key)) if upgrade => Route::Wsi(derive_accept_key(key.as_bytes())),
            (true, _) => Route::NoUpgrade,
            (false, _) => Route::NotFound,
        }
    }
}

/// Answers an upgrade.
pub async fn switch<W: AsyncWrite + Unpin>(stream: &mut W, accept_key: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept_key}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await
}

/// Answers with an error in the form of the REST side (protocol page, 2) and closes.
/// `now_ms` is the PBX's clock.
pub async fn refuse<W: AsyncWrite + Unpin>(
    stream: &mut W,
    now_ms: i64,
    status: &str,
    code: &str,
    message: &str,
) -> io::Result<()> {
    let error = Object::new().put("code", code).put("message", message);
    let body = Object::new().put_all("errors", [error]).finish();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nDate: {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        http_date(now_ms),
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// A header's `Date`: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(unix_ms: i64) -> String {
    let moment = Timestamp::from_millisecond(unix_ms).unwrap_or_default();
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
