//! Files: what they are called, when they end, what is left of them and what a crash
//! can leave. Here is what the tests look at files with.

mod faults;
mod rotation;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::Bench;

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
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Names of files that are finished: neither hidden, nor being written, nor lists.
pub fn finished(folder: &Path) -> Vec<String> {
    let mut names = names(folder);
    names.retain(|name| {
        !name.starts_with('.') && !name.ends_with(".part") && !name.contains("manifest")
    });
    names
}

pub fn unpacked(name: &str, bytes: Vec<u8>) -> Vec<u8> {
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
            return read.into_iter().flat_map(whole).collect();
        }
    }
    panic!("files are renamed without an end");
}

/// Without the line that is just being written.
fn whole(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    text
}

pub fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line at the end");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The manifest agrees with every finished file, and names no other.
pub fn check_manifest(folder: &Path) -> Vec<Value> {
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
