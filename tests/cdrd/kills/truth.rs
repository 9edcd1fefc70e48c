//! What must be so in the end. The PBX knows what it said and what calls there were;
//! the daemon's own words are compared with that.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use cdrd::journal::gaps::{self, Kind, Span};
use cdrd::journal::reader::Reader;
use serde_json::Value;
use tokio::time::Instant;

use super::scene::{Deaf, Run, Scene, WHOLE, patience};
use super::traces::{at_sinks, check_files, id_of};
use crate::harness::until_within;
use crate::listener::data;
use crate::process::cdrd;

/// Between two looks at everything.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// What came before a connection was cut off is read later on a busy machine, and a gap
/// begins with the last of it. A comparison with REST begins 35 s before the gap.
const LATE_MS: i64 = 5_000;

/// What the journal has, as `cdrd export` tells it.
pub struct Exported {
    pub ids: BTreeSet<String>,
    pub bytes: BTreeSet<Vec<u8>>,
    /// CDRs by session.
    cdrs: BTreeMap<String, usize>,
}

/// A command of the real program to its end; what it printed.
pub fn command(scene: &Scene, arguments: &[&str]) -> Vec<u8> {
    let mut command: Command = cdrd(arguments);
    let output = command.arg("-c").arg(scene.path("config.toml")).output().unwrap();
    let (out, err) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {} {err}", String::from_utf8_lossy(out));
    output.stdout
}

/// The export, whose numbers go up by one, and whose ids are each there once.
pub fn exported(scene: &Scene) -> Exported {
    let text = command(scene, &["export"]);
    let (mut ids, mut bytes, mut cdrs) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (line, seq) in lines.zip(1..) {
        let event: Value = serde_json::from_slice(line).unwrap();
        assert_eq!(event["seq"], seq, "a hole in the journal");
        assert!(ids.insert(id_of(&event)), "an id is there twice: {event}");
        bytes.insert(data(line));
        if event["type"] == "com.portsip.pbx.call_cdr" {
            let session = event["data"]["session_id"].as_str().unwrap().to_owned();
            *cdrs.entry(session).or_default() += 1;
        }
    }
    Exported { ids, bytes, cdrs }
}

fn spans(scene: &Scene) -> Vec<Span> {
    Reader::open(&scene.path("journal.db")).unwrap().ask(gaps::list).unwrap()
}

/// One more run, which nobody kills; then everything is looked at.
pub async fn check(scene: Scene, kills: u64) {
    let mut run = Run::start(&scene, kills, WHOLE);
    run.subscribed(&scene).await;
    scene.pbx.push_calls(3).await;
    until_within(patience(kills), "every gap is closed", async || {
        spans(&scene).iter().all(|span| span.closed_ms.is_some())
    })
    .await;
    let wanted = exported(&scene);
    everywhere(&scene, &run, &wanted, kills).await;
    run.end(&scene).await;

    let exported = exported(&scene);
    for (sink, ids) in at_sinks(&scene) {
        assert_eq!(exported.ids.difference(&ids).count(), 0, "{sink} lacks some");
        // What a sink saw was durable before: no kill can have taken it from the journal.
        assert_eq!(ids.difference(&exported.ids).count(), 0, "{sink} has what nobody committed");
    }
    check_calls(&scene, &exported);
    check_order(&scene, &exported);
    check_gaps(&scene, kills);
    check_files(&scene, kills);
    command(&scene, &["journal", "check"]);
    for kept in ["dead-letters", "quarantine"] {
        let listed = String::from_utf8(command(&scene, &[kept, "list"])).unwrap();
        assert!(listed.lines().count() <= 1, "{kept}: {listed}");
    }
}

