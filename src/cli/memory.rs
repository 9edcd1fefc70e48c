//! How the C library hands out the daemon's memory.
//!
//! By default glibc gives each thread a store of its own. Events are made on one thread and
//! freed on another, so those stores grew to 65 MiB at full speed, and with one store for
//! all it is 42, at the same speed. The library reads this wish once, when a process
//! starts, so the program starts itself anew with it: same process, same arguments. The
//! systemd units set it, which spares that.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// glibc's variable for the number of its stores (mallopt(3)).
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Sees to it that the process has one store of memory. Whatever goes wrong with it, the
/// process goes on as it is: it only needs more.
pub fn share_one_store() {
    if !cfg!(target_env = "gnu") || std::env::var_os(ARENAS).is_some() {
        return;
    }
    let (Ok(program), mut arguments) = (std::env::current_exe(), std::env::args_os()) else {
        return;
    };
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Comes back only if it failed.
    let _ = command.args(arguments).env(ARENAS, "1").exec();
}
