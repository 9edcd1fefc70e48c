//! A connection that is ready to write: what it looked at, and what it prepared.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use super::Settings;
use super::connect::{Connection, connect};
use super::judge::{Fault, judge};
use super::row::Rows;
use super::table::{self, CALLS, Column, Key, TARGETS, Types};

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the server and the table of calls are like.
const LOOK: &str = "\
    select current_setting('server_version'), current_setting('server_encoding'), \
           current_setting('synchronous_commit'), \
           current_setting('transaction_read_only') = 'on', \
           to_regclass($1) is not null and to_regclass($2) is not null";

/// The columns of each index that lets a row be there once.
const KEYS: &str = "\
    select array(select a.attname::text from pg_attribute a \
                 where a.attrelid = i.indrelid and a.attnum = any(i.indkey) order by 1) \
    from pg_index i \
    where i.indrelid = to_regclass($1) and i.indisunique and i.indisvalid and i.indimmediate \
          and i.indpred is null and i.indexprs is null and i.indnatts = i.indnkeyatts";

/// The columns of a table with their types.
const COLUMNS: &str = "\
    select attname::text, atttypid::regtype::text from pg_attribute \
    where attrelid = to_regclass($1) and attnum > 0 and not attisdropped";

/// Whether the role may do what the statement does.
const RIGHTS: &str = "\
    select has_table_privilege($1, 'INSERT') and has_column_privilege($1, 'id', 'SELECT') \
           and has_table_privilege($2, 'INSERT')";

/// Ready to write.
pub struct Session {
    connection: Connection,
    insert: Statement,
    limit: Duration,
    settings: std::sync::Arc<Settings>,
    /// For `check`.
    words: String,
}

impl Session {
    /// Connects, looks whether all is there, and prepares. Each step has its limit.
    pub async fn open(settings: &std::sync::Arc<Settings>) -> Result<Self, Fault> {
        let connection = connect(settings).await?;
        let limit = settings.timeout;
        let ready = timeout(limit, prepare(settings, &connection)).await;
        let (insert, words) = ready.map_err(|_| silent(settings))??;
        Ok(Self { connection, insert, limit, settings: settings.clone(), words })
    }

    /// Whether the server has not ended the connection.
    pub fn is_open(&self) -> bool {
        !self.connection.client.is_closed()
    }

    /// What was found, in words.
    pub fn words(&self) -> String {
        self.words.clone()
    }

    /// Writes all rows or none; returns how many were not there yet.
    pub async fn write(&self, rows: &Rows) -> Result<u64, Fault> {
        let parameters: Vec<&(dyn ToSql + Sync)> =
            rows.columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
        let asked = self.connection.client.query_one(&self.insert, &parameters);
        let answer = timeout(self.limit, asked).await.map_err(|_| silent(&self.settings))?;
        let told = answer.and_then(|row| row.try_get::<_, i64>(0));
        let new = told.map_err(|e| judge(&self.settings, &e))?;
        Ok(u64::try_from(new).unwrap_or(0))
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.connection.close(GOODBYE).await;
    }
}

fn silent(settings: &Settings) -> Fault {
    let Settings { address, timeout, sink, .. } = settings;
    Fault::Retry(format!(
        "{address}: no answer within {timeout:?}; is the server overloaded, or a table locked? \
         sink {sink} tries again"
    ))
}

