//! Making the tables: the SQL, and running it.

use super::Settings;
use super::connect::connect;
use super::judge::judge;
use super::table::{CALLS, Key, TARGETS, definition};

/// How the tables are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One piece each.
    Plain,
    /// Hypertables of TimescaleDB, by `event_time`.
    Timescale,
}

impl Settings {
    /// The SQL that makes what is missing of the tables; nothing that is there changes.
    /// With `grants` also what gives the sink's role its rights, for whoever makes the
    /// tables under another role.
    pub fn setup_sql(&self, layout: Layout, grants: bool) -> String {
        let (calls, targets) = (self.names.calls(), self.names.targets());
        let mut sql = Vec::new();
        if let Some(schema) = &self.names.schema {
            sql.push(format!("create schema if not exists \"{schema}\";"));
        }
        let key = match layout {
            Layout::Plain => Key::Id,
            Layout::Timescale => Key::IdAndTime,
        };
        let primary = format!("    primary key ({})", key.columns(""));
        sql.push(format!("create table if not exists {calls} {};", definition(&CALLS, &primary)));
        let mut rest = format!("    primary key ({})", key.columns(", position"));
        if layout == Layout::Plain {
            // A call that is deleted takes its targets along. Hypertables cannot be
            // referred to in every release of TimescaleDB.
            rest += &format!(",\n    foreign key (id) references {calls} (id) on delete cascade");
        }
        sql.push(format!("create table if not exists {targets} {};", definition(&TARGETS, &rest)));
        match layout {
            Layout::Plain => sql.push(self.index_sql()),
            Layout::Timescale => {
                for table in [&calls, &targets] {
                    sql.push(format!(
                        "select create_hypertable('{table}', 'event_time', if_not_exists => true);"
                    ));
                }
            }
        }
        if grants {
            sql.push(self.grant_sql());
        }
        sql.join("\n\n") + "\n"
    }

    /// TimescaleDB makes an index by time of its own.
    fn index_sql(&self) -> String {
        let (calls, table) = (self.names.calls(), &self.names.table);
        format!("create index if not exists \"{table}_event_time\" on {calls} (event_time);")
    }

    fn grant_sql(&self) -> String {
        let user = self.address.user.replace('"', "\"\"");
        let schema = self.names.schema.as_ref();
        let usage =
            schema.map(|schema| format!("grant usage on schema \"{schema}\" to \"{user}\";\n"));
        format!(
            "{}grant insert, select on {}, {} to \"{user}\";",
            usage.unwrap_or_default(),
            self.names.calls(),
            self.names.targets()
        )
    }

    /// Runs that SQL as the sink's own role, all of it or nothing. The error is for the
    /// operator.
    pub async fn apply(&self, layout: Layout) -> Result<String, String> {
        let connection = connect(self).await.map_err(super::Fault::into_reason)?;
        let sql = format!("begin;\n{}commit;", self.setup_sql(layout, false));
        let running = connection.client.batch_execute(&sql);
        match tokio::time::timeout(self.timeout, running).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(judge(self, &e).into_reason()),
            Err(_) => return Err(format!("{}: no answer within {:?}", self.address, self.timeout)),
        }
        connection.close(self.connect_timeout).await;
        let (calls, targets) = (self.names.calls(), self.names.targets());
        Ok(format!("{}: tables {calls} and {targets} are there", self.address))
    }
}
