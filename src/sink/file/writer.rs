//! Decides which file an event goes to, writes it there, and ends files.
//!
//! A file ends when the next event would make it too large, or when its period is over
//! and nothing more came for a moment. An event whose period has ended before (it came
//! again after a crash, or is replayed) goes to a new file of that period: a finished
//! one is never touched.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::compress::ENDINGS;
use super::fault::{At, Fault};
use super::keep;
use super::names::{PART, Slot, part_of};
use super::settings::{Settings, WriteTo};
use super::state::{Content, Entry, State};
use super::store::Store;
use super::target::{Target, create_folder};
use crate::clock::Clock;
use crate::event::EventId;

/// How long nothing must come for a file whose period is over, before it is finished:
/// what was received in the last moment of it may still be on its way.
const QUIET: Duration = Duration::from_secs(2);
/// Files that are written at the same time: those of the present, and those that a
/// replay goes through.
const MOST_OPEN: usize = 8;

/// Events of one period, in order.
#[derive(Debug)]
pub struct Piece {
    /// Where they belong.
    pub slot: Slot,
    /// The latest time of receipt, in Unix milliseconds.
    pub at_ms: i64,
    /// Their lines.
    pub lines: Vec<u8>,
    /// Where each line ends.
    pub ends: Vec<usize>,
    /// Their ids.
    pub ids: Vec<EventId>,
    /// Another follows, of the same period.
    pub more: bool,
}

/// Events that are in a file, and not settled.
#[derive(Debug)]
struct Unsettled {
    events: usize,
    last: EventId,
    /// The latest time of receipt, in Unix milliseconds.
    at_ms: i64,
}

/// The open files of a sink.
#[derive(Debug)]
pub struct Writer {
    settings: Arc<Settings>,
    targets: Vec<Target>,
    unsettled: Option<Unsettled>,
    store: Option<Arc<Store>>,
    /// When each unfinished file was last written to, or found.
    touched: HashMap<PathBuf, Instant>,
}

impl Writer {
    /// Touches nothing yet.
    pub fn new(settings: Arc<Settings>) -> Self {
        let (targets, touched) = (Vec::new(), HashMap::new());
        Self { settings, targets, unsettled: None, store: None, touched }
    }

    /// The list of unfinished files.
    pub fn store(&mut self) -> Result<&Arc<Store>, Fault> {
        if self.store.is_none() {
            self.store = Some(Arc::new(Store::load(&self.settings)?));
        }
        Ok(self.store.as_ref().expect("just set"))
    }

    /// Writes pieces in order, as they come, and gives their buffers back; tells how many
    /// events are settled, and what was wrong with the next.
    pub fn write(
        &mut self,
        pieces: mpsc::Receiver<Piece>,
        spent: &mpsc::UnboundedSender<Vec<u8>>,
    ) -> (usize, Option<Fault>) {
        let mut settled = 0;
        let fault = self.write_all(pieces, spent, &mut settled).err();
        if fault.is_some() {
            // Opened anew, so that whatever is half done is seen and mended.
            self.unsettled = None;
            self.targets.clear();
        }
        (settled, fault)
    }

    fn write_all(
        &mut self,
        mut pieces: mpsc::Receiver<Piece>,
        spent: &mpsc::UnboundedSender<Vec<u8>>,
        settled: &mut usize,
    ) -> Result<(), Fault> {
        while let Some(piece) = pieces.blocking_recv() {
            let mut done = 0;
            while done < piece.ends.len() {
                done += self.write_some(&piece, done, settled)?;
            }
            // The sink that lent it waits for this to end.
            _ = spent.send(piece.lines);
        }
        *settled += self.settle()?;
        Ok(())
    }

    /// Closes files, so that the next event opens their names anew.
    pub fn close(&mut self) {
        self.targets.clear();
    }

