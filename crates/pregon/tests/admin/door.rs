//! Who may see it.

use pregon_testkit::{Node, SseClient, eventually, http};

use super::{TOKEN, bearer, node_with};
use crate::support::{PLAIN, SOON, node, options};

async fn status(node: &Node, headers: &[(&str, &str)]) -> u16 {
    let url = node.url("/admin/api/overview");
    http::request("GET", &url, headers, b"").await.unwrap().status()
}

#[tokio::test]
async fn it_is_off_without_a_token() {
    let node = node(PLAIN).await;
    for path in ["/admin", "/admin/", "/admin/app.js", "/admin/api/overview"] {
        assert_eq!(http::get(&node.url(path)).await.unwrap().status(), 404, "{path}");
    }
    assert_eq!(status(&node, &[("authorization", "Bearer ")]).await, 404);
}

#[tokio::test]
async fn a_token_that_could_be_guessed_is_refused_at_the_start() {
    let short = options(&format!("{PLAIN}[admin]\ntoken = \"corto\"\n"));
    let error = format!("{:#}", Node::spawn(short).await.err().unwrap());
    assert!(
        error.contains("admin.token") && error.contains("16 characters"),
        "{error}"
    );
    let short = options(PLAIN).env("PREGON_ADMIN_TOKEN", "corto");
    let error = format!("{:#}", Node::spawn(short).await.err().unwrap());
    assert!(error.contains("PREGON_ADMIN_TOKEN"), "{error}");
}

/// The page is for everybody, what it shows is not.
#[tokio::test]
async fn the_page_says_what_it_may_load_and_holds_no_secret() {
    let node = node_with("").await;
    let page = http::get(&node.url("/admin/")).await.unwrap();
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.header("set-cookie").is_none());
    for (path, kind) in [
        ("app.js", "text/javascript"),
        ("app.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let file = http::get(&node.url(&format!("/admin/{path}"))).await.unwrap();
        assert!(
            file.status() == 200 && file.header("content-type").unwrap().starts_with(kind),
            "{path}"
        );
        assert!(page.body.contains(&format!("/admin/{path}")) && !file.body.contains(TOKEN));
    }
    assert_eq!(
        http::get(&node.url("/admin")).await.unwrap().header("location"),
        Some("/admin/")
    );
    assert_eq!(
        http::get(&node.url("/admin/api/overview"))
            .await
            .unwrap()
            .status(),
        401
    );
}

#[tokio::test]
async fn pages_of_other_origins_and_guesses_get_nothing() {
    let node = node_with("").await;
    let (name, right) = bearer();
    let own = format!("http://{}", node.address());
    assert_eq!(status(&node, &[(name, &right)]).await, 200);
    assert_eq!(status(&node, &[(name, &right), ("origin", &own)]).await, 200);
    // Even one that may read what clients read.
    assert_eq!(
        status(&node, &[(name, &right), ("origin", "https://app.example")]).await,
        403
    );
    for _ in 0..10 {
        assert_eq!(status(&node, &[(name, "Bearer adivinanza-numero-1")]).await, 401);
    }
    assert_eq!(
        status(&node, &[(name, &right)]).await,
        429,
        "whoever guesses waits"
    );
    assert_eq!(http::get(&node.url("/healthz")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn streams_are_few_and_their_places_come_back() {
    let node = node_with("").await;
    let (name, right) = bearer();
    let url = node.url("/admin/api/stream");
    let open = || async { SseClient::connect(&url, &[(name, &right)]).await.unwrap() };
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = open().await;
        stream.next_event(SOON).await.unwrap();
        streams.push(stream);
    }
    assert_eq!(open().await.status(), 429);
    drop(streams.pop());
    let again = || async {
        let status = open().await.status();
        if status == 200 { Ok(()) } else { Err(status) }
    };
    eventually(SOON, again).await.unwrap();
}
