//! Programs and receivers of lines (sinks `exec` and `socket`), well and badly made.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use cdrd::daemon::Ended;
use cdrd::journal::reader::Reader;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::Instant;

use crate::harness::{Bench, Running, dead_letters, parse, until, whole_lines};
use crate::listener::{Listener, Place, id};
use crate::process::{Process, cdrd};

/// What a program in shell needs to know an event.
const SHELL: &str = r#"
id() { id=${line#*'"id":"'}; id=${id%%'"'*}; }
"#;

/// `[sink.plugin]` with a program in shell that finds `$OUT`, started again quickly.
fn shell(bench: &Bench, text: &str, more: &str) -> String {
    let script = bench.path("plugin.sh");
    std::fs::write(&script, format!("{SHELL}{text}")).unwrap();
    program(bench, "/bin/sh", &script, more)
}

/// The same in Python.
fn python(bench: &Bench, text: &str, more: &str) -> String {
    let script = bench.path("plugin.py");
    std::fs::write(&script, text).unwrap();
    program(bench, "python3", &script, more)
}

fn program(bench: &Bench, interpreter: &str, script: &Path, more: &str) -> String {
    format!(
        "[sink.plugin]\ntype = \"exec\"\nstart = \"beginning\"\ncommand = [{interpreter:?}, {script:?}]\n\
         env = {{ OUT = {:?} }}\nretry = {{ initial = \"10ms\", max = \"50ms\" }}\n{more}\n",
        bench.path("out")
    )
}

fn socket(address: &str, more: &str) -> String {
    format!(
        "[sink.plugin]\ntype = \"socket\"\naddress = {address:?}\n\
         retry = {{ initial = \"10ms\", max = \"50ms\" }}\n{more}\n"
    )
}

/// The lines of `$OUT`.
fn out(bench: &Bench) -> Vec<String> {
    let text = std::fs::read(bench.path("out")).unwrap_or_default();
    String::from_utf8_lossy(whole_lines(&text)).lines().map(str::to_owned).collect()
}

/// The ids of the events in a file sink beside the plugin, which gets everything.
fn ids(bench: &Bench) -> Vec<String> {
    let text = std::fs::read(bench.path("cdr.jsonl")).unwrap_or_default();
    whole_lines(&text).split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(id).collect()
}

/// A daemon with the file sinks and a plugin.
fn start(bench: &Bench, plugin: &str) -> Running {
    Running::start(&bench.config(&format!("{}{plugin}", bench.raw_sink())))
}

/// Waits until the plugin's output has a line for each of so many events.
async fn has(bench: &Bench, count: usize) {
    until("the plugin has everything", async || out(bench).len() >= count).await;
}

/// So many calls, in the journal and in the file sinks before a plugin is there, so
/// that it gets them in batches.
async fn journalled(bench: &Bench, calls: u64) -> Vec<String> {
    let daemon = bench.daemon();
    bench.subscribed().await;
    bench.push(calls).await;
    bench.finish(daemon).await;
    ids(bench)
}

/// A process that is not there any more, not even as a zombie.
fn is_gone(pid: &str) -> bool {
    !Path::new("/proc").join(pid).exists()
}

// --- exec: crashes ---------------------------------------------------------

#[tokio::test]
async fn a_program_that_crashes_before_it_confirms_gets_the_event_again() {
    let bench = Bench::new().await;
    let crashing = r#"
        n=0
        while IFS= read -r line; do
            n=$((n + 1))
            [ $n -le 20 ] || exit 3
            id; echo "$id" >> "$OUT"; echo "$id"
        done"#;
    let daemon = start(&bench, &shell(&bench, crashing, "confirm = \"line\""));
    bench.subscribed().await;
    bench.push(10).await;
    let sent = bench.pbx.log().len();
    assert!(sent > 60, "too few for some crashes: {sent}");
    has(&bench, sent).await;
    bench.finish(daemon).await;
    assert_eq!(out(&bench), ids(&bench), "each once, in order");
}

#[tokio::test]
async fn what_a_program_that_dies_has_not_read_comes_again_without_any_confirmation() {
    let bench = Bench::new().await;
    let all = journalled(&bench, 10).await;
    assert!(all.len() > 60, "too few for some deaths: {}", all.len());
    // The shell reads no further than the line that it wants.
    let dying = r#"
        for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            IFS= read -r line || exit 0
            id; echo "$id" >> "$OUT"
        done
        kill -9 $$"#;
    let daemon = start(&bench, &shell(&bench, dying, ""));
    has(&bench, all.len()).await;
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
    assert_eq!(out(&bench), all, "each once, in order");
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_started_ever_more_seldom() {
    let bench = Bench::new().await;
    let plugin = shell(&bench, "echo started >> \"$OUT\"", "")
        .replace("\"10ms\", max = \"50ms\"", "\"100ms\", max = \"10s\"");
    let daemon = start(&bench, &plugin);
    bench.subscribed().await;
    bench.push(5).await;
    has(&bench, 1).await;
    let first = Instant::now();
    has(&bench, 5).await;
    // At least half of 100, 200, 400 and 800 ms, less what the first look came late.
    assert!(first.elapsed() >= Duration::from_millis(700), "{:?}", first.elapsed());
    daemon.stop.now.cancel();
    assert_eq!(daemon.stop().await.unwrap(), Ended::AtDeadline);
    assert_eq!(out(&bench).len(), 5);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_waited_for() {
    let bench = Bench::new().await;
    let program = bench.path("later");
    let plugin = shell(&bench, "", "").replace("\"/bin/sh\"", &format!("{program:?}"));
    let config = bench.config(&format!("{}{plugin}", bench.raw_sink()));
    assert!(config.warnings.iter().any(|w| w.contains("there is no program")), "{config:?}");
    let script = "while IFS= read -r line; do id; echo \"$id\" >> \"$OUT\"; done";
    std::fs::write(bench.path("plugin.sh"), format!("{SHELL}{script}")).unwrap();
    let daemon = Running::start(&config);
    bench.subscribed().await;
    bench.push(3).await;
    std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
    has(&bench, bench.pbx.log().len()).await;
    bench.finish(daemon).await;
    assert_eq!(out(&bench), ids(&bench));
}

// --- exec: hangs -----------------------------------------------------------

#[tokio::test]
async fn a_program_that_never_reads_delays_no_other_sink_and_does_not_outlive_the_daemon() {
    let bench = Bench::new().await;
    let deaf = "echo $$ >> \"$OUT\"; sleep 600 & echo $! >> \"$OUT\"; exec sleep 600";
    let daemon = start(&bench, &shell(&bench, deaf, ""));
    bench.subscribed().await;
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        bench.push(20).await;
        let (events, since) = (bench.pbx.log().len(), Instant::now());
        until("the file has everything", async || ids(&bench).len() == events).await;
        slowest = slowest.max(since.elapsed());
    }
    assert!(slowest < Duration::from_secs(10), "the file sink waited {slowest:?}");
    has(&bench, 2).await;
    daemon.stop.now.cancel();
    assert_eq!(daemon.stop().await.unwrap(), Ended::AtDeadline);
    bench.compare();
    assert_eq!(out(&bench).len(), 2, "started once");
    for pid in out(&bench) {
        until("all its processes are gone", async || is_gone(&pid)).await;
    }
}

#[tokio::test]
async fn a_program_that_confirms_nothing_is_ended_with_its_children_and_started_again() {
    for (confirm, text) in [("write", "exec sleep 600"), ("line", "while read line; do :; done")] {
        let bench = Bench::new().await;
        let silent = format!("echo $$ >> \"$OUT\"; sleep 600 & echo $! >> \"$OUT\"; {text}");
        let more = format!("confirm = {confirm:?}\ntimeout = \"100ms\"");
        let daemon = start(&bench, &shell(&bench, &silent, &more));
        bench.subscribed().await;
        bench.push(1).await;
        has(&bench, 5).await;
        for pid in &out(&bench)[..4] {
            until("all its processes are gone", async || is_gone(pid)).await;
        }
        daemon.stop.now.cancel();
        daemon.stop().await.unwrap();
        bench.compare();
    }
}

#[tokio::test]
async fn a_program_that_ignores_every_request_to_end_is_killed_in_time() {
    let bench = Bench::new().await;
    let stubborn = r#"
        trap '' TERM INT HUP
        echo $$ > "$OUT.pid"
        while IFS= read -r line; do id; echo "$id" >> "$OUT"; done
        while :; do sleep 600; done"#;
    let daemon = start(&bench, &shell(&bench, stubborn, "stop_timeout = \"200ms\""));
    bench.subscribed().await;
    bench.push(2).await;
    has(&bench, bench.pbx.log().len()).await;
    let since = Instant::now();
    bench.finish(daemon).await;
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    assert_eq!(out(&bench), ids(&bench));
    let pid = std::fs::read_to_string(bench.path("out.pid")).unwrap();
    until("it is gone", async || is_gone(pid.trim())).await;
}

#[tokio::test]
async fn a_program_may_finish_what_it_has_read_before_the_daemon_ends() {
    let bench = Bench::new().await;
    let slow = r#"
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        events = sys.stdin.readlines()  # until the end
        with open(os.environ["OUT"], "w") as out:
            out.write("".join(events))"#;
    let daemon = start(&bench, &python(&bench, &dedent(slow), ""));
    bench.subscribed().await;
    bench.push(3).await;
    until("the file has everything", async || ids(&bench).len() == bench.pbx.log().len()).await;
    bench.finish(daemon).await;
    let got: Vec<String> = out(&bench).iter().map(|line| id(line.as_bytes())).collect();
    assert_eq!(got, ids(&bench));
}

// --- exec: answers ---------------------------------------------------------

#[tokio::test]
async fn events_may_be_confirmed_in_any_order() {
    let bench = Bench::new().await;
    let all = journalled(&bench, 20).await;
    // Holds back every first of two, and all of the last four until the end of those.
    let swapping = r#"
        import json, os, sys
        out, held = open(os.environ["OUT"], "a", buffering=1), None
        for line in sys.stdin:
            id = json.loads(line)["id"]
            print(id, file=out)
            if held is None and json.loads(line)["seq"] < int(os.environ["LAST"]):
                held = id
            else:
                print(id, flush=True)
                if held is not None:
                    print(held, flush=True)
                held = None"#;
    let last = all.len();
    let plugin = python(&bench, &dedent(swapping), "confirm = \"line\"\nwindow = 4")
        .replace("env = {", &format!("env = {{ LAST = \"{last}\","));
    let daemon = start(&bench, &plugin);
    has(&bench, all.len()).await;
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
    assert_eq!(out(&bench), all, "each sent once");
}

#[tokio::test]
async fn what_was_confirmed_out_of_order_is_not_sent_again_when_the_program_dies() {
    let bench = Bench::new().await;
    let all = journalled(&bench, 2).await;
    let once = r#"
        if [ ! -e "$OUT" ]; then
            IFS= read -r line; id; echo "$id" >> "$OUT"
            IFS= read -r line; id; echo "$id" >> "$OUT"; echo "$id"
            exit 1
        fi
        while IFS= read -r line; do id; echo "$id" >> "$OUT"; echo "$id"; done"#;
    let daemon = start(&bench, &shell(&bench, once, "confirm = \"line\""));
    has(&bench, all.len() + 1).await;
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
    let mut expected = vec![all[0].clone(), all[1].clone(), all[0].clone()];
    expected.extend_from_slice(&all[2..]);
    assert_eq!(out(&bench), expected);
}

#[tokio::test]
async fn what_a_program_refuses_is_a_dead_letter_and_the_rest_goes_on() {
    let bench = Bench::new().await;
    let choosy = r#"
        while IFS= read -r line; do
            id
            case $line in
                *'"com.portsip.pbx.call_cdr"'*) echo "!$id no such tenant $(printf '\033')[31m" ;;
                *) echo "$id" >> "$OUT"; echo "$id" ;;
            esac
        done"#;
    let daemon = start(&bench, &shell(&bench, choosy, "confirm = \"line\""));
    bench.subscribed().await;
    bench.push(10).await;
    let log = bench.pbx.log();
    let refused = log.iter().filter(|p| p.event_type == Some("call_cdr")).count();
    assert!(refused >= 10);
    has(&bench, log.len() - refused).await;
    bench.finish(daemon).await;
    let letters = dead_letters(&bench.path("journal.db"), "plugin");
    assert_eq!(letters.len(), refused);
    for letter in &letters {
        assert_eq!(letter.event.event.event_type, "call_cdr");
        assert_eq!(letter.reason, "the receiver refused it: no such tenant \\u{1b}[31m");
    }
    let refused: BTreeSet<_> = letters.iter().map(|l| l.event.event.id.to_string()).collect();
    let rest: Vec<_> = ids(&bench).into_iter().filter(|id| !refused.contains(id)).collect();
    assert_eq!(out(&bench), rest);
}

#[tokio::test]
async fn nonsense_on_standard_output_neither_confirms_nor_harms() {
    let bench = Bench::new().await;
    let talkative = r#"
        import json, os, sys
        out = open(os.environ["OUT"], "a", buffering=1)
        sys.stdout.write("starting up\n\n" * 1000)
        for n, line in enumerate(sys.stdin):
            id = json.loads(line)["id"]
            sys.stdout.write("x" * (20_000_000 if n == 0 else 100) + "\n")
            sys.stdout.buffer.write(b"\xff\x00\n!\n!x\n")
            print(id[:-1], "00000000-0000-8000-8000-000000000000", id + "!", sep="\n")
            print("  " + id.upper() + "\r\n" + id, flush=True)
            print(id, file=out)"#;
    let daemon = start(&bench, &python(&bench, &dedent(talkative), "confirm = \"line\""));
    bench.subscribed().await;
    bench.push(5).await;
    has(&bench, bench.pbx.log().len()).await;
    bench.finish(daemon).await;
    assert_eq!(out(&bench), ids(&bench));
    assert!(dead_letters(&bench.path("journal.db"), "plugin").is_empty());
}

#[tokio::test]
async fn a_program_that_closes_its_standard_output_is_started_again() {
    let bench = Bench::new().await;
    let closing = r#"
        IFS= read -r line; id; echo "$id" >> "$OUT"; echo "$id"
        exec >&-
        sleep 600"#;
    let more = "confirm = \"line\"\nstop_timeout = \"200ms\"\nevents = [\"call_cdr\"]";
    let daemon = start(&bench, &shell(&bench, closing, more));
    bench.subscribed().await;
    bench.push(2).await;
    has(&bench, 2).await;
    bench.finish(daemon).await;
}

// --- exec: the log and the environment --------------------------------------

#[tokio::test]
async fn what_a_program_says_and_how_it_ends_is_in_the_log() {
    let bench = Bench::new().await;
    let failing = r#"
        printf 'no route to the \033[31mdatabase\n' >&2
        head -c 100000 /dev/zero | tr '\0' 'x' >&2
        exit 3"#;
    let config = bench.config_text(&shell(&bench, failing, ""));
    std::fs::write(bench.path("config.toml"), config).unwrap();
    let mut command = cdrd(["run", "--drain", "1s", "-c"]);
    let mut daemon = Process::start(command.arg(bench.path("config.toml")));
    bench.subscribed().await;
    bench.push(1).await;
    let log = daemon.logs("ended with exit status 3").await;
    let said = log.lines().find(|line| line.contains("no route")).expect("its words");
    assert!(said.contains("INFO") && said.contains("sink=plugin"), "{said}");
    assert!(said.contains("the \\u{1b}[31mdatabase"), "{said}");
    let longest = log.lines().map(str::len).max().unwrap();
    assert!(log.contains("xxxxxxxx") && longest < 2_000, "{longest}");
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), 75);
}

