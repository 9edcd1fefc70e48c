//! The pair into one table: its primary key makes every call a single row.

use std::net::SocketAddr;

use super::{Target, run};
use crate::harness::Bench;
use crate::postgres::print_sql;
use crate::postgres::server::{self, Database};

struct Table(Database<'static>);

impl Target for Table {
    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.0.server.port()))
    }

    fn sink(&self, at: SocketAddr) -> String {
        let own = format!(":{}/", self.0.server.port());
        let url = self.0.url().replace(&own, &format!(":{}/", at.port()));
        format!(
            "[sink.shared]\ntype = \"postgres\"\nurl = {url:?}\nstart = \"beginning\"\n\
             retry = {{ initial = \"10ms\", max = \"200ms\" }}\n"
        )
    }

    fn count(&self) -> usize {
        self.0.ask("select count(*) from cdr").trim().parse().unwrap()
    }

    fn calls(&self) -> Vec<String> {
        self.0.ask("select session_id from cdr").lines().map(str::to_owned).collect()
    }

    /// Every session ends, and no new one begins.
    async fn stumble(&self) {
        self.0.shut();
        self.0.open();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_into_one_table_makes_each_call_exactly_one_row() {
    let table = Table(server::shared().database());
    let bench = Bench::new().await;
    let sink = table.sink(table.address()).replace("[sink.shared]", "[sink.subject]");
    table.0.ask(&print_sql(&bench.config_text(&sink), &[]));
    let outcome = run(&table).await;
    outcome.print("PostgreSQL");
    outcome.assert_nothing_is_missing();
    assert_eq!(outcome.at_target(), outcome.there.len(), "a call has two rows");
    let wanted = outcome.sent.len();
    assert_eq!(table.count(), wanted, "rows that are no calls");
}
