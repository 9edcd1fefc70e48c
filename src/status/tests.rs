//! What people read: word for word, within 80 columns.

use insta::assert_snapshot;
use unicode_width::UnicodeWidthStr;

use super::gather::Asked;
use super::{
    At, Gap, Gaps, Journal, Pbx, RefusedTopic, SCHEMA, Sink, Status, Told, problems, text,
};
use crate::config::{Config, Environment};

/// 2026-09-01 12:00:00 UTC.
const NOW: i64 = 1_788_264_000_000;
const MINUTE: i64 = 60_000;

fn asked() -> Asked {
    let text = "[pbx.hq]\nurl = \"ws://localhost/wsi\"\nlogin = { username = \"u\", password = \"p\" }\n\
                [pbx.branch]\nurl = \"ws://localhost/wsi\"\nlogin = { username = \"u\", password = \"p\" }\n\
                [sink.archive]\ntype = \"stdout\"\n[sink.crm]\ntype = \"stdout\"\n\
                [journal]\npath = \"/var/lib/cdrd/journal.db\"\n";
    Asked::of(&Config::parse("x", text, &Environment::empty()).unwrap())
}

fn pbx(name: &str) -> Pbx {
    Pbx {
        name: name.to_owned(),
        state: "subscribed".to_owned(),
        since: Some(At(NOW - 3 * 60 * MINUTE)),
        last_event: Some(At(NOW - 4_000)),
        last_error: None,
        last_error_at: None,
        topics: vec!["cdr_events".to_owned()],
        refused_topics: Vec::new(),
        complete_up_to: None,
    }
}

fn sink(name: &str) -> Sink {
    Sink {
        name: name.to_owned(),
        state: "delivering".to_owned(),
        delivered: 1_234_567,
        lag_events: 0,
        lag_seconds: 0,
        last_error: None,
        last_error_at: None,
        dead_letters: 0,
    }
}

fn well() -> Status {
    Status {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        at: At(NOW),
        running: true,
        since: Some(At(NOW - 26 * 60 * MINUTE)),
        ok: true,
        summary: String::new(),
        problems: Vec::new(),
        pbxs: vec![pbx("hq"), pbx("branch")],
        sinks: vec![sink("archive"), sink("crm")],
        journal: Journal {
            path: "/var/lib/cdrd/journal.db".to_owned(),
            state: "ok".to_owned(),
            events: 98_765,
            size: 150 << 20,
            max_size: 2 << 30,
            oldest: Some(At(NOW - 7 * 24 * 60 * MINUTE)),
        },
        quarantine: 0,
        gaps: Gaps::default(),
        reload_refused: None,
    }
}

/// The text and, behind it, the line for systemd.
fn shown(mut status: Status) -> String {
    status.problems = problems::of(&status, &asked());
    status.ok = status.problems.is_empty();
    status.summary = problems::summary(&status);
    let text = text::render(&status, false, &jiff::tz::TimeZone::UTC);
    for line in text.lines() {
        assert!(line.width() <= 80, "{} columns: {line}", line.width());
    }
    format!("{text}=====\n{}", status.summary)
}

