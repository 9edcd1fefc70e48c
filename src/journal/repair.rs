//! Saving what is readable of a damaged journal into a new one.
//!
//! Nothing is taken on trust and nothing is thrown away: the damaged files stay under
//! another name, an event that is not what was written goes to the quarantine, a cursor
//! that cannot be believed goes back to the first event (at least once), and for what is
//! lost there is a gap, so that the daemon asks the PBX for it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, Row, params, params_from_iter, types::Value};

use super::block::{self, MOST_EVENTS, Packer};
use super::blocks::{self, COLUMNS};
use super::lock::path_beside;
use super::quarantine::{self, Quarantined};
use super::wal::Wal;
use super::{JournalError, append, check, cursor, lock, schema, sum};
use crate::event::Stored;

/// A row of `block` needs at least so many bytes: it bounds how many events there can be.
const SMALLEST_ROW: u64 = 32;
/// More holes than this become one gap.
const GAPS: usize = 100;

/// What the configuration says, for what the journal has lost.
pub struct Known {
    /// The sinks; one without a cursor gets everything again.
    pub sinks: Vec<Arc<str>>,
    /// The PBXs.
    pub pbxs: Vec<Arc<str>>,
    /// How far back an event without a neighbour may have come, in milliseconds.
    pub retention_ms: i64,
    /// Now, in Unix milliseconds.
    pub now_ms: i64,
}

/// How it went.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Events in the new journal.
    pub events: u64,
    /// Events that went to the quarantine.
    pub quarantined: u64,
    /// Sequence numbers that are missing, from and to.
    pub lost: Vec<(u64, u64)>,
    /// Gaps that were opened.
    pub gaps: usize,
    /// What else was not as it should be, for the operator.
    pub notes: Vec<String>,
    /// Where the damaged journal is now.
    pub damaged: PathBuf,
}

/// Repairs the journal at `path`, which no daemon may use meanwhile.
pub fn repair(path: &Path, known: &Known) -> Result<Repaired, JournalError> {
    if !path.exists() {
        return Err(JournalError::Missing { path: path.to_owned() });
    }
    let _lock = lock::acquire(path)?;
    let (copy, fresh) = (path_beside(path, ".salvage"), path_beside(path, ".repaired"));
    let io = |action| move |cause| JournalError::Io { path: path.to_owned(), action, cause };
    let sqlite = |cause| JournalError::Sqlite { path: path.to_owned(), cause };
    let cleared = || {
        for stale in [&copy, &fresh, &path_beside(&fresh, "-wal"), &path_beside(&fresh, "-shm")] {
            // Not there, as a rule.
            let _ = std::fs::remove_file(stale);
        }
    };
    cleared();
    copy_for_reading(path, &copy).map_err(io("copy it"))?;
    let mut new = schema::open_for_writing(&fresh)?;
    mend_tables(&copy, &new).map_err(sqlite)?;
    let old = open_anything(&copy).map_err(sqlite)?;
    let saved = Salvage::run(&old, &mut new, known, path);
    drop((old, new));
    let mut repaired = saved.inspect_err(|_| cleared())?;
    repaired.damaged = replace(path, &fresh, known.now_ms).map_err(io("put the new one"))?;
    cleared();
    Ok(repaired)
}

/// A copy with the whole frames of the log carried over, and with a header that can be
/// read: most of it is the same in each journal.
fn copy_for_reading(path: &Path, copy: &Path) -> std::io::Result<()> {
    let mut from = File::open(path)?;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(copy)?;
    std::io::copy(&mut from, &mut file)?;
    if let Some(wal) = Wal::of(path)? {
        wal.carry_over(&file)?;
    }
    let pages = u32::try_from(file.metadata()?.len() / 4096).unwrap_or(u32::MAX);
    file.write_all_at(b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20\0\0\0\x01", 0)?;
    file.write_all_at(&pages.to_be_bytes(), 28)?;
    // The schema's format and the encoding, and that the number of pages is valid.
    file.write_all_at(&4_u32.to_be_bytes(), 44)?;
    file.write_all_at(&1_u32.to_be_bytes(), 56)?;
    file.write_all_at(&1_u32.to_be_bytes(), 92)
}

fn open_anything(copy: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(copy, flags)
}

/// The text that describes the tables is the same in each journal.
fn mend_tables(copy: &Path, new: &Connection) -> rusqlite::Result<()> {
    let old = open_anything(copy)?;
    old.pragma_update(None, "writable_schema", true)?;
    let mut statement =
        new.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let texts: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        let mend = "UPDATE sqlite_schema SET tbl_name = ?3, sql = ?4 WHERE type = ?1 AND name = ?2";
        // What cannot be mended shows when it is read.
        let _ = old.execute(mend, params_from_iter(texts));
    }
    Ok(())
}

