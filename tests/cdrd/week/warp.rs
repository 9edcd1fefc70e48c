//! Faster time for programs that are started with it: what `warp.c` is told.

use std::time::{SystemTime, UNIX_EPOCH};

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
