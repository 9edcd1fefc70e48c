//! The plainest reader that does what cdrd's users would write themselves first:
//! tokio-tungstenite, each message decoded into a typed value, appended to a buffered
//! file. It keeps nothing: what is in its buffer when it dies is lost.

use std::io::Write;

use anyhow::{Context, Result};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

use crate::subject::COMMANDS;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    event_type: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<&'a serde_json::value::RawValue>,
}

pub fn run(url: &str, file: &str) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(read(url, file))
}

async fn read(url: &str, file: &str) -> Result<()> {
    let request = url.into_client_request()?;
    let host = request.uri().authority().context("no host")?.to_string();
    let stream = tokio::net::TcpStream::connect(host).await?;
    let (mut socket, _) = client_async(request, stream).await?;
    for command in COMMANDS {
        socket.send(Message::text(command)).await?;
    }
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::fs::File::create(file)?);
    loop {
        let message = match socket.next().now_or_never() {
            Some(message) => message,
            None => {
                out.flush()?;
                socket.next().await
            }
        };
        let Some(message) = message else { return Ok(()) };
        if let Message::Text(text) = message? {
            let head: Head<'_> = serde_json::from_str(&text)?;
            if head.event_type.is_some() && head.session_id.is_some() {
                out.write_all(text.as_bytes())?;
                out.write_all(b"\n")?;
            }
        }
    }
}
