//! Finds the sink's own files on disk, and deletes the oldest of those that are
//! finished.

use std::io;
use std::path::{Path, PathBuf};

use super::names::{Finished, Names, PART};

/// Files that carry a name of this sink's, finished or (with [`PART`]) not yet.
pub struct Found {
    /// Finished files, in the order of their time and number.
    pub finished: Vec<(Finished, PathBuf)>,
    /// Files that are, or were, being written.
    pub partial: Vec<(Finished, PathBuf)>,
}

/// Looks through the folders that files of this sink can be in.
pub fn find(names: &Names) -> io::Result<Found> {
    let (root, levels) = names.root();
    let mut found = Found { finished: Vec::new(), partial: Vec::new() };
    walk(&root, levels, &mut |path| {
        let partial = path.to_str().and_then(|path| path.strip_suffix(PART));
        if let Some(name) = partial.and_then(|path| names.finished(Path::new(path))) {
            found.partial.push((name, path));
        } else if let Some(name) = names.finished(&path) {
            found.finished.push((name, path));
        }
    })?;
    found.finished.sort();
    found.partial.sort();
    Ok(found)
}

/// Calls `see` with each file that is exactly so many levels below.
fn walk(folder: &Path, levels: usize, see: &mut impl FnMut(PathBuf)) -> io::Result<()> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match std::fs::read_dir(here) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (folder.join(entry.file_name()), entry.file_type()?);
        match levels {
            0 if kind.is_file() => see(path),
            1.. if kind.is_dir() => match walk(&path, levels - 1, see) {
                // Somebody else's folder: none of our files are in there.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                walked => walked?,
            },
            _ => {}
        }
    }
    Ok(())
}

/// Deletes the oldest finished files beyond `keep`, but none that `is_in_use`.
pub fn delete_beyond(
    keep: usize,
    names: &Names,
    is_in_use: impl Fn(&Path) -> bool,
) -> io::Result<()> {
    let mut finished = find(names)?.finished;
    finished.retain(|(_, path)| !is_in_use(path));
    let over = finished.len().saturating_sub(keep);
    for (_, path) in &finished[..over] {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(io::Error::new(e.kind(), format!("{}: {e}", path.display())));
            }
            _ => tracing::info!(path = %path.display(), keep, "old file deleted"),
        }
    }
    Ok(())
}
