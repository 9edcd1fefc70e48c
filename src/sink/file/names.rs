//! The names of files: what an event's time of receipt makes of the template, how
//! finished files are numbered, and which names on disk are the sink's own. Pure.
//!
//! | | `path = "cdr-%F.jsonl"` | `path = "cdr.jsonl"`, `every = "day"` | with `size` |
//! |---|---|---|---|
//! | stable name | `cdr-2026-11-24.jsonl` | `cdr.jsonl` | `cdr.jsonl` |
//! | finished | `cdr-2026-11-24.jsonl` | `cdr-2026-11-24.jsonl` | `cdr-0001.jsonl` |
//! | finished, again | `cdr-2026-11-24-0002.jsonl` | `cdr-2026-11-24-0002.jsonl` | `cdr-0002.jsonl` |

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;

use super::compress::ENDINGS;

/// What a file has at the end of its name until it is finished.
pub const PART: &str = ".part";
/// Digits of a number, at least; names sort up to 9999 parts.
const DIGITS: usize = 4;
const HOUR_MS: i64 = 3_600_000;

/// How often a file ends by itself, if the template does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// At midnight.
    Day,
    /// At every full hour.
    Hour,
}

/// The names that a sink gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Names {
    /// The template as configured.
    stable: String,
    /// The same with what `every` adds, in two pieces: a number goes between them.
    stem: String,
    extension: String,
    /// Whether even the first file of a period has a number.
    numbered: bool,
    zone: TimeZone,
}

/// Where an event belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The template, filled in: the name of the file being written, if it has one.
    pub stable: PathBuf,
    /// What all files of the same period have in common: their name without a number.
    pub base: String,
}

/// A name that the sink may have given to a finished file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finished {
    /// The period, as far as the name tells it.
    pub when: Option<DateTime>,
    /// Its number within the period.
    pub part: u32,
    /// Its name without number and compression.
    pub base: String,
    /// Whether it is compressed.
    pub compressed: bool,
}

impl Names {
    /// Of a template that is known to be valid.
    pub fn new(template: &str, every: Option<Every>, numbered: bool, zone: TimeZone) -> Self {
        let (stem, extension) = split(template);
        let mut names = Self {
            stable: template.to_owned(),
            stem: stem.to_owned(),
            extension: extension.to_owned(),
            numbered,
            zone,
        };
        if let Some(every) = every.filter(|every| !names.tells_apart(*every)) {
            names.stem.push_str(match every {
                Every::Day => "-%Y-%m-%d",
                Every::Hour => "-%Y-%m-%dT%H",
            });
        }
        names
    }

    /// Whether files end with time.
    pub fn change_with_time(&self) -> bool {
        self.stem.replace("%%", "").contains('%')
    }

    /// Whether finished files can be told from others by their name.
    pub fn can_be_recognised(&self) -> bool {
        let base = self.slot(1_767_225_600_000).base;
        self.finished(&self.file(&base, 2)).is_some_and(|found| found.base == base)
    }

    /// Whether a finished file can have the name that it was written under.
    pub fn keep_the_stable_name(&self, slot: &Slot) -> bool {
        !self.numbered && slot.stable == self.file(&slot.base, 1)
    }

    /// Where an event belongs that was received at `ms` (Unix milliseconds).
    pub fn slot(&self, ms: i64) -> Slot {
        let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let zoned = time.to_zoned_datetime(self.zone.clone());
        let fill = |template: &str| {
            // Settings tried it: only a time far outside of all calendars cannot be filled in.
            strtime::format(template, &zoned).unwrap_or_else(|_| template.to_owned())
        };
        let base = fill(&self.stem) + &self.extension;
        Slot { stable: PathBuf::from(fill(&self.stable)), base }
    }

    /// The final name of the `part`th file of a period, not compressed.
    pub fn file(&self, base: &str, part: u32) -> PathBuf {
        if part == 1 && !self.numbered {
            return PathBuf::from(base);
        }
        let stem = base.strip_suffix(&self.extension).unwrap_or(base);
        PathBuf::from(format!("{stem}-{part:0DIGITS$}{}", self.extension))
    }

