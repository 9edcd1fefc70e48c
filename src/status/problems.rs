//! What is wrong, in words, and what to do next.

use std::collections::BTreeMap;

use super::gather::{Asked, NOT_RUNNING};
use super::live::is_subscribed;
use super::text::{ago, bytes, count};
use super::{Gap, Pbx, Problem, Sink, Status};
use crate::pbx::state::Phase;

/// A connect takes no longer than this unless something is wrong.
const CONNECTING_MS: i64 = 60_000;
/// From this share of `max_size` on the journal is nearly full, in percent.
const NEARLY_FULL: u64 = 80;
/// The longest line for systemd and others who have room for one.
const LONGEST_SUMMARY: usize = 200;

/// Gaps that cannot be closed, one entry for all that fail alike. One that is just being
/// closed is nothing to worry about.
fn gaps(status: &Status) -> Vec<Problem> {
    let mut alike: BTreeMap<(&str, &str), Vec<&Gap>> = BTreeMap::new();
    for gap in status.gaps.open.iter().filter(|gap| gap.end.is_some()) {
        if let Some(error) = &gap.error {
            alike.entry((&gap.pbx, error)).or_default().push(gap);
        }
    }
    let told = alike.into_iter().map(|((pbx, error), gaps)| {
        let what = match gaps.len() {
            1 => format!("a gap is open: {error}"),
            n => format!("{n} gaps are open: {error}"),
        };
        let next = "mend that, and the daemon closes it; or look at it with cdrd gaps list, \
                    and accept it with cdrd gaps accept N";
        problem(format!("pbx \"{pbx}\""), what, next)
    });
    told.collect()
}

/// Everything that is wrong, the worst first: what loses events, what delays them, what
/// only waits for somebody to look at it.
pub(super) fn of(status: &Status, asked: &Asked) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(journal(status));
    if !status.running {
        let since =
            status.since.map_or(String::new(), |at| format!(", for {}", ago(status.at, at)));
        problems.push(problem(
            "daemon".to_owned(),
            format!("no cdrd runs on this journal{since}: what the PBX says is missed"),
            "start it: systemctl start cdrd, or: cdrd run -c FILE",
        ));
    }
    problems.extend(status.pbxs.iter().filter_map(|p| pbx(status, asked, p)));
    problems.extend(status.pbxs.iter().flat_map(topics));
    problems.extend(status.sinks.iter().filter_map(|s| sink(status, asked, s)));
    problems.extend(status.sinks.iter().filter(|sink| sink.dead_letters > 0).map(|sink| {
        let (n, plural) = count(sink.dead_letters, "event", "events");
        problem(
            format!("sink \"{}\"", sink.name),
            format!("{n} {plural} refused for good"),
            &format!("see why: cdrd dead-letters list --sink {}; then retry or drop", sink.name),
        )
    }));
    problems.extend(reload(status));
    if status.quarantine > 0 {
        let (n, plural) = count(status.quarantine, "frame", "frames");
        problems.push(problem(
            "quarantine".to_owned(),
            format!("{n} {plural} could not be decoded"),
            "see why: cdrd quarantine list; then retry or drop",
        ));
    }
    problems.extend(gaps(status));
    problems
}

fn problem(about: String, what: String, next: &str) -> Problem {
    Problem { about, what, next: next.to_owned() }
}

fn journal(status: &Status) -> Option<Problem> {
    let journal = &status.journal;
    // What every sink has makes way by itself: a journal full of that is no trouble.
    let waiting = status.sinks.iter().map(|sink| sink.lag_events).max().unwrap_or(0);
    let nearly = journal.size / (journal.max_size / 100).max(1) >= NEARLY_FULL
        && waiting > journal.events / 2;
    let (what, next) = match journal.state.as_str() {
        "disk full" => (
            "the disk is full: nothing is taken from the PBXs".to_owned(),
            "free space on its file system; cdrd goes on by itself",
        ),
        "stuck" => (
            "its disk does not answer: nothing is taken from the PBXs".to_owned(),
            "look at the disk, and at what else has the database open",
        ),
        "paused" => (
            "full of undelivered events: nothing is taken from the PBXs".to_owned(),
            "repair the sink that is behind, or raise [journal] max_size",
        ),
        _ if nearly => (
            format!(
                "nearly full of undelivered events: {} of {}",
                bytes(journal.size),
                bytes(journal.max_size)
            ),
            "repair the sink that is behind, shorten retention, or raise max_size",
        ),
        _ => return None,
    };
    Some(problem("journal".to_owned(), what, next))
}

