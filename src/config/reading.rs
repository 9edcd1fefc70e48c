//! What all tables of one file share while it is read: the text, the
//! environment, and everything noticed so far.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::environment::Environment;
use super::error::Problem;
use super::fingerprint::Fingerprint;

/// One pass over one configuration file.
pub(super) struct Reading<'a> {
    text: &'a str,
    pub(super) environment: &'a Environment,
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<Problem>>,
    /// Lines of secrets that stand in the file itself.
    pub(super) literal_secrets: RefCell<Vec<usize>>,
    /// What each table means, by its path.
    pub(super) fingerprints: RefCell<BTreeMap<String, Fingerprint>>,
    /// The keys that were asked for, by the path of their table.
    #[cfg(test)]
    pub(super) known: RefCell<BTreeMap<String, Vec<&'static str>>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(text: &'a str, environment: &'a Environment) -> Self {
        Self {
            text,
            environment,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            literal_secrets: RefCell::default(),
            fingerprints: RefCell::default(),
            #[cfg(test)]
            known: RefCell::default(),
        }
    }

    /// The line, from 1, that holds the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.before(offset).iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// The column, from 1 and in characters, of the byte at `offset`.
    pub(super) fn column(&self, offset: usize) -> usize {
        let line = self.before(offset).rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(line).chars().count() + 1
    }

    fn before(&self, offset: usize) -> &[u8] {
        &self.text.as_bytes()[..offset.min(self.text.len())]
    }
}
