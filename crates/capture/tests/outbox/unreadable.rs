//! One row never stops all: what cannot be sent in UTF-8 is a gap by itself, and what is long under way is waited for while it moves.

use std::time::Duration;

use pregon_capture::outbox::Item;
use pregon_testkit::Proxy;
use pregon_testkit::postgres::{Options, Server};
use tokio_postgres::Client;

use crate::kit::{ALL, Session, database, install, options, target, watch_of};

/// Ids of the rows that come and reasons of the gaps, until the row of an id.
async fn until(session: &mut Session, last: i64) -> (Vec<i64>, Vec<String>) {
    let (mut ids, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match session.next().await.1 {
            Item::Change(change) => {
                let row: serde_json::Value = serde_json::from_slice(&change.row.unwrap()).unwrap();
                ids.push(row["id"].as_i64().unwrap());
            }
            Item::RenderError { fault, .. } => gaps.push(fault.whole().to_owned()),
            Item::Missed { .. } => gaps.push("missed".to_owned()),
            other => panic!("{other:?}"),
        }
        if ids.last() == Some(&last) {
            return (ids, gaps);
        }
    }
}

async fn with_encoding(server: &Server, encoding: &str) -> (Client, String) {
    let name = encoding.to_lowercase();
    let create = format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
    server
        .admin("postgres")
        .await
        .unwrap()
        .batch_execute(&create)
        .await
        .unwrap();
    let admin = server.admin(&name).await.unwrap();
    admin
        .batch_execute("CREATE TABLE t (id int, a text)")
        .await
        .unwrap();
    install(&admin, &target(vec![watch_of("t", "t", &ALL)])).await;
    (admin, server.url_for("postgres", &name))
}

#[tokio::test]
async fn a_row_that_is_not_utf8_is_a_gap_by_itself() {
    let server = Server::start(Options::default()).await.unwrap();
    for encoding in ["SQL_ASCII", "WIN1252"] {
        let (writer, url) = with_encoding(&server, encoding).await;
        let bad = format!("convert_from('\\x81'::bytea, '{encoding}')");
        let mut session = Session::start(options(&url, &["t"]), None).await;
        // Many, of one statement, and of one transaction.
        writer
            .batch_execute(&format!(
                "INSERT INTO t SELECT g, CASE g WHEN 700 THEN {bad} ELSE 'x' END FROM generate_series(1, 1000) AS g;
                 INSERT INTO t VALUES (1001, 'x'), (1002, {bad}), (1003, {bad}), (1004, 'x')"
            ))
            .await
            .unwrap();
        let (ids, gaps) = until(&mut session, 1004).await;
        let good: Vec<i64> = (1..=1004).filter(|id| ![700, 1002, 1003].contains(id)).collect();
        assert_eq!(ids, good, "{encoding}");
        assert_eq!(gaps.len(), 3, "{gaps:?}");
        assert!(gaps.iter().all(|gap| gap.starts_with("22")), "{gaps:?}");
        // What is read last: of a transaction that others have overtaken.
        let late = format!("BEGIN; INSERT INTO t VALUES (1, {bad}), (2, 'x')");
        writer.batch_execute(&late).await.unwrap();
        let other = server.admin(&encoding.to_lowercase()).await.unwrap();
        other
            .batch_execute("INSERT INTO t VALUES (3, 'x')")
            .await
            .unwrap();
        // Until the reader waits for it.
        let early = tokio::time::timeout(Duration::from_millis(300), session.next()).await;
        assert!(early.is_err(), "{early:?}");
        writer.batch_execute("COMMIT").await.unwrap();
        let (ids, gaps) = until(&mut session, 3).await;
        assert_eq!((ids, gaps.len()), (vec![2, 3], 1), "{encoding}");
        // A publish, which may have been for any channel.
        writer
            .batch_execute(&format!(
                "SELECT pregon.publish('c', 'e', to_jsonb('x' || {bad})); INSERT INTO t VALUES (4, 'x')"
            ))
            .await
            .unwrap();
        assert_eq!(
            until(&mut session, 4).await,
            (vec![4], vec!["missed".to_owned()]),
            "{encoding}"
        );
        session.stop().await;
    }
}

/// Slower than any fixed patience, but it moves.
#[tokio::test]
async fn a_row_that_is_long_under_way_arrives() {
    let (database, writer) =
        database("CREATE TABLE t (id int, a text)", vec![watch_of("t", "t", &ALL)]).await;
    let proxy = Proxy::start(database.server().address()).await.unwrap();
    let direct = format!(":{}/", database.server().port());
    let url = database.url().replace(&direct, &format!(":{}/", proxy.port()));
    let mut session = Session::start(options(&url, &["t"]), None).await;
    proxy.slow(700_000);
    writer
        .batch_execute(
            "INSERT INTO t VALUES (1, 'x');
             INSERT INTO t SELECT 2, string_agg(md5(g::text), '') FROM generate_series(1, 270000) AS g;
             INSERT INTO t VALUES (3, 'x')",
        )
        .await
        .unwrap();
    let found = tokio::time::timeout(Duration::from_secs(50), async {
        let mut found = Vec::new();
        while found.len() < 3 {
            if let Ok((_, item)) = tokio::time::timeout(Duration::from_secs(15), session.next()).await {
                found.push(item);
            }
        }
        found
    });
    let sizes = found.await.unwrap().into_iter().map(|item| match item {
        Item::Change(change) => change.row.unwrap().len() / 1_000_000,
        other => panic!("{other:?}"),
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [0, 8, 0]);
}
