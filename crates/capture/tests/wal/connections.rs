//! The replication login takes every road that other connections take.

use pregon_capture::connect::Settings;
use pregon_capture::install::WatchSpec;
use pregon_testkit::postgres::{Auth, Database, Options, Server, Tls};

use crate::kit::{Memory, Stream, install, target};

/// One change through a stream at this URL.
async fn streams(database: &Database<'_>, url: &str, memory: &Memory) {
    let admin = database.client().await.unwrap();
    admin
        .batch_execute("CREATE TABLE IF NOT EXISTS t (id serial PRIMARY KEY)")
        .await
        .unwrap();
    let target = target(database, vec![WatchSpec::new("t", "public", "t")]);
    install(&admin, &target).await.unwrap();
    let mut stream = Stream::start(url, &target, memory);
    admin.batch_execute("INSERT INTO t DEFAULT VALUES").await.unwrap();
    assert_eq!(stream.changes(1).await.len(), 1, "{url}");
    drop(stream);
    let slot = target.slot;
    let free = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}' AND NOT active");
    pregon_testkit::eventually(crate::kit::PATIENCE, || async {
        anyhow::ensure!(!admin.query(&free, &[]).await?.is_empty(), "active");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn by_tcp_with_a_password_and_tls_and_by_the_socket() {
    let server = Server::start(Options {
        auth: Auth::Scram,
        tls: Tls::Offered,
        ..Options::default()
    })
    .await
    .unwrap();
    let database = Database::create(&server).await.unwrap();
    database
        .execute("CREATE ROLE lector LOGIN SUPERUSER PASSWORD 'lector'")
        .await
        .unwrap();
    let url = database.url_as("lector");
    let memory = Memory::default();
    let ca = server.ca_file().unwrap();
    let verified = url.replace("127.0.0.1", "localhost");
    for url in [
        format!("{url}?sslmode=disable"),
        format!("{url}?sslmode=prefer"),
        format!("{url}?sslmode=require"),
        format!("{verified}?sslmode=verify-full&sslrootcert={}", ca.display()),
        server.socket_url("postgres", database.name()),
        format!(
            "hostaddr=127.0.0.1 port={} user=lector password=lector dbname={}",
            server.port(),
            database.name()
        ),
    ] {
        streams(&database, &url, &memory).await;
    }
    let admin = database.client().await.unwrap();
    assert!(Settings::parse(&url).is_ok());
    let wrong = url.replace(":lector@", ":otra@");
    let target = target(&database, vec![WatchSpec::new("t", "public", "t")]);
    let mut stream = Stream::start(&wrong, &target, &Memory::default());
    let refused = tokio::time::timeout(std::time::Duration::from_millis(1500), stream.next(false)).await;
    assert!(refused.is_err());
    assert!(
        stream.losses.iter().any(|reason| reason.contains("password")),
        "{:?}",
        stream.losses
    );
    drop(admin);
}

#[tokio::test]
async fn md5_and_required_tls_work_too() {
    let server = Server::start(Options {
        auth: Auth::Md5,
        tls: Tls::Required,
        ..Options::default()
    })
    .await
    .unwrap();
    let database = Database::create(&server).await.unwrap();
    database
        .execute("CREATE ROLE lector LOGIN SUPERUSER PASSWORD 'lector'")
        .await
        .unwrap();
    let url = format!("{}?sslmode=require", database.url_as("lector"));
    streams(&database, &url, &Memory::default()).await;
}