#[tokio::test]
async fn a_program_sees_nothing_of_the_daemon_s_environment_but_the_harmless_part() {
    let bench = Bench::new().await;
    let telling = "env > \"$OUT\"; pwd >> \"$OUT\"; while read -r line; do :; done";
    let directory = bench.path("work");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(bench.path("token"), "t0ken\n").unwrap();
    let plugin = shell(&bench, telling, &format!("directory = {directory:?}"))
        .replace("env = {", &format!("env = {{ TOKEN = {{ file = {:?} }},", bench.path("token")));
    std::fs::write(bench.path("config.toml"), bench.config_text(&plugin)).unwrap();
    let mut command = cdrd(["run", "-c"]);
    command.env("PASSWORD", "hunter2").env("LANG", "C.UTF-8").env("NOTIFY_SOCKET", "/nowhere");
    let mut daemon = Process::start(command.arg(bench.path("config.toml")));
    bench.subscribed().await;
    bench.push(1).await;
    let directory = directory.canonicalize().unwrap();
    let directory = directory.to_str().unwrap();
    until("it has told", async || out(&bench).iter().any(|line| line == directory)).await;
    daemon.signal("TERM");
    let told = daemon.logs("command started").await;
    assert!(!told.contains("t0ken"), "{told}");
    assert_eq!(daemon.ended().await.code(), 0);
    let told = out(&bench);
    let names: BTreeSet<&str> = told.iter().filter_map(|l| Some(l.split_once('=')?.0)).collect();
    // The shell sets some by itself.
    let own = BTreeSet::from(["PWD", "OLDPWD", "SHLVL", "_"]);
    let rest: Vec<_> = names.difference(&own).copied().filter(|n| *n != "HOME").collect();
    assert_eq!(rest, ["LANG", "OUT", "PATH", "TOKEN", "TZ"]);
    assert!(told.contains(&"TOKEN=t0ken".to_owned()), "{told:?}");
}

