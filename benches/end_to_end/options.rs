//! What is asked for on the command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::subject::{Subject, USUAL};

const USAGE: &str = "\
cargo bench --bench end_to_end -- [throughput] [latency] [backlog] [many] [OPTIONS]
  --events N      events of a run of throughput       (300000)
  --rounds N      runs of each subject                (5)
  --seconds N     length of a run of latency          (10)
  --backlog N     events in the journal of backlog    (1000000)
  --pbxs N        PBXs of many, at 50 events/s each   (200)
  --only A,B      subjects: cdrd, cdrd-nosync, websocat, tungstenite, faucet
  --plot FILE     an SVG of throughput and latency
  --folder DIR    where files and journals are written; a disk, not memory
Without a name all four are measured, and every subject but faucet. CDRD_BIN measures another
cdrd; CDRD_WEBSOCAT and CDRD_FAUCET name the others' programs.";

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Events as fast as they are read.
    Throughput,
    /// Events at a steady rate.
    Latency,
    /// Events that are in the journal.
    Backlog,
    /// Many PBXs.
    Many,
}

const WHATS: [(&str, What); 4] = [
    ("throughput", What::Throughput),
    ("latency", What::Latency),
    ("backlog", What::Backlog),
    ("many", What::Many),
];

/// All of it.
#[derive(Debug)]
pub struct Options {
    pub what: Vec<What>,
    pub subjects: Vec<Subject>,
    pub events: u64,
    pub rounds: usize,
    pub seconds: u64,
    pub backlog: u64,
    pub pbxs: u64,
    pub plot: Option<PathBuf>,
    pub folder: PathBuf,
    pub cdrd: PathBuf,
}

impl Options {
    pub fn read(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            what: Vec::new(),
            subjects: USUAL.to_vec(),
            events: 300_000,
            rounds: 5,
            seconds: 10,
            backlog: 1_000_000,
            pbxs: 200,
            plot: None,
            folder: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench")),
            cdrd: std::env::var_os("CDRD_BIN")
                .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_cdrd")), PathBuf::from),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let known = WHATS.iter().find(|(name, _)| name == argument);
            if let Some((_, what)) = known {
                options.what.push(*what);
                continue;
            }
            let value = rest.next().with_context(|| format!("{argument}?\n\n{USAGE}"))?;
            match argument.as_str() {
                "--events" => options.events = value.parse()?,
                "--rounds" => options.rounds = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--backlog" => options.backlog = value.parse()?,
                "--pbxs" => options.pbxs = value.parse()?,
                "--plot" => options.plot = Some(value.into()),
                "--folder" => options.folder = value.into(),
                "--only" => {
                    options.subjects = value.split(',').map(str::parse).collect::<Result<_>>()?;
                }
                _ => bail!("{argument}?\n\n{USAGE}"),
            }
        }
        if options.what.is_empty() {
            options.what = WHATS.map(|(_, what)| what).to_vec();
        }
        Ok(options)
    }
}
