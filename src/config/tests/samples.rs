//! Whole files under `tests/config`: what they say of themselves is what the reader says of them.
//!
//! A valid file names each of its warnings in a line `# warning: PART`, an
//! invalid one each of its problems in a line `# problem: PART`.

use std::path::Path;

use super::*;

fn environment() -> Environment {
    Environment::empty()
        .with_variable("CREDENTIALS_DIRECTORY", "/run/credentials/cdrd.service")
        .with_variable("PBX_PASSWORD", "from-the-environment")
        .with_file("/run/credentials/cdrd.service/pbx-hq", "from systemd\n")
        .with_file("/etc/cdrd/password", "from a file\n")
        .with_file("/etc/cdrd/empty", "\n")
        .with_file("/etc/cdrd/ca.pem", CERTIFICATE)
        .with_program("/usr/local/bin/bill")
        .with_file("/etc/cdrd/key.pem", KEY)
        .with_file("/etc/cdrd/hook", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
}

/// Name and text of every file in a folder, of which there are some.
fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), text)
        })
        .collect();
    assert!(files.len() >= 5, "only {} files in {}", files.len(), folder.display());
    files
}

/// Every line that the file says of itself is among what was told, and nothing else is.
fn assert_told(file: &str, text: &str, kind: &str, told: &[String]) {
    let start = format!("# {kind}: ");
    let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(&start)).collect();
    for part in &expected {
        assert!(told.iter().any(|t| t.contains(part)), "{file}: no {kind} {part:?} in {told:#?}");
    }
    assert_eq!(expected.len(), told.len(), "{file}: {told:#?}");
}

#[test]
fn valid_files_load_with_the_warnings_that_they_name() {
    for (file, text) in files("valid") {
        match Config::parse(&file, &text, &environment()) {
            Ok(config) => assert_told(&file, &text, "warning", &config.warnings),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn invalid_files_are_refused_with_the_problems_that_they_name() {
    for (file, text) in files("invalid") {
        let error = Config::parse(&file, &text, &environment()).expect_err(&file);
        let told: Vec<_> = error.problems.iter().map(|problem| problem.told(&file)).collect();
        assert_told(&file, &text, "problem", &told);
        assert!(!told.is_empty(), "{file}");
    }
}
