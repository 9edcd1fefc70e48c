//! Never more than five refused logins an hour, whatever restarts in between.
//!
//! Hours pass in seconds: the runtime's clock stands still but for [`Hours::pass`],
//! and the daemon takes its time of day from it.

use std::sync::mpsc;
use std::time::Duration;

use cdrd::clock::Clock;
use cdrd::pbx::state::Phase;
use cdrd::simulator::LoginResult;
use tokio::time::{Instant, advance};

use crate::harness::{Bench, PATIENCE, Running, parse};

const HOUR: Duration = Duration::from_secs(3600);
const STEP: Duration = Duration::from_secs(10);

/// Time that moves only when told. (A paused clock jumps by itself whenever all
/// tasks wait, which here would be whenever they wait for the disk; a blocking task
/// that does not end forbids that.)
struct Hours {
    clock: Clock,
    _hold: mpsc::Sender<()>,
}

impl Hours {
    fn start() -> Self {
        let (hold, held) = mpsc::channel();
        tokio::task::spawn_blocking(move || held.recv());
        Self { clock: Clock::simulated(1_790_000_000_000), _hold: hold }
    }

    /// Lets time pass in small steps, each once every session rests.
    async fn pass(&self, time: Duration, daemon: &Running) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            rest(daemon).await;
            advance(STEP).await;
        }
        rest(daemon).await;
    }
}

/// Waits, in real time, until no session has anything to do.
async fn rest(daemon: &Running) {
    let deadline = std::time::Instant::now() + PATIENCE;
    let resting = |phase: &Phase| matches!(phase, Phase::LoginRefused | Phase::Subscribed);
    let mut calm = 0;
    while calm < 20 {
        assert!(std::time::Instant::now() < deadline, "the sessions never rest");
        tokio::task::yield_now().await;
        calm += 1;
        if !daemon.states.iter().all(|(_, state)| resting(&state.borrow().phase)) {
            calm = 0;
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_micros(200)))
                .await
                .unwrap();
        }
    }
}

fn most_within_an_hour(attempts: &[Instant]) -> usize {
    let within =
        |start: &Instant| attempts.iter().filter(|at| (*start..*start + HOUR).contains(at)).count();
    attempts.iter().map(within).max().unwrap_or(0)
}

fn refused(bench: &Bench) -> Vec<Instant> {
    let logins = bench.pbx.logins();
    assert!(logins.iter().all(|login| login.result != LoginResult::Accepted));
    logins.iter().map(|login| login.at).collect()
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_at_most_five_times_an_hour() {
    let hours = Hours::start();
    let bench = Bench::new().await;
    let text = bench.config_text(&bench.raw_sink()).replace("cdrd-demo", "wrong");
    let daemon = Running::start_at(&parse(&text), hours.clock);
    hours.pass(HOUR * 5, &daemon).await;
    let attempts = refused(&bench);
    let minutes: Vec<_> =
        attempts.iter().map(|at| at.duration_since(attempts[0]).as_secs() / 60).collect();
    assert_eq!(minutes, [0, 2, 6, 14, 30, 62, 122, 182, 242]);
    assert!(most_within_an_hour(&attempts) <= 5);
    let words = daemon.states[0].1.borrow().last_error.clone().unwrap();
    assert!(words.contains("two-factor"), "a hint: {words}");
    daemon.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn restarts_in_between_change_nothing() {
    let hours = Hours::start();
    let bench = Bench::new().await;
    let text = bench.config_text(&bench.raw_sink()).replace("cdrd-demo", "wrong");
    let config = parse(&text);
    let mut random = fastrand::Rng::with_seed(3);
    let (start, mut restarts) = (Instant::now(), 0);
    while start.elapsed() < HOUR * 3 {
        let daemon = Running::start_at(&config, hours.clock);
        hours.pass(Duration::from_secs(random.u64(1..400)), &daemon).await;
        daemon.stop().await.unwrap();
        restarts += 1;
    }
    let attempts = refused(&bench);
    assert!(restarts > 20, "{restarts}");
    assert!(most_within_an_hour(&attempts) <= 5, "{attempts:?}");
    assert!(attempts.len() >= 6, "it still tries: {attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn several_tables_at_one_host_share_the_five() {
    let hours = Hours::start();
    let bench = Bench::new().await;
    let pbx = bench.pbx_table().replace("cdrd-demo", "wrong");
    let tables: String = (0..8).map(|n| pbx.replace("[pbx.hq]", &format!("[pbx.hq{n}]"))).collect();
    let config = parse(&format!("{tables}{}{}", bench.journal_table(), bench.raw_sink()));
    let daemon = Running::start_at(&config, hours.clock);
    hours.pass(HOUR * 4, &daemon).await;
    let attempts = refused(&bench);
    assert!(most_within_an_hour(&attempts) <= 5, "{attempts:?}");
    assert!(attempts.len() >= 15, "they still try: {attempts:?}");
    daemon.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn once_the_password_is_right_the_next_try_succeeds() {
    let hours = Hours::start();
    let bench = Bench::new().await;
    bench.pbx.refuse_logins(2, "user or password wrong");
    let daemon = Running::start_at(&bench.config(&bench.raw_sink()), hours.clock);
    hours.pass(STEP, &daemon).await;
    let words = daemon.states[0].1.borrow().last_error.clone().unwrap();
    assert!(words.contains("user or password wrong"), "the PBX's own words: {words}");
    hours.pass(Duration::from_secs(600), &daemon).await;
    assert_eq!(daemon.states[0].1.borrow().phase, Phase::Subscribed);
    assert_eq!(bench.pbx.logins().len(), 3);
    daemon.stop().await.unwrap();
}
