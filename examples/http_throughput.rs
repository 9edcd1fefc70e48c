//! How many events the HTTP sink delivers in a second, to a receiver in the same
//! process that reads each request whole and answers 200.
//!
//! ```text
//! cargo run --release --example http_throughput -- [BYTES [SECONDS [THREADS]]]
//! ```
//! BYTES of one event (default 1000), SECONDS for each line (default 3), THREADS of
//! the runtime, which serve both sides (default: one for each processor).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cdrd::config::{Config, Environment};
use cdrd::event::decode::{Frame, decode};
use cdrd::event::{Origin, Stored};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is set, beside the URL.
const SETTINGS: &[&str] = &[
    "in_flight = 1",
    "in_flight = 8",
    "in_flight = 32",
    "in_flight = 128",
    "batch = 100",
    "batch = 100\nin_flight = 4",
    "batch = 100\nin_flight = 8",
    "batch = 100\nin_flight = 4\nformat = \"cloudevents\"",
    "in_flight = 32\nsigning_secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
];

/// Bytes of bodies that have arrived, so that nobody counts what was never sent.
static ARRIVED: AtomicUsize = AtomicUsize::new(0);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut next = |default| arguments.next().transpose().map(|given| given.unwrap_or(default));
    let (bytes, seconds) = (next(1_000)?, next(3)?);
    let threads = next(std::thread::available_parallelism()?.get())?;
    println!("events of {bytes} bytes, {seconds} s each, {threads} threads for both sides");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(threads).enable_all().build()?.block_on(measure(bytes, seconds))
}

async fn measure(bytes: usize, seconds: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let receiver = tokio::spawn(async move {
        let mut guests = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            guests.spawn(serve(stream));
        }
    });
    let events: Vec<Stored> = (0..10_000).map(|seq| event(seq, bytes)).collect();
    let events: Vec<&Stored> = events.iter().collect();
    for settings in SETTINGS {
        let text = format!(
            "[pbx.hq]\nurl = \"ws://127.0.0.1/wsi\"\nlogin = {{ username = \"u\", password = \"p\" }}\n\
             [sink.bench]\ntype = \"http\"\nurl = \"{url}\"\n{settings}\n"
        );
        let config = Config::parse("bench", &text, &Environment::empty())?;
        let mut sink = config.sinks[0].settings.open()?;
        ARRIVED.store(0, Ordering::Relaxed);
        let (start, mut done, mut at) = (Instant::now(), 0, 0);
        while start.elapsed() < Duration::from_secs(seconds as u64) {
            let end = events.len().min(at + sink.max_batch());
            let delivered = sink.deliver(&events[at..end]).await;
            anyhow::ensure!(delivered.failure.is_none(), "{delivered:?}");
            done += delivered.confirmed;
            at = end % events.len();
        }
        let rate = done as f64 / start.elapsed().as_secs_f64();
        anyhow::ensure!(ARRIVED.load(Ordering::Relaxed) >= done * bytes, "not all has arrived");
        println!("{rate:>9.0} events/s  {}", settings.replace('\n', ", "));
    }
    receiver.abort();
    Ok(())
}

fn event(seq: u64, bytes: usize) -> Stored {
    let head = format!(r#"{{"event_type":"call_cdr","session_id":"{}","pad":""#, seq << 20);
    let raw = format!("{head}{}\"}}", "x".repeat(bytes.saturating_sub(head.len() + 2)));
    match decode(&"hq".into(), Origin::Live, 1_782_864_000_123, Bytes::from(raw)) {
        Ok(Frame::Event(event)) => Stored { seq: seq + 1, event },
        other => unreachable!("a fixed text is an event: {other:?}"),
    }
}

/// Reads requests whole, as cheaply as one can, and answers them.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = (vec![0; 1 << 20], 0);
    loop {
        let head = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n");
        let Some(head) = head else {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            continue;
        };
        let length = length(&buffer[..head]);
        let mut left = (head + 4 + length).saturating_sub(filled);
        while left > 0 {
            let most = buffer.len().min(left);
            let read = stream.read(&mut buffer[..most]).await?;
            if read == 0 {
                return Ok(());
            }
            left -= read;
        }
        ARRIVED.fetch_add(length, Ordering::Relaxed);
        // Without pipelining nothing follows a body.
        filled = 0;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    }
}

fn length(head: &[u8]) -> usize {
    let text = std::str::from_utf8(head).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
