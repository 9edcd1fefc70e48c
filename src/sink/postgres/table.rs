//! The two tables: their columns, the SQL that makes them and the SQL that fills them.
//!
//! Columns are those of a record (docs/record.md) in their order, and `raw`. Every value
//! is sent as text and cast by the database to the type that the column has, so whoever
//! makes the tables may choose another one that takes that text.

use std::collections::HashMap;
use std::fmt::Write as _;

/// What the tables are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Left out, the server looks where the role's `search_path` says.
    pub schema: Option<String>,
    /// The table of calls; that of targets has `_target` at its end.
    pub table: String,
}

impl Names {
    /// The table of calls, for use in SQL.
    pub fn calls(&self) -> String {
        self.qualified("")
    }

    /// The table of targets, for use in SQL.
    pub fn targets(&self) -> String {
        self.qualified("_target")
    }

    /// Names are quoted, since one may be a word of SQL.
    fn qualified(&self, ending: &str) -> String {
        let schema = self.schema.as_ref().map_or(String::new(), |schema| format!("\"{schema}\"."));
        format!("{schema}\"{}{ending}\"", self.table)
    }
}

/// A column: its name, its type, and whether it must have a value.
pub type Column = (&'static str, &'static str, bool);

/// The types that the columns of a table really have, by name. Without lengths: a cast to
/// `varchar(5)` cuts what is longer, while the column itself refuses it.
pub type Types = HashMap<String, String>;

/// Columns of the table of calls.
pub const CALLS: [Column; 39] = [
    ("id", "uuid", true),
    ("event_time", "timestamptz", true),
    ("event_type", "text", true),
    ("schema", "text", true),
    ("pbx", "text", true),
    ("origin", "text", true),
    ("received_at", "timestamptz", true),
    ("tenant_id", "text", false),
    ("tenant_name", "text", false),
    ("session_id", "text", false),
    ("cdr_id", "text", false),
    ("call_id", "text", false),
    ("direction", "text", false),
    ("caller", "text", false),
    ("caller_name", "text", false),
    ("caller_domain", "text", false),
    ("callee", "text", false),
    ("callee_name", "text", false),
    ("callee_domain", "text", false),
    ("did", "text", false),
    ("outbound_caller_id", "text", false),
    ("trunk", "text", false),
    ("started_at", "timestamptz", false),
    ("rang_at", "timestamptz", false),
    ("answered_at", "timestamptz", false),
    ("ended_at", "timestamptz", false),
    ("ring_seconds", "integer", false),
    ("talk_seconds", "integer", false),
    ("duration_seconds", "integer", false),
    ("answered", "boolean", false),
    ("outcome", "text", false),
    ("end_reason", "text", false),
    ("status_code", "integer", false),
    ("queue", "text", false),
    ("agent", "text", false),
    ("user_data", "text", false),
    ("cost", "text", false),
    ("targets", "integer", true),
    ("raw", "jsonb", true),
];

/// Columns of the table of targets.
pub const TARGETS: [Column; 20] = [
    ("id", "uuid", true),
    ("position", "integer", true),
    ("event_time", "timestamptz", true),
    ("number", "text", false),
    ("destination", "text", false),
    ("caller", "text", false),
    ("call_type", "text", false),
    ("started_at", "timestamptz", false),
    ("rang_at", "timestamptz", false),
    ("answered_at", "timestamptz", false),
    ("ended_at", "timestamptz", false),
    ("ring_seconds", "integer", false),
    ("talk_seconds", "integer", false),
    ("answered", "boolean", false),
    ("end_reason", "text", false),
    ("status_code", "integer", false),
    ("trunk", "text", false),
    ("did", "text", false),
    ("outbound_caller_id", "text", false),
    ("cost", "text", false),
];

/// What makes a row one of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The id alone.
    Id,
    /// Where a table is cut into parts by time, its key must have the time in it.
    IdAndTime,
}

impl Key {
    /// As columns, with `more` between.
    pub fn columns(self, more: &str) -> String {
        match self {
            Self::Id => format!("id{more}"),
            Self::IdAndTime => format!("id{more}, event_time"),
        }
    }
}

/// The definition of a table, from `(` to `)`; `rest` are its constraints.
pub fn definition(columns: &[Column], rest: &str) -> String {
    let mut sql = String::from("(\n");
    for (name, kind, is_needed) in columns {
        let needed = if *is_needed { " not null" } else { "" };
        writeln!(sql, "    \"{name}\" {kind}{needed},").expect("writing to a String succeeds");
    }
    sql + rest + "\n)"
}

/// The statement that writes a batch: its parameters are arrays of text, one a column of
/// calls, then one a column of targets; its answer is how many calls were new.
///
/// Rows go in by the order of their ids: two daemons that write the same calls at the
/// same time then wait for each other, and never in a circle. Targets follow the call
/// that is new, so they are those of the one row that is there.
pub fn insert(names: &Names, key: Key, call_types: &Types, target_types: &Types) -> String {
    let (calls, targets) = (names.calls(), names.targets());
    let (call_names, call_casts, call_arrays) = parts(&CALLS, call_types, 1);
    let (target_names, target_casts, target_arrays) =
        parts(&TARGETS, target_types, 1 + CALLS.len());
    let conflict = key.columns("");
    format!(
        "with new as (\
             insert into {calls} ({call_names}) \
             select {call_casts} from unnest({call_arrays}) as t({call_names}) order by 1 \
             on conflict ({conflict}) do nothing returning id\
         ), told as (\
             insert into {targets} ({target_names}) \
             select {target_casts} from unnest({target_arrays}) as t({target_names}) \
             join new on new.id = t.id::uuid\
         ) select count(*) from new"
    )
}

/// Names, casts, and arrays from parameter `first` on.
fn parts(columns: &[Column], types: &Types, first: usize) -> (String, String, String) {
    let join = |part: &dyn Fn(usize, &Column) -> String| {
        let parts: Vec<_> = columns.iter().enumerate().map(|(at, c)| part(at, c)).collect();
        parts.join(", ")
    };
    (
        join(&|_, (name, ..)| format!("\"{name}\"")),
        join(&|_, (name, kind, _)| {
            format!("t.\"{name}\"::{}", types.get(*name).map_or(*kind, String::as_str))
        }),
        join(&|at, _| format!("${}::text[]", first + at)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KEYS;

    #[test]
    fn the_table_of_calls_has_the_keys_of_a_record_in_their_order() {
        let more = ["event_time", "event_type", "raw"];
        let columns: Vec<_> =
            CALLS.iter().map(|(name, ..)| *name).filter(|name| !more.contains(name)).collect();
        let (mut ours, mut theirs) = (columns.clone(), KEYS.to_vec());
        // The id goes first in a table.
        assert_eq!((ours.remove(0), theirs.remove(1)), ("id", "id"));
        assert_eq!(ours, theirs);
    }
}
