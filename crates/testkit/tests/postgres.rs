//! The PostgreSQL starter, with real servers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use pregon_testkit::{
    Database, Server, eventually,
    postgres::{Auth, Options, Tls, connect, shared},
    process,
};

async fn number(client: &tokio_postgres::Client, sql: &str) -> i32 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn each_test_gets_a_database_of_its_own() {
    let one = Database::create(shared().await).await.unwrap();
    let two = Database::create(shared().await).await.unwrap();
    one.execute("CREATE TABLE here (id int); INSERT INTO here VALUES (7)")
        .await
        .unwrap();
    assert_eq!(
        number(&one.client().await.unwrap(), "SELECT id FROM here").await,
        7
    );
    assert!(two.execute("SELECT id FROM here").await.is_err());
}

#[tokio::test]
async fn a_dropped_database_disappears_even_while_used() {
    let server = shared().await;
    let database = Database::create(server).await.unwrap();
    let _still_connected = database.client().await.unwrap();
    let sql = format!(
        "SELECT count(*)::int FROM pg_database WHERE datname = '{}'",
        database.name()
    );
    drop(database);
    let admin = server.admin("postgres").await.unwrap();
    eventually(Duration::from_secs(20), || async {
        number(&admin, &sql).await == 0
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn wal_level_is_logical_and_a_role_may_only_log_in() {
    let database = Database::create(shared().await).await.unwrap();
    database.execute("CREATE TABLE secret (id int)").await.unwrap();
    let role = database.create_role("reader").await.unwrap();
    let client = database.client_as(&role).await.unwrap();
    let level: String = client.query_one("SHOW wal_level", &[]).await.unwrap().get(0);
    assert_eq!(level, "logical");
    assert!(client.query("SELECT * FROM secret", &[]).await.is_err());
}

#[tokio::test]
async fn a_killed_server_restarts_on_the_same_port_with_committed_rows() {
    let mut server = Server::start(Options::default()).await.unwrap();
    let url = server.superuser_url();
    let client = connect(&url).await.unwrap();
    client
        .batch_execute("CREATE TABLE kept AS SELECT 5 AS id")
        .await
        .unwrap();
    server.kill9().await.unwrap();
    assert!(client.query("SELECT 1", &[]).await.is_err());
    assert!(connect(&url).await.is_err());
    server.restart().await.unwrap();
    assert_eq!(
        number(&connect(&url).await.unwrap(), "SELECT id FROM kept").await,
        5
    );
    server.restart().await.unwrap();
    assert_eq!(
        number(&connect(&url).await.unwrap(), "SELECT id FROM kept").await,
        5
    );
}

#[tokio::test]
async fn a_frozen_server_answers_nothing_until_thawed() {
    let mut server = Server::start(Options::default()).await.unwrap();
    let client = server.admin("postgres").await.unwrap();
    assert_eq!(number(&client, "SELECT 1").await, 1);
    server.freeze();
    let silent = tokio::time::timeout(Duration::from_millis(100), number(&client, "SELECT 1")).await;
    assert!(silent.is_err());
    server.thaw();
    assert_eq!(number(&client, "SELECT 2").await, 2);
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_folder() {
    let server = Server::start(Options::default()).await.unwrap();
    let folder = server.socket_dir().to_owned();
    let pid = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    let pid: u32 = pid.lines().next().unwrap().parse().unwrap();
    assert!(process::is_running(pid));
    drop(server);
    assert!(!process::is_running(pid) && !folder.exists());
}

#[tokio::test]
async fn passwords_are_asked_for_when_wanted() {
    for auth in [Auth::Scram, Auth::Md5] {
        let server = Server::start(Options {
            auth,
            ..Options::default()
        })
        .await
        .unwrap();
        let database = Database::create(&server).await.unwrap();
        let role = database.create_role("walker").await.unwrap();
        database.client_as(&role).await.unwrap();
        connect(&server.superuser_url()).await.unwrap();
        let wrong = database.url_as(&role).replace(&format!(":{role}@"), ":wrong@");
        assert!(connect(&wrong).await.is_err(), "{auth:?} let a wrong password in");
    }
}

#[tokio::test]
async fn tls_is_required_when_wanted_and_the_authority_is_at_hand() {
    let options = Options {
        tls: Tls::Required,
        ..Options::default()
    };
    let server = Server::start(options).await.unwrap();
    let plain = connect(&server.superuser_url()).await.unwrap_err();
    assert!(format!("{plain:#}").contains("db error"), "{plain:#}");
    assert!(server.ca_file().unwrap().is_file());
    let on: String = server
        .admin("postgres")
        .await
        .unwrap()
        .query_one("SHOW ssl", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(on, "on");
}

#[tokio::test]
async fn a_setting_that_postgres_refuses_is_reported_with_its_log() {
    let settings = vec![("no_such_setting".to_owned(), "1".to_owned())];
    let failed = Server::start(Options {
        settings,
        ..Options::default()
    })
    .await
    .unwrap_err();
    assert!(format!("{failed:#}").contains("no_such_setting"), "{failed:#}");
}
