//! Who is let in, and who is kept out.

use super::{ADMIN, ask, daemon, get};
use crate::harness::Bench;

#[tokio::test]
async fn other_sites_and_foreign_names_are_kept_out() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    let port = address.port();
    let own = [format!("Host: localhost:{port}"), format!("Host: 127.0.0.1:{port}")];
    for host in &own {
        assert_eq!(ask(address, "GET /status", &[host]).await.code, 200, "{host}");
    }
    let foreign = format!("Host: evil.example:{port}");
    for host in [foreign.as_str(), "Host: 127.0.0.1.evil.example", "Host:"] {
        let answer = ask(address, "GET /status", &[host]).await;
        assert!(matches!(answer.code, 400 | 421), "{host}: {answer:?}");
        assert!(!answer.body.contains("hq"), "{answer:?}");
    }
    for line in ["Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Origin: null"] {
        let answer = ask(address, "GET /status", &[line]).await;
        assert_eq!(answer.code, 403, "{line}");
    }
    let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
    assert_eq!(ask(address, "GET /", &link).await.code, 200);
    let same = ["Sec-Fetch-Site: same-origin".to_owned(), format!("Origin: http://{address}")];
    assert_eq!(ask(address, "GET /status", &[&same[0], &same[1]]).await.code, 200);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn only_get_is_answered_and_nobody_may_frame_or_keep_it() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    for method in ["POST", "DELETE", "PUT", "OPTIONS"] {
        let answer = ask(address, &format!("{method} /status"), &["Content-Length: 0"]).await;
        assert_eq!(answer.code, 405, "{method}");
    }
    assert_eq!(get(address, "/nothing").await.code, 404);
    for path in ["/", "/status", "/metrics", "/nothing"] {
        let head = get(address, path).await.head;
        for wanted in ["frame-ancestors 'none'", "nosniff", "no-store", "no-referrer"] {
            assert!(head.contains(wanted), "{path}: {head}");
        }
        assert!(!head.contains("access-control-allow"), "{head}");
    }
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn with_a_token_whoever_knows_it_may_ask_by_any_name() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, &format!("{ADMIN}token = \"open sesame\"\n")).await;
    // base64 of "anybody:open sesame" and of "anybody:wrong".
    let basic = "Authorization: Basic YW55Ym9keTpvcGVuIHNlc2FtZQ==";
    let wrong = "Authorization: Basic YW55Ym9keTp3cm9uZw==";
    for headers in [&["Authorization: Bearer open sesame", "Host: cdrd.example.com"][..], &[basic]]
    {
        assert_eq!(ask(address, "GET /status", headers).await.code, 200, "{headers:?}");
    }
    for line in [wrong, "Authorization: Bearer open", "Authorization: Basic ***", "X-Nothing: 1"] {
        for path in ["/", "/status", "/metrics", "/readyz", "/events"] {
            let answer = ask(address, &format!("GET {path}"), &[line]).await;
            assert_eq!(answer.code, 401, "{line} {path}");
            assert!(answer.head.contains("www-authenticate: basic"), "{answer:?}");
        }
    }
    assert_eq!(get(address, "/healthz").await.code, 200);
    daemon.stop().await.unwrap();
}
