//! The sink `postgres` against a real server.
//!
//! | file | asks |
//! |---|---|
//! | `server` | nothing: it runs a PostgreSQL |
//! | `rows` | what is in the tables, and what cannot be |
//! | `faults` | servers that restart, are killed, refuse; what the operator must mend |
//! | `setup` | `cdrd sink init`, and what `cdrd check` says |

mod faults;
mod rows;
pub mod server;
mod setup;

use crate::harness::{Bench, Running, parse};
use crate::process::cdrd;

/// A configuration with a PBX that nobody calls.
pub fn config(sinks: &str) -> String {
    format!(
        "[pbx.hq]\nurl = \"ws://127.0.0.1:1/wsi\"\n\
         login = {{ username = \"u\", domain = \"d\", password = \"p\" }}\n{sinks}"
    )
}

/// A daemon in this process. Asking psql takes the simulated PBX's thread.
pub fn start(bench: &Bench, sinks: &str) -> Running {
    Running::start(&parse(&bench.patient_config_text(sinks)))
}

/// What `cdrd sink init` prints for the sink `subject` of a configuration.
pub fn print_sql(config: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, config).unwrap();
    let output = cdrd(["sink", "init", "subject", "--print-sql"])
        .args(more)
        .arg("-c")
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Finished calls that the PBX has told so far.
fn told(bench: &Bench) -> usize {
    bench.pbx.log().iter().filter(|pushed| pushed.event_type == Some("call_cdr")).count()
}
