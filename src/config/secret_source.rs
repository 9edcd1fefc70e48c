//! Where a secret comes from: the file itself, another file, an environment
//! variable, or systemd's credentials directory.
//!
//! No message of this file shows a value.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::section::Section;
use super::values::kind;
use crate::secret::Secret;

/// The directory where systemd puts the credentials of a service.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Stands in for a secret that was not to be read; nobody is to use it.
const NOT_READ: &str = "not-read";

/// How to write a secret, for messages.
const SOURCES: &str =
    "{ credential = \"NAME\" }, { file = \"/PATH\" }, { env = \"VARIABLE\" } or a string";

impl<'a> Section<'a> {
    /// A secret, from wherever the file says.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let value = self.value(key)?.get_ref();
        if value.is_table() {
            return self.table(key, |source| source.private(read_source)).map(Secret::new);
        }
        let wanted = format!("a secret: {SOURCES}");
        let text =
            self.private(|section| section.parsed(key, &wanted, |text| Ok(text.to_owned())))?;
        let line = self.line_of(key);
        self.reading.literal_secrets.borrow_mut().push(line);
        Some(Secret::new(text))
    }

    /// One secret, or a list of them; without the key none.
    pub fn secrets(&mut self, key: &'static str) -> Vec<Secret> {
        let list = self.value(key).and_then(|value| value.get_ref().as_array());
        let Some(list) = list else { return self.secret(key).into_iter().collect() };
        if list.is_empty() {
            self.problem(key, format!("\"{key}\" is empty; give a secret or remove it"));
        }
        let places = list.iter().enumerate();
        places
            .filter_map(|(at, value)| self.inner_secret(key, &format!("[{at}]"), value))
            .map(Secret::new)
            .collect()
    }

    /// A table of texts, called `noun`, each of which may be a secret from elsewhere;
    /// `parse` sees name and value, and its error is a whole sentence that must not
    /// show the value.
    pub fn secret_map<T>(
        &mut self,
        key: &'static str,
        noun: &str,
        mut parse: impl FnMut(&str, &str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for (line, name, text) in self.texts(key, noun) {
            match parse(name, &text) {
                Ok(value) => parsed.push(value),
                Err(cause) => self.problem_inside(key, line, cause),
            }
        }
        parsed
    }

    /// Environment variables for a program: a table of strings and secrets. Strings
    /// here are not taken for secrets, but not shown either.
    pub fn variables(&mut self, key: &'static str) -> Vec<(String, Secret)> {
        self.secret_map(key, "variable", |name, text| {
            variable(name, text).map(|()| (name.to_owned(), Secret::new(text)))
        })
    }

    /// The entries of a table of strings and secrets, with their lines, in the order
    /// of the file.
    fn texts(&mut self, key: &'static str, noun: &str) -> Vec<(usize, &'a str, String)> {
        let Some(value) = self.value(key).map(Spanned::get_ref) else { return Vec::new() };
        let Some(table) = value.as_table() else {
            let found = kind(value);
            let message =
                format!("\"{key}\" must be a table of strings and secrets, found {found}");
            self.problem(key, message);
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut texts = Vec::new();
        for (name, value) in entries {
            let line = self.reading.line(name.span().start);
            let name = name.get_ref().as_ref();
            match value.get_ref() {
                DeValue::String(text) => texts.push((line, name, text.to_string())),
                DeValue::Table(_) => {
                    let secret = self.inner_table(key, &format!(".{name}"), value, |source| {
                        source.private(read_source)
                    });
                    texts.extend(secret.map(|text| (line, name, text)));
                }
                other => {
                    let found = kind(other);
                    let message = format!("the {noun} {name:?} must be {SOURCES}, found {found}");
                    self.problem_inside(key, line, message);
                }
            }
        }
        texts
    }

    /// A secret at a place inside of the value at `key`.
    fn inner_secret(
        &mut self,
        key: &'static str,
        place: &str,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<String> {
        let line = self.reading.line(value.span().start);
        match value.get_ref() {
            DeValue::Table(_) => {
                self.inner_table(key, place, value, |source| source.private(read_source))
            }
            DeValue::String(text) if !text.is_empty() => {
                self.reading.literal_secrets.borrow_mut().push(line);
                Some(text.to_string())
            }
            other => {
                let found = if other.is_str() { "an empty string" } else { kind(other) };
                let message = format!("\"{key}\" must hold secrets: {SOURCES}; found {found}");
                self.problem_inside(key, line, message);
                None
            }
        }
    }

    /// A secret; its absence is a problem.
    pub fn required_secret(&mut self, key: &'static str) -> Secret {
        if !self.has(key) {
            self.missing(key, "{ credential = \"NAME\" }, or { file = \"/PATH\" }");
        }
        self.secret(key).unwrap_or_else(|| Secret::new(String::new()))
    }
}

/// What no operating system takes.
fn variable(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!(
            "{name:?} cannot be the name of an environment variable; use letters, digits and _"
        ));
    }
    if value.contains('\0') {
        return Err(format!("the value of the variable {name:?} must not contain a NUL character"));
    }
    Ok(())
}

