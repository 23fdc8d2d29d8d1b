//! The queue in Redis: kept there before the answer, stored once and in order by any number of processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pregon_testkit::{Database, Node, NodeOptions, Redis, RedisOptions, Server, eventually, postgres};

use super::faults::{budget, each_once_and_in_order, neighbour, report, send_all};
use super::{ask, becomes, deliver, finished, post, text, with_secrets};
use crate::support::metric;

const CONFIG: &str = "[postgres]\napply = \"auto\"\n[redis]\n[router.queue]\nkind = \"redis\"\npoll = \"50ms\"\nper_minute = 10\n[router]\n";

fn options(url: &str, redis: &Redis, more: &str) -> NodeOptions {
    with_secrets(NodeOptions::text(format!("{CONFIG}{more}")), url).env("REDIS_URL", redis.url())
}

async fn durable() -> Redis {
    Redis::start_with(None, true).await.unwrap()
}

/// Waits until nothing waits in Redis, nor in the database.
async fn emptied(database: &Database<'_>, redis: &Redis) {
    eventually(Duration::from_secs(60), || async {
        for lane in 0..pregon_capture::router::LANES {
            let key = format!("{{pregon:router}}:{lane}");
            let length = redis.command(&["XLEN", &key]).await?;
            anyhow::ensure!(length.trim() == ":0", "lane {lane} has {length}");
        }
        Ok(())
    })
    .await
    .unwrap();
    finished(database).await;
}

/// `ROUTER_MESSAGES=100000 ROUTER_KILLS=20` is the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_the_router_and_of_redis_lose_nothing_double_nothing_and_keep_the_order() {
    const CONTACTS: usize = 20;
    let (each, kills) = (
        budget("ROUTER_MESSAGES", 1000) / CONTACTS,
        budget("ROUTER_KILLS", 4),
    );
    let database = Database::create(postgres::shared().await).await.unwrap();
    let mut redis = durable().await;
    let mut router = Node::spawn(options(&database.url(), &redis, "")).await.unwrap();
    let helper = Node::spawn(options(&database.url(), &redis, "mode = \"queued\""))
        .await
        .unwrap();
    let began = Instant::now();
    let accepted = Arc::new(AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for contact in 0..CONTACTS {
        let url = router.url("/webhook");
        senders.spawn(send_all(url, contact, each, Arc::clone(&accepted)));
    }
    for kill in 1..=kills {
        let enough = each * CONTACTS * kill / (kills + 1);
        let many = || async { accepted.load(Ordering::Relaxed) >= enough };
        eventually(Duration::from_secs(600), many).await.unwrap();
        if kill % 2 == 0 {
            redis.kill9().await.unwrap();
            redis.restart().await.unwrap();
        } else {
            router.kill9().await.unwrap();
            router.restart().await.unwrap();
        }
    }
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
    emptied(&database, &redis).await;
    each_once_and_in_order(&database, CONTACTS, each).await;
    report(
        "queue in Redis, kills of the router and of Redis in turn",
        each * CONTACTS,
        kills,
        began,
    );
    drop(helper);
}

#[tokio::test]
async fn two_routers_on_one_queue_share_the_work_and_keep_the_order() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let redis = durable().await;
    let url = database.url();
    let first = Node::spawn(options(&url, &redis, "mode = \"queued\""))
        .await
        .unwrap();
    let second = Node::spawn(options(&url, &redis, "")).await.unwrap();
    for number in 0..60 {
        let id = format!("wamid.{number:03}");
        let to = if number % 2 == 0 { &first } else { &second };
        deliver(to, &text("111", &id, &id)).await;
    }
    emptied(&database, &redis).await;
    assert_eq!(
        ask(
            &database,
            "SELECT count(*) || ' ' || count(DISTINCT conversacion_id) FROM mensajes"
        )
        .await,
        "60 1"
    );
    let disorder = "SELECT count(*) FROM (SELECT wamid, lag(wamid) OVER (ORDER BY id) AS before FROM mensajes) AS p WHERE before > wamid";
    assert_eq!(ask(&database, disorder).await, "0");
}

