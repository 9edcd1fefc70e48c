//! What goes wrong with REST on request, as a plain client sees it.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::json;

use super::client::{Client, LIMIT, start};
use super::rest_client::{Rest, password_grant, sign_in};
use crate::simulator::{Faults, Options, RestFaults, Simulator, TokenForm};

async fn bench(calls: u64) -> (Simulator, Rest) {
    let simulator = start(Options::default()).await;
    simulator.remember_calls(calls, -600, 0);
    let rest = Rest::logged_in(&simulator).await;
    (simulator, rest)
}

fn set(simulator: &Simulator, change: impl FnOnce(&mut RestFaults)) {
    simulator.set_faults(|faults| change(&mut faults.rest));
}

#[tokio::test]
async fn paths_of_newer_releases_can_be_missing() {
    let (simulator, rest) = bench(3).await;
    let id = rest.items("/cdrs", &[]).await[0]["id"].as_str().unwrap().to_string();
    let details = format!("/cdrs/{id}");
    assert_eq!(rest.get(&details, &[]).await.0, 200);
    set(&simulator, |rest| (rest.no_calllogs, rest.no_cdr_details) = (true, true));
    assert_eq!(rest.get("/calllogs", &[]).await.0, 404);
    assert_eq!(rest.get(&details, &[]).await.0, 404);
    assert_eq!(rest.items("/cdrs", &[]).await.len(), 3);
    assert_eq!(simulator.rest_count("/cdrs/{id}"), 2);
    simulator.shutdown().await;
}

#[tokio::test]
async fn either_form_of_login_can_be_missing_with_404_or_405() {
    let (simulator, rest) = bench(0).await;
    for status in [404, 405] {
        set(&simulator, |rest| rest.no_token_form = Some((TokenForm::OAuth, status)));
        assert_eq!(rest.oauth(&password_grant("cdr")).await.0, status);
        assert_eq!(rest.post("/auth/sign_in", sign_in("cdr")).await.0, 200);
        set(&simulator, |rest| rest.no_token_form = Some((TokenForm::SignIn, status)));
        assert_eq!(rest.oauth(&password_grant("cdr")).await.0, 200);
        assert_eq!(rest.post("/auth/sign_in", sign_in("cdr")).await.0, status);
    }
    simulator.shutdown().await;
}

#[tokio::test]
async fn query_options_can_be_ignored() {
    let (simulator, rest) = bench(50).await;
    let rising = ("orderby", "started_at asc");
    let all = rest.items("/calllogs", &[rising]).await;
    let never = ("filter", "started_at lt '2000-01-01T00:00:00Z'");
    assert!(rest.items("/calllogs", &[never]).await.is_empty());
    set(&simulator, |rest| rest.ignore_filter = true);
    assert_eq!(rest.items("/calllogs", &[never, rising]).await, all);
    set(&simulator, |rest| rest.ignore_orderby = true);
    let unordered = rest.items("/calllogs", &[rising]).await;
    assert!(unordered.iter().eq(all.iter().rev()));
    set(&simulator, |rest| rest.ignore_orderby = false);
    set(&simulator, |rest| rest.page_cap = Some(7));
    for top in ["3", "30"] {
        assert_eq!(rest.items("/calllogs", &[rising, ("top", top)]).await, all[..7]);
    }
    set(&simulator, |rest| rest.page_cap = None);
    set(&simulator, |rest| rest.one_based_skip = true);
    for (skip, first) in [("0", 0), ("1", 0), ("2", 1), ("11", 10)] {
        assert_eq!(rest.items("/calllogs", &[rising, ("skip", skip)]).await, all[first..]);
    }
    simulator.shutdown().await;
}

#[tokio::test]
async fn so_many_requests_are_turned_away() {
    let (simulator, rest) = bench(1).await;
    set(&simulator, |rest| (rest.too_many, rest.unavailable) = (Some((2, 17)), 1));
    for _ in 0..2 {
        let response = rest.send("/calllogs", &[]).await.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "17");
    }
    assert_eq!(rest.get("/calllogs", &[]).await.0, 503);
    assert_eq!(rest.get("/calllogs", &[]).await.0, 200);
    let requests = simulator.rest_requests();
    let statuses: Vec<_> = requests.iter().skip(1).map(|request| request.status).collect();
    assert_eq!(statuses, [429, 429, 503, 200]);
    simulator.shutdown().await;
}

#[tokio::test]
async fn tokens_can_become_worthless_in_mid_page() {
    let (simulator, mut rest) = bench(1).await;
    set(&simulator, |rest| rest.revoke_after = Some(2));
    for expected in [200, 200, 401, 401] {
        assert_eq!(rest.get("/calllogs", &[]).await.0, expected);
    }
    rest.log_in("cdr").await;
    for _ in 0..4 {
        assert_eq!(rest.get("/calllogs", &[]).await.0, 200);
    }
    simulator.shutdown().await;
}

