//! Many PBXs at one daemon, at 50 events a second each.

use std::time::Duration;

use anyhow::Result;

use crate::options::Options;
use crate::process::{free_port, until};
use crate::run::{clean, count_lines, start_pbx};
use crate::subject::{config_text, start_cdrd};

/// Events a second of each PBX.
const RATE: u64 = 50;

pub fn measure(options: &Options) -> Result<()> {
    println!("\n| PBXs at {RATE} events/s | CPU s per million | peak RSS MiB |");
    println!("|---|---|---|");
    for pbxs in [1, options.pbxs] {
        clean(options);
        let events = RATE * options.seconds;
        let port = free_port()?;
        let _pbx = start_pbx(options, port, &format!("{events}:{RATE}"))?;
        let (file, config) = (options.folder.join("out.jsonl"), options.folder.join("cdrd.toml"));
        let sink = format!(
            "[sink.file]\ntype = \"file\"\npath = {file:?}\nformat = \"cloudevents\"\nstart = \"beginning\"\n"
        );
        let names: Vec<String> = (0..pbxs).map(|n| format!("p{n}")).collect();
        let table: Vec<_> = names.iter().map(|name| (name.as_str(), port)).collect();
        std::fs::write(&config, config_text(options, &table, &sink))?;
        let daemon = start_cdrd(options, &config)?;
        let all = pbxs * events;
        until("all events", Duration::from_secs(120 + 2 * options.seconds), || {
            std::thread::sleep(Duration::from_millis(500));
            count_lines(&file) >= all
        })?;
        let cost = daemon.cost()?;
        println!("| {pbxs} | {:.0} | {:.0} |", cost.cpu / all as f64 * 1e6, cost.peak);
    }
    Ok(())
}
