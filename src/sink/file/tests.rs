//! What a crash can leave between two steps, step by step.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::finish::{Found, finish_all, name, summarize};
use super::state::{Content, Entry, Job};
use super::store::Store;
use super::{Settings, manifest};
use crate::config::{Config, Environment};

const TEXT: &str = "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n";

fn settings(folder: &Path, lines: &str) -> Settings {
    let path = folder.join("cdr.jsonl");
    let text = format!(
        "[pbx.a]\nurl = \"wss://h/wsi\"\nlogin = {{ username = \"u\", password = \"p\" }}\n\
         [sink.s]\ntype = \"file\"\npath = {path:?}\n{lines}\n"
    );
    let config = Config::parse("test.toml", &text, &Environment::empty()).unwrap();
    let crate::sink::Settings::File(settings) = config.sinks[0].settings.clone() else { panic!() };
    settings
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn job(folder: &Path) -> Job {
    let content = Content {
        first: Some("a".to_owned()),
        last: Some("c".to_owned()),
        length: TEXT.len() as u64,
    };
    let [source, target] = ["cdr-0001.jsonl.part", "cdr-0001.jsonl"].map(|name| folder.join(name));
    Job { from: Some(folder.join("cdr.jsonl")), source, target, content, summary: None }
}

/// Leaves a folder as a crash after so many steps does.
fn crash_after(step: usize, settings: &Settings, folder: &Path) {
    let store = Store::load(settings).unwrap();
    let mut job = job(folder);
    std::fs::write(folder.join("cdr.jsonl"), TEXT).unwrap();
    store.change(|state| state.jobs.push(job.clone())).unwrap();
    if step >= 1 {
        store.settle().unwrap();
        // The list on disk does not know that yet.
        job.from = None;
    }
    if step == 2 {
        std::fs::write(folder.join("cdr-0001.jsonl.zst.part"), "half").unwrap();
    }
    if step >= 3 {
        let found = summarize(&job, settings, &AtomicBool::new(false)).unwrap();
        let Found::Content(summary) = found else { panic!() };
        job.summary = Some(*summary);
        store.change(|state| state.jobs[0] = job.clone()).unwrap();
    }
    let path = settings.own_file("", ".manifest.jsonl");
    if step == 4 {
        std::fs::write(&path, "{\"file\":\"cdr-00").unwrap();
    }
    if step >= 5 {
        let summary = job.summary.as_ref().unwrap();
        manifest::note(&path, summary, false, &settings.access).unwrap();
    }
    if step == 6 {
        std::fs::rename(folder.join("cdr-0001.jsonl.zst.part"), folder.join("cdr-0001.jsonl.zst"))
            .unwrap();
    }
    if step >= 7 {
        name(&job, job.summary.as_ref().unwrap(), settings).unwrap();
    }
}

#[test]
fn a_file_is_finished_the_same_wherever_a_crash_came_between() {
    for step in 0..=7 {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        let lines = "rotate = { size = \"1KiB\" }\ncompress = \"zstd\"\nmanifest = true";
        let settings = settings(folder, lines);
        crash_after(step, &settings, folder);
        // Twice: what is done stays done.
        for _ in 0..2 {
            let store = Store::load(&settings).unwrap();
            finish_all(&settings, &store, &AtomicBool::new(false)).unwrap();
        }
        let expected = [".s.cdrd", "cdr-0001.jsonl.zst", "s.manifest.jsonl"];
        assert_eq!(names(folder), expected.map(str::to_owned).into(), "step {step}");
        let packed = std::fs::read(folder.join("cdr-0001.jsonl.zst")).unwrap();
        assert_eq!(zstd::decode_all(&*packed).unwrap(), TEXT.as_bytes());
        let manifest = std::fs::read_to_string(folder.join("s.manifest.jsonl")).unwrap();
        assert_eq!(manifest.lines().count(), 1, "step {step}: {manifest}");
        let line: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(
            (&line["file"], &line["events"], &line["first_id"], &line["last_id"]),
            (&"cdr-0001.jsonl.zst".into(), &3.into(), &"a".into(), &"c".into())
        );
    }
}

#[test]
fn a_file_that_was_taken_away_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path(), "rotate = { size = \"1KiB\" }\nmanifest = true");
    let store = Store::load(&settings).unwrap();
    store.change(|state| state.jobs.push(job(directory.path()))).unwrap();
    finish_all(&settings, &store, &AtomicBool::new(false)).unwrap();
    assert!(store.see(|state| state.jobs.is_empty()));
    assert_eq!(names(directory.path()), [".s.cdrd".to_owned()].into());
}

#[test]
fn without_its_list_what_was_being_written_is_found_by_its_name() {
    for list in [None, Some("{ torn"), Some("")] {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        for name in ["cdr-0007.jsonl.part", "cdr-0006.jsonl.zst.part", "cdr.jsonl.part"] {
            std::fs::write(folder.join(name), TEXT).unwrap();
        }
        if let Some(list) = list {
            std::fs::write(folder.join(".s.cdrd"), list).unwrap();
        }
        let lines = "rotate = { size = \"1KiB\" }\nwrite_to = \"partial\"";
        let settings = settings(folder, lines);
        let store = Store::load(&settings).unwrap();
        let open: Vec<Entry> = store.see(|state| state.open.clone());
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].path, folder.join("cdr-0007.jsonl.part"));
        assert_eq!((open[0].part, &open[0].content), (7, &Content::default()));
        // Half a compressed file is made anew; a name that is not ours stays.
        assert!(!names(folder).contains("cdr-0006.jsonl.zst.part"));
        assert!(names(folder).contains("cdr.jsonl.part"));
    }
}

#[test]
fn a_stop_leaves_the_rest_for_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let settings = settings(folder, "rotate = { size = \"1KiB\" }\ncompress = \"gzip\"");
    crash_after(1, &settings, folder);
    let store = Store::load(&settings).unwrap();
    finish_all(&settings, &store, &AtomicBool::new(true)).unwrap();
    assert_eq!(store.see(|state| state.jobs.len()), 1);
    finish_all(&settings, &store, &AtomicBool::new(false)).unwrap();
    assert_eq!(names(folder), [".s.cdrd", "cdr-0001.jsonl.gz"].map(str::to_owned).into());
}