// --- socket ----------------------------------------------------------------

#[tokio::test]
async fn a_receiver_that_comes_and_goes_gets_everything_that_it_did_not_confirm() {
    let bench = Bench::new().await;
    let receiver = Listener::start(Place::tcp(), true);
    let plugin = socket(&receiver.address(), "confirm = \"line\"\nwindow = 8");
    let daemon = start(&bench, &plugin);
    bench.subscribed().await;
    for round in 0..20 {
        bench.push(5).await;
        match round % 2 {
            0 => receiver.hang_up(),
            _ => {
                receiver.go_away();
                receiver.come_back();
            }
        }
    }
    let got = || receiver.lines().iter().map(|line| id(line)).collect::<Vec<_>>();
    until("it has everything", async || {
        got().into_iter().collect::<BTreeSet<_>>().len() == bench.pbx.log().len()
    })
    .await;
    bench.finish(daemon).await;
    let mut seen = BTreeSet::new();
    let first: Vec<String> = got().into_iter().filter(|id| seen.insert(id.clone())).collect();
    assert_eq!(first, ids(&bench), "in order, whatever came twice");
    let twice = got().len() - first.len();
    assert!(twice <= 8 * receiver.connections(), "more than the windows: {twice}");
}

#[tokio::test]
async fn a_receiver_that_was_started_again_in_a_quiet_moment_misses_nothing_unconfirmed() {
    let bench = Bench::new().await;
    let receiver = Listener::start(Place::tcp(), false);
    let daemon = start(&bench, &socket(&receiver.address(), ""));
    bench.subscribed().await;
    for _ in 0..10 {
        bench.push(2).await;
        let sent = bench.pbx.log().len();
        until("it has everything", async || receiver.lines().len() >= sent).await;
        receiver.go_away();
        receiver.come_back();
    }
    bench.finish(daemon).await;
    let got: Vec<String> = receiver.lines().iter().map(|line| id(line)).collect();
    assert_eq!(got, ids(&bench), "each once");
    assert_eq!(receiver.connections(), 10);
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_yet_is_waited_for() {
    let bench = Bench::new().await;
    let place = Place::Unix(bench.path("later.sock"));
    let plugin = socket(&format!("unix://{}", bench.path("later.sock").display()), "");
    let daemon = start(&bench, &plugin);
    bench.subscribed().await;
    bench.push(5).await;
    let sent = bench.pbx.log().len();
    until("the file has everything", async || ids(&bench).len() == sent).await;
    let receiver = Listener::start(place, false);
    until("it has everything", async || receiver.lines().len() >= sent).await;
    bench.finish(daemon).await;
}

#[tokio::test]
async fn a_receiver_that_never_reads_is_left_after_the_timeout() {
    let bench = Bench::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let daemon = start(&bench, &socket(&address, "timeout = \"100ms\""));
    bench.subscribed().await;
    // More than the buffers of both systems take.
    let big = "x".repeat(3_000_000);
    for n in 1..=6 {
        let event = format!(r#"{{"event_type":"call_start","session_id":"{n}","x":"{big}"}}"#);
        bench.pbx.push_raw(&event).await;
    }
    let (_deaf, _) = listener.accept().await.unwrap();
    let again = tokio::time::timeout(crate::harness::PATIENCE, listener.accept()).await;
    assert!(again.is_ok(), "no second connection");
    until("the file has everything", async || ids(&bench).len() == 6).await;
    daemon.stop.now.cancel();
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn tls_is_checked_against_the_private_ca_and_nothing_goes_out_before() {
    let bench = Bench::new().await;
    let acceptor = acceptor(&bench.path("ca.pem"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://localhost:{}", listener.local_addr().unwrap().port());
    let (tell, mut got) = tokio::sync::watch::channel(Vec::<String>::new());
    let receiver = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            // Who does not trust us hangs up.
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let (from, mut to) = tokio::io::split(tls);
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let id = id(line.as_bytes());
                to.write_all(format!("{id}\n").as_bytes()).await.unwrap();
                to.flush().await.unwrap();
                tell.send_modify(|got| got.push(id));
            }
        }
    });
    let untrusting = socket(&address, "confirm = \"line\"\ntls = true");
    let trusting = format!("confirm = \"line\"\ntls = {{ ca_file = {:?} }}", bench.path("ca.pem"));
    let trusting = socket(&address, &trusting);

    let config = |plugin: &str| parse(&bench.config_text(plugin));
    for (plugin, wanted) in
        [(&untrusting, Err("tls.ca_file")), (&trusting, Ok("takes connections"))]
    {
        let mut sink = config(plugin).sinks.pop().unwrap().settings.open().unwrap();
        match (sink.probe().await, wanted) {
            (Ok(told), Ok(wanted)) | (Err(told), Err(wanted)) => {
                assert!(told.contains(wanted), "{told}");
            }
            other => panic!("{other:?}"),
        }
    }
    let daemon = Running::start(&config(&untrusting));
    bench.subscribed().await;
    bench.push(3).await;
    let sent = bench.pbx.log().len();
    let journal = || {
        let mut reader = Reader::open(&bench.path("journal.db")).unwrap();
        let events = reader.after(0, 1_000, usize::MAX).unwrap();
        events.iter().map(|stored| stored.event.id.to_string()).collect::<Vec<_>>()
    };
    until("the journal has everything", async || journal().len() == sent).await;
    daemon.stop.now.cancel();
    daemon.stop().await.unwrap();
    assert!(got.borrow().is_empty());

    let daemon = Running::start(&config(&trusting));
    let all = tokio::time::timeout(crate::harness::PATIENCE, got.wait_for(|got| got.len() == sent));
    assert_eq!(*all.await.expect("in time").unwrap(), journal());
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
    receiver.abort();
}

/// A server with a certificate of a private CA, whose own certificate goes to a file.
fn acceptor(ca_file: &Path) -> tokio_rustls::TlsAcceptor {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(ca_file, params.self_signed(&key).unwrap().pem()).unwrap();
    let ca = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = names.signed_by(&key, &ca).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = rustls::crypto::ring::default_provider().into();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config))
}

