//! The pair into one stream of JetStream: the ids make its output single.

use std::net::SocketAddr;

use super::{Target, run, session_id};
use crate::nats::Server;

struct Stream(Server);

impl Target for Stream {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn sink(&self, at: SocketAddr) -> String {
        format!(
            "[sink.shared]\ntype = \"nats\"\nurl = \"nats://{at}\"\nevents = [\"call_cdr\"]\n\
             format = \"raw\"\nstart = \"beginning\"\n\
             create_stream = {{ name = \"CDR\", duplicate_window = \"1h\" }}\n\
             retry = {{ initial = \"10ms\", max = \"200ms\" }}\n"
        )
    }

    fn count(&self) -> usize {
        self.0.stored().len()
    }

    fn calls(&self) -> Vec<String> {
        self.0.stored().iter().map(|message| session_id(&message.body)).collect()
    }

    async fn stumble(&self) {
        self.0.kill();
        self.0.start();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_into_one_stream_misses_no_call_and_doubles_none() {
    let stream = Stream(Server::with(""));
    let outcome = run(&stream).await;
    outcome.print("JetStream");
    outcome.assert_nothing_is_missing();
    assert_eq!(outcome.at_target(), outcome.there.len(), "a call is in the stream twice");
    assert!(
        outcome.heard.iter().sum::<usize>() > outcome.there.len(),
        "one of the two heard nothing"
    );
}
