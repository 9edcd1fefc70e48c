//! From real files.

use std::path::Path;

use super::*;

#[test]
fn a_file_that_is_not_there_is_told_with_its_name_and_the_next_step() {
    let error = Config::load(Path::new("/nowhere/cdrd.toml")).unwrap_err();
    insta::assert_snapshot!(error, @"/nowhere/cdrd.toml: cannot be read: No such file or directory (os error 2); create it, or name another with -c FILE");
}

#[test]
fn a_file_that_is_not_text_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, b"[pbx.hq]\nurl = \"\xff\"\n").unwrap();
    let error = Config::load(&path).unwrap_err();
    assert_eq!((error.problems.len(), error.problems[0].line), (1, 2));
    assert_eq!(error.problems[0].message, "not UTF-8 text; save the file in UTF-8");
}

#[cfg(unix)]
#[test]
fn a_secret_in_a_file_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, format!("{PBX}{SINK}")).unwrap();
    let warnings = |mode: u32| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Config::load(&path).unwrap().warnings
    };
    assert_eq!(warnings(0o640), [] as [&str; 0]);
    let told = warnings(0o644).join("\n");
    assert!(told.contains(":4: a secret stands in a file"), "{told}");
}

#[cfg(unix)]
#[test]
fn a_readable_file_without_secrets_of_its_own_is_no_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("config.toml"), folder.path().join("password"));
    std::fs::write(&secret, "hunter2\n").unwrap();
    let source = format!("{{ file = \"{}\" }}", secret.display());
    std::fs::write(&path, format!("{PBX}{SINK}").replace("\"hunter2\"", &source)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.warnings, [] as [&str; 0]);
    assert_eq!(config.pbxs[0].login.password.reveal(), "hunter2");
}