#[tokio::test]
async fn what_is_read_again_is_passed_over() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let redis = durable().await;
    let router = Node::spawn(options(&database.url(), &redis, "")).await.unwrap();
    // An event has no id that would tell a second one.
    let event =
        serde_json::json!({"entry": [{"changes": [{"field": "account_update", "value": {"event": "BAN"}}]}]});
    deliver(&router, &event).await;
    emptied(&database, &redis).await;
    let count = "SELECT count(*) FROM pregon_router.event";
    assert_eq!(ask(&database, count).await, "1");
    // As of a worker that was frozen before it stored, and wakes.
    let place = "SELECT jsonb_build_array(jsonb_build_object('l', lane, 'm', ms, 's', seq, 't', ms, 'i', '{\"kind\": \"event\"}'::jsonb))
        FROM pregon_router.place";
    let late = format!(
        "SELECT pregon_router.take('{{0}}', ({place}), (SELECT era FROM pregon_router.place), 'quick', 5) -> 'done'"
    );
    assert_eq!(ask(&database, &late).await, "[]");
    assert_eq!(ask(&database, count).await, "1");
    // A Redis that was emptied is another one, whatever its clock says.
    let other = late.replace("(SELECT era FROM pregon_router.place)", "'another'");
    assert!(ask(&database, &other).await.contains("event"));
    assert_eq!(ask(&database, count).await, "2");
}

#[tokio::test]
async fn what_fails_is_overtaken_by_neighbours_only_and_keeps_its_delivery() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let redis = durable().await;
    let router = Node::spawn(options(&database.url(), &redis, "attempts = 3"))
        .await
        .unwrap();
    database
        .execute("ALTER TABLE mensajes ADD CONSTRAINT no_malo CHECK (mensaje <> 'malo')")
        .await
        .unwrap();
    for (id, body) in [("wamid.1", "bueno"), ("wamid.2", "malo"), ("wamid.3", "mejor")] {
        deliver(&router, &text("1", id, body)).await;
    }
    becomes(&database, "SELECT max(attempts) FROM pregon_router.work", "1").await;
    deliver(&router, &text("1", "wamid.4", "último")).await;
    deliver(&router, &text(&neighbour("1"), "wamid.5", "vecino")).await;
    let all = "SELECT string_agg(mensaje, ',' ORDER BY id) FROM mensajes";
    becomes(&database, all, "bueno,vecino,mejor,último").await;
    emptied(&database, &redis).await;
    let dead = "SELECT d.attempts || ' ' || (d.item ->> 'wamid') || ' ' || (convert_from(b.body, 'UTF8')::jsonb ->> 'object')
        FROM pregon_router.dead_letter d JOIN pregon_router.inbox b ON b.id = d.delivery";
    assert_eq!(ask(&database, dead).await, "3 wamid.2 whatsapp_business_account");
    assert_eq!(post(&router, b"no json").await.unwrap().status(), 200);
    let unreadable = "SELECT string_agg(convert_from(b.body, 'UTF8'), '') FROM pregon_router.dead_letter d
        JOIN pregon_router.inbox b ON b.id = d.delivery WHERE d.item ->> 'kind' = 'unreadable'";
    becomes(&database, unreadable, "no json").await;
}

