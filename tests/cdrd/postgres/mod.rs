//! The sink `postgres` against a real server. Words that users read are in `commands`.

pub mod server;

use crate::process::cdrd;

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
