//! The experiment that the reader was chosen by: writers that update a few rows with pauses, rollbacks, savepoints and deadlocks, a long
//! transaction that has nothing to do with them, prepared transactions. Nothing may be lost, doubled or inverted. Seconds by default;
//! `PREGON_STRESS_SECONDS` and `PREGON_STRESS_SEED` make it longer and repeat it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pregon_capture::outbox::Item;
use pregon_testkit::postgres::{Database, Options, Server};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::Client;

use crate::kit::{self, Session};

const WRITERS: u64 = 12;
const ROWS: i32 = 20;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// One transaction: one to three updates; what it committed.
async fn transaction(
    client: &Client,
    random: &mut StdRng,
    prepared: Option<&str>,
) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    for _ in 0..random.random_range(1..=3) {
        let row = random.random_range(1..=ROWS);
        let update = format!("UPDATE t SET n = n + 1 WHERE id = {row}");
        if random.random_bool(0.1) {
            client
                .batch_execute(&format!("SAVEPOINT s; {update}; ROLLBACK TO s"))
                .await?;
        } else {
            client.batch_execute(&update).await?;
        }
        if random.random_bool(0.5) {
            tokio::time::sleep(Duration::from_micros(random.random_range(0..8000))).await;
        }
    }
    match (random.random_range(0..100), prepared) {
        (0..10, _) => client.batch_execute("ROLLBACK").await,
        (10..20, Some(name)) => {
            client
                .batch_execute(&format!("PREPARE TRANSACTION '{name}'"))
                .await?;
            tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
            client.batch_execute(&format!("COMMIT PREPARED '{name}'")).await
        }
        _ => client.batch_execute("COMMIT").await,
    }
}

async fn writer(url: String, seed: u64, end: Instant, prepares: bool) -> u64 {
    let client = pregon_testkit::postgres::connect(&url).await.unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let name = format!("p{seed}_{number}");
        // A deadlock ends a transaction now and then.
        if transaction(&client, &mut random, prepares.then_some(name.as_str()))
            .await
            .is_err()
        {
            client.batch_execute("ROLLBACK").await.unwrap();
        }
    }
    number
}

/// A transaction in another table that stays open for a second each time.
async fn bystander(url: String, end: Instant) {
    let client = pregon_testkit::postgres::connect(&url).await.unwrap();
    while Instant::now() < end {
        client
            .batch_execute("BEGIN; INSERT INTO other DEFAULT VALUES")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.batch_execute("COMMIT").await.unwrap();
    }
}

async fn stress(server: &Server, prepares: bool) {
    let (seconds, seed) = (
        from_env("PREGON_STRESS_SECONDS", 4),
        from_env("PREGON_STRESS_SEED", rand::random()),
    );
    println!("PREGON_STRESS_SEED={seed}");
    let database = Database::create(server).await.unwrap();
    let admin = database.client().await.unwrap();
    admin
        .batch_execute(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL); CREATE TABLE other (id int GENERATED ALWAYS AS IDENTITY);
             INSERT INTO t SELECT g, 0 FROM generate_series(1, {ROWS}) g; CREATE TABLE truth (id bigint)"
        ))
        .await
        .unwrap();
    // Deadlocks are part of it, the second that it takes to notice one is not.
    let quick = format!("ALTER DATABASE {} SET deadlock_timeout = '10ms'", database.name());
    admin.batch_execute(&quick).await.unwrap();
    kit::install(&admin, &kit::target(vec![kit::watch_of("t", "t", &kit::ALL)])).await;
    let mut session = Session::start(kit::options(&database.url(), &["t"]), None).await;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut writers: Vec<_> = (0..WRITERS)
        .map(|index| tokio::spawn(writer(database.url(), seed.wrapping_add(index), end, prepares)))
        .collect();
    let bystander = tokio::spawn(bystander(database.url(), end));
    let done = tokio::spawn(async move {
        let mut transactions = 0;
        for writer in writers.drain(..) {
            transactions += writer.await.unwrap();
        }
        bystander.await.unwrap();
        transactions
    });
    let (mut seen, mut last, mut lags) = (BTreeSet::new(), BTreeMap::<i64, i64>::new(), Vec::new());
    let mut inverted = 0;
    let mut last_id = None;
    loop {
        if done.is_finished() && last_id.is_none() {
            let row = admin
                .query_one("SELECT coalesce(max(id), 0) FROM pregon.outbox", &[])
                .await
                .unwrap();
            last_id = Some(u64::try_from(row.get::<_, i64>(0)).unwrap());
        }
        if last_id.is_some_and(|last| seen.last().copied().unwrap_or(0) >= last) {
            break;
        }
        let next = tokio::time::timeout(Duration::from_millis(500), session.next()).await;
        let Ok((id, Item::Change(change))) = next else {
            continue;
        };
        assert!(seen.insert(id), "{id} came twice");
        lags.extend(change.at.unwrap().elapsed());
        let row: serde_json::Value = serde_json::from_slice(&change.row.unwrap()).unwrap();
        let (key, n) = (row["id"].as_i64().unwrap(), row["n"].as_i64().unwrap());
        let before = last.insert(key, n).unwrap_or(0);
        inverted += u32::from(n != before + 1);
    }
    let transactions = done.await.unwrap();
    let rows = admin.query("SELECT id FROM pregon.outbox", &[]).await.unwrap();
    let truth: BTreeSet<u64> = rows
        .iter()
        .map(|row| u64::try_from(row.get::<_, i64>(0)).unwrap())
        .collect();
    lags.sort_unstable();
    let at = |share: usize| lags[(lags.len() - 1) * share / 100];
    println!(
        "{} changes of {transactions} transactions, lag p50 {:?} p95 {:?} p99 {:?} max {:?}",
        truth.len(),
        at(50),
        at(95),
        at(99),
        at(100)
    );
    assert!(truth.len() > 100, "{} changes prove nothing", truth.len());
    assert_eq!(seen.symmetric_difference(&truth).count(), 0, "lost");
    assert_eq!(inverted, 0, "inverted");
    let rows = admin.query("SELECT id, n FROM t", &[]).await.unwrap();
    for row in rows {
        let (id, n) = (row.get::<_, i32>(0), row.get::<_, i32>(1));
        assert_eq!(
            last.get(&i64::from(id)).copied().unwrap_or(0),
            i64::from(n),
            "row {id}"
        );
    }
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_inverted() {
    stress(pregon_testkit::postgres::shared().await, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_transactions_lose_nothing_either() {
    let options = Options {
        max_prepared_transactions: 32,
        ..Options::default()
    };
    let server = Server::start(options).await.unwrap();
    stress(&server, true).await;
}
