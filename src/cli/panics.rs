//! What a panic does: it ends the process, with the exit code of a fault of ours.
//!
//! cdrd does not limp on with a part that is gone. Whatever starts it again finds every
//! event in the journal, as after `kill -9`.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{Write, stderr};
use std::panic::PanicHookInfo;
use std::process;
use std::thread;

use super::exit::Exit;

/// Sees to it that a panic of any thread ends the process.
pub fn end_the_process() {
    std::panic::set_hook(Box::new(|panic| {
        // Whoever cannot read it still gets the exit code.
        let _ = stderr().write_all(report(panic).as_bytes());
        process::exit(Exit::Internal as i32);
    }));
}

fn report(panic: &PanicHookInfo<'_>) -> String {
    let trace = Backtrace::capture();
    let is_asked_for = trace.status() == BacktraceStatus::Captured;
    let message = match (panic.payload().downcast_ref::<&str>(), panic.payload().downcast_ref()) {
        (Some(literal), _) => literal,
        (None, Some(made)) if is_asked_for => String::as_str(made),
        // "byte 1 is not a char boundary; it is inside 'ü' of `Müller`"
        (None, _) => "its message may hold data of a call, and is told with RUST_BACKTRACE=1",
    };
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = panic.location().map_or_else(|| "?".to_owned(), ToString::to_string);
    let report = format!(
        "cdrd: internal error: thread {name} panicked at {place}: {message}; please report it\n"
    );
    if is_asked_for { format!("{report}{trace}\n") } else { report }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    const HOW: &str = "CDRD_TEST_PANIC";

    #[test]
    #[ignore = "ends the process: the others run it in one of its own"]
    fn panics() {
        let how = std::env::var(HOW).expect("how to panic");
        super::end_the_process();
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let panics = move || if how == "literal" { panic!("a fault") } else { panic!("{how}") };
        let _ = thread.spawn(panics).unwrap().join();
        std::process::exit(0);
    }

    fn ended(how: &str, backtrace: &str) -> (Option<i32>, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "cli::panics::tests::panics"]);
        let Output { status, stderr, .. } =
            command.env(HOW, how).env("RUST_BACKTRACE", backtrace).output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn a_panic_of_any_thread_ends_the_process_as_a_fault_of_ours() {
        let (code, words) = ended("literal", "0");
        assert_eq!(code, Some(70));
        let at = words
            .strip_prefix("cdrd: internal error: thread journal panicked at src/cli/panics.rs:");
        let at = at.and_then(|at| at.strip_suffix(": a fault; please report it\n"));
        assert!(at.is_some_and(|at| at.len() < 10), "{words}");
    }

    #[test]
    fn what_a_panic_says_of_a_call_is_told_only_if_asked_for() {
        let (code, words) = ended("inside 'ü' of `Müller`", "0");
        assert_eq!(code, Some(70));
        assert!(words.contains("RUST_BACKTRACE=1") && !words.contains("Müller"), "{words}");
        let (code, words) = ended("inside 'ü' of `Müller`", "1");
        assert_eq!(code, Some(70));
        assert!(words.contains("of `Müller`; please report it\n"), "{words}");
        assert!(words.contains("panics::tests::panics"), "{words}");
    }
}
