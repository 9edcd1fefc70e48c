//! Peers that mean harm, or behave as if they did: a real daemon with a good PBX beside
//! the bad one stays small, says what is wrong, and delivers the good one's events.
//!
//! `CDRD_HOSTILE_TYPES` says how many types of events one of them invents,
//! `CDRD_HOSTILE_MIB` how much the endless ones send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use cdrd::simulator::{DOMAIN, PASSWORD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::harness::{Bench, number, until};
use crate::process::{Process, cdrd};

/// What a small daemon may need at most, in KiB, built without optimization: 40 MiB at
/// rest, frames of 4 MiB in several stages, and no share of what endless peers send.
const MOST_KIB: u64 = 160 << 10;

/// How much the endless ones send: far more than [`MOST_KIB`].
fn flood() -> usize {
    (number("CDRD_HOSTILE_MIB", 300) << 20) as usize
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}
type Trick = Arc<dyn Fn(&mut dyn Stream) -> std::io::Result<()> + Send + Sync>;

/// Listens for the rest of the test's process; each connection meets the trick.
fn villain(
    trick: impl Fn(&mut dyn Stream) -> std::io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let (trick, listener): (Trick, _) =
        (Arc::new(trick), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let trick = Arc::clone(&trick);
            stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            // The daemon ends the connection as a rule: that is the point.
            std::thread::spawn(move || drop(trick(&mut stream)));
        }
    });
    address
}

