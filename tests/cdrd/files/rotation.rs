//! Names, numbers, compression, the manifest, `keep`, SIGHUP, mode and owner.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;
use crate::crash::{Daemon, terminate};
use crate::harness::{Running, until};
use crate::process::{Process, cdrd, python};

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
    let count = |path: &Path| std::fs::read(path).map_or(0, |text| lines(&whole(text)).len());
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