    /// What a finished file's name says; `None` for every name that this sink never gives.
    pub fn finished(&self, path: &Path) -> Option<Finished> {
        let path = path.to_str()?;
        let plain = ENDINGS.iter().find_map(|ending| path.strip_suffix(ending));
        let compressed = plain.is_some();
        let stem = plain.unwrap_or(path).strip_suffix(&self.extension)?;
        let found = |stem: &str, part, when| {
            Some(Finished { when, part, base: format!("{stem}{}", self.extension), compressed })
        };
        if let (false, Some(when)) = (self.numbered, self.read(stem)) {
            return found(stem, 1, when);
        }
        let (stem, digits) = stem.rsplit_once('-')?;
        let part = digits.parse().ok().filter(|part| *part >= if self.numbered { 1 } else { 2 })?;
        // Neither more zeros than it has, nor a sign.
        (format!("{part:0DIGITS$}") == digits).then(|| found(stem, part, self.read(stem)?))?
    }

    /// The time in a name without number; `None` if the template never makes this name.
    fn read(&self, stem: &str) -> Option<Option<DateTime>> {
        let time = BrokenDownTime::parse(&self.stem, stem).ok()?;
        if time.to_string(&self.stem).ok()? != stem {
            return None;
        }
        let of_day = |part: Option<i8>| part.unwrap_or(0);
        let date: Option<Date> = time.to_date().ok();
        let is_whole = time.year().is_some() && time.month().is_some() && time.day().is_some();
        if is_whole && date.is_none() {
            return None;
        }
        let hour = Time::new(of_day(time.hour()), of_day(time.minute()), of_day(time.second()), 0);
        Some(date.zip(hour.ok()).map(|(date, time)| date.to_datetime(time)))
    }

    /// Whether the template gives each period a name of its own. Tried with every day of
    /// more than two years, and with the hours of three days.
    fn tells_apart(&self, every: Every) -> bool {
        let days = (0..800).map(|day| day * 24);
        let hours = (1..72).filter(|hour| every == Every::Hour && hour % 24 != 0);
        let moments: Vec<i64> = days.chain(hours).map(|hour| (hour + 12) * HOUR_MS).collect();
        // From 2026 on: no zone changes its clock in the first days of January.
        let fill = |ms: &i64| self.slot(1_767_225_600_000 + ms).base;
        moments.iter().map(fill).collect::<BTreeSet<_>>().len() == moments.len()
    }

    /// The folder that all files are in or below, and how many levels below at most.
    pub fn root(&self) -> (PathBuf, usize) {
        let template = Path::new(&self.stem);
        let parts: Vec<_> = template.components().collect();
        let folders = &parts[..parts.len().saturating_sub(1)];
        let is_fixed =
            |part: &&std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains('%');
        let root: PathBuf = folders.iter().take_while(is_fixed).collect();
        let below = folders.len() - folders.iter().take_while(is_fixed).count();
        (root, below)
    }
}

/// A name with [`PART`] at its end.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PART);
    PathBuf::from(name)
}

