//! What is in the journal already: how fast it is delivered, and what its size costs.
//!
//! A daemon whose sink is down takes the events in; then one with another sink starts on
//! the same journal, and what it delivers is timed.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::options::Options;
use crate::process::{Cost, Process, free_port, quiet, until};
use crate::run::{clean, start_pbx};
use crate::subject::{config_text, journal, start_cdrd};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(600);

/// A sink that is down.
const DOWN: &str =
    "[sink.down]\ntype = \"socket\"\naddress = \"tcp://127.0.0.1:1\"\nstart = \"beginning\"\n";

/// A sink that a backlog is delivered to.
struct Way {
    name: &'static str,
    /// Its table, but for what names the receiver.
    table: &'static str,
    /// Events of the backlog that are timed, at most.
    most: u64,
}

const WAYS: [Way; 5] = [
    Way { name: "file", table: "type = \"file\"", most: u64::MAX },
    Way { name: "file, fsync = false", table: "type = \"file\"\nfsync = false", most: u64::MAX },
    Way { name: "http, one by one", table: "type = \"http\"", most: 50_000 },
    Way { name: "http, in_flight = 32", table: "type = \"http\"\nin_flight = 32", most: 300_000 },
    Way {
        name: "http, batch = 100, in_flight = 4",
        table: "type = \"http\"\nformat = \"cloudevents\"\nbatch = 100\nin_flight = 4",
        most: u64::MAX,
    },
];

pub fn measure(options: &Options) -> Result<()> {
    clean(options);
    let filled = fill(options)?;
    println!(
        "\nA journal of {} events, {:.0} MiB, from the socket at {:.0} events/s, {:.0} MiB of memory at the peak.",
        options.backlog,
        size(options),
        filled.0,
        filled.1.peak
    );
    start_to_ready(options)?;
    println!("\n| backlog to | events/s | CPU s per million | peak RSS MiB |");
    println!("|---|---|---|---|");
    for way in &WAYS {
        drain(options, way).with_context(|| way.name)?;
    }
    Ok(())
}

fn size(options: &Options) -> f64 {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    length(&journal(options)) as f64 / f64::from(1 << 20)
}

/// Fills the journal while a sink is down: events a second, and what it cost.
fn fill(options: &Options) -> Result<(f64, Cost)> {
    let port = free_port()?;
    let _pbx = start_pbx(options, port, &options.backlog.to_string())?;
    let config = options.folder.join("cdrd.toml");
    std::fs::write(&config, config_text(options, &[("pbx", port)], DOWN))?;
    let started = Instant::now();
    let daemon = start_cdrd(options, &config)?;
    until("the last event", LIMIT, || last_seq(options, &config) >= options.backlog)?;
    let seconds = started.elapsed().as_secs_f64();
    let cost = daemon.cost()?;
    stop(daemon)?;
    Ok((options.backlog as f64 / seconds, cost))
}

fn stop(mut daemon: Process) -> Result<()> {
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    until("the daemon's end", LIMIT, || matches!(daemon.0.try_wait(), Ok(Some(_))))
}

fn status(options: &Options, config: &Path) -> Result<serde_json::Value> {
    let out = Command::new(&options.cdrd).args(["status", "--json", "-c"]).arg(config).output()?;
    Ok(serde_json::from_slice(&out.stdout)?)
}

fn last_seq(options: &Options, config: &Path) -> u64 {
    std::thread::sleep(Duration::from_millis(100));
    let status = status(options, config).unwrap_or_default();
    status["journal"]["events"].as_u64().unwrap_or(0)
}

/// From the start of the process to `READY=1`, and how long `status` takes.
fn start_to_ready(options: &Options) -> Result<()> {
    let config = options.folder.join("cdrd.toml");
    std::fs::write(&config, config_text(options, &[("pbx", 1)], DOWN))?;
    let socket = options.folder.join("notify");
    let (mut ready, mut asked, mut idle) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..5 {
        let _ = std::fs::remove_file(&socket);
        let notified = UnixDatagram::bind(&socket)?;
        let mut command = Command::new(&options.cdrd);
        quiet(&mut command).args(["run", "-c"]).arg(&config).env("NOTIFY_SOCKET", &socket);
        let started = Instant::now();
        let daemon = Process::start(&mut command)?;
        let mut message = [0; 1024];
        loop {
            let length = notified.recv(&mut message)?;
            if message[..length].windows(7).any(|text| text == b"READY=1") {
                break;
            }
        }
        ready.push(started.elapsed().as_secs_f64() * 1e3);
        for _ in 0..5 {
            let started = Instant::now();
            status(options, &config)?;
            asked.push(started.elapsed().as_secs_f64() * 1e3);
        }
        idle = daemon.cost()?.now;
        stop(daemon)?;
    }
    let worst = |figures: &[f64]| figures.iter().copied().fold(0.0, f64::max);
    println!(
        "Start to READY: {:.0} ms at worst of {}; `cdrd status`: {:.0} ms at worst of {}; idle: {idle:.0} MiB.",
        worst(&ready),
        ready.len(),
        worst(&asked),
        asked.len(),
    );
    Ok(())
}

fn drain(options: &Options, way: &Way) -> Result<()> {
    let out = options.folder.join("out.jsonl");
    let _ = std::fs::remove_file(&out);
    let port = free_port()?;
    let is_http = way.name.starts_with("http");
    let mut command = Command::new(std::env::current_exe()?);
    let receiver = quiet(&mut command).args(["receiver", &format!("127.0.0.1:{port}")]);
    let _receiver = is_http.then(|| Process::start(receiver)).transpose()?;
    let place = match is_http {
        true => format!("url = \"http://127.0.0.1:{port}/\""),
        false => format!("path = {out:?}\nformat = \"cloudevents\""),
    };
    if is_http {
        until("the receiver", LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    }
    // A name of its own, so that it begins at the beginning.
    let name = way.name.replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let admin = free_port()?;
    let sink = format!(
        "[admin]\nlisten = \"127.0.0.1:{admin}\"\n[sink.{name}]\n{}\n{place}\nstart = \"beginning\"\n",
        way.table
    );
    let config: PathBuf = options.folder.join("cdrd.toml");
    std::fs::write(&config, config_text(options, &[("pbx", 1)], &sink))?;
    let wanted = options.backlog.min(way.most);
    let daemon = start_cdrd(options, &config)?;
    let mut first: Option<(Instant, u64)> = None;
    let end = Instant::now() + LIMIT;
    let (seconds, events) = loop {
        if Instant::now() > end {
            bail!("not delivered within {LIMIT:?}");
        }
        let now = delivered(admin, &name);
        match first {
            None if now > 0 => first = Some((Instant::now(), now)),
            Some((since, before)) if now >= wanted => {
                break (since.elapsed().as_secs_f64(), now - before);
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let cost = daemon.cost()?;
    println!(
        "| {} | {:.0} | {:.1} | {:.0} |",
        way.name,
        events as f64 / seconds,
        cost.cpu / wanted as f64 * 1e6,
        cost.peak
    );
    drop(daemon);
    Ok(())
}

/// Events that a sink has delivered, by the daemon's metrics.
fn delivered(admin: u16, sink: &str) -> u64 {
    use std::io::{Read, Write};
    let ask = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", admin))?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = ask().unwrap_or_default();
    let name = format!("cdrd_sink_delivered_total{{sink=\"{sink}\"}} ");
    let found = text.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok());
    found.unwrap_or(0)
}
