//! Programs that a configuration names: are they there?

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Environment;
use super::section::Section;

/// Where programs are looked for if nobody says.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Where the program called `name` is: a path is itself, a bare name is in the first
/// folder of `path` (by default this process's `PATH`) that has it.
pub fn find_program(
    environment: &Environment,
    name: &str,
    path: Option<&OsStr>,
) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|program| environment.is_program(program));
    }
    let path = path.map(OsStr::to_owned).or_else(|| environment.variable("PATH"));
    let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|program| environment.is_program(program))
}

impl Section<'_> {
    /// A program and its arguments. It is a warning if it cannot be run now, since it
    /// may be installed later. `path` is the `PATH` that it will see, unless it is ours.
    pub fn command(&mut self, key: &'static str, path: Option<&str>) -> Vec<String> {
        if !self.has(key) {
            self.missing(key, "[\"/usr/local/bin/PROGRAM\"]");
        }
        let Some(command) = self.list(key, argument) else { return Vec::new() };
        match command.first() {
            _ if self.is_faulty(key) => {}
            None => self
                .problem(key, format!("\"{key}\" is empty; name the program, then its arguments")),
            Some(name) if name.contains('/') && !Path::new(name).is_absolute() => {
                let message = format!(
                    "\"{key}\" names the program by a relative path: {name:?}; write the whole path, or a bare name to look for in PATH"
                );
                self.problem(key, message);
            }
            Some(name) => {
                if find_program(self.reading.environment, name, path.map(OsStr::new)).is_none() {
                    let place = if name.contains('/') { "" } else { " in PATH" };
                    self.warn(key, format!("there is no program {name}{place} that can be run; until there is, events wait in the journal"));
                }
            }
        }
        command
    }
}

fn argument(text: &str) -> Result<String, String> {
    match text.contains('\0') {
        true => Err("must not contain a NUL character".to_owned()),
        false => Ok(text.to_owned()),
    }
}
