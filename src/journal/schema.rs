//! Tables and their versions, and how connections are opened.
//!
//! The database can be read with `sqlite3` at any time: the views `ids`, `blocks` and `gaps`
//! show ids and times readably. Events are packed; `cdrd export` unpacks them.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{JournalError, legacy};

/// Marks a database as ours (`PRAGMA application_id`): "cdrd" in ASCII.
const APPLICATION_ID: i64 = 0x6364_7264;

/// How long a connection waits for another process's lock. Only commands beside
/// the daemon ever make it wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// One step: SQL, and then what is no SQL.
type Step<'a> = (&'a str, fn(&Connection, &Path) -> rusqlite::Result<()>);

/// For steps that are SQL alone.
fn nothing_more(_: &Connection, _: &Path) -> rusqlite::Result<()> {
    Ok(())
}

/// The steps from each version to the next; the version is their count. A step
/// that was released is never changed, only followed by another.
const MIGRATIONS: [Step<'static>; 2] = [("
    -- next_seq: the next event's sequence number. Kept here, since a plain rowid
    -- starts again at 1 once the table is empty, which would break the cursors.
    CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES('next_seq', 1);

    CREATE TABLE event(
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL,               -- UUIDv8, 16 bytes
        pbx TEXT NOT NULL,              -- NAME of [pbx.NAME]
        type TEXT NOT NULL,             -- event_type
        origin TEXT NOT NULL,           -- live, webhook, backfill
        received_ms INTEGER NOT NULL,   -- Unix milliseconds
        session_id TEXT,
        data TEXT NOT NULL,             -- the PBX's object, byte for byte
        sum INTEGER                     -- CRC-32 of the row; NULL: believed without
    );
    CREATE UNIQUE INDEX event_id ON event(pbx, id);

    CREATE TABLE cursor(
        sink TEXT PRIMARY KEY,
        seq INTEGER NOT NULL,           -- the last event that the sink confirmed
        updated_ms INTEGER NOT NULL,
        sum INTEGER
    ) WITHOUT ROWID;

    CREATE TABLE quarantine(
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        pbx TEXT NOT NULL,
        origin TEXT NOT NULL,
        received_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        size INTEGER NOT NULL,          -- bytes that came; data may hold only the first
        data BLOB NOT NULL,
        retry INTEGER NOT NULL DEFAULT 0 -- 1: somebody asked to decode it again
    );

    CREATE TABLE dead_letter(
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        sink TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        seq INTEGER NOT NULL,           -- the event, copied: retention may take the original
        id BLOB NOT NULL,
        pbx TEXT NOT NULL,
        type TEXT NOT NULL,
        origin TEXT NOT NULL,
        received_ms INTEGER NOT NULL,
        session_id TEXT,
        data TEXT NOT NULL,
        sum INTEGER,
        retry INTEGER NOT NULL DEFAULT 0, -- 1: somebody asked to send it again
        UNIQUE(sink, seq)
    );

    -- Events that somebody asked to send to a sink again.
    CREATE TABLE replay(
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        sink TEXT NOT NULL,
        next_seq INTEGER NOT NULL,      -- the first that is still to be sent
        last_seq INTEGER NOT NULL
    );

    -- Logins that were refused, or tried with an outcome that nobody saw.
    CREATE TABLE login_attempt(
        token INTEGER PRIMARY KEY,
        host TEXT NOT NULL,
        pbx TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        state INTEGER NOT NULL          -- 0: unknown; 1: refused; 2: refused, success since
    );

    -- PBXs whose CDR topics are listened to.
    CREATE TABLE pbx(
        name TEXT PRIMARY KEY,
        first_ms INTEGER NOT NULL,      -- when cdrd first ran with it
        alive_ms INTEGER NOT NULL,      -- the last moment at which somebody surely listened
        lost INTEGER NOT NULL,          -- 1: nobody listens now
        no_backfill TEXT,               -- why its gaps cannot be closed
        reconciled_ms INTEGER           -- up to here a comparison with REST found everything
    ) WITHOUT ROWID;

    -- Spans to compare with the PBX's REST interface.
    CREATE TABLE gap(
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        pbx TEXT NOT NULL,
        kind TEXT NOT NULL,             -- gap: nobody listened; reconcile, asked: compared all the same
        why TEXT NOT NULL,
        start_ms INTEGER NOT NULL,
        end_ms INTEGER,                 -- NULL while it lasts
        passes INTEGER NOT NULL DEFAULT 0,
        due_ms INTEGER NOT NULL,        -- the next comparison, not before this
        reached_ms INTEGER,             -- the one under way has seen what started before this
        found INTEGER NOT NULL DEFAULT 0,
        present INTEGER NOT NULL DEFAULT 0,
        added INTEGER NOT NULL DEFAULT 0,
        error TEXT,                     -- why it is not closed yet
        closed_ms INTEGER
    );
    CREATE INDEX gap_open ON gap(pbx) WHERE closed_ms IS NULL;
    CREATE VIEW gaps AS SELECT n, pbx, why,
        strftime('%Y-%m-%dT%H:%M:%fZ', start_ms / 1000.0, 'unixepoch') AS start,
        strftime('%Y-%m-%dT%H:%M:%fZ', end_ms / 1000.0, 'unixepoch') AS end,
        added, error,
        strftime('%Y-%m-%dT%H:%M:%fZ', closed_ms / 1000.0, 'unixepoch') AS closed
    FROM gap WHERE kind = 'gap';

    -- What a running daemon last said of itself, for `cdrd status`; JSON.
    CREATE TABLE state(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    CREATE VIEW events AS SELECT seq,
        lower(substr(hex(id),1,8)||'-'||substr(hex(id),9,4)||'-'||substr(hex(id),13,4)
            ||'-'||substr(hex(id),17,4)||'-'||substr(hex(id),21)) AS id,
        pbx, type, origin,
        strftime('%Y-%m-%dT%H:%M:%fZ', received_ms / 1000.0, 'unixepoch') AS received,
        session_id, data
    FROM event;
", nothing_more), ("
    -- Events in blocks instead of rows; `legacy` fills them and drops the table `event`.
    DROP VIEW events;
    -- first_seq: the oldest event that was not deleted; next_seq if there is none.
    INSERT INTO meta SELECT 'first_seq', ifnull((SELECT min(seq) FROM event),
        (SELECT value FROM meta WHERE key = 'next_seq'));

    CREATE TABLE block(
        last_seq INTEGER PRIMARY KEY,   -- the number of its last event
        first_seq INTEGER NOT NULL,     -- of its first; numbers have no holes
        first_ms INTEGER NOT NULL,      -- when its first event came, Unix milliseconds
        latest_ms INTEGER NOT NULL,     -- the latest receipt in it
        data BLOB,                      -- a zstd frame (docs/journal.md); NULL: they are lost
        sum INTEGER NOT NULL            -- CRC-32 of the row
    );
    -- Finds repeats, and an event by its id.
    CREATE TABLE id(
        pbx TEXT NOT NULL,              -- NAME of [pbx.NAME]
        id BLOB NOT NULL,               -- UUIDv8, 16 bytes
        seq INTEGER NOT NULL,
        PRIMARY KEY(pbx, id)
    ) WITHOUT ROWID;

    CREATE VIEW blocks AS SELECT first_seq, last_seq,
        strftime('%Y-%m-%dT%H:%M:%fZ', first_ms / 1000.0, 'unixepoch') AS received,
        length(data) AS bytes
    FROM block;
    CREATE VIEW ids AS SELECT seq, pbx,
        lower(substr(hex(id),1,8)||'-'||substr(hex(id),9,4)||'-'||substr(hex(id),13,4)
            ||'-'||substr(hex(id),17,4)||'-'||substr(hex(id),21)) AS id
    FROM id;
", legacy::settle)];

/// Opens or creates the database as its one writer, at the newest version.
pub fn open_for_writing(path: &Path) -> Result<Connection, JournalError> {
    create_private(path)?;
    super::wal::must_be_whole(path)?;
    let sqlite = |cause| JournalError::Sqlite { path: path.to_owned(), cause };
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(sqlite)?;
    configure(&connection).map_err(sqlite)?;
    check_owner(&connection, path)?;
    migrate(&mut connection, &MIGRATIONS, path)?;
    Ok(connection)
}

/// Opens an existing journal to read it, beside a running daemon or not.
pub fn open_for_reading(path: &Path) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    open_existing(path, path.as_os_str(), flags)
}

/// The same for a journal that nobody writes: SQLite then needs no files beside it.
pub fn open_immutable(path: &Path) -> Result<Connection, JournalError> {
    let mut uri = std::ffi::OsString::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.push(format!("%{byte:02X}")),
            0x21..=0x7e => uri.push(char::from(*byte).to_string()),
            _ => uri.push(format!("%{byte:02X}")),
        }
    }
    uri.push("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    open_existing(path, &uri, flags)
}

