//! What a user sees: the real program, its words, its files and its exit codes.
//!
//! | file | asks |
//! |---|---|
//! | `usage` | wrong command lines; completions; readers that are gone |
//! | `gaps` | what cannot be closed, until somebody accepts it |
//! | `help` | the help of every command, word for word |
//! | `faulty_config` | exit code 78 and what is said with it |
//! | `journal_fault` | exit code 74: journals that cannot be, or are in use |
//! | `check` | each step in words; 69 if a peer refused or is not there |
//! | `run` | signals, draining, standard output |
//! | `status` | what it tells beside a daemon, without one, after a crash |
//! | `logs` | their forms, and what must never be in them |
//! | `tail` | beside a daemon and without one |
//! | `backfill` | with a daemon and without; what it cannot |
//! | `demo` | the first thing a newcomer runs |

mod backfill;
mod check;
mod demo;
mod faulty_config;
mod gaps;
mod help;
mod journal;
mod journal_fault;
mod logs;
mod run;
mod status;
mod tail;
mod usage;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{Bench, until};
use crate::process::{Outcome, Process, cdrd};

/// Runs cdrd to its end.
async fn output(arguments: &[&str]) -> Outcome {
    Process::run(&mut cdrd(arguments), "").await
}

/// Writes a configuration that nobody else may read; returns its path.
fn write_config(folder: &Path, text: &str) -> String {
    let path = folder.join("config.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A configuration file with these sinks.
fn config_file(bench: &Bench, sinks: &str) -> String {
    write_config(bench.directory.path(), &bench.patient_config_text(sinks))
}

/// A daemon in a process of its own, subscribed.
async fn subscribed_daemon(bench: &Bench, arguments: &[&str]) -> Process {
    let process = Process::start(&mut cdrd(["run"].iter().chain(arguments)));
    bench.subscribed().await;
    process
}

/// Waits until the bench's file sink has everything that was pushed.
async fn delivered(bench: &Bench) {
    let wanted = bench.pbx.log().len();
    let lines = || std::fs::read_to_string(bench.path("raw.jsonl")).unwrap_or_default();
    until("all is delivered", || std::future::ready(lines().lines().count() >= wanted)).await;
}

/// Name, size and a hash of the content of every file in a folder.
fn listing(folder: &Path) -> Vec<(String, usize, u64)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let content = std::fs::read(entry.path()).unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        (entry.file_name().into_string().unwrap(), content.len(), hasher.finish())
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}

/// Answers every HTTP request with the same status and the request's own body.
struct Receiver {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Receiver {
    async fn answering(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away has had its answer, or wants none.
                open.spawn(async move { drop(answer(stream, status).await) });
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn answer(mut stream: TcpStream, status: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    let body_at = loop {
        if let Some(at) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&request[..body_at]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let end = body_at + length.unwrap_or(0);
    while request.len() < end && stream.read_buf(&mut request).await? > 0 {}
    let body = &request[body_at..];
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}
