//! What is wrong with a configuration file, told all at once.

use std::fmt;

/// A configuration that cannot be used, with every reason that was found.
///
/// `Display` prints one line per problem in the order of the file, and a count
/// at the end if there are several. Secrets are never part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.report())]
pub struct ConfigError {
    /// The file as it was named by the user; `stdin` for standard input.
    pub file: String,
    /// Every problem, sorted by line.
    pub problems: Vec<Problem>,
}

/// One problem, or one warning, at one place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, counted from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// Dotted path of the table, such as `pbx.hq.login`; empty at the top.
    pub path: String,
    /// The cause and the next step.
    pub message: String,
}

impl ConfigError {
    /// An error of `file`, its problems brought into the order of the file.
    pub(super) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self { file: file.to_owned(), problems }
    }

    fn report(&self) -> String {
        let mut lines: Vec<String> = self.problems.iter().map(|p| p.told(&self.file)).collect();
        if lines.len() > 1 {
            lines.push(format!("{} problems in {}", lines.len(), self.file));
        }
        lines.join("\n")
    }
}

impl Problem {
    /// A problem of the file as a whole.
    pub(super) fn of_file(message: impl Into<String>) -> Self {
        Self { line: 0, path: String::new(), message: message.into() }
    }

    /// The problem with its place: `FILE:LINE: PATH: MESSAGE`.
    pub(super) fn told(&self, file: &str) -> String {
        match self.line {
            0 => format!("{file}: {self}"),
            line => format!("{file}:{line}: {self}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", on_one_line(&self.path))?;
        }
        f.write_str(&on_one_line(&self.message))
    }
}

/// Names and paths of the file may hold line ends and terminal codes; shown, they are harmless.
fn on_one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}