fn open_existing(
    path: &Path,
    name: &std::ffi::OsStr,
    flags: OpenFlags,
) -> Result<Connection, JournalError> {
    must_exist(path)?;
    // Beside a daemon the log changes while one looks, and that daemon has looked.
    if !super::lock::is_held(path) {
        super::wal::must_be_whole(path)?;
    }
    let sqlite = |cause| JournalError::Sqlite { path: path.to_owned(), cause };
    let connection = Connection::open_with_flags(name, flags).map_err(sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    check_owner(&connection, path)?;
    check_version(&connection, path)?;
    Ok(connection)
}

/// Opens an existing journal to ask something of whoever writes it, beside a
/// running daemon or not.
pub fn open_for_asking(path: &Path) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open_existing(path, path.as_os_str(), flags)?;
    configure(&connection)
        .map_err(|cause| JournalError::Sqlite { path: path.to_owned(), cause })?;
    Ok(connection)
}

/// A second connection of the daemon's own.
pub(super) fn open_beside(path: &Path) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |cause| JournalError::Sqlite { path: path.to_owned(), cause };
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    configure(&connection).map_err(sqlite)?;
    Ok(connection)
}

/// Commands beside the daemon neither migrate nor guess.
fn check_version(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let path = path.to_owned();
    let found: i64 = match connection.pragma_query_value(None, "user_version", |row| row.get(0)) {
        Ok(found) => found,
        Err(cause) => return Err(JournalError::Sqlite { path, cause }),
    };
    let known = MIGRATIONS.len() as i64;
    match found.cmp(&known) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(JournalError::Older { path, found, known }),
        std::cmp::Ordering::Greater => Err(JournalError::Newer { path, found, known }),
    }
}

