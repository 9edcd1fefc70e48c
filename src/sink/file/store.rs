//! The list of unfinished files, shared by the one who writes them and the one who
//! finishes them. What is in memory counts; it is on disk before anybody acts on it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fault::{At, Fault};
use super::keep;
use super::names::{Names, PART, part_of};
use super::settings::Settings;
use super::state::{Content, Entry, Job, State, sync_folder};

/// The list, and where it is.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    fsync: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// The disk does not have it yet.
    dirty: bool,
}

impl Store {
    /// Reads the list, and looks for files that should be on it and are not.
    pub fn load(settings: &Settings) -> Result<Self, Fault> {
        let path = settings.own_file(".", ".cdrd");
        let mut state = State::load(&path).at(&path)?;
        let root = settings.names.root().0;
        let dirty = adopt(&mut state, &settings.names).at(&root)?;
        let inner = Mutex::new(Inner { state, dirty });
        Ok(Self { path, fsync: settings.fsync, inner })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at it.
    pub fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock().state)
    }

    /// Changes it in memory alone.
    pub fn note(&self, change: impl FnOnce(&mut State)) {
        let mut inner = self.lock();
        change(&mut inner.state);
        inner.dirty = true;
    }

    /// Changes it, on disk too. After a failure the change holds in memory; nobody may
    /// act on it before [`Store::settle`].
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, Fault> {
        let mut inner = self.lock();
        let result = change(&mut inner.state);
        inner.dirty = true;
        self.save(&mut inner)?;
        Ok(result)
    }

    /// Brings the disk up to date, and gives files that are to be finished the names that
    /// the list says, so that those that they were written under are free.
    pub fn settle(&self) -> Result<(), Fault> {
        let mut inner = self.lock();
        self.save(&mut inner)?;
        for job in &mut inner.state.jobs {
            let Some(from) = &job.from else { continue };
            if !job.source.exists() {
                match std::fs::rename(from, &job.source) {
                    Err(e) if was_taken(from, &e) => {}
                    renamed => renamed.at(from)?,
                }
                if self.fsync {
                    sync_folder(&job.source).at(&job.source)?;
                }
            }
            job.from = None;
        }
        Ok(())
    }

    fn save(&self, inner: &mut Inner) -> Result<(), Fault> {
        if inner.dirty {
            inner.state.save(&self.path, self.fsync).at(&self.path)?;
            inner.dirty = false;
        }
        Ok(())
    }
}

/// Whether somebody took a file away, alone and not with its folder.
pub fn was_taken(path: &Path, error: &io::Error) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    error.kind() == io::ErrorKind::NotFound && folder.is_none_or(Path::exists)
}

/// Takes up files whose entry was lost, and deletes the halves of compressed ones, which
/// are made again. Tells whether the list has changed.
fn adopt(state: &mut State, names: &Names) -> io::Result<bool> {
    let before = state.open.len();
    for (name, path) in keep::find(names)?.partial {
        let target = names.file(&name.base, name.part);
        if state.has(&target) {
            continue;
        }
        if name.compressed {
            std::fs::remove_file(&path)?;
            continue;
        }
        debug_assert!(path.to_string_lossy().ends_with(PART));
        let (base, part) = (name.base, name.part);
        state.gave(&base, part);
        let (at_ms, content) = (0, Content::default());
        state.open.push(Entry { base, part, path: part_of(&target), target, at_ms, content });
    }
    Ok(state.open.len() > before)
}

impl State {
    /// A file is written to its end: it is to be finished.
    pub fn end(&mut self, index: usize) -> PathBuf {
        let entry = self.open.remove(index);
        self.gave(&entry.base, entry.part);
        let renamed = part_of(&entry.target);
        let source = if entry.path == entry.target { entry.path.clone() } else { renamed };
        let from = (entry.path != source).then(|| entry.path.clone());
        let (target, content) = (entry.target, entry.content);
        self.jobs.push(Job { from, source, target, content, summary: None });
        entry.path
    }

    /// Where the file with this name is in the list of those that are being written.
    pub fn place_of(&self, path: &Path) -> Option<usize> {
        self.open.iter().position(|entry| entry.path == path)
    }

    /// The job that makes this file.
    pub fn job_mut(&mut self, target: &Path) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.target == target)
    }
}
