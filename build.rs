//! Puts what `cdrd --version` says into the program: version, commit and date.
//!
//! Without git (a source archive) the commit is left out; whoever packages can give it as
//! `CDRD_GIT_HASH`. The date is today's, or that of `SOURCE_DATE_EPOCH`, with which the
//! same source gives the same program.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-env-changed=CDRD_GIT_HASH");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let about: Vec<String> = commit().into_iter().chain([date()]).collect();
    println!("cargo::rustc-env=CDRD_VERSION={version} ({})", about.join(", "));
}

/// The commit that is checked out.
fn commit() -> Option<String> {
    if let Some(given) = std::env::var("CDRD_GIT_HASH").ok().filter(|given| !given.is_empty()) {
        return Some(given);
    }
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    // Not that of a repository that an unpacked archive happens to lie in.
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?
        != Path::new(&here).canonicalize().ok()?
    {
        return None;
    }
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned()).filter(|said| !said.is_empty())
}

fn date() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seconds: u64 = given.unwrap_or_else(now);
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a day since 1970 (Howard Hinnant, `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}