    /// As many as fit into the present file; 0 if there is a new one now.
    fn write_some(
        &mut self,
        piece: &Piece,
        from: usize,
        settled: &mut usize,
    ) -> Result<usize, Fault> {
        let path = match self.settings.finishes {
            true => self.place(piece)?,
            false => piece.slot.stable.clone(),
        };
        let (size, fsync) = (self.settings.size.unwrap_or(u64::MAX), self.settings.fsync);
        let length = self.target(&path)?.length();
        let is_new = length == 0;
        let header = is_new.then(|| self.settings.encoder.header()).flatten().unwrap_or_default();
        let start = from.checked_sub(1).map_or(0, |before| piece.ends[before]);
        let room = size.saturating_sub(length + header.len() as u64);
        let fitting = piece.ends[from..].partition_point(|end| (end - start) as u64 <= room);
        let count = if is_new { fitting.max(1) } else { fitting };
        if count == 0 {
            *settled += self.settle()?;
            self.end(&path)?;
            return Ok(0);
        }
        if is_new {
            self.begins_with(&path, piece.ids[from])?;
        }
        let target = self.target(&path)?;
        target.append(&header, false).at(&path)?;
        let lines = &piece.lines[start..piece.ends[from + count - 1]];
        target.append(lines, piece.more && fsync).at(&path)?;
        let (last, at_ms) = (piece.ids[from + count - 1], piece.at_ms);
        let unsettled = self.unsettled.get_or_insert(Unsettled { events: 0, last, at_ms });
        unsettled.events += count;
        unsettled.last = last;
        unsettled.at_ms = unsettled.at_ms.max(at_ms);
        Ok(count)
    }

    /// What was written is there to stay. Tells how many events that are.
    fn settle(&mut self) -> Result<usize, Fault> {
        let target = self.targets.iter_mut().find(|target| !target.is_settled());
        let (Some(unsettled), Some(target)) = (self.unsettled.take(), target) else {
            return Ok(0);
        };
        target.settle(self.settings.fsync).at(&target.path)?;
        let (path, length) = (target.path.clone(), target.length());
        self.settled(path, length, &unsettled);
        Ok(unsettled.events)
    }

    /// Notes the first event of a file, before it is there: a crash shall not part them.
    fn begins_with(&self, path: &Path, id: EventId) -> Result<(), Fault> {
        let Some(store) = &self.store else { return Ok(()) };
        let (id, index) = (Some(id.to_string()), |state: &State| state.place_of(path));
        let is_noted =
            |state: &State| index(state).is_none_or(|index| state.open[index].content.first == id);
        if store.see(is_noted) {
            return Ok(());
        }
        store.change(|state| {
            let index = index(state).expect("just seen");
            state.open[index].content = Content { first: id.clone(), ..Content::default() };
        })
    }

    /// The open file of this name, if the name still leads to it; else it is opened. One
    /// with events that are not settled stays until they are.
    fn target(&mut self, path: &Path) -> Result<&mut Target, Fault> {
        let stays = |it: &Target| it.path != path || !it.is_settled() || it.is_in_place();
        self.targets.retain(stays);
        let at = match self.targets.iter().position(|target| target.path == path) {
            Some(at) => at,
            None => {
                if !self.settings.finishes {
                    self.targets.clear();
                }
                let (line_end, access) = (self.settings.encoder.line_end(), &self.settings.access);
                create_folder(path).at(path)?;
                self.targets.push(Target::open(path, line_end, access).at(path)?);
                self.targets.len() - 1
            }
        };
        Ok(&mut self.targets[at])
    }

    /// Notes what a file has now.
    fn settled(&mut self, path: PathBuf, length: u64, events: &Unsettled) {
        let Some(store) = &self.store else { return };
        let note = |state: &mut State| {
            let Some(index) = state.place_of(&path) else { return };
            let entry = &mut state.open[index];
            entry.content.last = Some(events.last.to_string());
            entry.content.length = length;
            entry.at_ms = entry.at_ms.max(events.at_ms);
        };
        // The events are where they belong: should the list not be written now, it is
        // before anybody acts on it, and a crash in between costs the manifest one id.
        match self.settings.manifest {
            true => drop(store.change(note)),
            false => store.note(note),
        }
        self.touched.insert(path, Instant::now());
    }

    /// The name under which events are written now.
    fn place(&mut self, piece: &Piece) -> Result<PathBuf, Fault> {
        self.store()?.settle()?;
        let store = self.store.clone().expect("just loaded");
        let found = store.see(|state| {
            let entry = state.open.iter().find(|entry| entry.base == piece.slot.base);
            entry.map(|entry| entry.path.clone())
        });
        if let Some(path) = found {
            return Ok(path);
        }
        if store.see(|state| state.open.len()) >= MOST_OPEN {
            self.end_the_quietest()?;
        }
        let slot = &piece.slot;
        let holder = store.see(|state| {
            let holder = state.open.iter().find(|entry| entry.path == slot.stable);
            holder.map(|entry| entry.at_ms)
        });
        let is_late = holder.is_some_and(|at_ms| at_ms > piece.at_ms);
        if holder.is_some() && !is_late && self.settings.write_to == WriteTo::Final {
            self.end(&slot.stable)?;
        }
        self.start(&store, piece, is_late)
    }

