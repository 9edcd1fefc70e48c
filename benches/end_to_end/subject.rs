//! What is measured.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Result, bail};
use serde_json::json;

use crate::options::Options;
use crate::process::{Process, quiet};

/// What logs in and subscribes, for clients that send lines.
pub const COMMANDS: [&str; 2] = [
    r#"{"command":"auth","username":"cdr","domain":"example.com","password":"cdrd-demo"}"#,
    r#"{"command":"subscribe","topics":["cdr_events"]}"#,
];

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// cdrd with its defaults: journal, then a file that is synced.
    Cdrd,
    /// cdrd with `fsync = false` for the file alone: the journal is as durable as ever.
    CdrdNosync,
    /// websocat, to a file.
    Websocat,
    /// The plain reader.
    Tungstenite,
    /// faucet, a runner of pipelines, to a file. Only if asked for.
    Faucet,
}

/// All that are easily had, in the order of a round.
pub const USUAL: [Subject; 4] =
    [Subject::Websocat, Subject::Cdrd, Subject::CdrdNosync, Subject::Tungstenite];

impl Subject {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cdrd => "cdrd",
            Self::CdrdNosync => "cdrd-nosync",
            Self::Websocat => "websocat",
            Self::Tungstenite => "tungstenite",
            Self::Faucet => "faucet",
        }
    }

    /// Starts it on a PBX; the file that it writes to.
    pub fn start(self, options: &Options, port: u16) -> Result<(Process, PathBuf)> {
        let file = options.folder.join("out.jsonl");
        let url = format!("ws://127.0.0.1:{port}/wsi");
        let process = match self {
            Self::Cdrd | Self::CdrdNosync => {
                let config = options.folder.join("cdrd.toml");
                let fsync = self == Self::Cdrd;
                let sink = format!(
                    "[sink.file]\ntype = \"file\"\npath = {file:?}\nformat = \"cloudevents\"\nfsync = {fsync}\nstart = \"beginning\"\n"
                );
                std::fs::write(&config, config_text(options, &[("pbx", port)], &sink))?;
                start_cdrd(options, &config)?
            }
            Self::Websocat => {
                let mut command = Command::new(program("CDRD_WEBSOCAT", "websocat"));
                command.arg("-t").arg(url).stdin(Stdio::piped()).stdout(File::create(&file)?);
                let mut process = Process::start(&mut command)?;
                if let Some(stdin) = &mut process.0.stdin {
                    stdin.write_all((COMMANDS.join("\n") + "\n").as_bytes())?;
                }
                process
            }
            Self::Tungstenite => {
                let mut command = Command::new(std::env::current_exe()?);
                quiet(&mut command).arg("reader").arg(url).arg(&file);
                Process::start(&mut command)?
            }
            Self::Faucet => {
                let config = options.folder.join("faucet.yaml");
                let messages = options.events + self.lines_before();
                std::fs::write(&config, pipeline(&url, &file, messages))?;
                let mut command = Command::new(program("CDRD_FAUCET", "faucet"));
                Process::start(quiet(&mut command).arg("run").arg(&config))?
            }
        };
        Ok((process, file))
    }

    /// The answers to the commands, which some write as well.
    pub fn lines_before(self) -> u64 {
        match self {
            Self::Websocat | Self::Faucet => COMMANDS.len() as u64,
            _ => 0,
        }
    }
}

impl FromStr for Subject {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match USUAL.into_iter().chain([Self::Faucet]).find(|subject| subject.name() == name) {
            Some(subject) => Ok(subject),
            None => bail!("no subject {name:?}"),
        }
    }
}

/// A configuration with a journal in the folder.
pub fn config_text(options: &Options, pbxs: &[(&str, u16)], rest: &str) -> String {
    let journal = journal(options);
    let mut text = format!("[journal]\npath = {journal:?}\nmax_size = \"200GiB\"\n");
    for (name, port) in pbxs {
        text.push_str(&format!(
            "[pbx.{name}]\nurl = \"ws://127.0.0.1:{port}/wsi\"\nbackfill = {{ enabled = false }}\nlogin = {{ username = \"cdr\", domain = \"example.com\", password = \"cdrd-demo\" }}\n"
        ));
    }
    text + rest
}

/// The journal of all runs.
pub fn journal(options: &Options) -> PathBuf {
    options.folder.join("journal.db")
}

/// Starts the daemon.
pub fn start_cdrd(options: &Options, config: &Path) -> Result<Process> {
    let mut command = Command::new(&options.cdrd);
    quiet(&mut command).args(["run", "-c"]).arg(config);
    command.stderr(File::create(options.folder.join("cdrd.log"))?);
    Process::start(&mut command)
}

/// What faucet is to do; JSON is YAML, too. It writes the last lines when it ends.
fn pipeline(url: &str, file: &Path, messages: u64) -> String {
    let source = json!({
        "url": url, "subscribe_messages": COMMANDS, "message_format": "json",
        "max_messages": messages,
    });
    let sink = json!({ "path": file, "append": false });
    json!({ "version": 1, "name": "bench", "pipeline": {
        "source": { "type": "websocket", "config": source },
        "sink": { "type": "jsonl", "config": sink },
    } })
    .to_string()
}

/// The program that a variable names, or that of this name.
fn program(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| name.into(), PathBuf::from)
}
