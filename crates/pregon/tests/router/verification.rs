//! Who may deliver, and what is answered.

use pregon_testkit::{http, postgres};

use super::{APP_SECRET, VERIFY, ask, becomes, finished, post, sign, start, text};
use crate::support::metric;

#[tokio::test]
async fn a_subscription_is_confirmed_with_the_right_token_only() {
    let (_database, router) = start(postgres::shared().await).await;
    let url = |mode: &str, token: &str| {
        router.url(&format!(
            "/webhook?hub.mode={mode}&hub.challenge=11%3Cb%3E5&hub.verify_token={token}"
        ))
    };
    let good = http::get(&url("subscribe", VERIFY)).await.unwrap();
    assert_eq!((good.status(), good.body.as_str()), (200, "11<b>5"));
    assert!(good.header("content-type").unwrap().starts_with("text/plain"));
    for wrong in [
        url("subscribe", "otro"),
        url("subscribe", ""),
        url("unsubscribe", VERIFY),
        router.url("/webhook"),
    ] {
        assert_eq!(http::get(&wrong).await.unwrap().status(), 403, "{wrong}");
    }
}

#[tokio::test]
async fn only_signed_deliveries_are_taken() {
    let (database, router) = start(postgres::shared().await).await;
    let body = text("1", "wamid.1", "hola \u{1F600}")
        .to_string()
        .replace('\u{1F600}', "\\ud83d\\ude00");
    let good = sign(APP_SECRET, body.as_bytes());
    let url = router.url("/webhook");
    for headers in [
        vec![],
        vec![("x-hub-signature-256", sign("otro", body.as_bytes()))],
        vec![("x-hub-signature-256", good.replace("sha256", "sha1"))],
        vec![("x-hub-signature-256", "sha256=".to_owned())],
        vec![("x-hub-signature", good.clone())],
    ] {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = http::request("POST", &url, &headers, body.as_bytes())
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{headers:?}");
    }
    metric(
        &router,
        "pregon_router_requests_total{answer=\"bad_signature\"}",
        |n| n == 5.0,
    )
    .await
    .unwrap();
    assert_eq!(
        ask(&database, "SELECT count(*) FROM pregon_router.inbox").await,
        "0"
    );
    for secret in [APP_SECRET, "uno-viejo"] {
        let signature = sign(secret, body.as_bytes());
        let answer = http::request(
            "POST",
            &url,
            &[("x-hub-signature-256", &signature)],
            body.as_bytes(),
        )
        .await
        .unwrap();
        assert_eq!(
            (answer.status(), answer.body.as_str()),
            (200, r#"{"success":true}"#)
        );
    }
    finished(&database).await;
    assert_eq!(
        ask(&database, "SELECT string_agg(mensaje, '|') FROM mensajes").await,
        "hola \u{1F600}"
    );
}

#[tokio::test]
async fn a_body_may_have_four_mebibytes_and_no_more() {
    let (database, router) = start(postgres::shared().await).await;
    let mut body = text("1", "wamid.1", "grande").to_string();
    body.push_str(&" ".repeat((4 << 20) - body.len()));
    assert_eq!(post(&router, body.as_bytes()).await.unwrap().status(), 200);
    body.push(' ');
    assert_eq!(post(&router, body.as_bytes()).await.unwrap().status(), 413);
    body.push_str(&" ".repeat(2 << 20));
    assert_eq!(post(&router, body.as_bytes()).await.unwrap().status(), 413);
    becomes(&database, "SELECT count(*) FROM mensajes", "1").await;
}

#[tokio::test]
async fn a_verified_body_is_kept_whatever_it_holds() {
    let (database, router) = start(postgres::shared().await).await;
    let odd: [&[u8]; 6] = [
        b"",
        b"no json",
        b"\xff\xfe",
        br#"{"entry":[{"changes":[{"field":"messages","value":{"messages":[{"id":"w","from":"1","type":"text","text":{"body":"a\u0000b\ud800"}}]}}]}]}"#,
        br#"{"entry":[{"id":"W","changes":[{"field":"account_update","value":{"event":"BAN"}}]}]}"#,
        br#"{"entry":[{"changes":[{"value":{"messages":[7,{"type":"x"}],"statuses":[null]}}]}]}"#,
    ];
    for body in odd {
        let answer = post(&router, body).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(body));
    }
    finished(&database).await;
    assert_eq!(
        ask(&database, "SELECT count(*) FROM pregon_router.inbox").await,
        "6"
    );
    assert_eq!(
        ask(&database, "SELECT mensaje FROM mensajes").await,
        "a\u{fffd}b\u{fffd}"
    );
    assert_eq!(
        ask(&database, "SELECT count(*) FROM pregon_router.dead_letter").await,
        "3"
    );
    assert_eq!(
        ask(&database, "SELECT count(*) FROM pregon_router.event").await,
        "4"
    );
    let bytes = "SELECT encode(body, 'hex') FROM pregon_router.inbox ORDER BY id OFFSET 2 LIMIT 1";
    assert_eq!(ask(&database, bytes).await, "fffe");
}

#[tokio::test]
async fn without_a_secret_it_does_not_start() {
    let config = "[postgres]\nurl = \"postgres://127.0.0.1:1/x\"\n[router]\n";
    let options = pregon_testkit::NodeOptions::text(config)
        .binary(crate::support::binary())
        .command("router");
    let failed = pregon_testkit::Node::spawn(options).await.unwrap_err();
    assert!(
        format!("{failed:#}").contains("WHATSAPP_APP_SECRET"),
        "{failed:#}"
    );
}
