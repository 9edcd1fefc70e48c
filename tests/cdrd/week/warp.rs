//! Faster time for programs that are started with it: what `warp.c` is told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The library, as the system's compiler makes it.
pub fn library(folder: &Path) -> PathBuf {
    let made = folder.join("warp.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cdrd/week/warp.c");
    let compiled = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&made, &source])
        .arg("-ldl")
        .status()
        .expect("cc is there; scripts/check installs it");
    assert!(compiled.success(), "warp.c does not compile");
    made
}

/// `CDRD_WARP` for processes that start now, at the moment `from` in Unix nanoseconds.
pub fn warp(speed: u64, from: i128) -> String {
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{speed} {real} {} {}", from, up_since_boot())
}

/// What the monotonic clock shows, in nanoseconds.
fn up_since_boot() -> u128 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    // Near enough: the library only needs a moment that both clocks had.
    let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
    (seconds * 1e9) as u128
}
