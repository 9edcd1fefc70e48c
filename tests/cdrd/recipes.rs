//! The commands of `docs/recipes.md`: each is run as it stands there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Bench, until};
use crate::postgres::server::{programs, shared};
use crate::postgres::start;
use crate::process::python;

const RECIPES: &str = include_str!("../../docs/recipes.md");

/// The programs of the recipes: with the test's configuration, database and DuckDB.
fn shims(folder: &Path, config: &Path, database: &str) {
    let server = shared();
    let (cdrd, psql) = (env!("CARGO_BIN_EXE_cdrd"), programs().join("psql"));
    let python = python().get_program().to_owned();
    let run =
        "import duckdb, sys; print(*duckdb.connect().execute(sys.argv[1]).fetchall(), sep=chr(10))";
    let shims = [
        ("cdrd", format!("exec {cdrd:?} \"$@\" -c {config:?}")),
        ("duckdb", format!("shift; exec {python:?} -c '{run}' \"$@\"")),
        (
            "psql",
            format!(
                "shift; exec {psql:?} -X -h 127.0.0.1 -p {} -U postgres -d {database} \"$@\"",
                server.port()
            ),
        ),
    ];
    for (name, script) in shims {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[tokio::test]
async fn every_recipe_works_as_it_stands() {
    let (bench, database) = (Bench::new().await, shared().database());
    database.make_tables();
    let config = bench.patient_config_text(&database.sink(""));
    std::fs::write(bench.path("config.toml"), &config).unwrap();
    let daemon = start(&bench, &database.sink(""));
    bench.subscribed().await;
    bench.push(50).await;
    until("they are in the table", async || database.calls() >= 50).await;
    daemon.stop().await.unwrap();
    // As whoever writes down costs would have them.
    database.ask("update cdr set cost = '0.25', event_time = now()");
    let calls = database.calls().to_string();

    let work = bench.path("work");
    std::fs::create_dir(&work).unwrap();
    let bin = bench.path("bin");
    std::fs::create_dir(&bin).unwrap();
    shims(&bin, &bench.path("config.toml"), &database.name);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut recipes = 0;
    for block in RECIPES.split("```sh\n").skip(1) {
        let script = block.split("```").next().unwrap();
        let output = Command::new("sh")
            .args(["-euc", script])
            .env("PATH", &path)
            .current_dir(&work)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}\n{wrong}");
        assert!(!said.trim().is_empty(), "{script}\nsays nothing");
        if script.contains("count(*) from") && !script.contains("cdr") {
            assert!(said.contains(&calls), "{script}\n{said}");
        }
        recipes += 1;
    }
    assert!(recipes >= 14, "{recipes}");
}