fn pbx(status: &Status, asked: &Asked, pbx: &Pbx) -> Option<Problem> {
    let about = format!("pbx \"{}\"", pbx.name);
    if !status.running || is_subscribed(&pbx.state) {
        return stale(status, asked.has_pbx(&pbx.name), about);
    }
    let because = pbx.last_error.as_ref().map_or(String::new(), |error| format!(": {error}"));
    let for_long = pbx.since.is_some_and(|at| status.at.0 - at.0 > CONNECTING_MS);
    let (what, next) = match pbx.state.as_str() {
        NOT_RUNNING => ("is in the configuration, but not in the daemon".to_owned(), RELOAD),
        state if state == Phase::LoginRefused.as_str() => (
            pbx.last_error.clone().unwrap_or_else(|| "waits before its next login".to_owned()),
            "correct the login and reload; the next try comes by itself, in minutes",
        ),
        state if state == Phase::Waiting.as_str() => (
            format!("there is no connection{because}"),
            "cdrd tries again by itself; cdrd check --connect shows each step",
        ),
        state if for_long || pbx.last_error.is_some() => (
            format!("{state}, not subscribed yet{because}"),
            "cdrd goes on by itself; cdrd check --connect shows each step",
        ),
        _ => return None,
    };
    Some(problem(about, what, next))
}

/// What makes a daemon take up its configuration.
const RELOAD: &str = "have it read its configuration again: systemctl reload cdrd";

/// It runs, but the configuration no longer names it.
fn stale(status: &Status, asked: bool, about: String) -> Option<Problem> {
    let what = "runs, but is no longer in the configuration".to_owned();
    (status.running && !asked).then(|| problem(about, what, RELOAD))
}

fn topics(pbx: &Pbx) -> impl Iterator<Item = Problem> {
    pbx.refused_topics.iter().map(|refused| {
        problem(
            format!("pbx \"{}\"", pbx.name),
            format!("refused the topic {}: {}", refused.topic, refused.words),
            "give the user the permission, or remove the topic; asked again every 5 min",
        )
    })
}

fn sink(status: &Status, asked: &Asked, sink: &Sink) -> Option<Problem> {
    let about = format!("sink \"{}\"", sink.name);
    let (n, plural) = count(sink.lag_events, "event waits", "events wait");
    let (what, next) = match sink.state.as_str() {
        "failing" => {
            let words = sink.last_error.as_deref().unwrap_or("no words");
            (format!("delivery fails, {n} {plural}: {words}"), "repair it; what waits is then sent")
        }
        "behind" => (
            format!("is slow: {n} {plural}, the oldest for {}", span(sink.lag_seconds)),
            "make the receiver faster, or raise batch or in_flight of the sink",
        ),
        NOT_RUNNING if status.running => {
            ("is in the configuration, but not in the daemon".to_owned(), RELOAD)
        }
        _ => return stale(status, asked.has_sink(&sink.name), about),
    };
    Some(problem(about, what, next))
}

fn span(seconds: u64) -> String {
    super::text::span(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
}

fn reload(status: &Status) -> Option<Problem> {
    let refused = status.reload_refused.as_ref()?;
    Some(problem(
        "configuration".to_owned(),
        format!("the new one was refused, the old one is in force: {}", refused.words),
        "correct the file (cdrd check -c FILE), then: systemctl reload cdrd",
    ))
}

/// One line: the counts, and the worst.
pub(super) fn summary(status: &Status) -> String {
    let subscribed = status.pbxs.iter().filter(|pbx| is_subscribed(&pbx.state)).count();
    let waiting: u64 = status.sinks.iter().map(|sink| sink.lag_events).max().unwrap_or(0);
    let lag = match waiting {
        0 => "all delivered".to_owned(),
        n => {
            let (n, plural) = count(n, "event waits", "events wait");
            format!("{n} {plural}")
        }
    };
    let mut line = match status.running {
        true => format!("{subscribed} of {} PBXs subscribed, {lag}", status.pbxs.len()),
        false => format!("not running, {lag}"),
    };
    let problems = status.problems.iter().filter(|problem| problem.about != "daemon");
    for (at, problem) in problems.enumerate() {
        if at > 0 {
            line += &format!(" (and {} more)", status.problems.len() - 1);
            break;
        }
        line += &format!("; {}: {}", problem.about, problem.what);
    }
    shortened(&line)
}

/// On one line, and no longer than there is room for.
fn shortened(line: &str) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(LONGEST_SUMMARY) {
        None => line,
        Some(_) => line.chars().take(LONGEST_SUMMARY - 1).chain(['…']).collect(),
    }
}