    /// Puts a new file on the list.
    fn start(&self, store: &Store, piece: &Piece, is_late: bool) -> Result<PathBuf, Fault> {
        let (names, slot) = (&self.settings.names, &piece.slot);
        let list = self.settings.own_file(".", ".cdrd");
        create_folder(&list).at(&list)?;
        let stays = names.keep_the_stable_name(slot);
        let part = self.next_part(store, slot, stays)?;
        let target = names.file(&slot.base, part);
        let is_taken = is_late || (stays && part > 1);
        let path = match self.settings.write_to {
            WriteTo::Final if !is_taken => slot.stable.clone(),
            _ => part_of(&target),
        };
        let (base, content) = (slot.base.clone(), Content::default());
        let entry = Entry { base, part, path: path.clone(), target, at_ms: piece.at_ms, content };
        store.change(|state| {
            state.gave(&slot.base, part);
            state.open.push(entry);
        })?;
        Ok(path)
    }

    /// The number of a new file: none that was given, and none that is on disk.
    fn next_part(&self, store: &Store, slot: &Slot, stays: bool) -> Result<u32, Fault> {
        let names = &self.settings.names;
        let given = store.see(|state| state.given(&slot.base));
        if given > 0 {
            let mut part = given + 1;
            while is_taken(&names.file(&slot.base, part)) {
                part += 1;
            }
            return Ok(part);
        }
        let found = keep::find(names).at(&names.root().0)?;
        let all = found.finished.iter().chain(&found.partial);
        let of_period: Vec<_> = all.filter(|(name, _)| name.base == slot.base).collect();
        let last = of_period.iter().map(|(name, _)| name.part).max().unwrap_or(0);
        // A file from before files were finished, or whose entry was lost: if it is of the
        // present, it goes on.
        let is_alone = of_period.iter().all(|(_, path)| *path == slot.stable);
        let goes_on = stays && is_alone && self.settings.write_to == WriteTo::Final;
        let is_present = || names.slot(Clock::system().now_ms()) == *slot;
        Ok(if goes_on && is_present() { 1 } else { last + 1 })
    }

    /// Ends a file: it is to be finished.
    fn end(&mut self, path: &Path) -> Result<(), Fault> {
        let store = self.store()?.clone();
        self.targets.retain(|target| target.path != path);
        self.touched.remove(path);
        store.change(|state| {
            if let Some(index) = state.place_of(path) {
                state.end(index);
            }
        })?;
        store.settle()
    }

    fn end_the_quietest(&mut self) -> Result<(), Fault> {
        let open = self.open_paths();
        let quietest = open.into_iter().min_by_key(|path| self.touched.get(path).copied());
        quietest.map_or(Ok(()), |path| self.end(&path))
    }

    fn open_paths(&self) -> Vec<PathBuf> {
        let paths = |state: &State| state.open.iter().map(|entry| entry.path.clone()).collect();
        self.store.as_ref().map_or_else(Vec::new, |store| store.see(paths))
    }

    /// Ends files whose period is over, once nothing came for a moment or, at a stop, at
    /// once.
    pub fn end_what_is_over(&mut self, now_ms: i64, at_once: bool) -> Result<(), Fault> {
        let store = self.store()?.clone();
        let base = self.settings.names.slot(now_ms).base;
        let over: Vec<PathBuf> = store.see(|state| {
            let over = state.open.iter().filter(|entry| entry.base != base);
            over.map(|entry| entry.path.clone()).collect()
        });
        for path in over {
            let found = || last_written(&path).unwrap_or_else(Instant::now);
            let touched = *self.touched.entry(path.clone()).or_insert_with(found);
            if at_once || touched.elapsed() >= QUIET {
                self.end(&path)?;
            }
        }
        store.settle()
    }

    /// Whether files are being written that end with time, and whether some are to be
    /// finished.
    pub fn unfinished(&self) -> (bool, bool) {
        let Some(store) = &self.store else { return (false, false) };
        store.see(|state| (!state.open.is_empty(), !state.jobs.is_empty()))
    }
}

/// When a file was last written to, if that can be told.
fn last_written(path: &Path) -> Option<Instant> {
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    Instant::now().checked_sub(modified.elapsed().ok()?)
}

/// Whether a final name is in use, compressed or not.
fn is_taken(target: &Path) -> bool {
    let name = target.as_os_str().to_string_lossy();
    let ended = |ending: &str| Path::new(&format!("{name}{ending}")).exists();
    ["", PART].into_iter().chain(ENDINGS).any(ended)
}