// --- the documentation -------------------------------------------------------

const PLUGINS: &str = include_str!("../../docs/plugins.md");

/// The first block of a language in `docs/plugins.md`.
fn documented(language: &str) -> String {
    let start = format!("```{language}\n");
    let from = PLUGINS.find(&start).expect("there is one") + start.len();
    let block = &PLUGINS[from..];
    block[..block.find("```").expect("it ends")].to_owned()
}

#[tokio::test]
async fn the_documented_program_in_python_works_as_it_stands() {
    let text = documented("python");
    assert!(text.lines().count() <= 17, "it is meant to be short");
    let bench = Bench::new().await;
    let plugin = python(&bench, &text, "confirm = \"line\"").replace("OUT =", "BILL_DB =");
    let daemon = start(&bench, &plugin);
    bench.subscribed().await;
    bench.push(5).await;
    bench.pbx.push_raw(r#"{"event_type":"call_cdr","session_id":"1"}"#).await;
    let journal = bench.path("journal.db");
    until("the last is refused", async || !dead_letters(&journal, "plugin").is_empty()).await;
    daemon.stop().await.unwrap();
    let letters = dead_letters(&journal, "plugin");
    let refused: BTreeSet<String> = letters.iter().map(|l| l.event.event.id.to_string()).collect();
    assert!(letters.iter().all(|l| l.reason.ends_with("this call has no caller")));
    let database = rusqlite::Connection::open(bench.path("out")).unwrap();
    let mut rows = database.prepare("SELECT id, event FROM calls ORDER BY rowid").unwrap();
    let rows = rows.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(String, String)> = rows.map(Result::unwrap).collect();
    let kept: Vec<_> = ids(&bench).into_iter().filter(|id| !refused.contains(id)).collect();
    assert!(kept.len() >= 5, "{refused:?}");
    assert_eq!(rows.iter().map(|row| row.0.clone()).collect::<Vec<_>>(), kept);
    assert!(rows.iter().all(|(id, event)| *id == crate::listener::id(event.as_bytes())));
}

#[tokio::test]
async fn the_documented_program_in_shell_works_as_it_stands() {
    let text = documented("sh");
    assert!(text.lines().count() <= 10, "it is meant to be short");
    let bench = Bench::new().await;
    let plugin = shell(&bench, &text, "confirm = \"line\"").replace("OUT =", "BILL_FILE =");
    let daemon = start(&bench, &plugin);
    bench.subscribed().await;
    bench.push(5).await;
    has(&bench, bench.pbx.log().len()).await;
    bench.finish(daemon).await;
    let got: Vec<Value> = out(&bench).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(got, crate::harness::envelopes(&bench.path("cdr.jsonl")));
}

#[tokio::test]
async fn the_documented_configuration_is_one() {
    let bench = Bench::new().await;
    let config = bench.config(&documented("toml"));
    assert_eq!(config.sinks.len(), 2);
}

/// Python does not like a text that begins in the middle of the line.
fn dedent(text: &str) -> String {
    let indent = "        ";
    text.lines().map(|line| format!("{}\n", line.strip_prefix(indent).unwrap_or(line))).collect()
}