/// Waits until every sink has everything. To look reads all that they have, so it is not
/// done all the time.
async fn everywhere(scene: &Scene, run: &Run, wanted: &Exported, kills: u64) {
    let deadline = Instant::now() + patience(kills);
    loop {
        run.gather(scene);
        let sinks = at_sinks(scene).into_iter();
        let lacking: BTreeMap<_, _> =
            sinks.map(|(sink, ids)| (sink, wanted.ids.difference(&ids).count())).collect();
        if lacking.values().all(|lacking| *lacking == 0) {
            return;
        }
        assert!(Instant::now() < deadline, "events that sinks lack for ever: {lacking:?}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Each call that ended since the first start has its record once, and no other has.
fn check_calls(scene: &Scene, exported: &Exported) {
    let since = spans(scene).iter().map(|span| span.start_ms).min().unwrap() / 1000 + 1;
    let calls = scene.pbx.ended_calls();
    let lost: Vec<_> = calls
        .iter()
        .filter(|call| call.ended >= since && !exported.cdrs.contains_key(&call.session_id))
        .collect();
    assert!(lost.is_empty(), "{} calls are lost: {lost:?}", lost.len());
    let known: BTreeSet<_> = calls.iter().map(|call| &call.session_id).collect();
    for (session, times) in &exported.cdrs {
        assert!(known.contains(session), "no such call: {session}");
        assert_eq!(*times, 1, "the record of {session} is there more than once");
    }
    println!("{} events, {} calls", exported.ids.len(), exported.cdrs.len());
}

/// What the PBX pushed over one connection is in the journal up to some point, and
/// nothing before that point is missing.
fn check_order(scene: &Scene, exported: &Exported) {
    let mut connections: BTreeMap<u64, Vec<bool>> = BTreeMap::new();
    for pushed in scene.pbx.log() {
        let fetched = pushed.event_type == Some("call_cdr")
            && pushed.session_id.as_ref().is_some_and(|id| exported.cdrs.contains_key(id));
        let is_there = exported.bytes.contains(&*pushed.bytes);
        // A record that was fetched over REST first says nothing of its neighbours.
        if is_there || !fetched {
            connections.entry(pushed.connection).or_default().push(is_there);
        }
    }
    for (connection, there) in &connections {
        let end = there.iter().rposition(|is_there| *is_there).map_or(0, |last| last + 1);
        let holes = there[..end].iter().filter(|is_there| !**is_there).count();
        assert_eq!(holes, 0, "of connection {connection}, what came before what is there");
    }
    let heard = connections.values().flatten().filter(|is_there| **is_there).count();
    println!("{heard} events of {} connections were heard live", connections.len());
}

/// From each kill and each outage to the next login there is a gap.
fn check_gaps(scene: &Scene, kills: u64) {
    let mut gaps: Vec<(i64, i64)> = spans(scene)
        .iter()
        .filter(|span| span.kind == Kind::Gap)
        // The last one is that of the orderly stop.
        .map(|span| (span.start_ms, span.end_ms.unwrap_or(i64::MAX)))
        .collect();
    let open = gaps.iter().filter(|(_, end)| *end == i64::MAX).count();
    assert_eq!(open, 1, "of gaps that last only that of the stop");
    gaps.sort_unstable();
    let logins = scene.pbx.logins();
    let logins: Vec<i64> = logins
        .iter()
        .map(|login| login.wall.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64)
        .collect();
    let first = gaps.first().expect("there is a gap").0;
    // Before the first start nobody was to listen.
    let deafened = scene.deafened.lock().unwrap();
    for deaf in deafened.iter().filter(|deaf| deaf.began_ms >= first) {
        let next = logins.iter().find(|login| **login >= deaf.began_ms);
        let next = *next.expect("the last run logged in");
        if next < deaf.over_ms {
            // Back before the test could look: there was hardly a gap.
            continue;
        }
        let late = if deaf.how == Deaf::CutOff { LATE_MS } else { 0 };
        let mut covered = deaf.over_ms;
        for (start, end) in gaps.iter().filter(|(_, end)| *end >= deaf.over_ms) {
            if start - late <= covered {
                covered = covered.max(*end);
            }
        }
        let near = gaps.iter().filter(|gap| (gap.0 - covered).abs() < 3_000);
        let near: Vec<_> = near.collect();
        assert!(covered >= next, "{deaf:?}, then a login at {next}: in no gap, but near {near:?}");
    }
    println!("{} gaps after {kills} kills, all closed", gaps.len());
}
