//! From a file to a [`Config`], or to everything that is wrong with it.

use std::io::{ErrorKind, Read};
use std::path::Path;

use toml::de::DeTable;

use super::reading::Reading;
use super::section::Section;
use super::{Config, ConfigError, Environment, Problem, admin, journal, log, pbx, sink, webhook};

/// Where the configuration is looked for if nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/cdrd/config.toml";

/// The longest name of a PBX or sink; names are part of paths, labels and identifiers.
const LONGEST_NAME: usize = 64;

impl Config {
    /// Reads the configuration from a file, or from standard input if `path` is `-`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &Environment::of_process())
    }

    /// The same for commands that use no secret: none is read, and none is missed.
    pub fn load_without_secrets(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &Environment::of_process().without_secrets())
    }

    fn load_with(path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        if path == Path::new("-") {
            return Self::parse("stdin", &read_stdin()?, environment);
        }
        let file = path.display().to_string();
        let text = read_file(path, &file)?;
        let (mut config, literal_secrets) = parse(&file, &text, environment)?;
        if let Some(line) = literal_secrets.first()
            && is_readable_by_others(path)
        {
            config.warnings.push(format!(
                "{file}:{line}: a secret stands in a file that every user of this machine can \
                 read; run chmod o-r {file}, or keep the secret in a file of its own"
            ));
        }
        Ok(config)
    }

    /// Reads the configuration from its text; `file` names it in messages.
    pub fn parse(file: &str, text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        parse(file, text, environment).map(|(config, _)| config)
    }
}

/// The configuration, and the lines of the secrets that stand in the text itself.
fn parse(
    file: &str,
    text: &str,
    environment: &Environment,
) -> Result<(Config, Vec<usize>), ConfigError> {
    let reading = Reading::new(text, environment);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What a half-understood file lacks would be guesswork, so only the syntax is told.
        let problems = errors.iter().map(|error| syntax_problem(&reading, error)).collect();
        return Err(ConfigError::new(file, problems));
    }
    let mut config = read_root(Section::root(&reading, table.get_ref()));
    let problems = reading.problems.take();
    if !problems.is_empty() {
        return Err(ConfigError::new(file, problems));
    }
    config.warnings = reading.warnings.take().iter().map(|w| w.told(file)).collect();
    Ok((config, reading.literal_secrets.take()))
}

fn syntax_problem(reading: &Reading, error: &toml::de::Error) -> Problem {
    let offset = error.span().map_or(0, |span| span.start);
    let (line, column) = (reading.line(offset), reading.column(offset));
    let message = format!("column {column}: not valid TOML: {}", error.message());
    Problem { line, path: String::new(), message }
}

pub(super) fn read_root(mut root: Section) -> Config {
    let names = root.names("pbx");
    let pbxs = root.named_tables("pbx", |name, section| {
        check_name(name, section);
        pbx::read(name, section)
    });
    if let Some((pbx, message)) = webhook::clash(&pbxs) {
        root.problem_in("pbx", &pbx.name, "webhook", message);
    }
    let sinks = root.named_tables("sink", |name, section| {
        check_name(name, section);
        sink::read(name, &names, section)
    });
    let config = Config {
        pbxs,
        journal: root.table("journal", journal::read),
        sinks: sinks.into_iter().flatten().collect(),
        admin: root.optional_table("admin", admin::read),
        log_level: root.table("log", log::read),
        warnings: Vec::new(),
        fingerprints: root.reading.fingerprints.take(),
    };
    require(
        &mut root,
        "pbx",
        "add a table [pbx.NAME] with url and login: there is nothing to listen to",
    );
    require(
        &mut root,
        "sink",
        "add a table [sink.NAME] with a type: there is nowhere to deliver to",
    );
    root.finish();
    config
}

fn require(root: &mut Section, key: &'static str, advice: &str) {
    if root.names(key).is_empty() && !root.is_faulty(key) {
        root.problem(key, format!("no [{key}.NAME]; {advice}"));
    }
}

fn check_name(name: &str, section: &mut Section) {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(valid) {
        section.problem_here(format!(
            "{name:?} cannot be a name; use 1 to {LONGEST_NAME} of the letters A-Z and a-z, digits, - and _"
        ));
    }
}

fn read_file(path: &Path, file: &str) -> Result<String, ConfigError> {
    let content = std::fs::read(path).map_err(|error| {
        let step = match error.kind() {
            ErrorKind::NotFound => "create it, or name another with -c FILE",
            _ => "make it a file that the user who runs cdrd can read",
        };
        unreadable(file, format!("cannot be read: {error}; {step}"))
    })?;
    String::from_utf8(content).map_err(|error| not_utf8(file, &error))
}

fn read_stdin() -> Result<String, ConfigError> {
    let mut content = Vec::new();
    std::io::stdin()
        .read_to_end(&mut content)
        .map_err(|error| unreadable("stdin", format!("cannot be read: {error}")))?;
    String::from_utf8(content).map_err(|error| not_utf8("stdin", &error))
}

fn not_utf8(file: &str, error: &std::string::FromUtf8Error) -> ConfigError {
    let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
    let message = "not UTF-8 text; save the file in UTF-8".to_owned();
    ConfigError::new(file, vec![Problem { line, path: String::new(), message }])
}

fn unreadable(file: &str, message: String) -> ConfigError {
    ConfigError::new(file, vec![Problem::of_file(message)])
}

#[cfg(unix)]
fn is_readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_others(_: &Path) -> bool {
    false
}