/// A template without, and its file name extension: what stands after the last dot, if
/// time has no part in it.
fn split(template: &str) -> (&str, &str) {
    let file = template.rfind('/').map_or(0, |slash| slash + 1);
    match template[file..].rfind('.') {
        Some(dot) if dot > 0 && !template[file + dot..].contains('%') => {
            template.split_at(file + dot)
        }
        _ => (template, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24T13:45:00Z.
    const AT: i64 = 1_795_527_900_000;

    fn names(template: &str, every: Option<Every>, numbered: bool) -> Names {
        Names::new(template, every, numbered, TimeZone::UTC)
    }

    fn first_two(names: &Names) -> [String; 3] {
        let slot = names.slot(AT);
        let file = |part| names.file(&slot.base, part).display().to_string();
        [slot.stable.display().to_string(), file(1), file(2)]
    }

    #[test]
    fn names_are_as_documented() {
        let day = Some(Every::Day);
        let shown = |template, every, numbered| first_two(&names(template, every, numbered));
        assert_eq!(
            shown("/l/cdr-%F.jsonl", day, false),
            ["/l/cdr-2026-11-24.jsonl", "/l/cdr-2026-11-24.jsonl", "/l/cdr-2026-11-24-0002.jsonl"]
        );
        assert_eq!(
            shown("cdr.jsonl", day, false),
            ["cdr.jsonl", "cdr-2026-11-24.jsonl", "cdr-2026-11-24-0002.jsonl"]
        );
        assert_eq!(
            shown("cdr-%d.csv", Some(Every::Hour), true),
            ["cdr-24.csv", "cdr-24-2026-11-24T13-0001.csv", "cdr-24-2026-11-24T13-0002.csv"]
        );
        assert_eq!(shown("a.b/cdr", None, true), ["a.b/cdr", "a.b/cdr-0001", "a.b/cdr-0002"]);
        assert_eq!(shown("cdr-%d.%m", None, false), ["cdr-24.11", "cdr-24.11", "cdr-24.11-0002"]);
    }

    #[test]
    fn a_template_that_names_each_period_gets_nothing_added() {
        for (template, every) in [
            ("%Y-%m-%d", Every::Day),
            ("%F-%H", Every::Day),
            ("%Y%j", Every::Day),
            ("%FT%H%M%S", Every::Hour),
            ("%s", Every::Hour),
        ] {
            let names = names(template, Some(every), false);
            assert_eq!(names.stem, template);
        }
        for (template, every) in [
            ("cdr", Every::Day),
            ("%d", Every::Day),
            ("%H", Every::Day),
            ("%Y-%m", Every::Day),
            ("%m-%d", Every::Day),
            ("%F", Every::Hour),
            ("%H", Every::Hour),
        ] {
            assert_ne!(names(template, Some(every), false).stem, template, "{template}");
        }
    }

    #[test]
    fn a_name_that_was_given_is_recognised_and_no_other_is() {
        let day = names("/l/%Y/cdr-%Y-%m-%d.jsonl", None, false);
        let part = |name: &str| day.finished(Path::new(name)).map(|found| found.part);
        assert_eq!(part("/l/2026/cdr-2026-11-24.jsonl"), Some(1));
        assert_eq!(part("/l/2026/cdr-2026-11-24.jsonl.zst"), Some(1));
        assert_eq!(part("/l/2026/cdr-2026-11-24-0012.jsonl.gz"), Some(12));
        for foreign in [
            "/l/2026/cdr-2026-11-24.jsonl.part",
            "/l/2026/cdr-2026-11-24.jsonl.bak",
            "/l/2026/cdr-2026-11-24-2.jsonl",
            "/l/2026/cdr-2026-11-24-00002.jsonl",
            "/l/2026/cdr-2026-11-24-0001.jsonl",
            "/l/2026/cdr-2026-1-4.jsonl",
            "/l/2026/cdr-2026-11-31.jsonl",
            "/l/2026/cdr-my-own-notes.jsonl",
            "/l/2026/cdr-2026-11-24.csv",
            "/l/2026/.cdr-2026-11-24.jsonl",
            "/l/cdr-2026-11-24.jsonl",
        ] {
            assert_eq!(part(foreign), None, "{foreign}");
        }
        let size = names("cdr.jsonl", None, true);
        let part = |name: &str| size.finished(Path::new(name)).map(|found| found.part);
        assert_eq!(part("cdr-0001.jsonl"), Some(1));
        assert_eq!(part("cdr-10000.jsonl.zst"), Some(10_000));
        assert_eq!(part("cdr.jsonl"), None);
        assert_eq!(part("cdr-+001.jsonl"), None);
    }

    #[test]
    fn the_hour_that_comes_twice_in_autumn_is_one_period() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let names = Names::new("cdr.jsonl", Some(Every::Hour), false, berlin);
        let base = |at: &str| names.slot(at.parse::<Timestamp>().unwrap().as_millisecond()).base;
        assert_eq!(base("2026-10-25T00:30:00Z"), "cdr-2026-10-25T02.jsonl");
        assert_eq!(base("2026-10-25T01:30:00Z"), "cdr-2026-10-25T02.jsonl");
        assert_eq!(base("2026-10-25T02:00:00Z"), "cdr-2026-10-25T03.jsonl");
    }

    #[test]
    fn later_files_sort_behind_earlier_ones() {
        let day = names("cdr-%d-%m-%Y.jsonl", None, false);
        let sorted = ["cdr-30-11-2026.jsonl", "cdr-01-12-2026.jsonl", "cdr-01-12-2026-0002.jsonl"];
        let found: Vec<_> = sorted.iter().map(|n| day.finished(Path::new(n)).unwrap()).collect();
        assert!(found.is_sorted());
    }

    #[test]
    fn usual_templates_can_be_recognised() {
        for template in ["cdr-%F.jsonl", "%Y/%m/%d/%H.csv", "c%y%m%d", "%s", "%Y-%b-%d", "%Y%j"] {
            assert!(names(template, None, false).can_be_recognised(), "{template}");
        }
    }

    #[test]
    fn the_root_is_what_time_does_not_change() {
        let root = |template| names(template, None, false).root();
        assert_eq!(root("/l/%Y/x/cdr-%d"), (PathBuf::from("/l"), 2));
        assert_eq!(root("/l/a/cdr"), (PathBuf::from("/l/a"), 0));
        assert_eq!(root("cdr-%d"), (PathBuf::new(), 0));
    }
}
