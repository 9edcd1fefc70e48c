//! One run: the simulated PBX pours records out, a subject brings them into a file.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::options::Options;
use crate::process::{Cost, Process, free_port, quiet, until};
use crate::report::Found;
use crate::subject::{Subject, journal};

/// How long the slowest run may take.
const LIMIT: Duration = Duration::from_secs(300);

/// What came of a run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub events: f64,
    pub events_per_second: f64,
    pub cost: Cost,
}

/// Runs each subject once a round.
pub fn throughput(options: &Options, found: &mut Found) -> Result<()> {
    for round in 1..=options.rounds {
        for subject in &options.subjects {
            let run = pour(options, *subject).with_context(|| subject.name())?;
            eprintln!(
                "round {round}: {:<12} {:>8.0} events/s",
                subject.name(),
                run.events_per_second
            );
            found.throughput(*subject, run);
        }
    }
    found.print_throughput();
    Ok(())
}

fn pour(options: &Options, subject: Subject) -> Result<Run> {
    clean(options);
    let port = free_port()?;
    let _pbx = start_pbx(options, port, &options.events.to_string())?;
    let (process, file) = subject.start(options, port)?;
    let lines = options.events + subject.lines_before();
    let mut seen = Watch::new(&file);
    until("the last event", LIMIT, || seen.rests_after(lines))?;
    let cost = process.cost()?;
    let (first, last) = span(&file)?;
    Ok(Run {
        events: options.events as f64,
        events_per_second: options.events as f64 / (last - first),
        cost,
    })
}

/// Removes what the last run has left.
pub fn clean(options: &Options) {
    for name in ["out.jsonl", "cdrd.toml"] {
        let _ = std::fs::remove_file(options.folder.join(name));
    }
    let journal = journal(options).into_os_string().into_string().unwrap_or_default();
    for ending in ["", "-wal", "-shm", ".lock", ".ballast"] {
        let _ = std::fs::remove_file(format!("{journal}{ending}"));
    }
    // What the last run wrote must not be written back at the cost of the next.
    rustix::fs::sync();
}

/// The simulated PBX with a load: `N` or `N:RATE`.
pub fn start_pbx(options: &Options, port: u16, load: &str) -> Result<Process> {
    let mut command = Command::new(&options.cdrd);
    quiet(&mut command).args(["simulate", "--flood", load, "--listen"]);
    let process = Process::start(command.arg(format!("127.0.0.1:{port}")))?;
    let is_up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    until("the simulated PBX", Duration::from_secs(10), is_up)?;
    Ok(process)
}

/// Watches a file grow without reading it while it does.
struct Watch<'a> {
    file: &'a Path,
    size: u64,
    looks: u32,
}

/// Looks (each 2 ms) without growth after which the lines are counted.
const RESTS: u32 = 150;

impl<'a> Watch<'a> {
    fn new(file: &'a Path) -> Self {
        Self { file, size: 0, looks: 0 }
    }

    fn rests_after(&mut self, lines: u64) -> bool {
        let size = std::fs::metadata(self.file).map_or(0, |file| file.len());
        self.looks = if size == self.size { self.looks + 1 } else { 0 };
        self.size = size;
        self.looks > 0 && self.looks.is_multiple_of(RESTS) && count_lines(self.file) >= lines
    }
}

/// Lines in a file.
pub fn count_lines(file: &Path) -> u64 {
    let Ok(file) = File::open(file) else { return 0 };
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut lines = 0;
    while let Ok(buffer) = reader.fill_buf() {
        if buffer.is_empty() {
            break;
        }
        lines += buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = buffer.len();
        reader.consume(length);
    }
    lines
}

/// From the moment when the first event was sent to the last write, in Unix seconds.
fn span(file: &Path) -> Result<(f64, f64)> {
    let lines = BufReader::new(File::open(file)?).lines().take(10);
    let lines: Vec<String> = lines.collect::<std::io::Result<_>>()?;
    let first = lines.iter().find_map(|line| sent_at(line.as_bytes()));
    let first = first.context("no event in the file")? as f64 / 1e9;
    let meta = std::fs::metadata(file)?;
    let last = meta.mtime() as f64 + meta.mtime_nsec() as f64 / 1e9;
    ensure!(last > first, "the file ends before it begins");
    Ok((first, last))
}

/// When an event was sent, in Unix nanoseconds: its `session_id` says so.
pub fn sent_at(line: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"session_id\":\"";
    let start = line.windows(KEY.len()).position(|text| text == KEY)? + KEY.len();
    std::str::from_utf8(line.get(start..start + 19)?).ok()?.parse().ok()
}
