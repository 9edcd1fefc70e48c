//! A JSON object that keeps its keys in the order they were put in, as a PBX
//! writes them.

use serde::Serialize;

/// An object under construction.
pub struct Object {
    text: String,
}

impl Object {
    /// An empty one.
    pub fn new() -> Self {
        Self { text: "{".into() }
    }

    /// An event of the kind.
    pub fn event(event_type: &str) -> Self {
        Self::new().put("event_type", event_type)
    }

    /// Adds one field.
    pub fn put(self, key: &str, value: impl Serialize) -> Self {
        // Strings, numbers and booleans, which is all that is put in, always serialise.
        let value = serde_json::to_string(&value).unwrap_or_else(|_| "null".into());
        self.put_json(key, &value)
    }

    /// Adds one field where there is a value.
    pub fn put_some(self, key: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }

    /// Adds an array of objects.
    pub fn put_all(self, key: &str, objects: impl IntoIterator<Item = Object>) -> Self {
        let objects: Vec<String> = objects.into_iter().map(Object::finish).collect();
        self.put_json(key, &format!("[{}]", objects.join(",")))
    }

    /// The text.
    pub fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn put_json(mut self, key: &str, json: &str) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(key);
        self.text.push_str("\":");
        self.text.push_str(json);
        self
    }
}