/// The new journal takes the place of the damaged one. At each moment one of the two is
/// there under the journal's name, and the log never stands beside the wrong database.
fn replace(path: &Path, fresh: &Path, now_ms: i64) -> std::io::Result<PathBuf> {
    let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let damaged = path_beside(path, &time.strftime(".damaged-%Y%m%dT%H%M%SZ").to_string());
    std::fs::hard_link(path, &damaged)?;
    let wal = path_beside(path, "-wal");
    if wal.exists() {
        std::fs::hard_link(&wal, path_beside(&damaged, "-wal"))?;
        std::fs::remove_file(&wal)?;
    }
    let _ = std::fs::remove_file(path_beside(path, "-shm"));
    File::open(fresh)?.sync_all()?;
    std::fs::rename(fresh, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(damaged)
}

/// An event that was saved: its number and when it came.
type Kept = (u64, i64);

struct Salvage<'a> {
    old: &'a Connection,
    new: &'a Connection,
    known: &'a Known,
    out: Repaired,
    kept: Vec<Kept>,
    packer: Packer,
    /// Saved, and not in a block yet.
    saved: Vec<Stored>,
    /// The number at which the next block is to begin, once there is one.
    next_block: Option<u64>,
}

impl<'a> Salvage<'a> {
    fn run(
        old: &'a Connection,
        new: &mut Connection,
        known: &'a Known,
        path: &Path,
    ) -> Result<Repaired, JournalError> {
        let sqlite = |cause| JournalError::Sqlite { path: path.to_owned(), cause };
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('block', 'cursor', 'meta')";
        let found: rusqlite::Result<i64> = old.query_row(tables, [], |row| row.get(0));
        if found != Ok(3) {
            return Err(JournalError::Unreadable { path: path.to_owned() });
        }
        let transaction = new.transaction().map_err(sqlite)?;
        let out = Repaired::default();
        let packer =
            Packer::new().map_err(|e| sqlite(rusqlite::Error::ToSqlConversionFailure(e.into())))?;
        let mut salvage = Salvage {
            old,
            new: &transaction,
            known,
            out,
            kept: Vec::new(),
            packer,
            saved: Vec::new(),
            next_block: None,
        };
        salvage.everything().map_err(sqlite)?;
        let out = salvage.out;
        transaction.commit().map_err(sqlite)?;
        new.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(sqlite)?;
        Ok(out)
    }

    fn everything(&mut self) -> rusqlite::Result<()> {
        for (table, key) in [
            ("quarantine", "n"),
            ("dead_letter", "n"),
            ("replay", "n"),
            ("gap", "n"),
            ("login_attempt", "token"),
            ("pbx", "name"),
        ] {
            self.copy(table, key)?;
        }
        self.drop_unsound_letters()?;
        self.events()?;
        let next = self.next_seq()?;
        self.ends(next)?;
        self.cursors(next)?;
        self.out.lost = holes(self.first(next), &self.kept, next);
        self.open_gaps()
    }

