//! Files: what they are called, when they end, what is left of them and what a crash
//! can leave.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cdrd::simulator::{Options, Rate};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::crash::{Daemon, committed, terminate};
use crate::harness::{Bench, Running, until};
use crate::process::{Process, cdrd, python};

/// A sink `books` that writes into a folder of its own, `out`.
fn sink(bench: &Bench, name: &str, lines: &str) -> String {
    let path = bench.path("out").join(name);
    format!("[sink.books]\ntype = \"file\"\npath = {path:?}\nstart = \"beginning\"\n{lines}\n")
}

/// A configuration that is the tester's alone.
fn configure(bench: &Bench, sinks: &str) -> PathBuf {
    let path = bench.path("config.toml");
    std::fs::write(&path, bench.config_text(sinks)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The names in a folder, in order; none if there is no folder.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Names of files that are finished: neither hidden, nor being written, nor lists.
fn finished(folder: &Path) -> Vec<String> {
    let mut names = names(folder);
    names.retain(|name| {
        !name.starts_with('.') && !name.ends_with(".part") && !name.contains("manifest")
    });
    names
}

fn unpacked(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    match name.rsplit_once('.') {
        Some((_, "zst")) => zstd::decode_all(&*bytes).unwrap(),
        Some((_, "gz")) => {
            let mut text = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&*bytes);
            std::io::Read::read_to_end(&mut decoder, &mut text).unwrap();
            text
        }
        _ => bytes,
    }
}

/// All that is in numbered files, in their order, finished or not. While they are
/// looked at, they may be given other names: then they are looked at again.
pub fn content(folder: &Path, stem: &str) -> Vec<u8> {
    for _ in 0..1_000 {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for name in names(folder) {
            let Some(rest) = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-')) else {
                continue;
            };
            if rest.ends_with(".zst.part") || rest.ends_with(".gz.part") {
                continue;
            }
            let number = rest.split('.').next().unwrap().to_owned();
            // A compressed one and its original are the same.
            files.entry(number).or_insert(name);
        }
        let read: Result<Vec<_>, _> = files
            .values()
            .map(|name| std::fs::read(folder.join(name)).map(|bytes| unpacked(name, bytes)))
            .collect();
        if let Ok(read) = read {
            return read.concat();
        }
    }
    panic!("files are renamed without an end");
}

fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line at the end");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The manifest agrees with every finished file, and names no other but those of `gone`.
fn check_manifest(folder: &Path) -> Vec<Value> {
    let manifest = lines(&std::fs::read(folder.join("books.manifest.jsonl")).unwrap_or_default());
    let listed: Vec<_> = manifest.iter().map(|line| line["file"].as_str().unwrap()).collect();
    let distinct: BTreeSet<_> = listed.iter().collect();
    assert_eq!(distinct.len(), listed.len(), "a file is listed twice: {listed:?}");
    let there = finished(folder);
    assert_eq!(
        there.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        listed.iter().copied().collect()
    );
    for line in &manifest {
        let name = line["file"].as_str().unwrap();
        let bytes = std::fs::read(folder.join(name)).unwrap();
        assert_eq!(line["bytes"], bytes.len());
        assert_eq!(line["sha256"], sha256(&bytes), "{name}");
        let text = unpacked(name, bytes);
        let is_packed = !name.ends_with(".jsonl") && !name.ends_with(".csv");
        let plain = if is_packed { Value::from(sha256(&text)) } else { Value::Null };
        assert_eq!(line.get("uncompressed_sha256").unwrap_or(&Value::Null), &plain, "{name}");
        if name.contains(".jsonl") {
            let events = lines(&text);
            assert_eq!(line["events"], events.len(), "{name}");
            assert_eq!(line["first_id"], events[0]["id"], "{name}");
            // After a kill the last may be unknown, but never wrong.
            let last = &events.last().unwrap()["id"];
            assert!(line["last_id"] == *last || line["last_id"].is_null(), "{name}");
        }
    }
    manifest
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn files_end_before_they_grow_too_large_and_their_numbers_sort() {
    let bench = Bench::new().await;
    let out = bench.path("out");
    let daemon =
        Running::start(&bench.config(&sink(&bench, "cdr.jsonl", "rotate = { size = \"8KiB\" }")));
    bench.subscribed().await;
    bench.push(40).await;
    daemon.stop().await.unwrap();
    let names = finished(&out);
    assert!(names.len() > 10, "{names:?}");
    // The one that is written has its stable name; it sorts behind "-".
    assert_eq!(names.last().unwrap(), "cdr.jsonl");
    let mut events = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let bytes = std::fs::read(out.join(name)).unwrap();
        assert!(bytes.len() <= 8 << 10 || lines(&bytes).len() == 1, "{name}: {}", bytes.len());
        if number + 1 < names.len() {
            assert_eq!(*name, format!("cdr-{:04}.jsonl", number + 1));
        }
        events.extend(lines(&bytes));
    }
    assert_eq!(seqs(&events), (1..=bench.journalled() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_gets_its_final_name_soon_after_its_period_though_nothing_more_comes() {
    let bench = Bench::new().await;
    let out = bench.path("out");
    let text = sink(&bench, "cdr-%Y%m%dT%H%M%S.jsonl", "write_to = \"partial\"\nmanifest = true");
    let daemon = Running::start(&bench.config(&text));
    bench.subscribed().await;
    bench.push(10).await;
    let seen = std::cell::RefCell::new(BTreeSet::new());
    until("everything has its final name", async || {
        seen.borrow_mut().extend(names(&out));
        let events = finished(&out);
        let read = events.iter().map(|name| lines(&std::fs::read(out.join(name)).unwrap()).len());
        bench.journalled() > 0 && read.sum::<usize>() == bench.journalled()
    })
    .await;
    assert!(seen.borrow().iter().any(|name| name.ends_with(".jsonl.part")), "{seen:?}");
    until("the list is empty", async || {
        let list = std::fs::read_to_string(out.join(".books.cdrd")).unwrap();
        list.contains("\"open\":[],\"jobs\":[]")
    })
    .await;
    let manifest = check_manifest(&out);
    assert!(manifest.iter().all(|line| line["last_id"].is_string()), "{manifest:?}");
    daemon.stop().await.unwrap();
    assert!(names(&out).iter().all(|name| !name.ends_with(".part")), "{:?}", names(&out));
}

#[tokio::test]
async fn finished_files_are_compressed_and_listed_and_others_can_read_them() {
    for (word, ending) in [("gzip", "gz"), ("zstd", "zst"), ("none", "jsonl")] {
        let bench = Bench::new().await;
        let out = bench.path("out");
        let text = format!(
            "rotate = {{ size = \"8KiB\", every = \"day\" }}\ncompress = \"{word}\"\nwrite_to = \"partial\"\nmanifest = true"
        );
        let daemon = Running::start(&bench.config(&sink(&bench, "cdr.jsonl", &text)));
        bench.subscribed().await;
        bench.push(40).await;
        daemon.stop().await.unwrap();
        let day = jiff::Timestamp::now().strftime("cdr-%Y-%m-%d").to_string();
        let names = finished(&out);
        assert!(names.len() > 5, "{names:?}");
        assert!(names.iter().all(|name| name.starts_with(&day) && name.ends_with(ending)));
        assert_eq!(
            seqs(&lines(&content(&out, &day))),
            (1..=bench.journalled() as u64).collect::<Vec<_>>()
        );
        check_manifest(&out);
        if word == "gzip" {
            let script = "import gzip, sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())";
            let name = &names[0];
            let read = python().args(["-c", script]).arg(out.join(name)).output().unwrap();
            assert!(read.status.success());
            assert_eq!(read.stdout, unpacked(name, std::fs::read(out.join(name)).unwrap()));
        }
    }
}

#[tokio::test]
async fn every_csv_file_has_a_header_and_the_manifest_counts_calls_alone() {
    let bench = Bench::new().await;
    let out = bench.path("out");
    let text = "format = \"csv\"\nrotate = { size = \"4KiB\" }\nmanifest = true\nwrite_to = \"partial\"\nevents = [\"call_cdr\"]";
    let daemon = Running::start(&bench.config(&sink(&bench, "cdr.csv", text)));
    bench.subscribed().await;
    bench.push(40).await;
    daemon.stop().await.unwrap();
    let mut rows = 0;
    for line in check_manifest(&out) {
        let text = std::fs::read_to_string(out.join(line["file"].as_str().unwrap())).unwrap();
        assert!(text.starts_with("schema,id,") && text.matches("schema,").count() == 1);
        let count = text.matches("\r\n").count() - 1;
        assert_eq!(line["events"], count);
        rows += count;
    }
    assert!(rows > 30 && rows <= 40, "{rows}");
}

#[tokio::test]
async fn what_is_sent_again_goes_to_a_new_file_and_no_finished_one_changes() {
    let bench = Bench::new().await;
    let out = bench.path("out");
    let text = sink(&bench, "cdr-%Y%m%dT%H%M%S.jsonl", "compress = \"gzip\"\nmanifest = true");
    let config = configure(&bench, &text);
    let daemon = Daemon::start(&bench);
    bench.subscribed().await;
    bench.push(20).await;
    let read = |names: &[String]| {
        let read =
            |name: &String| (name.clone(), std::fs::read(out.join(name)).unwrap_or_default());
        names.iter().map(read).collect::<BTreeMap<_, _>>()
    };
    let count = |suffix: &str| {
        let files = read(&finished(&out));
        let packed = files.into_iter().filter(|(name, _)| name.ends_with(suffix));
        packed.map(|(name, bytes)| lines(&unpacked(&name, bytes)).len()).sum::<usize>()
    };
    let rests = || {
        let list = std::fs::read_to_string(out.join(".books.cdrd")).unwrap_or_default();
        list.contains("\"open\":[],\"jobs\":[]")
    };
    until("everything is compressed", async || {
        bench.journalled() > 0 && count(".gz") == bench.journalled() && rests()
    })
    .await;
    let before = read(&finished(&out));
    let (all, total) = (before.len(), bench.journalled());
    let mut command = cdrd(["replay", "--sink", "books", "--from-seq", "1", "-c"]);
    Process::run(command.arg(&config), "").await.ended_with(0);
    until("the replay is compressed, too", async || count(".gz") == 2 * total && rests()).await;
    terminate(daemon).await;
    let after = read(&finished(&out));
    assert!(before.iter().all(|(name, bytes)| after[name] == *bytes), "a finished file changed");
    assert_eq!(after.len(), 2 * all);
    assert_eq!(after.keys().filter(|name| name.ends_with("-0002.jsonl.gz")).count(), all);
    check_manifest(&out);
}

#[tokio::test]
async fn only_the_oldest_finished_files_of_the_sink_itself_are_deleted() {
    let bench = Bench::new().await;
    let out = bench.path("out");
    std::fs::create_dir(&out).unwrap();
    let (own, foreign) = (
        ["cdr-0001.jsonl", "cdr-0002.jsonl.gz"],
        ["cdr-1.jsonl", "cdr-notes.jsonl", "acdr-0001.jsonl", "cdr-0001.csv", "cdr-0003.jsonl.bak"],
    );
    for name in own.iter().chain(&foreign) {
        std::fs::write(out.join(name), "{}\n").unwrap();
    }
    let text = "rotate = { size = \"8KiB\" }\nkeep = 3\ncompress = \"zstd\"";
    let daemon = Running::start(&bench.config(&sink(&bench, "cdr.jsonl", text)));
    bench.subscribed().await;
    bench.push(40).await;
    daemon.stop().await.unwrap();
    let names = finished(&out);
    assert!(foreign.iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
    let left: Vec<_> = names.iter().filter(|name| name.ends_with(".zst")).collect();
    assert_eq!(left.len(), 3, "{names:?}");
    // The newest, and numbered on from what was there.
    let number = |name: &str| name[4..8].parse::<u32>().unwrap();
    assert!(number(left[0]) > 5 && number(left[2]) == number(left[0]) + 2, "{names:?}");
    assert_eq!(names.len(), 3 + foreign.len() + 1, "{names:?}");
}

#[tokio::test]
async fn numbers_go_on_though_finished_files_were_taken_away() {
    let bench = Bench::new().await;
    let out = bench.path("out");
    let text = sink(&bench, "cdr.jsonl", "rotate = { size = \"8KiB\" }\nwrite_to = \"partial\"");
    let config = bench.config(&text);
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let daemon = Running::start(&config);
        bench.subscribed().await;
        bench.push(20).await;
        daemon.stop().await.unwrap();
        for name in finished(&out) {
            std::fs::remove_file(out.join(&name)).unwrap();
            assert!(seen.insert(name.clone()), "{name} came twice");
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
}

#[tokio::test]
async fn sighup_opens_names_anew_for_logrotate() {
    let bench = Bench::new().await;
    let out = bench.path("out");
    configure(&bench, &sink(&bench, "cdr.jsonl", ""));
    let mut command = cdrd(["run", "-c"]);
    let mut daemon = Process::start(command.arg(bench.path("config.toml")));
    bench.subscribed().await;
    let (now, before) = (out.join("cdr.jsonl"), out.join("cdr.jsonl.1"));
    let count = |path: &Path| std::fs::read(path).map_or(0, |text| lines(&text).len());
    bench.push(5).await;
    until("it is there", async || count(&now) == bench.pbx.log().len()).await;
    let first = count(&now);
    std::fs::rename(&now, &before).unwrap();
    daemon.signal("HUP");
    daemon.logs("files are opened anew").await;
    bench.push(5).await;
    until("the rest is there", async || first + count(&now) == bench.pbx.log().len()).await;
    assert_eq!(count(&before), first);
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn a_full_disk_is_told_and_waited_out_and_nothing_is_lost() {
    let bench = Bench::new().await;
    let out = bench.path("out");
    std::fs::create_dir(&out).unwrap();
    // A device that is always full.
    std::os::unix::fs::symlink("/dev/full", out.join("cdr.jsonl")).unwrap();
    configure(&bench, &sink(&bench, "cdr.jsonl", ""));
    let mut command = cdrd(["run", "-c"]);
    let mut daemon = Process::start(command.arg(bench.path("config.toml")));
    bench.subscribed().await;
    bench.push(20).await;
    let log = daemon.logs("free space there").await;
    assert!(log.contains("WARN") && log.contains("No space left on device"), "{log}");
    std::fs::remove_file(out.join("cdr.jsonl")).unwrap();
    until("everything is there", async || {
        let text = std::fs::read(out.join("cdr.jsonl")).unwrap_or_default();
        lines(&text).len() == bench.pbx.log().len()
    })
    .await;
    daemon.logs("sink works again").await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

/// A file system of a megabyte in which files are rotated and compressed. Needs the
/// right to mount one, in a namespace of its own; the test above does not.
#[tokio::test]
async fn a_full_file_system_tears_no_line_and_loses_no_event() {
    if !std::process::Command::new("unshare")
        .args(["-rm", "true"])
        .status()
        .is_ok_and(|s| s.success())
    {
        println!("no file system of its own here");
        return;
    }
    let bench = Bench::new().await;
    let out = bench.path("out");
    std::fs::create_dir(&out).unwrap();
    let text = "rotate = { size = \"32KiB\" }\ncompress = \"gzip\"\nmanifest = true\nwrite_to = \"partial\"";
    configure(&bench, &sink(&bench, "cdr.jsonl", text));
    let script = "mount -t tmpfs -o size=1m tmpfs \"$0\" && head -c 900000 /dev/zero > \"$0/filler\" && \
        exec \"$1\" run -c \"$2\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["-rm", "sh", "-c", script]).arg(&out).arg(env!("CARGO_BIN_EXE_cdrd"));
    let mut daemon = Process::start(command.arg(bench.path("config.toml")).env("CDRD_LOG", "info"));
    bench.subscribed().await;
    // As the daemon sees it.
    let inside = PathBuf::from(format!("/proc/{}/root{}", daemon.id(), out.display()));
    // At once, before the waits between tries grow.
    let mend = async {
        daemon.logs("No space left on device").await;
        std::fs::remove_file(inside.join("filler")).unwrap();
    };
    tokio::join!(bench.push(400), mend);
    until("everything is there", async || {
        let text = content(&inside, "cdr");
        lines(&text).len() == bench.pbx.log().len()
    })
    .await;
    until("all but the last are finished", async || {
        names(&inside).iter().filter(|name| name.contains(".part")).count() <= 1
    })
    .await;
    assert_eq!(
        seqs(&lines(&content(&inside, "cdr"))),
        (1..=bench.pbx.log().len() as u64).collect::<Vec<_>>()
    );
    check_manifest(&inside);
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn files_get_the_mode_and_owner_that_were_asked_for() {
    let bench = Bench::new().await;
    let out = bench.path("out");
    let me = std::fs::metadata(bench.directory.path()).unwrap();
    // Only root can give files away.
    let (owner, group) = if me.uid() == 0 { (12_345, 54_321) } else { (me.uid(), me.gid()) };
    let text = format!(
        "rotate = {{ size = \"8KiB\" }}\ncompress = \"zstd\"\nmanifest = true\nmode = \"0664\"\nowner = \"{owner}\"\ngroup = \"{group}\""
    );
    let daemon = Running::start(&bench.config(&sink(&bench, "cdr.jsonl", &text)));
    bench.subscribed().await;
    bench.push(20).await;
    daemon.stop().await.unwrap();
    let names = names(&out);
    let visible: Vec<_> = names.iter().filter(|name| !name.starts_with('.')).collect();
    assert!(visible.len() > 4, "{names:?}");
    for name in visible {
        let meta = std::fs::metadata(out.join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o664, "{name}");
        assert_eq!((meta.uid(), meta.gid()), (owner, group), "{name}");
    }
}

#[tokio::test]
async fn an_owner_that_does_not_exist_is_told_and_events_wait() {
    let bench = Bench::new().await;
    let text = sink(&bench, "cdr.jsonl", "owner = \"nobody-of-that-name\"");
    configure(&bench, &text);
    let mut command = cdrd(["run", "--drain", "100ms", "-c"]);
    let mut daemon = Process::start(command.arg(bench.path("config.toml")));
    bench.subscribed().await;
    bench.push(1).await;
    let log = daemon.logs("is not in /etc/passwd").await;
    assert!(log.contains("cdr.jsonl") && log.contains("or a number"), "{log}");
    daemon.signal("TERM");
    daemon.ended().await.ended_with(75);
}

const ROUNDS: usize = 40;

/// Kills the daemon at random moments, then lets it end in peace and looks at what is
/// there.
async fn whatever_was_committed_is_in_some_file_after_kills(
    lines_of_sink: &str,
    name: &str,
    seed: u64,
) {
    let options = Options { rate: Rate::PerSecond(150.0), record: false, ..Options::default() };
    let bench = Bench::with(options).await;
    let out = bench.path("out");
    configure(&bench, &sink(&bench, name, lines_of_sink));
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..ROUNDS {
        let daemon = Daemon::start(&bench);
        tokio::time::sleep(Duration::from_millis(random.u64(5..300))).await;
        daemon.kill();
    }
    let expected = committed(&bench);
    assert!(expected.len() > 200, "only {} events", expected.len());
    let daemon = Daemon::start(&bench);
    let ids = || {
        let mut ids = BTreeSet::new();
        for name in
            names(&out).iter().filter(|name| !name.starts_with('.') && !name.contains("manifest"))
        {
            if name.ends_with(".zst.part") {
                continue;
            }
            let bytes = std::fs::read(out.join(name)).unwrap_or_default();
            let text = unpacked(name, bytes);
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            ids.extend(lines(&text[..whole]).iter().map(|e| e["id"].as_str().unwrap().to_owned()));
        }
        ids
    };
    until("every committed event is in a file", async || {
        let ids = ids();
        expected.iter().all(|event| ids.contains(&event.event.id.to_string()))
    })
    .await;
    terminate(daemon).await;
    // Long periods leave the present file open, short ones may, too.
    let list: Value =
        serde_json::from_slice(&std::fs::read(out.join(".books.cdrd")).unwrap()).unwrap();
    assert_eq!(list["jobs"], serde_json::json!([]), "{list}");
    let open = list["open"].as_array().unwrap();
    let names = names(&out);
    let parts: Vec<_> = names.iter().filter(|name| name.ends_with(".part")).collect();
    let unfinished: BTreeSet<_> = open
        .iter()
        .map(|entry| {
            Path::new(entry["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap()
        })
        .collect();
    assert!(parts.iter().all(|part| unfinished.contains(part.as_str())), "{parts:?} {list}");
    assert_eq!(
        names.iter().filter(|name| name.starts_with('.')).collect::<Vec<_>>(),
        [".books.cdrd"]
    );
    // What is being written is in no manifest; no file is there twice.
    for name in unfinished {
        if out.join(name).exists() {
            std::fs::rename(out.join(name), bench.path("unfinished")).unwrap();
        }
    }
    let manifest = check_manifest(&out);
    assert!(manifest.len() > 3, "{manifest:?}");
    let all = finished(&out);
    assert!(all.iter().all(|name| name.ends_with(".zst")), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_while_files_are_rotated_by_size_and_compressed() {
    let text = "rotate = { size = \"128KiB\" }\ncompress = \"zstd\"\nmanifest = true\nwrite_to = \"partial\"";
    whatever_was_committed_is_in_some_file_after_kills(text, "cdr.jsonl", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_while_files_with_a_stable_name_end_and_are_compressed() {
    let text =
        "rotate = { size = \"128KiB\", every = \"hour\" }\ncompress = \"zstd\"\nmanifest = true";
    whatever_was_committed_is_in_some_file_after_kills(text, "cdr.jsonl", 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_while_files_end_with_time_and_are_compressed() {
    let text = "compress = \"zstd\"\nmanifest = true";
    whatever_was_committed_is_in_some_file_after_kills(text, "cdr-%Y%m%dT%H%M%S.jsonl", 7).await;
}