#[tokio::test]
async fn logins_can_be_refused_or_asked_for_a_second_factor() {
    let (simulator, rest) = bench(0).await;
    set(&simulator, |rest| rest.refuse_logins = Some((2, "Locked.".into())));
    for _ in 0..2 {
        let (status, body) = rest.oauth(&password_grant("cdr")).await;
        assert_eq!((status, &body["errors"][0]["message"]), (400, &json!("Locked.")));
    }
    assert_eq!(rest.oauth(&password_grant("cdr")).await.0, 200);
    set(&simulator, |rest| rest.two_factor = true);
    let (status, body) = rest.oauth(&password_grant("cdr")).await;
    assert_eq!((status, &body["two_factor_enabled"]), (200, &json!(true)));
    set(&simulator, |rest| rest.two_factor = false);
    set(&simulator, |rest| rest.password_force_reset = true);
    assert_eq!(rest.get("/calllogs", &[]).await.0, 403);
    let refused: Vec<_> = simulator.rest_logins().into_iter().filter_map(|l| l.refused).collect();
    assert_eq!(refused, ["Locked.", "Locked."]);
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_wrong_clock_is_wrong_in_every_time_that_the_pbx_names() {
    for off in [-180, 180] {
        let faults = Faults { clock_off: off, ..Faults::default() };
        let simulator = start(Options { faults, ..Options::default() }).await;
        let mut client = Client::subscribed(&simulator).await;
        let (_, events) = tokio::join!(simulator.push_calls(1), client.until_records(1));
        let ended: i64 = events.last().unwrap()["ended_time"].as_str().unwrap().parse().unwrap();
        let rest = Rest::logged_in(&simulator).await;
        let response = rest.send("/calllogs", &[]).await.unwrap();
        let date = response.headers()["date"].to_str().unwrap().to_string();
        let date = jiff::fmt::rfc2822::parse(&date).unwrap().timestamp().as_second();
        let body: serde_json::Value =
            serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let shown = body["items"][0]["ended_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
        assert_eq!(shown.as_second(), ended);
        let now = Timestamp::try_from(SystemTime::now()).unwrap().as_second();
        // What a busy machine may take, either way far from three minutes.
        assert!((date - now - off).abs() <= 60, "{date} {now}");
        assert!((ended - now - off).abs() <= 60, "{ended} {now}");
        drop(client);
        simulator.shutdown().await;
    }
}

#[tokio::test]
async fn rows_can_appear_late() {
    let (simulator, rest) = bench(2).await;
    set(&simulator, |rest| rest.late = Duration::from_secs(3600));
    let new = simulator.push_calls(1).await;
    assert_eq!(rest.sessions(&[]).await.len(), 2, "what is older is there");
    set(&simulator, |rest| rest.late = Duration::ZERO);
    assert!(rest.sessions(&[]).await.contains(&new[0]));
    simulator.shutdown().await;
}

#[tokio::test]
async fn answers_can_be_slow() {
    let (simulator, rest) = bench(0).await;
    set(&simulator, |rest| rest.slow = Duration::from_millis(80));
    let begun = std::time::Instant::now();
    assert_eq!(rest.get("/calllogs", &[]).await.0, 200);
    assert!(begun.elapsed() >= Duration::from_millis(80));
    simulator.shutdown().await;
}

#[tokio::test]
async fn an_answer_can_be_no_json_and_break_off_and_have_no_end() {
    let (simulator, rest) = bench(30).await;
    set(&simulator, |rest| (rest.not_json, rest.reset_in_body, rest.endless) = (1, 1, 1));
    let text = rest.send("/calllogs", &[]).await.unwrap().text().await.unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
    let mut endless = rest.send("/calllogs", &[]).await.unwrap();
    let mut read = 0;
    while read < 20_000_000 {
        read += endless.chunk().await.unwrap().expect("more to come").len();
    }
    drop(endless);
    let mut broken = rest.send("/calllogs", &[]).await.unwrap();
    let mut read = 0;
    let error = loop {
        match broken.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) => panic!("it ended well"),
            Err(error) => break error,
        }
    };
    assert!(read > 0 && format!("{error:?}").contains("ConnectionReset"), "{error:?}");
    assert_eq!(rest.items("/calllogs", &[]).await.len(), 30);
    simulator.shutdown().await;
}

#[tokio::test]
async fn connections_can_be_cut_and_tokens_revoked_at_any_time() {
    let (simulator, rest) = bench(1).await;
    simulator.revoke_rest_tokens();
    assert_eq!(rest.get("/calllogs", &[]).await.0, 401);
    set(&simulator, |rest| rest.slow = LIMIT);
    let requests = async {
        let asked = simulator.rest_count("/calllogs");
        let cut = async {
            // The request is under way once a connection of it is served; cutting
            // again harms nobody.
            loop {
                simulator.cut_rest();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            response = rest.send("/calllogs", &[]) => assert!(response.is_err()),
            () = cut => {}
        }
        assert_eq!(simulator.rest_count("/calllogs"), asked);
    };
    requests.await;
    simulator.shutdown().await;
}
