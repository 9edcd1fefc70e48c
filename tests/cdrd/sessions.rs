//! Logins, topics, dialects, releases, TLS, and several PBXs side by side.

use cdrd::config::Environment;
use cdrd::event::Stored;
use cdrd::event::call;
use cdrd::journal::reader::Reader;
use cdrd::pbx::state::Phase;
use cdrd::simulator::{Dialect, Ending, LoginResult, Options, Release};

use crate::harness::{Bench, QUICK, Running, envelopes, parse, until};

/// A bench whose PBX speaks a dialect, and the login of a configuration for it.
async fn dialect(dialect: Dialect, login: &str, more: &str) -> (Bench, String) {
    let bench = Bench::with(Options { dialect, ..Options::default() }).await;
    let table = format!(
        "[pbx.hq]\nurl = {:?}\ndialect = \"{}\"\nlogin = {{ {login}, password = \"cdrd-demo\" }}\n{QUICK}{more}\n",
        bench.pbx.url(),
        dialect.number()
    );
    let text = format!("{table}{}{}", bench.journal_table(), bench.raw_sink());
    (bench, text)
}

#[tokio::test]
async fn every_login_form_of_every_dialect_works_end_to_end() {
    for (number, login, topics) in [
        (Dialect::V22, r#"username = "cdr", domain = "example.com""#, ""),
        (Dialect::V22, r#"extension_number = "101", domain = "example.com""#, ""),
        (
            Dialect::V22,
            r#"username = "admin""#,
            "topics = [\"global_cdr_events\"]\ntenants = [\"744028133476442112\"]",
        ),
        (Dialect::V16, r#"username = "cdr", domain = "example.com""#, ""),
        (Dialect::V12, r#"extension = "101", domain = "example.com""#, ""),
        (Dialect::V12, r#"name = "example""#, ""),
    ] {
        let (bench, text) = dialect(number, login, topics).await;
        let daemon = Running::start(&parse(&text));
        bench.subscribed().await;
        bench.push(5).await;
        let delivered = bench.finish(daemon).await;
        assert!(delivered >= 5, "{login}: {delivered}");
        assert!(bench.pbx.logins().iter().all(|l| l.result == LoginResult::Accepted), "{login}");
    }
}

#[tokio::test]
async fn the_calls_of_every_release_are_decoded_typed_and_identified() {
    for release in [Release::R12, Release::R16, Release::R22_2, Release::R22_3] {
        let bench = Bench::with(Options { release: Some(release), ..Options::default() }).await;
        let daemon = bench.daemon();
        bench.subscribed().await;
        bench.push(40).await;
        let events = bench.finish(daemon).await;
        let mut journal = Reader::open(&bench.path("journal.db")).unwrap();
        let stored = journal.after(0, usize::MAX >> 1, usize::MAX).unwrap();
        assert_eq!(stored.len(), events);
        for Stored { event, .. } in &stored {
            assert!(event.session_id.is_some(), "{release:?}: {:?}", event.raw);
            let call = call::parse(&event.raw).unwrap();
            assert!(call.direction.is_some(), "{release:?}: {:?}", event.raw);
            if event.event_type == "call_cdr" {
                assert!(call.started_at.is_some() && call.ended_at.is_some(), "{:?}", event.raw);
                assert!(!call.targets.is_empty(), "{release:?}: {:?}", event.raw);
            }
        }
    }
}

#[tokio::test]
async fn a_refused_topic_is_told_in_the_pbxs_words_and_the_others_go_on() {
    let bench = Bench::new().await;
    bench.pbx.refuse_topic("queue_events", None, "no permission for queues");
    let text = bench.config_text(&bench.raw_sink()).replace(
        "login =",
        "topics = [\"queue_events\", \"cdr_events\"]\nqueues = [\"8000\"]\nlogin =",
    );
    let daemon = Running::start(&parse(&text));
    daemon.phase(Phase::Subscribed).await;
    let refused = daemon.states[0].1.borrow().refused_topics.clone();
    assert_eq!(refused, [("queue_events".to_owned(), "no permission for queues".to_owned())]);
    bench.push(5).await;
    assert_eq!(bench.pbx.subscribes().len(), 2, "asked once each");
    assert!(bench.finish(daemon).await > 0);
}

#[tokio::test]
async fn selectors_go_with_their_topics_alone() {
    let bench = Bench::new().await;
    let text = bench.config_text(&bench.raw_sink()).replace(
        "login =",
        "topics = [\"cdr_events\", \"queue_events\", \"extension_events\"]\n\
         queues = [\"8000\"]\nextensions = [\"101\", \"102\"]\nlogin =",
    );
    let daemon = Running::start(&parse(&text));
    daemon.phase(Phase::Subscribed).await;
    let asked: Vec<_> =
        bench.pbx.subscribes().into_iter().map(|s| (s.topic, s.selector, s.accepted)).collect();
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        asked,
        [
            ("cdr_events".to_owned(), strings(&[]), true),
            ("queue_events".to_owned(), strings(&["8000"]), true),
            ("extension_events".to_owned(), strings(&["101", "102"]), true),
        ]
    );
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_closes_with_a_proper_handshake() {
    let bench = Bench::new().await;
    let daemon = bench.daemon();
    bench.subscribed().await;
    daemon.stop().await.unwrap();
    until("the PBX has seen the end", async || bench.pbx.connections()[0].ending.is_some()).await;
    assert_eq!(bench.pbx.connections()[0].ending, Some(Ending::ClosedByClient(Some(1000))));
}

#[tokio::test]
async fn several_pbxs_run_side_by_side_and_one_that_is_down_harms_no_other() {
    let (hq, branch) =
        (Bench::new().await, Bench::with(Options { seed: 2, ..Options::default() }).await);
    let table =
        |bench: &Bench, name: &str| bench.pbx_table().replace("[pbx.hq]", &format!("[pbx.{name}]"));
    let down = table(&hq, "down").replace(&hq.pbx.url(), "ws://127.0.0.1:1/wsi");
    let file = hq.path("all.jsonl");
    let text = format!(
        "{}{}{down}{}[sink.all]\ntype = \"file\"\npath = {file:?}\n",
        table(&hq, "hq"),
        table(&branch, "branch"),
        hq.journal_table()
    );
    let daemon = Running::start(&parse(&text));
    hq.subscribed().await;
    branch.subscribed().await;
    tokio::join!(hq.push(20), branch.push(20));
    assert!(daemon.states[2].1.borrow().last_error.as_deref().unwrap().contains("127.0.0.1:1"));
    daemon.stop().await.unwrap();
    let delivered = envelopes(&file);
    for (bench, source) in [(&hq, "/pbx/hq"), (&branch, "/pbx/branch")] {
        let count = delivered.iter().filter(|e| e["source"] == source).count();
        assert_eq!(count, bench.pbx.log().len(), "{source}");
    }
}

async fn tls_bench(tls: impl FnOnce(&Bench) -> String) -> (Bench, String) {
    let bench = Bench::with(Options { tls: true, ..Options::default() }).await;
    let line = format!("tls = {{ {} }}\nlogin =", tls(&bench));
    let text = bench.config_text(&bench.raw_sink()).replace("login =", &line);
    (bench, text)
}

async fn works(bench: Bench, text: &str) {
    let daemon = Running::start(&parse(text));
    bench.subscribed().await;
    bench.push(5).await;
    assert!(bench.finish(daemon).await > 0);
}

/// The error that the session ends with, and that no password went out before it.
async fn fails(bench: Bench, text: &str) -> String {
    let daemon = Running::start(&parse(text));
    daemon.phase(Phase::Waiting).await;
    let error = daemon.states[0].1.borrow().last_error.clone().unwrap();
    assert_eq!(bench.pbx.logins().len(), 0);
    daemon.stop().await.unwrap();
    error
}

#[tokio::test]
async fn a_self_signed_pbx_works_with_its_certificate_as_ca() {
    let (bench, text) = tls_bench(|bench| {
        let file = bench.path("ca.pem");
        std::fs::write(&file, bench.pbx.certificate_pem().unwrap()).unwrap();
        format!("ca_file = {file:?}")
    })
    .await;
    works(bench, &text).await;
}

#[tokio::test]
async fn a_self_signed_pbx_works_with_its_fingerprint_pinned_in_either_spelling() {
    let plain = |bench: &Bench| bench.pbx.fingerprint().unwrap().to_owned();
    let colons = |bench: &Bench| {
        let upper = bench.pbx.fingerprint().unwrap().to_ascii_uppercase();
        upper.as_bytes().chunks(2).map(|c| String::from_utf8_lossy(c)).collect::<Vec<_>>().join(":")
    };
    for spelling in [plain as fn(&Bench) -> String, colons] {
        let (bench, text) = tls_bench(|b| format!("pin_sha256 = {:?}", spelling(b))).await;
        works(bench, &text).await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_the_pinned_one_is_refused_and_shown() {
    let (bench, text) = tls_bench(|_| format!("pin_sha256 = \"{}\"", "ab".repeat(32))).await;
    let fingerprint = bench.pbx.fingerprint().unwrap().to_owned();
    let error = fails(bench, &text).await;
    assert!(error.contains("not the pinned one") && error.contains(&fingerprint), "{error}");
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused_by_default_with_the_way_out() {
    let (bench, text) = tls_bench(|_| String::new()).await;
    let fingerprint = bench.pbx.fingerprint().unwrap().to_owned();
    let error = fails(bench, &text).await;
    assert!(error.contains(&format!("tls.pin_sha256 = \"{fingerprint}\"")), "{error}");
}

#[tokio::test]
async fn skipping_verification_works_where_nothing_else_does() {
    let (bench, text) = tls_bench(|_| "insecure_skip_verify = true".to_owned()).await;
    works(bench, &text).await;
}

#[tokio::test]
async fn a_pbx_that_speaks_no_websocket_there_is_told_with_the_path_to_check() {
    let bench = Bench::new().await;
    let text = bench.config_text(&bench.raw_sink()).replace("/wsi\"", "/nothing-here\"");
    let error = fails(bench, &text).await;
    assert!(error.contains("answered 404") && error.contains("/wsi"), "{error}");
}

#[test]
fn the_example_configuration_is_one_that_a_daemon_could_start_with() {
    let text = include_str!("../../config.example.toml");
    let environment = Environment::empty()
        .with_variable("CREDENTIALS_DIRECTORY", "/run/credentials/cdrd.service")
        .with_file("/run/credentials/cdrd.service/pbx-hq", "secret");
    let config = cdrd::config::Config::parse("config.example.toml", text, &environment);
    let config = config.unwrap_or_else(|e| panic!("{e}"));
    assert!(!config.pbxs.is_empty() && !config.sinks.is_empty());
}

#[tokio::test]
async fn a_pbx_that_never_answers_a_password_is_asked_three_times_and_then_slowly() {
    let bench = Bench::new().await;
    bench.pbx.answer_auth(false);
    let text = bench.config_text(&bench.raw_sink());
    let daemon = Running::start(&parse(&text.replace("\"2s\"", "\"100ms\"")));
    daemon.phase(Phase::LoginRefused).await;
    let words = daemon.states[0].1.borrow().last_error.clone().unwrap();
    assert!(words.contains("three logins in a row without an answer"), "{words}");
    assert_eq!(bench.pbx.logins().len(), 3);
    daemon.stop().await.unwrap();
}
