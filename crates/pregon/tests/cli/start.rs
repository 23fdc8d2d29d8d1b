//! `pregon serve` whose triggers are not installed yet: it waits for PostgreSQL, and for nothing else.

use pregon_testkit::{Database, Node, Proxy, WsClient, http, postgres};

use super::{file, run};
use crate::support::{RECOVERY, SOON, options};

const WATCHED: &str = "[postgres]\napply = \"auto\"\n[[watch]]\ntable = \"ventas\"\n[[route]]\nfrom = \"ventas\"\n\
    to = [\"ventas\"]\n[[endpoint]]\npath = \"/bare\"\nchannels = [\"ventas\"]\n";
const TABLE: &str = "CREATE TABLE ventas (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, producto text)";

/// A node whose PostgreSQL cannot be reached yet, and the way there.
async fn waiting(database: &Database<'_>) -> (Proxy, Node) {
    let proxy = Proxy::start(database.server().address()).await.unwrap();
    proxy.refuse(true).await;
    let url = database
        .server()
        .url_at(proxy.port(), "postgres:hunter2", database.name());
    let node = Node::spawn(options(WATCHED).env("DATABASE_URL", url).not_ready())
        .await
        .unwrap();
    (proxy, node)
}

#[tokio::test]
async fn a_watch_waits_for_postgres_with_its_port_open() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let (proxy, mut node) = waiting(&database).await;
    let ready = http::get(&node.url("/readyz")).await.unwrap();
    assert_eq!(
        (ready.status(), ready.body.as_str()),
        (503, "not ready: postgres\n")
    );
    assert_eq!(http::get(&node.url("/healthz")).await.unwrap().status(), 200);
    assert_eq!(http::get(&node.url("/ws")).await.unwrap().status(), 503);
    proxy.restore().await;
    node.wait_ready(RECOVERY).await.unwrap();
    let log = node.log();
    assert_eq!(log.matches("waiting for postgres").count(), 1, "{log}");
    assert!(
        log.contains(&format!("127.0.0.1:{}/{}", proxy.port(), database.name())),
        "{log}"
    );
    assert!(!log.contains("hunter2"), "{log}");
    assert_eq!(log.matches("listening on http").count(), 1, "{log}");
    let mut client = WsClient::connect(&node.ws_url("/bare"), &[]).await.unwrap();
    database
        .execute("INSERT INTO ventas (producto) VALUES ('pan')")
        .await
        .unwrap();
    assert!(client.next_text(SOON).await.unwrap().contains("pan"));
}

#[tokio::test]
async fn sigterm_ends_the_waiting_with_zero() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let (_proxy, mut node) = waiting(&database).await;
    let status = node.sigterm().await.unwrap().unwrap();
    assert!(status.success(), "{}", node.log());
}

#[tokio::test]
async fn what_waiting_does_not_mend_ends_it_and_names_the_database() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let server = database.server();
    let serve = |text: &str, url: &str| {
        let env = [("DATABASE_URL", url), ("PREGON_LISTEN", "127.0.0.1:0")];
        run(&["serve", "--config", file(text).to_str().unwrap()], &env)
    };
    let manual = WATCHED.replace("\"auto\"", "\"manual\"");
    for (text, url, place, why) in [
        (WATCHED, server.url_for("postgres", "nada"), "nada", "3D000"),
        (
            WATCHED,
            server.url_for("nadie", database.name()),
            database.name(),
            "nadie",
        ),
        (&manual, database.url(), database.name(), "pregon db plan"),
    ] {
        let ran = serve(text, &url);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        let place = format!("@{}/{place}", server.address());
        assert!(ran.err.contains(&place) && ran.err.contains(why), "{ran:?}");
    }
}