#[tokio::test]
async fn what_takes_too_long_holds_nobody_up_for_ever() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let redis = durable().await;
    let config =
        CONFIG.replace("[redis]", "statement_timeout = \"500ms\"\n[redis]") + "attempts = 1\nworkers = 1";
    let options = with_secrets(NodeOptions::text(config), &database.url()).env("REDIS_URL", redis.url());
    let router = Node::spawn(options).await.unwrap();
    database
        .execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON mensajes FOR EACH ROW WHEN (NEW.mensaje = 'lento') EXECUTE FUNCTION slow()",
        )
        .await
        .unwrap();
    for (number, body) in ["uno", "lento", "dos"].iter().enumerate() {
        deliver(&router, &text("1", &format!("wamid.{number}"), body)).await;
    }
    let all = "SELECT string_agg(mensaje, ',' ORDER BY id) FROM mensajes";
    becomes(&database, all, "uno,dos").await;
    emptied(&database, &redis).await;
    let dead = "SELECT item ->> 'mensaje' FROM pregon_router.dead_letter";
    assert_eq!(ask(&database, dead).await, "lento");
}

#[tokio::test]
async fn a_peak_turns_it_to_queued_and_nothing_is_done_twice() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let redis = durable().await;
    let router = Node::spawn(options(&database.url(), &redis, "mode = \"auto\""))
        .await
        .unwrap();
    for number in 0..40 {
        deliver(&router, &text("1", &format!("wamid.{number:02}"), "hola")).await;
    }
    metric(&router, "pregon_router_queued", |queued| queued == 1.0)
        .await
        .unwrap();
    emptied(&database, &redis).await;
    let wanted: Vec<String> = (0..40).map(|number| format!("wamid.{number:02}")).collect();
    let all = "SELECT string_agg(wamid, ',' ORDER BY id) FROM mensajes";
    assert_eq!(ask(&database, all).await, wanted.join(","));
}

#[tokio::test]
async fn deliveries_are_taken_while_postgres_is_away_and_refused_while_redis_is() {
    let mut server = Server::start(postgres::Options::default()).await.unwrap();
    let mut redis = durable().await;
    let database = Database::create(&server).await.unwrap();
    let url = database.url();
    std::mem::forget(database);
    let router = Node::spawn(options(&url, &redis, "")).await.unwrap();
    server.kill9().await.unwrap();
    deliver(&router, &text("1", "wamid.1", "sin postgres")).await;
    server.restart().await.unwrap();
    let client = eventually(Duration::from_secs(20), || postgres::connect(&url))
        .await
        .unwrap();
    eventually(Duration::from_secs(30), || async {
        let row = client.query_one("SELECT count(*) FROM mensajes", &[]).await?;
        anyhow::ensure!(row.try_get::<_, i64>(0)? == 1, "it is not stored yet");
        Ok(())
    })
    .await
    .unwrap();
    redis.kill9().await.unwrap();
    let body = text("1", "wamid.2", "sin redis").to_string();
    assert_eq!(post(&router, body.as_bytes()).await.unwrap().status(), 503);
}

#[tokio::test]
async fn a_redis_that_would_forget_is_refused_and_one_that_might_is_told_of() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let redis = Redis::start().await.unwrap();
    let options_of = |redis: &Redis| options(&database.url(), redis, "").not_ready();
    let refused = Node::spawn(options_of(&redis)).await.unwrap();
    refused
        .wait_for_log("appendonly is no", crate::support::SOON)
        .await
        .unwrap();
    let args = ["--appendonly", "yes", "--appendfsync", "everysec"].map(str::to_owned);
    let some = Redis::start_as(RedisOptions {
        args: args.into(),
        ..RedisOptions::default()
    })
    .await
    .unwrap();
    let mut told = Node::spawn(options_of(&some)).await.unwrap();
    told.wait_for_log("appendfsync of the Redis is not", crate::support::SOON)
        .await
        .unwrap();
    told.wait_ready(crate::support::SOON).await.unwrap();
    let args = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"].map(str::to_owned);
    let evicts = RedisOptions {
        append_only: true,
        args: args.into(),
        ..RedisOptions::default()
    };
    let evicts = Redis::start_as(evicts).await.unwrap();
    let refused = Node::spawn(options_of(&evicts)).await.unwrap();
    refused
        .wait_for_log("noeviction", crate::support::SOON)
        .await
        .unwrap();
}