/// Reads the head of a request.
fn request(stream: &mut dyn Stream) -> std::io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn upgraded(stream: &mut dyn Stream) -> std::io::Result<()> {
    let head = request(stream)?;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or("");
    let accept = derive_accept_key(key.as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const TEXT: u8 = 0x81;

/// Lets the daemon log in and subscribe.
fn subscribed(stream: &mut dyn Stream) -> std::io::Result<()> {
    upgraded(stream)?;
    let mut some = [0; 4096];
    for command in ["auth", "subscribe"] {
        // How much of a command has come matters to nobody.
        let _length = stream.read(&mut some)?;
        let answer = format!(r#"{{"command":"{command}","status":0}}"#);
        stream.write_all(&frame(TEXT, answer.as_bytes()))?;
    }
    Ok(())
}

/// Stays until the other side goes.
fn linger(stream: &mut dyn Stream) -> std::io::Result<()> {
    let mut some = [0; 4096];
    while stream.read(&mut some)? > 0 {}
    Ok(())
}

/// A daemon with a good PBX and a bad one.
struct Town {
    bench: Bench,
    daemon: Process,
}

impl Town {
    /// `keys` are those of `[pbx.evil]`.
    async fn new(scheme: &str, evil: SocketAddr, keys: &str, tables: &str) -> Self {
        let bench = Bench::new().await;
        let url = format!("{scheme}://localhost:{}/wsi", evil.port());
        let sinks = format!(
            "{}[pbx.evil]\nurl = {url:?}\nlogin = {{ username = \"cdr\", domain = {DOMAIN:?}, \
             password = {PASSWORD:?} }}\nconnect_timeout = \"2s\"\n\
             reconnect = {{ initial = \"50ms\", max = \"200ms\" }}\n{keys}\n{tables}",
            bench.raw_sink().replace("[sink.", "pbx = [\"hq\"]\n[sink.").replacen(
                "pbx = [\"hq\"]\n",
                "",
                1
            ) + "pbx = [\"hq\"]\n"
        );
        let config = bench.path("config.toml");
        std::fs::write(&config, bench.patient_config_text(&sinks)).unwrap();
        let daemon = Process::start(cdrd(["run", "-c"]).arg(&config));
        bench.subscribed().await;
        Self { bench, daemon }
    }

    async fn evil(evil: SocketAddr) -> Self {
        Self::new("ws", evil, "backfill = { enabled = false }", "").await
    }

    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The good one is served, the daemon is small, and it ends in order.
    async fn unharmed(self) -> String {
        self.bench.push(20).await;
        let all = self.bench.pbx.log().len();
        until("the good PBX's events are delivered", async || {
            let raw = std::fs::read(self.bench.path("raw.jsonl")).unwrap_or_default();
            raw.iter().filter(|byte| **byte == b'\n').count() >= all
        })
        .await;
        let peak = self.peak_kib();
        println!("peak {} MiB", peak >> 10);
        assert!(peak < MOST_KIB, "{peak} KiB");
        self.daemon.signal("TERM");
        let outcome = self.daemon.ended().await;
        assert!([0, 75].contains(&outcome.code()), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        outcome.stderr
    }
}

/// Runs to the end of a flood, or to where the daemon ends it.
fn pour(stream: &mut dyn Stream, piece: &[u8]) -> std::io::Result<()> {
    for _ in 0..flood() / piece.len() {
        stream.write_all(piece)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_frame_is_let_by_and_kept_by_its_first_bytes() {
    let evil = villain(|stream| {
        subscribed(stream)?;
        let mut header = vec![TEXT, 127];
        header.extend((flood() as u64).to_be_bytes());
        stream.write_all(&header)?;
        pour(stream, &[b'x'; 64 * 1024])?;
        stream.write_all(&frame(TEXT, br#"{"event_type":"queue_status"}"#))?;
        linger(stream)
    });
    let town = Town::evil(evil).await;
    until("it is in the quarantine", async || {
        crate::harness::quarantine(&town.bench.path("journal.db")).iter().any(|entry| {
            entry.size == flood() as u64
                && entry.data.len() == 4096
                && entry.reason.contains("max_frame")
        })
    })
    .await;
    town.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_fragments_end_the_connection() {
    let evil = villain(|stream| {
        subscribed(stream)?;
        stream.write_all(&frame(0x01, b"{"))?;
        pour(stream, &frame(0x00, &[b'x'; 64 * 1024]))
    });
    let mut town = Town::evil(evil).await;
    town.daemon.logs("over max_frame").await;
    town.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_without_number_make_neither_series_nor_memory() {
    let types = number("CDRD_HOSTILE_TYPES", 30_000);
    let evil = villain(move |stream| {
        subscribed(stream)?;
        for n in 0..types {
            stream.write_all(&frame(TEXT, format!(r#"{{"event_type":"type_{n}"}}"#).as_bytes()))?;
        }
        linger(stream)
    });
    let port = crate::port::Port::reserve();
    let admin = format!("[admin]\nlisten = \"{}\"\n", port.address);
    let town = Town::new("ws", evil, "backfill = { enabled = false }", &admin).await;
    let metrics = || {
        let mut stream = TcpStream::connect(port.address).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            port.address
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    until("all are journalled", async || town.bench.journalled() >= types as usize).await;
    let text = metrics();
    let series = text.lines().filter(|line| line.contains("pbx=\"evil\"")).count();
    assert!(series < 100, "{series}");
    assert!(text.contains("pbx=\"evil\",type=\"other\""), "{text}");
    assert!(text.len() < 64 << 10);
    town.unharmed().await;
}

/// Frames that a parser may choke on; all of them events by the rules of JSON.
fn odd_events() -> Vec<String> {
    let deep =
        |levels: usize, open: &str, close: &str| open.repeat(levels) + "1" + &close.repeat(levels);
    let cdr = |more: &str| format!(r#"{{"event_type":"call_cdr","call_id":"odd",{more}}}"#);
    vec![
        cdr(&format!(r#""user_data":{}"#, deep(100_000, "[", "]"))),
        cdr(&format!(r#""call_targets":{}"#, deep(100_000, r#"{"a":"#, "}"))),
        cdr(&format!(r#""session_id":{}"#, "9".repeat(100_000))),
        cdr(
            r#""talk_duration":1e999999,"start_time":-1e400,"cost":123456789012345678901234567890.5"#,
        ),
        cdr(r#""start_time":"99999999999999999999","ended_time":"-1","ring_duration":"NaN""#),
        cdr(r#""caller":"1","caller":"2","session_id":"a","session_id":"b""#),
        cdr("\"caller\":\"\\u0000\",\"session_id\":\"\\u0000\""),
        cdr("\"caller\":\"\\ud800\",\"session_id\":\"\\udc00x\""),
        cdr(r#""call_targets":[null,1,"x",[],{},{"id":{}}]"#),
        cdr(r#""call_targets":{"0":1},"tenant_id":[],"direction":{},"did":true"#),
        cdr(&format!(r#""caller":"{}""#, "=".repeat(3 << 20))),
        cdr(&(0..50_000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_at_its_limits_goes_to_sinks_of_every_format_or_is_kept() {
    let evil = villain(|stream| {
        subscribed(stream)?;
        for event in odd_events() {
            stream.write_all(&frame(TEXT, event.as_bytes()))?;
        }
        linger(stream)
    });
    let folder = tempfile::tempdir().unwrap();
    let formats = ["cloudevents", "raw", "record", "csv"];
    let sinks: String = formats
        .iter()
        .map(|format| {
            let path = folder.path().join(format);
            format!(
                "[sink.odd-{format}]\ntype = \"file\"\npath = {path:?}\nformat = \"{format}\"\n\
                 pbx = [\"evil\"]\nstart = \"beginning\"\n"
            )
        })
        .collect();
    let keys = "backfill = { enabled = false }";
    let town = Town::new("ws", evil, keys, &sinks).await;
    let journal = town.bench.path("journal.db");
    let wanted = odd_events().len();
    for format in formats {
        until(&format!("all are in the file of {format}, or dead letters"), async || {
            let text = std::fs::read(folder.path().join(format)).unwrap_or_default();
            let lines = text.iter().filter(|b| **b == b'\n').count();
            // CSV has a header; a cell may hold a line end, but none of these does.
            let lines = lines.saturating_sub(usize::from(format == "csv"));
            lines + crate::harness::dead_letters(&journal, &format!("odd-{format}")).len() >= wanted
        })
        .await;
    }
    let raw = std::fs::read_to_string(folder.path().join("raw")).unwrap();
    let mut got: Vec<&str> = raw.lines().collect();
    let mut sent = odd_events();
    got.sort_unstable();
    sent.sort_unstable();
    assert!(got.iter().zip(&sent).all(|(got, sent)| got == sent), "changed on the way");
    town.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_trickles_in_is_given_up() {
    let evil = villain(|stream| {
        request(stream)?;
        for byte in b"HTTP/1.1 101 Switching Protocols\r\nX: ".iter().chain(b"x".iter().cycle()) {
            stream.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    let mut town = Town::evil(evil).await;
    town.daemon.logs("no WebSocket upgrade within 2s").await;
    town.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_headers_are_given_up() {
    let evil = villain(|stream| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nX: ")?;
        pour(stream, &[b'x'; 64 * 1024])
    });
    let mut town = Town::evil(evil).await;
    town.daemon
        .has_logged("why", |log| {
            log.contains("upgrade failed") || log.contains("no WebSocket upgrade")
        })
        .await;
    town.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed() {
    let evil = villain(|stream| {
        request(stream)?;
        stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 9999999999\r\n\r\n",
        )?;
        pour(stream, &[b'x'; 64 * 1024])
    });
    let mut town = Town::evil(evil).await;
    town.daemon.logs("answered 302 to the WebSocket upgrade").await;
    town.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_a_refusal_are_cut() {
    let evil = villain(|stream| {
        upgraded(stream)?;
        let _length = stream.read(&mut [0; 4096])?;
        let words = "no ".repeat(1 << 20);
        let answer = format!(r#"{{"command":"auth","status":-1,"error":"{words}"}}"#);
        stream.write_all(&frame(TEXT, answer.as_bytes()))?;
        linger(stream)
    });
    let mut town = Town::evil(evil).await;
    town.daemon.logs("refused").await;
    let log = town.unharmed().await;
    assert!(log.len() < 64 << 10, "{} bytes of log", log.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_rest_without_end_is_given_up() {
    let evil = villain(|stream| {
        let head = request(stream)?;
        if head.starts_with("GET /wsi") {
            return Ok(());
        }
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n{",
        )?;
        pour(stream, &[b' '; 64 * 1024])
    });
    let keys = format!(
        "backfill = {{ url = \"http://localhost:{}/api\", settle = \"100ms\", reconcile_every = \"1m\" }}",
        evil.port()
    );
    let bench = Town::new("ws", evil, &keys, "").await;
    let config = bench.bench.path("config.toml");
    let asked = Process::run(
        cdrd(["backfill", "--pbx", "evil", "--since", "1h", "--dry-run", "-c"]).arg(config),
        "",
    )
    .await
    .ended_with(69);
    assert!(asked.stderr.contains("MiB"), "{}", asked.stderr);
    bench.unharmed().await;
}

/// A certificate for `localhost` from a CA that is written to the folder; expired or not.
fn certificate(bench: &std::path::Path, years: (i32, i32)) -> ServerConfig {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(bench.join("ca.pem"), ca.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let cert = params.signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap()
}

fn tls_villain(config: ServerConfig) -> SocketAddr {
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else { continue };
            let mut stream = StreamOwned::new(connection, stream);
            let _ = subscribed(&mut stream).and_then(|()| linger(&mut stream));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_expired_or_that_nobody_vouches_for_is_refused() {
    for (years, with_ca, words) in
        [((2001, 2002), true, "expired"), ((2001, 2090), false, "tls.ca_file")]
    {
        let folder = tempfile::tempdir().unwrap();
        let evil = tls_villain(certificate(folder.path(), years));
        let ca = folder.path().join("ca.pem");
        let tls = if with_ca { format!("tls = {{ ca_file = {ca:?} }}\n") } else { String::new() };
        let keys = format!("{tls}backfill = {{ enabled = false }}");
        let mut town = Town::new("wss", evil, &keys, "").await;
        town.daemon.logs(words).await;
        town.unharmed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_never_end_delay_nobody_else() {
    let good = villain(|stream| {
        subscribed(stream)?;
        linger(stream)
    });
    let body = villain(|stream| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 1073741824\r\n\r\n")?;
        pour(stream, &[b'x'; 64 * 1024])
    });
    let redirect = villain(|stream| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")?;
        linger(stream)
    });
    let slow = villain(|stream| {
        request(stream)?;
        for byte in b"HTTP/1.1 200 OK\r\n".iter().chain(b"X".iter().cycle()) {
            stream.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    let headers = villain(|stream| {
        request(stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
        pour(stream, &[b'x'; 64 * 1024])
    });
    let garbage = villain(|stream| pour(stream, &[0x16, 3, 1, 255, 255, 7, 7, 7].repeat(8192)));
    let sink = |name: &str, scheme: &str, address: SocketAddr| {
        format!(
            "[sink.{name}]\ntype = \"http\"\nurl = \"{scheme}://localhost:{}/hook\"\ntimeout = \"1s\"\n\
             retry = {{ initial = \"50ms\", max = \"200ms\" }}\nstart = \"beginning\"\n",
            address.port()
        )
    };
    let sinks = [
        sink("body", "http", body),
        sink("redirect", "http", redirect),
        sink("slow", "http", slow),
        sink("headers", "http", headers),
        sink("garbage", "https", garbage),
    ]
    .concat();
    let mut town = Town::new("ws", good, "backfill = { enabled = false }", &sinks).await;
    town.bench.push(5).await;
    for name in ["body", "redirect", "slow", "headers", "garbage"] {
        town.daemon
            .has_logged(name, |log| {
                log.lines().any(|line| {
                    line.contains(name) && (line.contains("WARN") || line.contains("ERROR"))
                })
            })
            .await;
    }
    town.unharmed().await;
}