async fn prepare(
    settings: &Settings,
    connection: &Connection,
) -> Result<(Statement, String), Fault> {
    let fault = |e: Error| judge(settings, &e);
    let (calls, targets) = (settings.names.calls(), settings.names.targets());
    let client = &connection.client;
    // A statement that nobody waits for any more must not wait for a lock either.
    let limit = format!("set statement_timeout = {}", settings.timeout.as_millis());
    client.batch_execute(&limit).await.map_err(fault)?;
    let typed = [(&calls as &(dyn ToSql + Sync), Type::TEXT), (&targets, Type::TEXT)];
    let look = client.query_typed_one(LOOK, &typed).await.map_err(fault)?;
    let found = Found::read(&look).map_err(fault)?;
    if found.is_read_only {
        return Err(Fault::Retry(format!(
            "{}: the database is read-only; is it a standby? url must lead to the primary",
            settings.address
        )));
    }
    if !found.has_tables {
        return Err(missing(settings, "there is no"));
    }
    if !found.commits_to_disk {
        // What is confirmed must be on disk.
        client.batch_execute("set synchronous_commit = on").await.map_err(fault)?;
    }
    let keys = client.query_typed(KEYS, &typed[..1]).await.map_err(fault)?;
    let key = key(&keys).map_err(fault)?.ok_or_else(|| keyless(settings))?;
    let call_types = types(client, &calls, &CALLS, settings).await?;
    let target_types = types(client, &targets, &TARGETS, settings).await?;
    let rights = client.query_typed_one(RIGHTS, &typed).await.map_err(fault)?;
    if !rights.try_get::<_, bool>(0).map_err(fault)? {
        return Err(rightless(settings));
    }
    let types = vec![Type::TEXT_ARRAY; CALLS.len() + TARGETS.len()];
    let sql = table::insert(&settings.names, key, &call_types, &target_types);
    let insert = client.prepare_typed(&sql, &types).await;
    let words = format!("{} takes rows into {calls} ({})", settings.address, found.server);
    Ok((insert.map_err(fault)?, words))
}

/// What [`LOOK`] found.
struct Found {
    server: String,
    commits_to_disk: bool,
    is_read_only: bool,
    has_tables: bool,
}

impl Found {
    fn read(row: &Row) -> Result<Self, Error> {
        let (version, encoding): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let encoding = match &*encoding {
            "UTF8" => String::new(),
            other => format!(
                ", encoding {other}: calls with other letters become dead letters, better make \
                 the database anew with UTF8"
            ),
        };
        Ok(Self {
            server: format!("PostgreSQL {version}{encoding}"),
            commits_to_disk: row.try_get::<_, String>(2)? != "off",
            is_read_only: row.try_get(3)?,
            has_tables: row.try_get(4)?,
        })
    }
}

/// The types of the columns of `table`, none of which may be missing.
async fn types(
    client: &Client,
    table: &String,
    wanted: &[Column],
    settings: &Settings,
) -> Result<Types, Fault> {
    let fault = |e: Error| judge(settings, &e);
    let rows = client.query_typed(COLUMNS, &[(table, Type::TEXT)]).await.map_err(fault)?;
    let pairs: Result<Types, Error> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
    let types = pairs.map_err(fault)?;
    let lacks = wanted.iter().map(|(name, ..)| *name).find(|name| !types.contains_key(*name));
    match lacks {
        None => Ok(types),
        Some(name) => Err(Fault::Retry(format!(
            "{}: table {table} has no column \"{name}\"; add it as cdrd sink init {} --print-sql \
             shows it, or set \"table\" of this sink to another name",
            settings.address, settings.sink
        ))),
    }
}

/// The key that tells a repeat.
fn key(rows: &[Row]) -> Result<Option<Key>, Error> {
    let mut found = None;
    for row in rows {
        let columns: Vec<String> = row.try_get(0)?;
        match columns.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["id"] => return Ok(Some(Key::Id)),
            ["event_time", "id"] => found = Some(Key::IdAndTime),
            _ => {}
        }
    }
    Ok(found)
}

fn missing(settings: &Settings, what: &str) -> Fault {
    let Settings { address, names, sink, .. } = settings;
    Fault::Retry(format!(
        "{address}: {what} table {} with its {}; make them with: cdrd sink init {sink} --apply, or \
         let an administrator run what cdrd sink init {sink} --print-sql prints",
        names.calls(),
        names.targets()
    ))
}

fn keyless(settings: &Settings) -> Fault {
    let Settings { address, names, .. } = settings;
    Fault::Retry(format!(
        "{address}: table {} has no primary key or unique index on (id) or (id, event_time), \
         without which a call that comes twice would be there twice; add one",
        names.calls()
    ))
}

fn rightless(settings: &Settings) -> Fault {
    let Settings { address, names, .. } = settings;
    let (calls, targets, user) = (names.calls(), names.targets(), &address.user);
    Fault::Retry(format!(
        "{address}: role \"{user}\" may not write; let the tables' owner run: \
         grant insert, select on {calls}, {targets} to \"{user}\""
    ))
}
