//! Carrying the log (WAL) over into the database, beside the writer.
//!
//! SQLite's own way is that every so often a commit does it, and whoever waits for that
//! commit waits for some ten milliseconds: that was the slowest hundredth of all events.
//! Here a thread does it with a connection of its own while commits go on. What came
//! meanwhile, a few pages, the writer carries over itself; then SQLite begins the log anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode, MAIN_DB};

use super::{JournalError, schema};

/// Pages (4 KiB) in the log from which on they are carried over.
const PAGES: i32 = 2_000;
/// With so many the thread does not keep up: the writer does it, and everybody waits.
const TOO_MANY: i32 = 16 * PAGES;

/// The thread, and how much there is for it to do.
pub(super) struct Checkpoints {
    /// Pages in the log after the last commit.
    pages: Arc<AtomicI32>,
    /// `None` once it is to end.
    ask: Option<SyncSender<()>>,
    told: Receiver<rusqlite::Result<()>>,
    is_at_it: bool,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Takes checkpoints over from the writer's connection.
    pub(super) fn start(path: &Path, writer: &mut Connection) -> Result<Self, JournalError> {
        let sqlite = |cause| JournalError::Sqlite { path: path.to_owned(), cause };
        let beside = schema::open_beside(path)?;
        let pages = Arc::new(AtomicI32::new(0));
        let counted = Arc::clone(&pages);
        writer
            .wal_hook(Some(move |_: &mut _, pages: std::ffi::c_int| {
                counted.store(pages, Ordering::Relaxed);
                Ok(())
            }))
            .map_err(sqlite)?;
        let (ask, asked) = sync_channel(1);
        let (tell, told) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("checkpoints".into())
            .spawn(move || work(&beside, &asked, &tell))
            .map_err(|cause| JournalError::Io {
                path: path.to_owned(),
                action: "start the thread of its checkpoints",
                cause,
            })?;
        Ok(Self { pages, ask: Some(ask), told, is_at_it: false, thread: Some(thread) })
    }

    /// To be called after a commit, and now and then.
    pub(super) fn look(&mut self, writer: &Connection) -> rusqlite::Result<()> {
        match self.told.try_recv() {
            Ok(done) => {
                self.is_at_it = false;
                done?;
                checkpoint(writer)?;
                self.pages.store(0, Ordering::Relaxed);
            }
            Err(TryRecvError::Empty) => {}
            // It ends only after an error that it told, or with us.
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        let pages = self.pages.load(Ordering::Relaxed);
        if pages >= TOO_MANY {
            self.pages.store(0, Ordering::Relaxed);
            return checkpoint(writer);
        }
        if pages >= PAGES && !self.is_at_it {
            let asked = self.ask.as_ref().map(|ask| ask.try_send(()));
            self.is_at_it = matches!(asked, Some(Ok(())));
        }
        Ok(())
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked, nothing more is to be done for it: the log is whole.
            let _ = thread.join();
        }
    }
}

fn work(beside: &Connection, asked: &Receiver<()>, tell: &SyncSender<rusqlite::Result<()>>) {
    while asked.recv().is_ok() {
        let done = checkpoint(beside);
        let failed = done.is_err();
        // Nobody listens any more: then it is over, too.
        if tell.send(done).is_err() || failed {
            return;
        }
    }
}

/// Unlike SQLite's own checkpoints, a failure of the disk is told. What waits for a reader
/// or for room is carried over by a later one: until then the log has it.
fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    use ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};
    match connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE) {
        Err(e)
            if matches!(e.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | DiskFull)) =>
        {
            Ok(())
        }
        done => done.map(drop),
    }
}