fn must_exist(path: &Path) -> Result<(), JournalError> {
    match path.exists() {
        true => Ok(()),
        false => Err(JournalError::Missing { path: path.to_owned() }),
    }
}

/// SQLite gives its WAL the mode of the database: it must be private from the start.
pub(super) fn create_private(path: &Path) -> Result<(), JournalError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|cause| JournalError::Io { path: path.to_owned(), action: "open it", cause })
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL is per connection: a commit returns only once the WAL is synced.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn check_owner(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let sqlite = |cause| JournalError::Sqlite { path: path.to_owned(), cause };
    let owner: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sqlite)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sqlite)?;
    if owner != APPLICATION_ID && tables > 0 {
        if has_our_tables(connection).map_err(sqlite)? {
            let what = "its mark (application_id) is gone".to_owned();
            return Err(JournalError::Damaged { path: path.to_owned(), what });
        }
        return Err(JournalError::Foreign { path: path.to_owned() });
    }
    Ok(())
}

fn has_our_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) = 3 FROM sqlite_schema
               WHERE type = 'table' AND name IN ('meta', 'cursor', 'dead_letter')";
    connection.query_row(sql, [], |row| row.get(0))
}

/// Takes the database from its version to the newest, each step in a transaction.
fn migrate(
    connection: &mut Connection,
    steps: &[Step<'_>],
    path: &Path,
) -> Result<(), JournalError> {
    let sqlite = |cause| JournalError::Sqlite { path: path.to_owned(), cause };
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite)?;
    let known = steps.len() as i64;
    let done = usize::try_from(found).unwrap_or(0);
    if found > known {
        return Err(JournalError::Newer { path: path.to_owned(), found, known });
    }
    if found < 1 && has_our_tables(connection).map_err(sqlite)? {
        let what = "its format number (user_version) is gone".to_owned();
        return Err(JournalError::Damaged { path: path.to_owned(), what });
    }
    for ((step, then), version) in steps.iter().zip(1_i64..).skip(done) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        transaction.execute_batch(step).map_err(sqlite)?;
        then(&transaction, path).map_err(sqlite)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
        transaction.pragma_update(None, "user_version", version).map_err(sqlite)?;
        transaction.commit().map_err(sqlite)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_journal_is_migrated_step_by_step_and_keeps_its_rows() {
        let mut db = Connection::open_in_memory().unwrap();
        let path = Path::new("x.db");
        fn then(db: &Connection, _: &Path) -> rusqlite::Result<()> {
            db.execute_batch("UPDATE t SET b = a + 1")
        }
        let first: [Step<'_>; 1] = [("CREATE TABLE t(a); INSERT INTO t VALUES(1);", nothing_more)];
        let both = [first[0], ("ALTER TABLE t ADD COLUMN b;", then)];
        migrate(&mut db, &first, path).unwrap();
        migrate(&mut db, &both, path).unwrap();
        migrate(&mut db, &both, path).unwrap();
        let row = db.query_row("SELECT a, b FROM t", [], |r| Ok((r.get(0)?, r.get(1)?)));
        assert_eq!(row, Ok((1, 2)));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut db = Connection::open_in_memory().unwrap();
        let path = Path::new("x.db");
        let steps: [Step<'_>; 2] =
            [("CREATE TABLE t(a);", nothing_more), ("CREATE TABLE u(a); nonsense;", nothing_more)];
        assert!(migrate(&mut db, &steps, path).is_err());
        let version: i64 = db.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
        let tables: i64 =
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).unwrap();
        assert_eq!((version, tables), (1, 1));
    }

    #[test]
    fn a_newer_journal_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j.db");
        open_for_writing(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = open_for_writing(&path).unwrap_err().to_string();
        assert!(error.contains("has format 99, this cdrd knows formats up to 2"), "{error}");
    }

    #[test]
    fn commands_beside_a_daemon_neither_migrate_an_older_journal_nor_guess_at_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j.db");
        open_for_writing(&path).unwrap().pragma_update(None, "user_version", 0).unwrap();
        for refused in [open_for_reading(&path), open_for_asking(&path)] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("start the daemon of this version once"), "{error}");
        }
    }

    #[test]
    fn a_foreign_database_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs(a)").unwrap();
        let error = open_for_writing(&path).unwrap_err().to_string();
        assert!(error.contains("not a journal of cdrd"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j.db");
        std::fs::write(&path, "some notes that somebody keeps".repeat(100)).unwrap();
        let error = open_for_writing(&path).unwrap_err().to_string();
        assert!(error.contains("not a database"), "{error}");
    }

    #[test]
    fn database_and_wal_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j.db");
        let _open = open_for_writing(&path).unwrap();
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.path());
        }
    }
}
