//! The pair into one HTTP receiver that looks at `Idempotency-Key`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Target, run, session_id};
use crate::receiver::{Answer, Receiver, Request};

struct Hook(Receiver);

impl Target for Hook {
    fn address(&self) -> SocketAddr {
        self.0.address
    }

    fn sink(&self, at: SocketAddr) -> String {
        format!(
            "[sink.shared]\ntype = \"http\"\nurl = \"http://{at}/hooks/cdr\"\n\
             events = [\"call_cdr\"]\nstart = \"beginning\"\nin_flight = 4\n\
             retry = {{ initial = \"10ms\", max = \"200ms\" }}\n"
        )
    }

    fn count(&self) -> usize {
        self.0.look(|requests| by_key(requests).len())
    }

    fn calls(&self) -> Vec<String> {
        self.0.look(|requests| by_key(requests).values().map(|body| session_id(body)).collect())
    }

    async fn stumble(&self) {
        let troubles = [Answer::Status(503), Answer::Cut, Answer::Status(429)];
        self.0.answer_next(troubles.into_iter().cycle().take(12));
    }
}

/// What a receiver keeps that takes each key once.
fn by_key(requests: &[Request]) -> BTreeMap<&str, &[u8]> {
    let accepted = requests.iter().filter(|r| r.answered == Some(200));
    accepted.map(|r| (r.header("idempotency-key").expect("each has one"), &*r.body)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_into_an_idempotent_receiver_misses_no_call_and_doubles_none() {
    let hook = Hook(Receiver::start().await);
    let outcome = run(&hook).await;
    outcome.print("HTTP");
    outcome.assert_nothing_is_missing();
    assert_eq!(outcome.at_target(), outcome.there.len(), "two keys for one call");
    let posts = hook.0.accepted().len();
    println!("HTTP: {posts} posts were accepted, {} of them repeats", posts - outcome.there.len());
}
