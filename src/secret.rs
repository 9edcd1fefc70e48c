//! Secrets: passwords, tokens and keys that must never be printed.
//!
//! A [`Secret`] shows as `***` in `Debug` and has no `Display`; whoever needs
//! the text asks for it by name ([`Secret::reveal`]), so every use can be found.

use std::fmt;

/// A secret text that cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends or hashes it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_in_debug_output() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
