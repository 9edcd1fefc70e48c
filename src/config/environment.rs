//! What a configuration refers to outside of its own text: environment
//! variables, files and programs.
//!
//! Injected, so that reading a configuration is a pure function of its text and
//! this value, and tests never touch the environment of their process.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

type Variables = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync>;
type Programs = Box<dyn Fn(&Path) -> bool + Send + Sync>;
type Files = Box<dyn Fn(&Path) -> io::Result<Vec<u8>> + Send + Sync>;

/// Environment variables and files, as a configuration sees them.
pub struct Environment {
    variables: Variables,
    files: Files,
    programs: Programs,
    /// Secrets are neither read nor missed.
    secrets_wanted: bool,
    /// What was read since somebody looked: variables and files.
    read: RefCell<Vec<Vec<u8>>>,
}

impl Environment {
    /// The variables of this process and the files of this machine.
    pub fn of_process() -> Self {
        Self {
            variables: Box::new(|name| std::env::var_os(name)),
            files: Box::new(|path| std::fs::read(path)),
            programs: Box::new(is_executable),
            secrets_wanted: true,
            read: RefCell::default(),
        }
    }

    /// Neither variables nor files; tests add what they need.
    pub fn empty() -> Self {
        Self {
            variables: Box::new(|_| None),
            files: Box::new(|_| Err(io::Error::new(io::ErrorKind::NotFound, "no such file"))),
            programs: Box::new(|_| false),
            secrets_wanted: true,
            read: RefCell::default(),
        }
    }

    /// For commands that need the names and paths of a configuration alone, and are
    /// run by people whom systemd gives no credentials.
    #[must_use]
    pub fn without_secrets(self) -> Self {
        Self { secrets_wanted: false, ..self }
    }

    /// Whether secrets are to be read.
    pub fn secrets_wanted(&self) -> bool {
        self.secrets_wanted
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with_variable(self, name: &str, value: &str) -> Self {
        let (name, value) = (name.to_owned(), OsString::from(value));
        let rest = self.variables;
        let variables: Variables =
            Box::new(move |asked| if asked == name { Some(value.clone()) } else { rest(asked) });
        Self { variables, ..self }
    }

    /// The same with one more file.
    #[must_use]
    pub fn with_file(self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        let (path, content) = (path.into(), content.into());
        let rest = self.files;
        let files: Files =
            Box::new(move |asked| if asked == path { Ok(content.clone()) } else { rest(asked) });
        Self { files, ..self }
    }

    /// The same with one more program that can be run.
    #[must_use]
    pub fn with_program(self, path: impl Into<PathBuf>) -> Self {
        let (path, rest) = (path.into(), self.programs);
        let programs: Programs = Box::new(move |asked| asked == path || rest(asked));
        Self { programs, ..self }
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        let value = (self.variables)(name);
        let content = value.as_ref().map(|value| value.as_encoded_bytes().to_vec());
        self.read.borrow_mut().push(content.unwrap_or_default());
        value
    }

    /// The content of a file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = (self.files)(path);
        self.read.borrow_mut().push(content.as_ref().map(Clone::clone).unwrap_or_default());
        content
    }

    /// What was read since this was asked last.
    pub(super) fn take_read(&self) -> Vec<Vec<u8>> {
        self.read.take()
    }

    /// Whether there is a file that can be run.
    pub fn is_program(&self, path: &Path) -> bool {
        (self.programs)(path)
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}
