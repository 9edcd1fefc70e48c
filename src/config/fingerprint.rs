//! Whether a table of the configuration says the same as before a reload.
//!
//! What counts is what the table means: its values without their places in the file,
//! and what was read from outside for it (a password from a file may have changed while
//! the table did not).

use sha2::{Digest, Sha256};
use toml::de::{DeTable, DeValue};

/// Stands for the meaning of one table; secrets cannot be read off it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a table, and of what was read for it.
    pub(super) fn of(table: Option<&DeTable<'_>>, read: &[Vec<u8>]) -> Self {
        let mut hash = Sha256::new();
        if let Some(table) = table {
            add_table(&mut hash, table);
        }
        for content in read {
            add(&mut hash, "read", content);
        }
        Self(hash.finalize().into())
    }
}

fn add(hash: &mut Sha256, kind: &str, content: &[u8]) {
    hash.update(kind.as_bytes());
    hash.update((content.len() as u64).to_le_bytes());
    hash.update(content);
}

fn add_table(hash: &mut Sha256, table: &DeTable<'_>) {
    add(hash, "table", &(table.len() as u64).to_le_bytes());
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.get_ref().as_ref());
    for (key, value) in entries {
        add(hash, "key", key.get_ref().as_bytes());
        add_value(hash, value.get_ref());
    }
}

fn add_value(hash: &mut Sha256, value: &DeValue<'_>) {
    match value {
        DeValue::Table(table) => add_table(hash, table),
        DeValue::Array(items) => {
            add(hash, "list", &(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| add_value(hash, item.get_ref()));
        }
        DeValue::String(text) => add(hash, "text", text.as_bytes()),
        DeValue::Integer(number) => add(hash, "integer", number.to_string().as_bytes()),
        DeValue::Float(number) => add(hash, "float", number.to_string().as_bytes()),
        DeValue::Boolean(value) => add(hash, "boolean", &[u8::from(*value)]),
        DeValue::Datetime(time) => add(hash, "time", time.to_string().as_bytes()),
    }
}
