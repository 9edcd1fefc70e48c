//! Programs in processes of their own: cdrd as a user runs it, and the peers that
//! are not written in Rust.
//!
//! Threads collect what a program says; a test waits for words of it, never for a
//! time. A program that is still there when the test ends is killed.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::PATIENCE;

/// What around a test could change what the program says.
const SURROUNDINGS: &[&str] = &[
    "CDRD_LOG",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
    "NO_COLOR",
    "STATE_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
];

/// The program under test, with these arguments. `CDRD_BIN` names another build of it.
pub fn cdrd<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_cdrd"));
    let mut command = Command::new(std::env::var_os("CDRD_BIN").map_or(built, PathBuf::from));
    command.args(arguments).env("TZ", "UTC").env("COLUMNS", "100").env("RUST_BACKTRACE", "0");
    for name in SURROUNDINGS {
        command.env_remove(name);
    }
    command
}

/// A library for `LD_PRELOAD` from a source in C, made in `folder`.
pub fn preloaded(source: &str, folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let library = folder.join(source.with_extension("so").file_name().unwrap());
    let compiled = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .expect("cc is there; scripts/check installs it");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

/// A Python that has the library `websockets`.
pub fn python() -> Command {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin/python");
    let path = std::env::var_os("CDRD_TEST_PYTHON").map_or(made, PathBuf::from);
    assert!(
        path.exists(),
        "{} is not there; run scripts/check, which creates it, or let CDRD_TEST_PYTHON name a \
         Python with the package `websockets`",
        path.display()
    );
    Command::new(path)
}

/// A running program.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Stream,
    err: Stream,
}

/// How a program ended, and all that it said.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The exit code; a program that a signal ended has none, and fails the test.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Fails the test, with everything that was said, unless it ended so.
    #[track_caller]
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "\n{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdin = child.stdin.take();
        let out = Stream::collect(child.stdout.take().unwrap());
        let err = Stream::collect(child.stderr.take().unwrap());
        Self { child, stdin, out, err }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(text.as_bytes()).expect("it reads its standard input");
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until its standard output has these words; returns all of it so far.
    pub async fn says(&mut self, words: &str) -> String {
        self.has_said(words, |said| said.contains(words)).await
    }

    /// Waits until its standard output is as wanted; returns all of it so far.
    pub async fn has_said(&mut self, what: &str, is_so: impl FnMut(&str) -> bool) -> String {
        match self.out.wait(is_so).await {
            Some(said) => said,
            None => panic!("never said {what:?}: {:?} {:?}", self.out.text(), self.err.text()),
        }
    }

    /// As [`Process::says`], of standard error.
    pub async fn logs(&mut self, words: &str) -> String {
        match self.err.wait(|said| said.contains(words)).await {
            Some(said) => said,
            None => panic!("never logged {words:?}: {:?}", self.err.text()),
        }
    }

    /// Waits until its standard error is as wanted.
    pub async fn has_logged(&mut self, what: &str, is_so: impl FnMut(&str) -> bool) {
        let seen = self.err.wait(is_so).await;
        assert!(seen.is_some(), "never logged {what}: {}", self.err.text());
    }

    /// Whether its standard output has these words by now.
    pub fn has_printed(&self, words: &str) -> bool {
        self.out.text().contains(words)
    }

    /// Whether it runs and has printed nothing yet.
    pub fn is_silent(&mut self) -> bool {
        self.out.text().is_empty() && self.child.try_wait().unwrap().is_none()
    }

    /// Its standard error so far.
    pub fn log(&self) -> String {
        self.err.text()
    }

    /// The next whole line of its standard output.
    pub async fn line(&mut self) -> String {
        let from = self.out.taken;
        let said = self.has_said("another line", |said| said[from..].contains('\n')).await;
        let end = from + said[from..].find('\n').expect("just seen");
        self.out.taken = end + 1;
        said[from..end].to_owned()
    }

    /// Sends a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status();
        assert!(sent.unwrap().success(), "{name} cannot be sent");
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Outcome {
        let mut status = None;
        let deadline = Instant::now() + PATIENCE;
        while status.is_none() {
            let (out, err) = (&self.out, &self.err);
            assert!(Instant::now() < deadline, "never ends: {:?} {:?}", out.text(), err.text());
            sleep(Duration::from_millis(5)).await;
            status = self.child.try_wait().unwrap();
        }
        let (stdout, stderr) = (self.out.end(), self.err.end());
        Outcome { status: status.expect("just seen"), stdout, stderr }
    }

    /// Starts it, gives it `input`, and waits for its end.
    pub async fn run(command: &mut Command, input: &str) -> Outcome {
        let mut process = Self::start(command);
        process.write(input);
        process.close_stdin();
        process.ended().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either may fail, if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program writes to one of its streams.
struct Stream {
    said: watch::Receiver<String>,
    reader: Option<JoinHandle<()>>,
    /// Bytes that [`Process::line`] has handed out.
    taken: usize,
}

impl Stream {
    fn collect(mut from: impl Read + Send + 'static) -> Self {
        let (tell, said) = watch::channel(String::new());
        let reader = std::thread::spawn(move || {
            let (mut buffer, mut rest) = (vec![0; 64 * 1024], Vec::new());
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                rest.extend_from_slice(&buffer[..n]);
                // A character may come in two pieces.
                let valid = match std::str::from_utf8(&rest) {
                    Ok(text) => text.len(),
                    Err(e) => e.valid_up_to(),
                };
                let text: Vec<u8> = rest.drain(..valid).collect();
                let text = String::from_utf8(text).expect("just checked");
                tell.send_modify(|said| said.push_str(&text));
            }
            assert!(rest.is_empty(), "not UTF-8: {rest:?}");
        });
        Self { said, reader: Some(reader), taken: 0 }
    }

    fn text(&self) -> String {
        self.said.borrow().clone()
    }

    /// `None` once it is too late: the stream has ended, or patience has.
    async fn wait(&mut self, mut is_so: impl FnMut(&str) -> bool) -> Option<String> {
        match timeout(PATIENCE, self.said.wait_for(|said| is_so(said))).await {
            Ok(Ok(said)) => Some(said.clone()),
            // `wait_for` looks at the last value even when the sender is gone.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    fn end(&mut self) -> String {
        let reader = self.reader.take().expect("ended once");
        reader.join().expect("the stream is UTF-8");
        self.text()
    }
}