fn read_source(section: &mut Section) -> Option<String> {
    let file = section.path("file");
    let variable = section.string("env");
    let credential = section.string("credential");
    if section.has_faults() || section.has_unknown() {
        return None;
    }
    let sources = [file.is_some(), variable.is_some(), credential.is_some()];
    let one = sources.iter().filter(|given| **given).count() == 1;
    if one && !section.reading.environment.secrets_wanted() {
        return Some(NOT_READ.to_owned());
    }
    match (file, variable, credential) {
        (Some(path), None, None) => from_file(section, "file", &path),
        (None, Some(name), None) => from_variable(section, &name),
        (None, None, Some(name)) => from_credential(section, &name),
        _ => {
            section.problem_here(format!("exactly one source is needed; write {SOURCES}"));
            None
        }
    }
}

fn from_variable(section: &mut Section, name: &str) -> Option<String> {
    let Some(value) = section.reading.environment.variable(name) else {
        section.problem(
            "env",
            format!("the environment variable {name} is not set; set it for the service"),
        );
        return None;
    };
    match value.into_string() {
        Ok(text) => checked(section, "env", text, &format!("the environment variable {name}")),
        Err(_) => {
            section.problem("env", format!("the environment variable {name} is not UTF-8 text"));
            None
        }
    }
}

fn from_credential(section: &mut Section, name: &str) -> Option<String> {
    if name.contains('/') || name == "." || name == ".." {
        section.problem("credential", "must be a bare name, not a path; use \"file\" for a path");
        return None;
    }
    let Some(directory) = section.reading.environment.variable(CREDENTIALS_DIRECTORY) else {
        section.problem("credential", format!(
            "{CREDENTIALS_DIRECTORY} is not set; add LoadCredential={name}:/PATH to the systemd unit, \
             or use {{ file = \"/PATH\" }} outside of systemd"
        ));
        return None;
    };
    from_file(section, "credential", &PathBuf::from(directory).join(name))
}

fn from_file(section: &mut Section, key: &'static str, path: &Path) -> Option<String> {
    let shown = path.display();
    let content = match section.reading.environment.read(path) {
        Ok(content) => content,
        Err(error) => {
            section.problem(key, format!(
                "cannot read the secret file {shown}: {error}; create it, readable by the user that runs cdrd"
            ));
            return None;
        }
    };
    match String::from_utf8(content) {
        Ok(text) => checked(section, key, text, &format!("the secret file {shown}")),
        Err(_) => {
            section.problem(key, format!("the secret file {shown} is not UTF-8 text"));
            None
        }
    }
}

/// The secret without the line end that editors and `echo` add.
fn checked(section: &mut Section, key: &'static str, text: String, source: &str) -> Option<String> {
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        section.problem(key, format!("{source} is empty; put the secret into it"));
        return None;
    }
    Some(secret.to_owned())
}
