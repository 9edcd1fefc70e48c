//! A cursor over one TOML table that records every mistake instead of stopping
//! at the first, and remembers which keys were asked for.
//!
//! After a mistake a getter returns a stand-in, so that reading goes on and the
//! rest is checked too; a configuration with a recorded problem never leaves
//! [`super::Config::parse`]. The getters of single values are in `values`.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::Problem;
use super::fingerprint::Fingerprint;
use super::nearest::nearest;
use super::reading::Reading;
use super::values::{kind, quoted};

/// One table of the file, while it is read.
pub struct Section<'a> {
    pub(super) reading: &'a Reading<'a>,
    /// `None` where the file has no such table and the defaults are wanted.
    table: Option<&'a DeTable<'a>>,
    path: String,
    line: usize,
    asked: Vec<&'static str>,
    faulty: BTreeSet<&'static str>,
    /// Values may be secrets: they are not shown.
    pub(super) private: bool,
    /// Keys that nobody asks for are not problems.
    lenient: bool,
    /// A stand-in for a table that was already complained about.
    muted: bool,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(reading: &'a Reading<'a>, table: &'a DeTable<'a>) -> Self {
        Self::new(reading, Some(table), String::new(), 0)
    }

    fn new(
        reading: &'a Reading<'a>,
        table: Option<&'a DeTable<'a>>,
        path: String,
        line: usize,
    ) -> Self {
        let (asked, faulty) = (Vec::new(), BTreeSet::new());
        let (private, lenient, muted) = (false, false, false);
        Self { reading, table, path, line, asked, faulty, private, lenient, muted }
    }

    /// The name of the table: `NAME` of `[sink.NAME]`.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// Whether the file has this key here, whatever its value.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Whether a problem was recorded at this key or inside of its table.
    pub fn is_faulty(&self, key: &'static str) -> bool {
        self.faulty.contains(key)
    }

    /// Whether any problem was recorded at a key of this table.
    pub fn has_faults(&self) -> bool {
        !self.faulty.is_empty()
    }

    /// The text at `key` as it stands in the file, unchecked.
    pub fn peek(&mut self, key: &'static str) -> Option<&'a str> {
        self.value(key)?.get_ref().as_str()
    }

    /// Whether secrets are what the file says, and not stand-ins for a command that
    /// needs none.
    pub fn reads_secrets(&self) -> bool {
        self.reading.environment.secrets_wanted()
    }

    /// The texts of the list at `key` as they stand in the file, unchecked.
    pub fn peek_list(&mut self, key: &'static str) -> Vec<&'a str> {
        let list = self.value(key).and_then(|value| value.get_ref().as_array());
        list.into_iter().flat_map(|list| list.iter()).filter_map(|e| e.get_ref().as_str()).collect()
    }

    /// Lets keys pass that nobody asks for, where nobody can tell which are valid.
    pub(super) fn accept_unknown(&mut self) {
        self.lenient = true;
    }

    /// Whether the table has keys that nobody asked for so far; they will be reported.
    pub fn has_unknown(&self) -> bool {
        self.unasked().next().is_some()
    }

    /// Reads the table at `key`; without one, `read` sees an empty table and returns the defaults.
    pub fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.reading.problems.borrow().len();
        let mut child = self.child(key);
        if self.path.is_empty() {
            self.reading.environment.take_read();
        }
        let result = read(&mut child);
        if self.path.is_empty() {
            child.note_fingerprint();
        }
        child.finish();
        if self.reading.problems.borrow().len() > before {
            self.faulty.insert(key);
        }
        result
    }

    /// Reads the table at `key` if there is one.
    pub fn optional_table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        self.has(key).then(|| self.table(key, read))
    }

    /// Reads the table at `key`; its absence is a problem, told with an example of its value.
    pub fn required_table<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        if self.has(key) {
            return self.table(key, read);
        }
        self.missing(key, example);
        let mut child = Self::new(self.reading, None, self.path_of(key), self.line);
        child.muted = true;
        read(&mut child)
    }

    /// Reads each table `[key.NAME]` in the order of the file.
    pub(super) fn named_tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut Self) -> T,
    ) -> Vec<T> {
        let mut results = Vec::new();
        for name in self.entries(key) {
            let mut child = self.named_child(key, name);
            // What was read before belongs to another table.
            self.reading.environment.take_read();
            results.push(read(name, &mut child));
            child.note_fingerprint();
            child.finish();
        }
        results
    }

    /// Reads a table that stands inside of the value at `key`, at `place` in it.
    pub(super) fn inner_table<T>(
        &mut self,
        key: &'static str,
        place: &str,
        value: &'a Spanned<DeValue<'a>>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.reading.problems.borrow().len();
        let line = self.reading.line(value.span().start);
        let path = format!("{}{place}", self.path_of(key));
        let mut child = Self::new(self.reading, value.get_ref().as_table(), path, line);
        let result = read(&mut child);
        child.finish();
        if self.reading.problems.borrow().len() > before {
            self.faulty.insert(key);
        }
        result
    }

    /// The names of the tables `[key.NAME]` in the order of the file, wrong ones included.
    pub(super) fn names(&mut self, key: &'static str) -> Vec<String> {
        self.entries(key).iter().map(|name| (*name).to_owned()).collect()
    }

    /// Records a problem at `key`, or at the table itself if it has no such key.
    pub fn problem(&mut self, key: &'static str, message: impl Into<String>) {
        self.faulty.insert(key);
        self.problem_at(self.line_of(key), message);
    }

    /// Records a problem of the table as a whole.
    pub fn problem_here(&mut self, message: impl Into<String>) {
        self.problem_at(self.line, message);
    }

    /// Records a problem at `inner` of the table `[key.NAME]`.
    pub(super) fn problem_in(
        &mut self,
        key: &'static str,
        name: &str,
        inner: &'static str,
        message: impl Into<String>,
    ) {
        let child = self.named_child(key, name);
        child.problem_at(child.line_of(inner), message);
        self.faulty.insert(key);
    }

    /// Records a warning at `key`, or at the table itself if it has no such key.
    pub fn warn(&mut self, key: &'static str, message: impl Into<String>) {
        self.warn_at(self.line_of(key), message);
    }

    /// Records a warning about the table as a whole.
    pub fn warn_here(&mut self, message: impl Into<String>) {
        self.warn_at(self.line, message);
    }

    /// Records that a required key is missing, with an example of its value.
    pub fn missing(&mut self, key: &'static str, example: &str) {
        self.problem(key, format!("no \"{key}\"; add {key} = {example}"));
    }

    /// Keeps what this table means, to be compared with after a reload.
    fn note_fingerprint(&self) {
        let read = self.reading.environment.take_read();
        let fingerprint = Fingerprint::of(self.table, &read);
        self.reading.fingerprints.borrow_mut().insert(self.path.clone(), fingerprint);
    }

    /// Ends the reading of this table: keys that nobody asked for are problems.
    pub(super) fn finish(self) {
        #[cfg(test)]
        self.reading.known.borrow_mut().insert(self.path.clone(), self.asked.clone());
        if self.lenient {
            return;
        }
        let unknown: Vec<_> = self.unasked().collect();
        for key in unknown {
            let line = self.reading.line(key.span().start);
            let message = self.unknown(key.get_ref());
            self.problem_at(line, message);
        }
    }

    /// The value at `key`, which is hereby a known key.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table?.get(key)
    }

    /// Records a problem at a line inside of this table.
    pub(super) fn problem_at(&self, line: usize, message: impl Into<String>) {
        if !self.muted {
            let problem = self.told(line, message.into());
            self.reading.problems.borrow_mut().push(problem);
        }
    }

    fn warn_at(&mut self, line: usize, message: impl Into<String>) {
        if !self.muted {
            let problem = self.told(line, message.into());
            self.reading.warnings.borrow_mut().push(problem);
        }
    }

    /// Records a problem at a line inside of the value at `key`.
    pub(super) fn problem_inside(&mut self, key: &'static str, line: usize, message: String) {
        self.faulty.insert(key);
        self.problem_at(line, message);
    }

    /// The line of `key`, or of the table if it has no such key.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let entry = self.table.and_then(|table| table.get_key_value(key));
        entry.map_or(self.line, |(key, _)| self.reading.line(key.span().start))
    }

    fn unasked(&self) -> impl Iterator<Item = &'a Spanned<DeString<'a>>> {
        let present = self.table.into_iter().flat_map(|table| table.keys());
        present.filter(|key| !self.asked.contains(&key.get_ref().as_ref()))
    }

    fn told(&self, line: usize, message: String) -> Problem {
        Problem { line, path: self.path.clone(), message }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The table at `key`; an empty one where it is absent, a muted one where it is no table.
    fn child(&mut self, key: &'static str) -> Self {
        let value = self.value(key).map(Spanned::get_ref);
        let table = value.and_then(DeValue::as_table);
        let mut child = Self::new(self.reading, table, self.path_of(key), self.line_of(key));
        child.private = self.private;
        if let (Some(value), None) = (value, table) {
            let found = kind(value);
            self.problem(key, format!("\"{key}\" must be a table, found {found}"));
            child.muted = true;
        }
        child
    }

    fn named_child(&mut self, key: &'static str, name: &str) -> Self {
        let parent = self.value(key).and_then(|value| value.get_ref().as_table());
        let entry = parent.and_then(|table| table.get_key_value(name));
        let table = entry.and_then(|(_, value)| value.get_ref().as_table());
        let line = entry.map_or(self.line, |(key, _)| self.reading.line(key.span().start));
        let path = format!("{}.{name}", self.path_of(key));
        let mut child = Self::new(self.reading, table, path, line);
        if table.is_none() {
            child.problem_here(format!(
                "a table is expected here; write [{key}.NAME] on a line of its own and \"{name}\" below it"
            ));
            child.muted = true;
        }
        child
    }

    fn entries(&mut self, key: &'static str) -> Vec<&'a str> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            if !self.is_faulty(key) {
                self.problem(key, format!("\"{key}\" must be a table: write [{key}.NAME]"));
            }
            return Vec::new();
        };
        let mut keys: Vec<_> = table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter().map(|key| key.get_ref().as_ref()).collect()
    }

    fn unknown(&self, key: &str) -> String {
        match nearest(key, &self.asked) {
            Some(near) => format!("unknown key {key:?}; did you mean \"{near}\"?"),
            None => format!("unknown key {key:?}; known here: {}", quoted(&self.asked)),
        }
    }
}
