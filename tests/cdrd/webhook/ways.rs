//! WSI, webhook and REST: three ways, one event.

use std::sync::Arc;

use bytes::Bytes;
use cdrd::event::Origin;
use cdrd::event::decode::{Frame, decode};
use cdrd::rest::Call;
use reqwest::StatusCode;
use serde_json::json;

use super::{TOKEN, post, stored};
use crate::harness::{Bench, Running, parse, until};

/// A PBX that both pushes and posts.
fn both(bench: &Bench) -> String {
    format!(
        "{}[pbx.hq.webhook]\nlisten = \"127.0.0.1:0\"\npath = \"/portsip/hq\"\n{TOKEN}\n{}{}",
        bench.pbx_table(),
        bench.journal_table(),
        bench.raw_sink()
    )
}

#[tokio::test]
async fn what_is_pushed_and_posted_is_one_event_whichever_comes_first() {
    let bench = Bench::new().await;
    let daemon = Running::start(&parse(&both(&bench)));
    let url = format!("http://{}/portsip/hq", daemon.webhooks[0]);
    bench.subscribed().await;
    bench.push(10).await;
    let log = bench.pbx.log();
    let pushed: Vec<_> = log.iter().filter(|frame| frame.event_type.is_some()).collect();
    until("all are there", || async { bench.journalled() == pushed.len() }).await;
    for event in &pushed {
        assert_eq!(post(&url, event.bytes.to_vec()).await.status(), StatusCode::OK);
    }
    assert_eq!(bench.journalled(), pushed.len(), "live first");
    let cdr = r#"{"event_type":"call_cdr","session_id":"952690852418417594","call_id":"a@b","talk_duration":7}"#;
    assert_eq!(post(&url, cdr).await.status(), StatusCode::OK);
    let before = bench.journalled();
    assert_eq!(before, pushed.len() + 1);
    // The same call, spelled as another release would.
    let other = r#"{"event_type":"call_cdr","call_id":"a@b","session_id":952690852418417594,"talk_duration":"7"}"#;
    bench.pbx.push_raw(other).await;
    bench.pbx.settle().await.unwrap();
    bench.push(1).await;
    until("what came later is there", || async { bench.journalled() > before }).await;
    let events = stored(&bench.path("journal.db"));
    let of_call =
        events.iter().filter(|e| e.event.session_id.as_deref() == Some("952690852418417594"));
    assert_eq!(of_call.map(|e| e.event.origin).collect::<Vec<_>>(), [Origin::Webhook]);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn the_three_forms_of_a_call_are_one_event_in_every_order() {
    let item = Bytes::from(
        json!({ "id": "7", "session_id": "952690852418417594", "call_id": "a@b", "caller": "101",
            "started_at": "2026-08-06T07:00:00.25Z", "ended_at": "2026-08-06T07:01:00Z",
            "direction": "INBOUND_CALL" })
        .to_string(),
    );
    let cdr = json!({ "event_type": "call_cdr", "session_id": "952690852418417594", "call_id": "a@b",
        "caller": "101", "start_time": "1785999600", "direction": "in", "call_targets": [] });
    let pbx: Arc<str> = Arc::from("hq");
    let event = |origin| {
        if origin == Origin::Backfill {
            return Call::read(item.clone()).unwrap().event(&pbx, 9).unwrap();
        }
        match decode(&pbx, origin, 5, Bytes::from(cdr.to_string())) {
            Ok(Frame::Event(event)) => event,
            other => panic!("{other:?}"),
        }
    };
    use Origin::{Backfill, Live, Webhook};
    for order in [
        [Live, Webhook, Backfill],
        [Live, Backfill, Webhook],
        [Webhook, Live, Backfill],
        [Webhook, Backfill, Live],
        [Backfill, Live, Webhook],
        [Backfill, Webhook, Live],
    ] {
        let bench = Bench::new().await;
        let daemon = Running::start(&parse(&both(&bench)));
        for origin in order.into_iter().chain(order) {
            daemon.journal.intake().events_durably(vec![event(origin)]).await.unwrap();
        }
        let events = stored(&bench.path("journal.db"));
        assert_eq!(events.len(), 1, "{order:?}");
        assert_eq!(events[0].event.origin, order[0]);
        daemon.stop().await.unwrap();
    }
}
