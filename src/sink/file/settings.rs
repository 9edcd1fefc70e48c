//! The keys of a `[sink.NAME]` of type `file`, checked.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::access::Access;
use super::compress::Compress;
use super::names::{Every, Names};
use crate::config::Section;
use crate::sink::format::{Encoder, Format};

/// Bounds of `rotate.size`.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 40;
/// Most files that `keep` can name.
const MOST_KEPT: u64 = 1_000_000;

/// What a file is called while it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteTo {
    /// As `path` says.
    Final,
    /// Its final name and `.part`.
    Partial,
}

/// The keys of a `[sink.NAME]` of type `file`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The sink's name, for files of its own.
    pub name: String,
    /// The file, as a strftime template that is known to be valid.
    pub path: String,
    /// What that makes of an event's time.
    pub names: Names,
    /// Whether an event counts as delivered only once the disk has it.
    pub fsync: bool,
    /// The form of each line; its time zone fills in the template.
    pub encoder: Encoder,
    /// Bytes of a file, at most, unless a single event is larger.
    pub size: Option<u64>,
    /// What a file is called while it is written.
    pub write_to: WriteTo,
    /// What becomes of finished files.
    pub compress: Compress,
    /// Finished files that stay; 0 is all.
    pub keep: usize,
    /// Whether finished files are listed.
    pub manifest: bool,
    /// Who may do what with them.
    pub access: Access,
    /// Whether files are finished at all; if not, whoever rotates them is another program.
    pub finishes: bool,
}

impl Settings {
    /// Reads the type's own keys.
    pub fn read(section: &mut Section) -> Self {
        let path = read_path(section);
        let encoder = Encoder::read_for_files(section, Format::CloudEvents);
        let (size, every) = section.table("rotate", |rotate| {
            let size = rotate.has("size").then(|| rotate.size("size", *SIZES.end(), SIZES));
            let words = [("day", Some(Every::Day)), ("hour", Some(Every::Hour))];
            (size, rotate.choice("every", None, &words))
        });
        let writes = [("final", WriteTo::Final), ("partial", WriteTo::Partial)];
        let settings = Self {
            name: section.name().to_owned(),
            names: Names::new(&path, every, size.is_some(), encoder.zone().clone()),
            path,
            fsync: section.flag("fsync", true),
            encoder,
            size,
            write_to: section.choice("write_to", WriteTo::Final, &writes),
            compress: section.choice("compress", Compress::None, Compress::WORDS),
            keep: usize::try_from(section.integer("keep", 0, 0..=MOST_KEPT)).unwrap_or(usize::MAX),
            manifest: section.flag("manifest", false),
            access: Access::read(section),
            finishes: false,
        };
        settings.checked(every.is_some(), section)
    }

    /// What goes together and what does not.
    fn checked(mut self, every: bool, section: &mut Section) -> Self {
        let wants = [
            ("write_to", self.write_to == WriteTo::Partial),
            ("compress", self.compress != Compress::None),
            ("keep", self.keep > 0),
            ("manifest", self.manifest),
        ];
        let wants = wants.into_iter().find_map(|(key, wanted)| wanted.then_some(key));
        self.finishes = wants.is_some() || every || self.size.is_some();
        if section.is_faulty("path") || section.is_faulty("rotate") {
            return self;
        }
        let ends = self.names.change_with_time() || self.size.is_some();
        if let Some(key) = wants.filter(|_| !ends) {
            section.problem(key, format!("\"{key}\" is about finished files, and this one never ends; add rotate = {{ size = \"100MiB\" }} or rotate = {{ every = \"day\" }}, or put a time like %Y-%m-%d into \"path\""));
        }
        if self.finishes && !self.path.is_empty() && !self.names.can_be_recognised() {
            section.problem("path", "\"path\" makes names that cannot be read back, so that finished files could not be told from others; write the time as %Y-%m-%d, %H, %M and %S");
        }
        self
    }

    /// A hidden file of the sink's own, or one that everybody can see.
    pub fn own_file(&self, prefix: &str, suffix: &str) -> PathBuf {
        let safe = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name: String = self.name.chars().map(safe).collect();
        self.names.root().0.join(format!("{prefix}{name}{suffix}"))
    }
}

fn read_path(section: &mut Section) -> String {
    if !section.has("path") {
        section.missing("path", "\"/var/log/cdrd/cdr-%Y-%m-%d.jsonl\"");
    }
    section.parsed("path", "a path in quotes", template).unwrap_or_default()
}

/// Checks a strftime template by filling it in once.
fn template(text: &str) -> Result<String, String> {
    let example = jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC);
    let filled = jiff::fmt::strtime::format(text, &example)
        .map_err(|e| format!("is not a strftime template: {e}; write %% for a percent sign"))?;
    if filled.contains('\0') {
        return Err("must not contain a NUL character".to_owned());
    }
    if filled.ends_with('/') {
        return Err("names a folder; add a file name like \"cdr-%Y-%m-%d.jsonl\"".to_owned());
    }
    Ok(text.to_owned())
}
