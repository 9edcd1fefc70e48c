//! The typed getters of a [`Section`]: each names the key, what it must be and
//! what it is.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use toml::Spanned;
use toml::de::DeValue;

use super::nearest::nearest;
use super::section::Section;
use super::{address, units};

/// Longest part of a wrong value that a message shows.
const SHOWN: usize = 40;

impl<'a> Section<'a> {
    /// A text that is not empty.
    pub fn string(&mut self, key: &'static str) -> Option<String> {
        self.parsed(key, "a string", |text| Ok(text.to_owned()))
    }

    /// A text that is not empty; its absence is a problem, told with an example.
    pub fn required_string(&mut self, key: &'static str, example: &str) -> String {
        if !self.has(key) {
            self.missing(key, example);
        }
        self.string(key).unwrap_or_default()
    }

    /// A text that `parse` understands; its error is the rest of a sentence that starts with the key.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.typed(key, wanted, DeValue::as_str)?;
        let result = if text.is_empty() {
            Err("must not be empty; give it a value or remove it".to_owned())
        } else {
            parse(text)
        };
        result.map_err(|cause| self.problem(key, format!("\"{key}\" {cause}"))).ok()
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.typed(key, "true or false", DeValue::as_bool).unwrap_or(default)
    }

    /// A whole number within `bounds`.
    pub fn integer(&mut self, key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.typed(key, &wanted, |value| {
            let number = value.as_integer()?;
            let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
            bounds.contains(&number).then_some(number)
        })
        .unwrap_or(default)
    }

    /// A duration within `bounds`, such as `"1h30m"`.
    pub fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let read = |text: &str| within(units::parse_duration(text)?, &bounds, units::show_duration);
        self.parsed(key, "a duration like \"30s\"", read).unwrap_or(default)
    }

    /// A size in bytes within `bounds`, such as `"100MiB"`.
    pub fn size(&mut self, key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let read = |text: &str| within(units::parse_size(text)?, &bounds, units::show_size);
        self.parsed(key, "a size like \"100MiB\"", read).unwrap_or(default)
    }

    /// One of the words in `options`.
    pub fn choice<T: Clone>(&mut self, key: &'static str, default: T, options: &[(&str, T)]) -> T {
        let words: Vec<&str> = options.iter().map(|(word, _)| *word).collect();
        let wanted = format!("one of {}", quoted(&words));
        let read = |text: &str| {
            let found = options.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| value.clone()).ok_or_else(|| no_choice(text, &words))
        };
        self.parsed(key, &wanted, read).unwrap_or(default)
    }

    /// A list of texts that are not empty.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.list(key, |text| Ok(text.to_owned()))
    }

    /// A list of texts that `parse` understands; its error is the rest of a sentence about one text.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let items = self.typed(key, "a list of strings like [\"a\", \"b\"]", DeValue::as_array)?;
        let read = items.iter().filter_map(|item| self.element(key, item, &mut parse)).collect();
        Some(read)
    }

    /// A path of a file or folder.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.parsed(key, "a path in quotes", |text| match text.contains('\0') {
            true => Err("must not contain a NUL character".to_owned()),
            false => Ok(PathBuf::from(text)),
        })
    }

    /// An absolute URL with one of `schemes`; its absence is a problem, told with an example.
    pub fn required_url(&mut self, key: &'static str, schemes: &[&str], example: &str) -> Url {
        if !self.has(key) {
            self.missing(key, example);
        }
        self.private(|section| {
            section.parsed(key, "a URL in quotes", |text| address::parse(text, schemes))
        })
        .unwrap_or_else(|| Url::parse("http://stand-in.invalid/").expect("a constant URL is valid"))
    }

    /// A list of absolute URLs with one of `schemes`; empty by default.
    pub fn urls(&mut self, key: &'static str, schemes: &[&str]) -> Vec<Url> {
        let read = |section: &mut Self| section.list(key, |text| address::parse(text, schemes));
        self.private(read).unwrap_or_default()
    }

    /// Runs `read` with messages that do not show values.
    pub(super) fn private<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.private, true);
        let result = read(self);
        self.private = before;
        result
    }

    /// The value at `key` if `convert` takes it; a problem that says what is wanted otherwise.
    pub(super) fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        convert: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(key)?.get_ref();
        let converted = convert(value);
        if converted.is_none() {
            let found = self.found(value);
            self.problem(key, format!("\"{key}\" must be {wanted}, found {found}"));
        }
        converted
    }

    fn element<T>(
        &mut self,
        key: &'static str,
        item: &Spanned<DeValue<'_>>,
        parse: &mut impl FnMut(&str) -> Result<T, String>,
    ) -> Option<T> {
        let result = match item.get_ref().as_str() {
            Some("") => Err("must not be empty; give it a value or remove it".to_owned()),
            Some(text) => parse(text),
            None => Err(format!("must be a string, found {}", self.found(item.get_ref()))),
        };
        let line = self.reading.line(item.span().start);
        result
            .map_err(|cause| {
                self.problem_inside(key, line, format!("an element of \"{key}\" {cause}"))
            })
            .ok()
    }

    fn found(&self, value: &DeValue<'_>) -> String {
        if self.private { kind(value).to_owned() } else { shown(value) }
    }
}

/// The type of a value in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Words in quotes, for a list of what is valid.
pub fn quoted(words: &[impl AsRef<str>]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("\"{}\"", word.as_ref())).collect();
    words.join(", ")
}

/// What is wrong with `word`, which is none of `words`; the rest of a sentence.
pub fn no_choice(word: &str, words: &[impl AsRef<str>]) -> String {
    let hint = nearest(word, words).map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
    format!("must be one of {}, found the string {}{hint}", quoted(words), excerpt(word))
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", excerpt(text)),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the float {number}"),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        other => kind(other).to_owned(),
    }
}

fn excerpt(text: &str) -> String {
    let start: String = text.chars().take(SHOWN).collect();
    if start.len() < text.len() { format!("{start:?}…") } else { format!("{start:?}") }
}

fn within<T: PartialOrd + Copy>(
    value: T,
    bounds: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let (least, most) = (show(*bounds.start()), show(*bounds.end()));
    Err(format!("must be from {least} to {most}, found {}", show(value)))
}
