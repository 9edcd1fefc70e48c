//! From the moment of sending to a line in the file, at a steady rate.

use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rustix::fs::inotify;

use crate::options::Options;
use crate::process::{free_port, until};
use crate::report::Found;
use crate::run::{clean, sent_at, start_pbx};
use crate::subject::Subject;

/// Rates that are measured, in events a second.
pub const RATES: [u64; 2] = [2000, 100];

pub fn measure(options: &Options, found: &mut Found) -> Result<()> {
    for round in 1..=options.rounds.min(3) {
        for rate in RATES {
            for subject in &options.subjects {
                let delays = delays(options, *subject, rate).with_context(|| subject.name())?;
                eprintln!("round {round}: {:<12} at {rate}/s", subject.name());
                found.latency(*subject, rate, &delays);
            }
        }
    }
    found.print_latency();
    Ok(())
}

/// The delay of each event in nanoseconds.
fn delays(options: &Options, subject: Subject, rate: u64) -> Result<Vec<u64>> {
    clean(options);
    let (port, events) = (free_port()?, rate * options.seconds);
    let _pbx = start_pbx(options, port, &format!("{events}:{rate}"))?;
    let (_process, file) = subject.start(options, port)?;
    until("the file", Duration::from_secs(10), || file.exists())?;
    follow(&file, events)
}

/// Reads a file as it grows.
fn follow(path: &Path, events: u64) -> Result<Vec<u64>> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY)?;
    let mut wakes = [MaybeUninit::uninit(); 4096];
    let mut wakes = inotify::Reader::new(&watch, &mut wakes);
    let mut file = File::open(path)?;
    let (mut text, mut delays) = (Vec::new(), Vec::new());
    while (delays.len() as u64) < events {
        file.read_to_end(&mut text)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = text[..whole].split(|byte| *byte == b'\n');
        delays.extend(lines.filter_map(sent_at).map(|sent| now.saturating_sub(sent)));
        text.drain(..whole);
        if (delays.len() as u64) < events {
            wakes.next()?;
        }
    }
    ensure!(delays.len() as u64 == events, "{} events instead of {events}", delays.len());
    // The first second is start-up.
    Ok(delays.split_off(delays.len() / 10))
}