#[test]
fn a_daemon_that_is_well() {
    let mut status = well();
    status.pbxs[1].last_error = Some("connection lost: reset by peer".to_owned());
    status.pbxs[1].last_error_at = Some(At(NOW - 200 * MINUTE));
    status.pbxs[0].complete_up_to = Some(At(NOW));
    assert_snapshot!(shown(status), @r"
    cdrd 0.1.0, running since 2026-08-31 10:00:00 (26 h)

    All is well.

    PBX     STATE          SINCE      LAST EVENT
    hq      subscribed     3 h        4 s ago
      complete up to 2026-09-01 12:00:00
    branch  subscribed     3 h        4 s ago
      last error, 3 h ago: connection lost: reset by peer

    SINK     STATE          DELIVERED    WAITING  FOR        DEAD
    archive  delivering     1,234,567          0                0
    crm      delivering     1,234,567          0                0

    JOURNAL
    98,765 events, 150 MiB of 2 GiB, the oldest 7 days old
    /var/lib/cdrd/journal.db

    GAPS
    none open, 0 closed
    =====
    2 of 2 PBXs subscribed, all delivered
    ");
}

#[test]
fn a_daemon_with_every_trouble_there_is() {
    let mut status = well();
    let hq = &mut status.pbxs[0];
    hq.refused_topics.push(RefusedTopic {
        topic: "queue_events".to_owned(),
        words: "Permission denied.".to_owned(),
    });
    let branch = &mut status.pbxs[1];
    branch.state = "login refused".to_owned();
    branch.since = Some(At(NOW - 12 * MINUTE));
    branch.last_event = None;
    branch.last_error = Some("the PBX refused the login: Invalid\u{1b}[31m username or password.; check username, domain and password".to_owned());
    branch.last_error_at = Some(At(NOW - 12 * MINUTE));
    let archive = &mut status.sinks[0];
    (archive.state, archive.lag_events, archive.lag_seconds) = ("behind".to_owned(), 1, 90);
    let crm = &mut status.sinks[1];
    (crm.state, crm.lag_events, crm.lag_seconds) = ("failing".to_owned(), 45_678, 9_000);
    crm.last_error = Some("https://crm.example.com/hooks/cdr: 503 Service Unavailable".to_owned());
    crm.last_error_at = Some(At(NOW - 30_000));
    crm.dead_letters = 12;
    (status.journal.state, status.journal.size) = ("paused".to_owned(), (2 << 30) + 5);
    status.quarantine = 1;
    let gap = |end| Gap {
        n: 1,
        pbx: "hq".to_owned(),
        start: At(NOW - 300 * MINUTE),
        end,
        why: "connection lost".to_owned(),
        state: "REST was not reachable".to_owned(),
        error: Some("REST was not reachable".to_owned()),
        backfilled: 0,
    };
    status.gaps.open = vec![gap(Some(At(NOW - 250 * MINUTE))), gap(None)];
    status.gaps.closed = vec![gap(Some(At(NOW)))];
    let words = "/etc/cdrd/config.toml:7: pbx.hq: unknown key \"topic\"; did you mean \"topics\"?";
    status.reload_refused = Some(Told { at: At(NOW), words: words.to_owned() });
    assert_snapshot!(shown(status), @r#"
    cdrd 0.1.0, running since 2026-08-31 10:00:00 (26 h)

    ! journal: full of undelivered events: nothing is taken from the PBXs
       -> repair the sink that is behind, or raise [journal] max_size
    ! pbx "branch": the PBX refused the login: Invalid [31m username or password.;
      check username, domain and password
       -> correct the login and reload; the next try comes by itself, in minutes
    ! pbx "hq": refused the topic queue_events: Permission denied.
       -> give the user the permission, or remove the topic; asked again every 5 min
    ! sink "archive": is slow: 1 event waits, the oldest for 90 s
       -> make the receiver faster, or raise batch or in_flight of the sink
    ! sink "crm": delivery fails, 45,678 events wait:
      https://crm.example.com/hooks/cdr: 503 Service Unavailable
       -> repair it; what waits is then sent
    ! sink "crm": 12 events refused for good
       -> see why: cdrd dead-letters list --sink crm; then retry or drop
    ! configuration: the new one was refused, the old one is in force:
      /etc/cdrd/config.toml:7: pbx.hq: unknown key "topic"; did you mean "topics"?
       -> correct the file (cdrd check -c FILE), then: systemctl reload cdrd
    ! quarantine: 1 frame could not be decoded
       -> see why: cdrd quarantine list; then retry or drop
    ! pbx "hq": a gap is open: REST was not reachable
       -> mend that, and the daemon closes it; or look at it with cdrd gaps list,
          and accept it with cdrd gaps accept N

    PBX     STATE          SINCE      LAST EVENT
    hq      subscribed     3 h        4 s ago
    branch  login refused  12 min     none yet

    SINK     STATE          DELIVERED    WAITING  FOR        DEAD
    archive  behind         1,234,567          1  90 s          0
    crm      failing        1,234,567     45,678  2 h          12

    JOURNAL
    98,765 events, 2 GiB of 2 GiB, the oldest 7 days old
    /var/lib/cdrd/journal.db
    1 in quarantine

    GAPS
    2 open, 1 closed
      hq: 2026-09-01 07:00:00 to 2026-09-01 07:50:00: connection lost; REST was not
      reachable
      hq: 2026-09-01 07:00:00 to now: connection lost; REST was not reachable
    =====
    1 of 2 PBXs subscribed, 45,678 events wait; journal: full of undelivered events: nothing is taken from the PBXs (and 8 more)
    "#);
}

#[test]
fn no_daemon() {
    let mut status = well();
    status.running = false;
    status.since = Some(At(NOW - 90 * MINUTE));
    for pbx in &mut status.pbxs {
        (pbx.state, pbx.since) = ("not running".to_owned(), None);
    }
    for sink in &mut status.sinks {
        sink.state = "not running".to_owned();
    }
    status.sinks[1].lag_events = 7;
    status.sinks[1].lag_seconds = 5_400;
    assert_snapshot!(shown(status), @r"
    cdrd 0.1.0, not running since 2026-09-01 10:30:00 (90 min)

    ! daemon: no cdrd runs on this journal, for 90 min: what the PBX says is missed
       -> start it: systemctl start cdrd, or: cdrd run -c FILE

    PBX     STATE          SINCE      LAST EVENT
    hq      not running               4 s ago
    branch  not running               4 s ago

    SINK     STATE          DELIVERED    WAITING  FOR        DEAD
    archive  not running    1,234,567          0                0
    crm      not running    1,234,567          7  90 min        0

    JOURNAL
    98,765 events, 150 MiB of 2 GiB, the oldest 7 days old
    /var/lib/cdrd/journal.db

    GAPS
    none open, 0 closed
    =====
    not running, 7 events wait
    ");
}

#[test]
fn a_configuration_that_is_not_in_force_yet_is_told() {
    let mut status = well();
    status.pbxs[1].name = "old".to_owned();
    status.sinks.push(sink("new"));
    status.sinks[1].state = "not running".to_owned();
    assert_snapshot!(shown(status), @r#"
    cdrd 0.1.0, running since 2026-08-31 10:00:00 (26 h)

    ! pbx "old": runs, but is no longer in the configuration
       -> have it read its configuration again: systemctl reload cdrd
    ! sink "crm": is in the configuration, but not in the daemon
       -> have it read its configuration again: systemctl reload cdrd
    ! sink "new": runs, but is no longer in the configuration
       -> have it read its configuration again: systemctl reload cdrd

    PBX  STATE          SINCE      LAST EVENT
    hq   subscribed     3 h        4 s ago
    old  subscribed     3 h        4 s ago

    SINK     STATE          DELIVERED    WAITING  FOR        DEAD
    archive  delivering     1,234,567          0                0
    crm      not running    1,234,567          0                0
    new      delivering     1,234,567          0                0

    JOURNAL
    98,765 events, 150 MiB of 2 GiB, the oldest 7 days old
    /var/lib/cdrd/journal.db

    GAPS
    none open, 0 closed
    =====
    2 of 2 PBXs subscribed, all delivered; pbx "old": runs, but is no longer in the configuration (and 2 more)
    "#);
}

#[test]
fn disks_that_are_full_stuck_or_nearly_full_are_told() {
    let told = |state: &str, size, waiting| {
        let mut status = well();
        (status.journal.state, status.journal.size) = (state.to_owned(), size);
        status.sinks[0].lag_events = waiting;
        let problems = problems::of(&status, &asked());
        let lines = problems.iter().map(|p| format!("{}: {} -> {}", p.about, p.what, p.next));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(told("disk full", 5, 0), @"journal: the disk is full: nothing is taken from the PBXs -> free space on its file system; cdrd goes on by itself");
    assert_snapshot!(told("stuck", 5, 0), @"journal: its disk does not answer: nothing is taken from the PBXs -> look at the disk, and at what else has the database open");
    assert_snapshot!(told("ok", (2 << 30) / 5 * 4 + 100, 60_000), @"journal: nearly full of undelivered events: 1.6 GiB of 2 GiB -> repair the sink that is behind, shorten retention, or raise max_size");
    assert_eq!(told("ok", 2 << 29, 60_000), "");
    // Delivered events make way by themselves.
    assert_eq!(told("ok", 2 << 30, 10), "");
}

#[test]
fn colours_go_by_state_and_change_no_letter() {
    let status = well();
    let zone = jiff::tz::TimeZone::UTC;
    let (plain, coloured) =
        (text::render(&status, false, &zone), text::render(&status, true, &zone));
    assert!(coloured.contains("\u{1b}[32msubscribed\u{1b}[0m"), "{coloured}");
    let mut without = coloured;
    for code in ["\u{1b}[32m", "\u{1b}[33m", "\u{1b}[31m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[0m"] {
        without = without.replace(code, "");
    }
    assert_eq!(without, plain);
}
