//! No log tells values of rows and claims: each path on which PostgreSQL or an expression quotes one while it fails. Every node of the
//! whole suite is searched for [`PLANTED`] when it ends; these tests lead it there.

use pregon_testkit::{Database, Node, PLANTED, WsClient, eventually, http, postgres, process};
use serde_json::json;

use crate::support::{Running, SOON, connect, metric, node_on};

const TABLE: &str = "CREATE TABLE pedidos (id int PRIMARY KEY, nota text)";
const CAPTURES: [&str; 3] = ["notify", "outbox", "wal"];

fn config(capture: &str, more: &str) -> String {
    format!(
        "[postgres]\napply = \"auto\"\ncapture = \"{capture}\"\nheartbeat = \"200ms\"\n[auth]\nsecret = \"una-clave-solo-para-las-pruebas\"\n\
         [[channel]]\nname = \"pedidos\"\n[[watch]]\ntable = \"pedidos\"\n{more}"
    )
}

async fn shop(capture: &str, more: &str) -> (Database<'static>, Node, WsClient) {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = node_on(&database, &config(capture, more)).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("pedidos").await.unwrap();
    (database, node, client)
}

async fn insert(database: &Database<'_>) {
    let sql = format!("INSERT INTO pedidos VALUES (1, '{PLANTED}')");
    database.execute(&sql).await.unwrap();
}

/// Its log has a line with all of these words and no planted value, which `/readyz` does not tell either.
async fn tells(node: &Node, words: &[&str]) {
    let found = eventually(SOON, || async {
        let lines = node.lines();
        let line = lines
            .iter()
            .find(|line| words.iter().all(|word| line.contains(word)));
        line.map(drop).ok_or_else(|| node.log())
    });
    found.await.unwrap_or_else(|error| panic!("{words:?}: {error:#}"));
    let ready = http::get(&node.url("/readyz")).await.unwrap().body;
    assert!(!ready.contains(PLANTED), "{ready}");
}

#[tokio::test]
async fn a_condition_that_fails_is_told_by_its_code() {
    for capture in CAPTURES {
        let (database, node, mut client) = shop(capture, "where = \"nota::int > 0\"\n").await;
        insert(&database).await;
        client.next_of_type("gap", SOON).await.unwrap();
        tells(&node, &["pedidos", "22P02"]).await;
        let many = format!("INSERT INTO pedidos SELECT n, '{PLANTED}' FROM generate_series(2, 300) n");
        database.execute(&many).await.unwrap();
        client.next_of_type("gap", SOON).await.unwrap();
        let dropped = "pregon_drops_total{reason=\"render\"}";
        metric(&node, dropped, |drops| drops >= 2.0).await.unwrap();
    }
}

/// A function of the application may raise whatever it likes, under any code.
#[tokio::test]
async fn what_a_function_of_a_condition_raises_is_told_by_its_code() {
    for capture in CAPTURES {
        let database = Database::create(postgres::shared().await).await.unwrap();
        database.execute(TABLE).await.unwrap();
        database
            .execute(
                "CREATE FUNCTION fits(nota text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
                 BEGIN RAISE 'column \"%\" does not exist', nota USING ERRCODE = 'undefined_column'; END $$",
            )
            .await
            .unwrap();
        let node = node_on(&database, &config(capture, "where = \"public.fits(nota)\"\n")).await;
        insert(&database).await;
        tells(&node, &["pedidos", "42703"]).await;
    }
}

/// A publication that somebody narrowed evaluates its condition in the server that streams.
#[tokio::test]
async fn what_ends_the_stream_of_the_wal_is_told_by_its_code() {
    let (database, node, _client) = shop("wal", "").await;
    let client = database.client().await.unwrap();
    let version = "SELECT current_setting('server_version_num')::int";
    let version: i32 = client.query_one(version, &[]).await.unwrap().get(0);
    if version < 150_000 {
        return; // Publications have no conditions there.
    }
    let narrow = "SELECT format('ALTER PUBLICATION %I SET TABLE pedidos WHERE (parse_ident(nota) IS NOT NULL)', pubname) FROM pg_publication";
    let narrow: String = client.query_one(narrow, &[]).await.unwrap().get(0);
    let row = format!("{narrow}; INSERT INTO pedidos VALUES (1, '{PLANTED}')");
    client.batch_execute(&row).await.unwrap();
    tells(&node, &["write-ahead log is not read", "22023"]).await;
}

#[tokio::test]
async fn a_route_that_fails_is_told_without_the_row() {
    let routes = "[[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\nwhen = \"row.nota > 5\"\n\
        [[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\nwhen = \"row.nota\"\n\
        [[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\npayload = { x = \"row.nota + 1\" }\n\
        [[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\nwhen = \"int(row.nota) > 5\"\n\
        [[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\nwhen = \"double(row.nota) > 5.0\"\n\
        [[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\nwhen = \"row[row.nota] == 1\"\n";
    let (database, node, _client) = shop("outbox", routes).await;
    insert(&database).await;
    for route in 0..6 {
        let route = format!("route[{route}]");
        tells(&node, &["could not be applied", &route]).await;
    }
}

#[tokio::test]
async fn queries_of_rights_and_enrichments_are_told_by_their_code() {
    let more = "[[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\nenrich = { sql = \"SELECT :nota::int AS numero\" }\n\
        [[channel]]\nname = \"sala_{id}\"\nallow_sql = \"SELECT public.may(:claims.planted)\"\n";
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    database
        .execute(
            "CREATE FUNCTION may(who text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'no %', who; END $$",
        )
        .await
        .unwrap();
    let node = node_on(&database, &config("outbox", more)).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    let ask = json!({"type": "subscribe", "channel": "sala_7"});
    assert_eq!(client.request(ask).await.unwrap()["type"], "error");
    tells(&node, &["a rights query failed", "sala_{id}", "P0001"]).await;
    insert(&database).await;
    tells(&node, &["an enrichment query failed", "route[0]", "22P02"]).await;
}

/// At the first start as well as later, when it is tried again.
#[tokio::test]
async fn a_catch_up_query_is_told_by_its_code() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let state = process::scratch("catch-up", None).unwrap().join("estado.json");
    let sql = "SELECT id, nota FROM pedidos WHERE id > :last AND nota::int > 0";
    let url = database.url();
    let mut arguments = vec!["listen", "--dsn", &url, "--json", "canal", "--catch-up", sql];
    arguments.extend(["--key", "id", "--state", state.to_str().unwrap()]);
    let running = Running::start(&arguments);
    eventually(SOON, async || state.exists()).await.unwrap();
    insert(&database).await;
    database
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .await
        .unwrap();
    let told = async || {
        let errors = running.errors();
        errors.contains("cannot catch up") && errors.contains("22P02")
    };
    eventually(SOON, told)
        .await
        .unwrap_or_else(|_| panic!("{}", running.errors()));
    let mut again = Running::start(&arguments);
    assert!(!again.ended().await.success(), "{}", again.errors());
    assert!(again.errors().contains("22P02"), "{}", again.errors());
}
