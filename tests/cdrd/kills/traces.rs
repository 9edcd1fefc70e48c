//! What the sinks have, and what their files look like.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::scene::Scene;
use crate::files::{check_manifest, finished, lines, names, unpacked};
use crate::harness::{envelopes, envelopes_so_far};
use crate::listener::id;

/// The ids that each sink has, by its name.
pub fn at_sinks(scene: &Scene) -> BTreeMap<&'static str, BTreeSet<String>> {
    let of_file = |name: &str| envelopes_so_far(&scene.path(name)).iter().map(id_of).collect();
    let requests = scene.http.accepted();
    let posted = requests.iter().flat_map(|request| request.events());
    BTreeMap::from([
        ("console", scene.printed.lock().unwrap().clone()),
        ("books", books(&scene.path("out"))),
        ("crm", posted.map(|event| id_of(&event)).collect()),
        ("bill", of_file("billed.jsonl")),
        ("collector", scene.socket.lines().iter().map(|line| id(line)).collect()),
        ("extra", of_file("extra.jsonl")),
    ])
}

pub fn id_of(event: &Value) -> String {
    event["id"].as_str().unwrap().to_owned()
}

/// What all files of a folder have: finished, being finished, open. Files are given
/// other names meanwhile; whoever waits for everything looks again.
fn books(folder: &Path) -> BTreeSet<String> {
    let is_ours = |name: &String| {
        let packing = name.ends_with(".zst.part") || name.ends_with(".gz.part");
        !name.starts_with('.') && !name.contains("manifest") && !packing
    };
    let mut ids = BTreeSet::new();
    for name in names(folder).into_iter().filter(is_ours) {
        let Ok(bytes) = std::fs::read(folder.join(&name)) else { continue };
        let text = unpacked(&name, bytes);
        let whole = crate::harness::whole_lines(&text);
        ids.extend(lines(whole).iter().map(id_of));
    }
    ids
}

/// After an orderly end: no half line, nothing unfinished that is not the present file,
/// the manifest right, every step back in the order the work of a kill.
pub fn check_files(scene: &Scene, kills: u64) {
    let out = scene.path("out");
    let list: Value =
        serde_json::from_slice(&std::fs::read(out.join(".books.cdrd")).unwrap()).unwrap();
    assert_eq!(list["jobs"], serde_json::json!([]), "{list}");
    let open: BTreeSet<_> = list["open"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let path = Path::new(entry["path"].as_str().unwrap());
            path.file_name().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    let mut aside = Vec::new();
    for name in names(&out) {
        if open.contains(&name) {
            // Not finished, so in no manifest; a half line fails here.
            aside = lines(&std::fs::read(out.join(&name)).unwrap());
            std::fs::remove_file(out.join(&name)).unwrap();
        } else {
            let is_left_over = name.ends_with(".part") || name.starts_with('.');
            assert!(!is_left_over || name == ".books.cdrd", "left over: {name}");
        }
    }
    let manifest = check_manifest(&out);
    let mut events = Vec::new();
    for name in finished(&out) {
        assert!(name.ends_with(".zst") || name.ends_with(".gz"), "not compressed: {name}");
        events.extend(lines(&unpacked(&name, std::fs::read(out.join(&name)).unwrap())));
    }
    events.extend(aside);
    let extra = envelopes(&scene.path("extra.jsonl"));
    let billed = envelopes(&scene.path("billed.jsonl"));
    for (sink, events) in [("books", &events), ("extra", &extra), ("bill", &billed)] {
        let back = events
            .windows(2)
            .filter(|pair| pair[1]["seq"].as_u64() <= pair[0]["seq"].as_u64())
            .count();
        let twice = events.len() - events.iter().map(id_of).collect::<BTreeSet<_>>().len();
        println!("{sink}: {} lines, {twice} of them again, {back} steps back", events.len());
        // A program whose daemon is gone reads its input to the end beside its successor.
        let steps = if sink == "bill" { events.len() as u64 } else { kills };
        assert!(back as u64 <= steps, "{sink}: {back} steps back in {kills} kills");
    }
    println!("{} finished files", manifest.len());
}
