//! The rule: waits, windows, silence.

use super::*;

const MINUTE: i64 = 60_000;
const START: i64 = 1_790_000_000_000;

fn refused(host: &str, pbx: &str, at_ms: i64) -> Known {
    let attempt =
        Attempt { token: at_ms, host: host.into(), pbx: pbx.into(), at_ms, state: State::Refused };
    Known { attempt, pending: false, silent: false }
}

/// Times of refusals, in minutes, of PBXs that try as soon as they may.
fn try_for(minutes: i64, pbxs: &[&str]) -> Vec<i64> {
    let (mut known, mut tried) = (Vec::new(), Vec::new());
    for now in (0..minutes * MINUTE).step_by(1000) {
        for pbx in pbxs {
            if decide(&known, "h", pbx, START + now).is_none() {
                known.push(refused("h", pbx, START + now));
                tried.push(now / MINUTE);
            }
        }
    }
    tried
}

#[test]
fn the_wait_grows_from_two_minutes_to_an_hour() {
    assert_eq!(try_for(300, &["hq"]), [0, 2, 6, 14, 30, 62, 122, 182, 242]);
}

#[test]
fn no_hour_sees_more_than_five_however_many_tables_share_the_host() {
    for pbxs in [&["a", "b"][..], &["a", "b", "c", "d", "e", "f", "g"]] {
        let tried = try_for(24 * 60, pbxs);
        assert!(tried.len() > 24, "still tries: {tried:?}");
        for (i, start) in tried.iter().enumerate() {
            let within = tried[i..].iter().filter(|at| **at < start + 60).count();
            assert!(within <= MAX_IN_WINDOW, "{within} in the hour from {start}: {tried:?}");
        }
    }
}

#[test]
fn another_host_is_not_concerned() {
    let known: Vec<_> = (0..5).map(|n| refused("h", "hq", START + n)).collect();
    assert_eq!(decide(&known, "other", "branch", START + 10), None);
    assert!(decide(&known, "h", "branch", START + 10).is_some());
}

#[tokio::test]
async fn a_success_forgives_and_a_broken_connection_does_not_count() {
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    lockout.begin("h", "hq").await.unwrap().ok().unwrap().refused().await.unwrap();
    assert!(lockout.blocked("h", "hq").is_some());
    assert!(lockout.blocked("h", "branch").is_none());
    lockout.attempts()[0].attempt.at_ms -= 3 * MINUTE;
    for _ in 0..10 {
        lockout.begin("h", "hq").await.unwrap().ok().unwrap().cleared().await.unwrap();
    }
    lockout.begin("h", "hq").await.unwrap().ok().unwrap().accepted().await.unwrap();
    assert_eq!(lockout.attempts().len(), 1);
    assert_eq!(lockout.attempts()[0].attempt.state, State::Forgiven);
    assert!(lockout.blocked("h", "hq").is_none());
}

#[tokio::test]
async fn three_logins_in_a_row_without_an_answer_count_as_a_refusal() {
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    let permit = async || lockout.begin("h", "hq").await.unwrap().ok().unwrap();
    for _ in 0..2 {
        assert!(!permit().await.unanswered().await.unwrap());
        assert!(!permit().await.unanswered().await.unwrap());
        assert!(lockout.blocked("h", "hq").is_none());
        permit().await.accepted().await.unwrap();
    }
    for counts in [false, false, true] {
        assert_eq!(permit().await.unanswered().await.unwrap(), counts);
    }
    assert!(lockout.blocked("h", "hq").is_some());
}

#[tokio::test]
async fn silence_on_a_network_that_cannot_even_connect_means_little() {
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    let permit = async || lockout.begin("h", "hq").await.unwrap().ok().unwrap();
    for _ in 0..2 {
        for _ in 1..UNANSWERED_AT_ALL {
            assert!(!permit().await.unanswered().await.unwrap());
            lockout.unreached("hq");
        }
        permit().await.accepted().await.unwrap();
    }
    for tried in 1..=UNANSWERED_AT_ALL {
        assert_eq!(permit().await.unanswered().await.unwrap(), tried == UNANSWERED_AT_ALL);
        lockout.unreached("hq");
    }
    assert!(lockout.blocked("h", "hq").is_some());
}

#[tokio::test]
async fn a_success_shows_that_silence_was_no_refusal() {
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    for _ in 0..2 * MAX_IN_WINDOW {
        for counts in [false, false, true] {
            let permit = lockout.begin("h", "hq").await.unwrap().ok().unwrap();
            assert_eq!(permit.unanswered().await.unwrap(), counts);
        }
        lockout.attempts()[0].attempt.at_ms -= 3 * MINUTE;
        lockout.begin("h", "hq").await.unwrap().ok().unwrap().accepted().await.unwrap();
        assert!(lockout.attempts().is_empty());
    }
}

#[tokio::test]
async fn logins_under_way_hold_their_places() {
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    let mut permits = Vec::new();
    for pbx in ["a", "b", "c", "d", "e"] {
        permits.push(lockout.begin("h", pbx).await.unwrap().ok().unwrap());
    }
    assert_eq!(lockout.begin("h", "f").await.unwrap().err(), Some(Wait::ForOthers));
    permits.pop().unwrap().accepted().await.unwrap();
    assert!(lockout.begin("h", "f").await.unwrap().is_ok());
}
