//! A child process: what it has cost so far, and that it ends with its owner.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A child that is killed when dropped.
pub struct Process(pub Child);

/// What a process has cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// User and system time in seconds.
    pub cpu: f64,
    /// Resident memory in MiB: the most so far, and now.
    pub peak: f64,
    pub now: f64,
}

impl Process {
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = format!("{:?}", command.get_program());
        Ok(Self(command.spawn().with_context(|| format!("cannot start {shown}"))?))
    }

    pub fn cost(&self) -> Result<Cost> {
        let folder = format!("/proc/{}", self.0.id());
        let stat = std::fs::read_to_string(format!("{folder}/stat"))?;
        // After the name, which may hold anything: state is the third field.
        let after = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<f64>().unwrap_or(0.0))
            .sum();
        let status = std::fs::read_to_string(format!("{folder}/status"))?;
        let mib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
            kib.unwrap_or(0.0) / 1024.0
        };
        Ok(Cost { cpu: ticks / 100.0, peak: mib("VmHWM:"), now: mib("VmRSS:") })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until something is so.
pub fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + limit;
    while !is_so() {
        if Instant::now() > end {
            bail!("waited {limit:?} for {what}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Standard streams that go nowhere.
pub fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}