    /// A small table: from both ends up to where it cannot be read.
    fn copy(&mut self, table: &str, key: &str) -> rusqlite::Result<()> {
        let mut whole = true;
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT * FROM {table} ORDER BY {key} {order}");
            whole = self.old.prepare(&sql).is_ok_and(|mut statement| {
                let columns = statement.column_count();
                let Ok(mut rows) = statement.query([]) else { return false };
                loop {
                    match rows.next() {
                        Ok(Some(row)) => drop(self.copy_row(table, row, columns)),
                        Ok(None) => return true,
                        Err(_) => return false,
                    }
                }
            });
            if whole {
                break;
            }
        }
        if !whole {
            self.out.notes.push(format!("not every row of table {table} could be read"));
        }
        Ok(())
    }

    fn copy_row(&self, table: &str, row: &Row<'_>, columns: usize) -> rusqlite::Result<()> {
        let values: Vec<Value> = (0..columns).map(|n| row.get(n)).collect::<Result<_, _>>()?;
        let places = vec!["?"; columns].join(",");
        self.new
            .execute(
                &format!("INSERT OR IGNORE INTO {table} VALUES({places})"),
                params_from_iter(values),
            )
            .map(drop)
    }

    fn drop_unsound_letters(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT seq, id, pbx, type, origin, received_ms, session_id, data, sum, n
                   FROM dead_letter";
        let mut statement = self.new.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut unsound = Vec::new();
        while let Some(row) = rows.next()? {
            if let Err(why) = check::sound_event(row, u64::MAX) {
                let n: i64 = row.get(9)?;
                unsound.push((n, why, kept_bytes(row)));
            }
        }
        for (n, why, bytes) in unsound {
            self.new.execute("DELETE FROM dead_letter WHERE n = ?1", [n])?;
            self.quarantine(&format!("dead letter {n} was damaged in the journal: {why}"), bytes)?;
        }
        Ok(())
    }

    fn events(&mut self) -> rusqlite::Result<()> {
        let Some((first, last)) = self.bounds() else { return Ok(()) };
        let mut ranges = vec![(first, last)];
        while let Some((from, to)) = ranges.pop() {
            let Some(at) = self.range(from, to)? else { continue };
            // Something between `at` and `to` cannot be read: what stands around it can.
            if at < to {
                let middle = at + (to - at) / 2;
                ranges.extend([(middle + 1, to), (at, middle)]);
            }
        }
        self.put_saved()
    }

    /// The numbers between which a block may end.
    fn bounds(&self) -> Option<(u64, u64)> {
        let ask = |sql: &str| {
            let found: rusqlite::Result<Option<i64>> = self.old.query_row(sql, [], |r| r.get(0));
            found.ok().flatten().map(|seq| seq as u64)
        };
        let first = ask("SELECT min(last_seq) FROM block");
        let by_table = ask("SELECT last_seq FROM block ORDER BY last_seq DESC LIMIT 1");
        // By way of the ids, too, should the table's end be what is damaged.
        let by_ids = ask("SELECT max(seq) FROM id");
        let next = ask("SELECT value - 1 FROM meta WHERE key = 'next_seq'");
        let first = first.unwrap_or(1).min(by_table.unwrap_or(1)).max(1);
        let last = by_table.into_iter().chain(by_ids).chain(next).max()?;
        let pages: i64 = self.old.pragma_query_value(None, "page_count", |r| r.get(0)).ok()?;
        let most = pages as u64 * (4096 / SMALLEST_ROW) * MOST_EVENTS as u64;
        Some((first, last.min(first.saturating_add(most))))
    }

    /// Saves a range up to where it cannot be read: that place, if there is one.
    fn range(&mut self, from: u64, to: u64) -> rusqlite::Result<Option<u64>> {
        let old = self.old;
        let sql = format!(
            "SELECT {COLUMNS} FROM block WHERE last_seq BETWEEN ?1 AND ?2 ORDER BY last_seq"
        );
        let Ok(mut statement) = old.prepare_cached(&sql) else { return Ok(Some(from)) };
        let mut at = from;
        let Ok(mut rows) = statement.query([from as i64, to as i64]) else {
            return Ok(Some(from));
        };
        loop {
            match rows.next() {
                Ok(None) => return Ok(None),
                Ok(Some(row)) => {
                    let last = row.get::<_, i64>(1)? as u64;
                    // A damaged page may lead astray.
                    if !(at..=to).contains(&last) {
                        return Ok(Some(at));
                    }
                    self.block(row, last)?;
                    at = last + 1;
                }
                Err(_) if at > to => return Ok(None),
                Err(_) => return Ok(Some(at)),
            }
        }
    }

    fn block(&mut self, row: &Row<'_>, last: u64) -> rusqlite::Result<()> {
        let why = match blocks::unpacked(row) {
            Ok((_, events)) => return events.into_iter().try_for_each(|stored| self.event(stored)),
            Err(why) => sum::told(&why),
        };
        let data = row.get_ref(4).ok().and_then(|data| data.as_bytes().ok()).unwrap_or_default();
        let Ok(events) = block::unpack(data, 0) else {
            let reason = format!("the events up to {last} were damaged in the journal: {why}");
            return self.quarantine(&reason, (None, data.to_vec()));
        };
        // What they say may be what is damaged, or their number.
        for Stored { event, .. } in events {
            let reason =
                format!("one of the events up to {last} was damaged in the journal: {why}");
            self.quarantine(&reason, (Some(event.pbx.to_string()), event.raw.to_vec()))?;
        }
        Ok(())
    }

    fn event(&mut self, stored: Stored) -> rusqlite::Result<()> {
        if let Err(why) = check::sound(&stored, u64::MAX) {
            let reason = format!("event {} was damaged in the journal: {why}", stored.seq);
            let event = &stored.event;
            return self.quarantine(&reason, (Some(event.pbx.to_string()), event.raw.to_vec()));
        }
        // Never twice, and in order.
        if self.kept.last().is_some_and(|kept| kept.0 >= stored.seq) {
            return Ok(());
        }
        self.kept.push((stored.seq, stored.event.received_ms));
        self.out.events += 1;
        self.saved.push(stored);
        if self.saved.len() >= MOST_EVENTS { self.put_saved() } else { Ok(()) }
    }

    fn put_saved(&mut self) -> rusqlite::Result<()> {
        let Some(first) = self.saved.first() else { return Ok(()) };
        let next = self.next_block.unwrap_or_else(|| self.first(first.seq + 1));
        let next = blocks::put_all(self.new, &mut self.packer, next, &self.saved)?;
        self.next_block = Some(next);
        self.saved.clear();
        Ok(())
    }

    /// The first event that the damaged journal had not deleted, as far as that can be
    /// believed: it is not after the first that was saved, nor at `next`.
    fn first(&self, next: u64) -> u64 {
        let saved = self.kept.first().map_or(next, |kept| kept.0);
        append::first_seq(self.old).map_or(saved, |first| first.clamp(1, saved))
    }

    /// The numbers from the first on have no holes.
    fn ends(&mut self, next: u64) -> rusqlite::Result<()> {
        let first = self.first(next);
        blocks::lose(self.new, self.next_block.unwrap_or(first), next)?;
        append::set_meta(self.new, "first_seq", first)?;
        append::set_meta(self.new, "next_seq", next)
    }

    fn quarantine(
        &mut self,
        reason: &str,
        (pbx, data): (Option<String>, Vec<u8>),
    ) -> rusqlite::Result<()> {
        self.out.quarantined += 1;
        let pbx = pbx
            .or_else(|| self.known.pbxs.first().map(ToString::to_string))
            .map_or_else(|| Arc::from("unknown"), Arc::from);
        let (at_ms, data) = (self.known.now_ms, Bytes::from(data));
        let entry = Quarantined::damaged(pbx, at_ms, reason.to_owned(), data);
        quarantine::insert(self.new, &entry)
    }

    /// Above everything that ever was: numbers are not used twice.
    fn next_seq(&mut self) -> rusqlite::Result<u64> {
        let mut next = self.bounds().map_or(1, |(_, last)| last.saturating_add(1));
        let letters = "SELECT ifnull(max(seq), 0) + 1 FROM dead_letter";
        next = next.max(self.new.query_row(letters, [], |row| row.get::<_, i64>(0))? as u64);
        Ok(next)
    }

    fn cursors(&mut self, next: u64) -> rusqlite::Result<()> {
        let first = self.first(next) - 1;
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT sink, seq, sum FROM cursor ORDER BY sink {order}");
            let Ok(mut statement) = self.old.prepare(&sql) else { break };
            let Ok(mut rows) = statement.query([]) else { break };
            while let Ok(Some(row)) = rows.next() {
                let Ok(sink) = row.get::<_, String>(0) else { continue };
                let sound = check::sound_cursor(row, &sink, next);
                if let (Ok(seq), true) = (sound, !seen.contains(&sink)) {
                    cursor::upsert(self.new, &sink, seq, self.known.now_ms)?;
                    seen.insert(sink);
                }
            }
        }
        for sink in &self.known.sinks {
            if !seen.contains(&**sink) {
                cursor::upsert(self.new, sink, first, self.known.now_ms)?;
                self.out.notes.push(format!(
                    "the cursor of sink \"{sink}\" is lost: it gets everything in the journal (again)"
                ));
            }
        }
        Ok(())
    }

    /// One for each PBX and each hole, over the time between its neighbours.
    fn open_gaps(&mut self) -> rusqlite::Result<()> {
        let mut pbxs: Vec<String> = {
            let mut statement = self.new.prepare("SELECT name FROM pbx")?;
            statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        if pbxs.is_empty() && !self.out.lost.is_empty() {
            pbxs = self.known.pbxs.iter().map(ToString::to_string).collect();
        }
        let mut spans: Vec<_> = self.out.lost.iter().map(|hole| self.span(*hole)).collect();
        if let (true, Some(first), Some(last)) =
            (spans.len() > GAPS, spans.first().copied(), spans.last().copied())
        {
            spans = vec![(first.0, last.1)];
        }
        for pbx in &pbxs {
            for (start_ms, end_ms) in &spans {
                self.new.execute(
                    "INSERT INTO gap(pbx, kind, why, start_ms, end_ms, due_ms, error)
                     VALUES(?1, 'gap', ?2, ?3, max(?3, ?4), 0,
                            (SELECT no_backfill FROM pbx WHERE name = ?1))",
                    params![pbx, "events were lost by damage to the journal", start_ms, end_ms],
                )?;
                self.out.gaps += 1;
            }
        }
        Ok(())
    }

    fn span(&self, (from, to): (u64, u64)) -> (i64, i64) {
        let before = self.kept.iter().rev().find(|kept| kept.0 < from);
        let after = self.kept.iter().find(|kept| kept.0 > to);
        let earliest = self.known.now_ms - self.known.retention_ms;
        (before.map_or(earliest, |kept| kept.1), after.map_or(self.known.now_ms, |kept| kept.1))
    }
}

/// The PBX and the bytes of a row that is not what was written, as far as they are there.
fn kept_bytes(row: &Row<'_>) -> (Option<String>, Vec<u8>) {
    let data = row.get_ref(7).ok().and_then(|data| data.as_bytes().ok().map(<[u8]>::to_vec));
    (row.get(2).ok(), data.unwrap_or_default())
}

/// The numbers from the first to the next one that are missing.
fn holes(first: u64, kept: &[Kept], next: u64) -> Vec<(u64, u64)> {
    let (mut lost, mut at) = (Vec::new(), first);
    for (seq, _) in kept.iter().copied().chain([(next, 0)]) {
        if seq > at {
            lost.push((at, seq - 1));
        }
        at = seq + 1;
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_what_is_missing_between_the_first_and_the_next() {
        assert_eq!(holes(3, &[(3, 0), (4, 0), (7, 0)], 10), [(5, 6), (8, 9)]);
        assert_eq!(holes(2, &[(3, 0)], 4), [(2, 2)]);
        assert_eq!(holes(1, &[(1, 0)], 2), []);
        assert_eq!(holes(1, &[], 5), [(1, 4)]);
        assert_eq!(holes(1, &[], 1), []);
    }
}
