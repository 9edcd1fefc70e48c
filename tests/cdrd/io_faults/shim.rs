//! The library that makes calls fail, and what it is told.
//!
//! Compiled from `tests/io_faults/shim.c` with the compiler that builds SQLite, loaded
//! into the process under test alone.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;

use crate::process::preloaded;

/// Bytes of the structure up to the pattern, and of the pattern.
const NUMBERS: usize = 24;
const PATTERN: usize = 128;
/// Where the number of failures is.
const HITS: u64 = 20;

/// Kinds of calls, as bits.
pub const READ: i32 = 1;
pub const WRITE: i32 = 2;
pub const SYNC: i32 = 4;
pub const TRUNCATE: i32 = 8;
pub const OPEN: i32 = 16;
pub const RENAME: i32 = 32;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Input/output error.
    Io = 0,
    /// No space left on device, where that can be.
    Full = 1,
    /// Half of it is written.
    Short = 2,
}

/// What is to fail.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Part of the path, or with a `$` its end.
    pub pattern: &'static str,
    pub calls: i32,
    pub kind: Kind,
    /// So many calls still work.
    pub after: i32,
    /// So many fail then.
    pub times: i32,
}

impl Fault {
    /// One that can happen to a disk, in one of these ways.
    pub fn choose(patterns: &[&'static str], kinds: &[Kind], random: &mut Rng) -> Self {
        let calls = [READ, WRITE, WRITE | TRUNCATE, SYNC, SYNC | TRUNCATE, OPEN, RENAME];
        Self {
            pattern: patterns[random.usize(0..patterns.len())],
            calls: calls[random.usize(0..calls.len())],
            kind: kinds[random.usize(0..kinds.len())],
            after: random.i32(0..12),
            times: random.i32(1..4),
        }
    }

    /// Words for the calls.
    pub fn call(&self) -> &'static str {
        match self.calls & !TRUNCATE {
            READ => "read",
            WRITE => "write",
            SYNC => "sync",
            OPEN => "open",
            _ => "rename",
        }
    }
}

/// The library, and the file by which it is told.
pub struct Shim {
    library: PathBuf,
    control: PathBuf,
    file: File,
}

impl Shim {
    /// Compiles it into `folder`.
    pub fn compile(folder: &Path) -> Self {
        let library = preloaded("tests/io_faults/shim.c", folder);
        let control = folder.join("control");
        std::fs::write(&control, [0; NUMBERS + PATTERN]).unwrap();
        let file = File::options().read(true).write(true).open(&control).unwrap();
        Self { library, control, file }
    }

    /// Loads it into a process.
    pub fn load<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", &self.library).env("IO_FAULTS", &self.control)
    }

    /// From now on these calls fail.
    pub fn arm(&self, fault: &Fault) {
        self.disarm();
        let numbers = [0, fault.calls, fault.kind as i32, fault.after, fault.times, 0];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        bytes.extend_from_slice(fault.pattern.as_bytes());
        bytes.resize(NUMBERS + PATTERN, 0);
        self.file.write_all_at(&bytes, 0).unwrap();
        self.file.write_all_at(&1i32.to_ne_bytes(), 0).unwrap();
    }

    /// From now on none fails.
    pub fn disarm(&self) {
        self.file.write_all_at(&0i32.to_ne_bytes(), 0).unwrap();
    }

    /// Calls that failed since the last [`Shim::arm`].
    pub fn hits(&self) -> i32 {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, HITS).unwrap();
        i32::from_ne_bytes(bytes)
    }
}
