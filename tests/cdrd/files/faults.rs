//! Full disks, and kill -9 at random moments.

use std::time::Duration;

use cdrd::simulator::{Options, Rate};

use super::*;
use crate::crash::{Daemon, commits_after, committed, terminate};
use crate::harness::until;
use crate::process::{Process, cdrd};

#[tokio::test]
async fn a_full_disk_is_told_and_waited_out_and_nothing_is_lost() {
    let rotating = "rotate = { size = \"64KiB\" }\ncompress = \"zstd\"\nmanifest = true";
    for text in ["", rotating] {
        let bench = Bench::new().await;
        let out = bench.path("out");
        std::fs::create_dir(&out).unwrap();
        // A device that is always full.
        std::os::unix::fs::symlink("/dev/full", out.join("cdr.jsonl")).unwrap();
        let config = configure(&bench, &sink(&bench, "cdr.jsonl", text));
        let mut daemon = Process::start(cdrd(["run", "-c"]).arg(&config));
        bench.subscribed().await;
        bench.push(20).await;
        let log = daemon.logs("free space there").await;
        assert!(log.contains("WARN") && log.contains("No space left on device"), "{log}");
        std::fs::remove_file(out.join("cdr.jsonl")).unwrap();
        until("everything is there", async || {
            let mut text = content(&out, "cdr");
            text.extend(whole(std::fs::read(out.join("cdr.jsonl")).unwrap_or_default()));
            lines(&text).len() == bench.pbx.log().len()
        })
        .await;
        daemon.logs("sink works again").await;
        daemon.signal("TERM");
        daemon.ended().await.ended_with(0);
    }
}

/// A file system of four megabytes in which files are rotated and compressed. Needs the
/// right to mount one, in a namespace of its own; the test above does not.
#[tokio::test]
async fn a_full_file_system_tears_no_line_and_loses_no_event() {
    let may = ["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    let tried = std::process::Command::new("unshare").args(may).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        println!("no right to mount a file system here; a full device was tried anyway");
        return;
    }
    let bench = Bench::new().await;
    let out = bench.path("out");
    std::fs::create_dir(&out).unwrap();
    let text = "rotate = { size = \"32KiB\" }\ncompress = \"gzip\"\nmanifest = true\nwrite_to = \"partial\"";
    configure(&bench, &sink(&bench, "cdr.jsonl", text));
    let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && head -c 4000000 /dev/zero > \"$0/filler\" && \
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
            let text = whole(unpacked(name, bytes));
            ids.extend(lines(&text).iter().map(|e| e["id"].as_str().unwrap().to_owned()));
        }
        ids
    };
    until("every committed event is in a file", async || {
        let ids = ids();
        expected.iter().all(|event| ids.contains(&event.event.id.to_string()))
    })
    .await;
    commits_after(&bench, expected.last().expect("there are many").seq).await;
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
            let aside = bench.path("unfinished");
            std::fs::rename(out.join(name), &aside).unwrap();
            // No half line, or this fails.
            lines(&std::fs::read(aside).unwrap());
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
