//! Lost connections: said once, and repaired.

use std::time::Duration;

use pregon_capture::connect::Settings;
use pregon_capture::listen::{ProveError, prove};
use pregon_testkit::postgres::{Options, shared};
use pregon_testkit::{Database, Proxy, Server, eventually};
use tokio::time::Instant;

use crate::pooler::Pooler;
use crate::support::{PATIENCE, Running, listen_to, listeners};

#[tokio::test]
async fn a_terminated_backend_is_replaced_at_once() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let mut running = Running::start(listen_to(&database.url(), &["c"])?, 64)?;
    let pid = running.attach().await?;
    database
        .client()
        .await?
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .await?;
    let cut = Instant::now();
    let reason = running.lost().await?;
    assert!(reason.contains("terminating connection"), "{reason}");
    assert_ne!(running.attach().await?, pid);
    assert!(cut.elapsed() < Duration::from_secs(2), "{:?}", cut.elapsed());
    database.execute("NOTIFY c, 'after'").await?;
    assert_eq!(running.notification().await?.1, "after");
    running.stop().await
}

#[tokio::test]
async fn a_killed_server_is_found_again_within_the_contract() -> anyhow::Result<()> {
    let mut server = Server::start(Options::default()).await?;
    let mut running = Running::attached(listen_to(&server.superuser_url(), &["c"])?, 64).await?;
    server.kill9().await?;
    running.lost().await?;
    server.restart().await?;
    let back = Instant::now();
    running.attach().await?;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    server
        .admin("postgres")
        .await?
        .batch_execute("NOTIFY c, 'after'")
        .await?;
    assert_eq!(running.notification().await?.1, "after");
    running.stop().await
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() -> anyhow::Result<()> {
    let mut server = Server::start(Options::default()).await?;
    let url = server.superuser_url();
    server.stop_fast().await?;
    let mut running = Running::start(listen_to(&url, &["c"])?, 64)?;
    tokio::task::yield_now().await;
    server.restart().await?;
    running.attach().await?;
    running.stop().await
}

#[tokio::test]
async fn a_black_hole_is_detected_by_the_heartbeat() -> anyhow::Result<()> {
    let server = shared().await;
    let database = Database::create(server).await?;
    let proxy = Proxy::start(server.address()).await?;
    let mut options = listen_to(&server.url_at(proxy.port(), "postgres", database.name()), &["c"])?;
    options.heartbeat = Duration::from_millis(200);
    let mut running = Running::attached(options, 64).await?;
    proxy.black_hole(true);
    let reason = running.lost().await?;
    assert!(reason.contains("no longer answers"), "{reason}");
    proxy.restore().await;
    running.attach().await?;
    database.execute("NOTIFY c, 'after'").await?;
    assert_eq!(running.notification().await?.1, "after");
    running.stop().await
}

#[tokio::test]
async fn trouble_of_the_heartbeats_connection_is_no_loss() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let role = database.create_role("single").await?;
    // The listening connection takes the only slot, so the heartbeat never gets one.
    database
        .execute(&format!("ALTER ROLE {role} CONNECTION LIMIT 1"))
        .await?;
    let mut options = listen_to(&database.url_as(&role), &["c"])?;
    options.heartbeat = Duration::from_millis(20);
    let mut running = Running::attached(options, 64).await?;
    let pid: i32 = database
        .client()
        .await?
        .query_one("SELECT pid FROM pg_stat_activity WHERE usename = $1", &[&role])
        .await?
        .get(0);
    // Some rounds later it is still the same backend.
    for n in 0..20 {
        tokio::time::timeout(PATIENCE, async {
            database.execute(&format!("NOTIFY c, '{n}'")).await?;
            assert_eq!(running.notification().await?.1, n.to_string());
            anyhow::Ok(())
        })
        .await??;
    }
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
    let alive: i64 = database.client().await?.query_one(sql, &[&pid]).await?.get(0);
    assert_eq!(alive, 1);
    running.stop().await
}

#[tokio::test]
async fn a_cut_network_is_repaired_and_leaves_one_listener() -> anyhow::Result<()> {
    let server = shared().await;
    let database = Database::create(server).await?;
    let proxy = Proxy::start(server.address()).await?;
    let options = listen_to(&server.url_at(proxy.port(), "postgres", database.name()), &["c"])?;
    let mut running = Running::attached(options, 64).await?;
    for n in 0..5 {
        proxy.cut().await;
        running.lost().await?;
        running.attach().await?;
        database.execute(&format!("NOTIFY c, '{n}'")).await?;
        assert_eq!(running.notification().await?.1, n.to_string());
    }
    eventually(PATIENCE, || async { listeners(&database).await.unwrap() == 1 }).await?;
    running.stop().await
}

#[tokio::test]
async fn a_pooler_that_swallows_notifications_is_found_out() -> anyhow::Result<()> {
    let server = shared().await;
    let database = Database::create(server).await?;
    let pooler = Pooler::start(server.address()).await?;
    let url = server.url_at(pooler.port(), "postgres", database.name());
    prove(&Settings::parse(&database.url())?).await?;
    let error = prove(&Settings::parse(&url)?).await.unwrap_err();
    assert!(matches!(error, ProveError::Undelivered), "{error}");

    // The listener never says that it is attached; once notifications pass, it does.
    let mut options = listen_to(&url, &["c"])?;
    options.heartbeat = Duration::from_millis(100);
    let mut running = Running::start(options, 16)?;
    // Listening and heartbeat; the third shows that the first was given up.
    eventually(PATIENCE, || async { pooler.accepted() >= 3 + 2 }).await?;
    assert!(running.captured.try_recv().is_err());
    pooler.pass();
    running.attach().await?;
    running.stop().await
}
