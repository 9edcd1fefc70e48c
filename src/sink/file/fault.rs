//! What goes wrong with a file, told with its name and the next step.

use std::io;
use std::path::{Path, PathBuf};

/// An error, and the file that it is about.
#[derive(Debug, thiserror::Error)]
#[error("file {}: {error}{}", path.display(), next(error))]
pub struct Fault {
    path: PathBuf,
    error: io::Error,
}

/// Adds the file to an error.
pub trait At<T> {
    /// It is about this one.
    fn at(self, path: &Path) -> Result<T, Fault>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, Fault> {
        self.map_err(|error| Fault { path: path.to_owned(), error })
    }
}

fn next(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free space there",
        io::ErrorKind::PermissionDenied => "; give the daemon's user the right to write there",
        io::ErrorKind::ReadOnlyFilesystem => "; mount it writable",
        // A message of our own, which says it.
        io::ErrorKind::Other if error.get_ref().is_some() => "",
        _ => "; check the path and the disk",
    }
}
