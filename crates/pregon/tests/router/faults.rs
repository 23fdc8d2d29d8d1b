//! Kills, failures and a database that is away.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pregon_testkit::{Database, Node, Server, eventually, http, postgres};
use serde_json::Value;

use super::{APP_SECRET, ask, becomes, deliver, finished, options, post, sign, start, text};

#[tokio::test]
async fn a_message_that_fails_is_overtaken_by_neighbours_only_and_becomes_a_dead_letter() {
    let server = postgres::shared().await;
    let database = pregon_testkit::Database::create(server).await.unwrap();
    let config = std::fs::read_to_string(crate::support::example("whatsapp-router/pregon.toml")).unwrap();
    let config = config.replace("[router]", "[router]\nattempts = 3");
    let file = super::with_secrets(pregon_testkit::NodeOptions::text(config), &database.url());
    let router = Node::spawn(file).await.unwrap();
    database
        .execute("ALTER TABLE mensajes ADD CONSTRAINT no_malo CHECK (mensaje <> 'malo')")
        .await
        .unwrap();
    let mut three = text("1", "wamid.1", "bueno");
    let list = three["entry"][0]["changes"][0]["value"]["messages"]
        .as_array_mut()
        .unwrap();
    for (id, body) in [("wamid.2", "malo"), ("wamid.3", "mejor")] {
        let mut next = list[0].clone();
        next["id"] = id.into();
        next["text"]["body"] = body.into();
        list.push(next);
    }
    deliver(&router, &three).await;
    becomes(
        &database,
        "SELECT attempts FROM pregon_router.work WHERE due IS NOT NULL",
        "1",
    )
    .await;
    // What comes meanwhile of the same contact waits too; somebody else's goes on, in the same lane even.
    deliver(&router, &text("1", "wamid.4", "último")).await;
    deliver(&router, &text(&neighbour("1"), "wamid.5", "vecino")).await;
    crate::support::metric(&router, "pregon_router_held_contacts", |held| held == 1.0)
        .await
        .unwrap();
    becomes(
        &database,
        "SELECT string_agg(mensaje, ',' ORDER BY id) FROM mensajes",
        "bueno,vecino,mejor,último",
    )
    .await;
    becomes(&database, "SELECT attempts FROM pregon_router.dead_letter", "3").await;
    finished(&database).await;
    assert!(
        router
            .lines()
            .iter()
            .any(|line| line.contains("\"success\":false") && line.contains("no_malo"))
    );

    // What was given up is listed, shown, and taken again.
    let config = router.folder().join("pregon.toml").display().to_string();
    let url = database.url();
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(crate::support::binary());
        command
            .args(["router", "inbox"])
            .args(words)
            .args(["--config", &config])
            .env("DATABASE_URL", &url);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let listed: Value = serde_json::from_str(run(&["list", "--json"]).trim()).unwrap();
    assert_eq!(
        (&listed["wamid"], &listed["attempts"]),
        (&"wamid.2".into(), &3.into())
    );
    let number = listed["id"].to_string();
    let shown: Value = serde_json::from_str(&run(&["show", &number])).unwrap();
    assert_eq!(shown["item"]["mensaje"], "malo");
    assert!(shown["body"].as_str().unwrap().contains("wamid.3"));
    database
        .execute("ALTER TABLE mensajes DROP CONSTRAINT no_malo")
        .await
        .unwrap();
    assert!(run(&["retry", &number]).starts_with('1'));
    becomes(
        &database,
        "SELECT string_agg(mensaje, ',' ORDER BY id) FROM mensajes",
        "bueno,vecino,mejor,último,malo",
    )
    .await;
}

/// Another contact that has the same lane.
pub(super) fn neighbour(of: &str) -> String {
    let lane = |who: &str| {
        let body = text(who, "wamid", "").to_string();
        pregon::whatsapp::payload::read(body.as_bytes(), 0).items[0].lane()
    };
    let mut others = (2..).map(|number: u32| number.to_string());
    others.find(|other| lane(other) == lane(of)).unwrap()
}

#[tokio::test]
async fn a_message_that_takes_too_long_holds_nobody_up_for_ever() {
    let database = pregon_testkit::Database::create(postgres::shared().await)
        .await
        .unwrap();
    let config =
        "[postgres]\napply = \"auto\"\nstatement_timeout = \"500ms\"\n[router]\nattempts = 1\nworkers = 1";
    let options = super::with_secrets(pregon_testkit::NodeOptions::text(config), &database.url());
    let router = Node::spawn(options).await.unwrap();
    database
        .execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON mensajes FOR EACH ROW WHEN (NEW.mensaje = 'lento') EXECUTE FUNCTION slow();
             CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'odd' USING ERRCODE = '55000'; END $$;
             CREATE TRIGGER odd BEFORE INSERT ON mensajes FOR EACH ROW WHEN (NEW.mensaje = 'raro') EXECUTE FUNCTION odd()",
        )
        .await
        .unwrap();
    for (number, body) in ["uno", "lento", "dos", "raro", "tres"].iter().enumerate() {
        deliver(&router, &text("1", &format!("wamid.{number}"), body)).await;
    }
    finished(&database).await;
    assert_eq!(
        ask(
            &database,
            "SELECT string_agg(mensaje, ',' ORDER BY id) FROM mensajes"
        )
        .await,
        "uno,dos,tres"
    );
    let dead = "SELECT string_agg(item ->> 'mensaje' || ': ' || error, '; ' ORDER BY id) FROM pregon_router.dead_letter";
    assert_eq!(
        ask(&database, dead).await,
        "lento: it takes longer than [postgres] statement_timeout; raro: 55000 odd"
    );
}

/// A number from the environment, for long runs.
pub(super) fn budget(name: &str, usual: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

/// Sends one contact's messages as Meta does: one after the other, and again what was not answered with 200.
pub(super) async fn send_all(url: String, contact: usize, count: usize, accepted: Arc<AtomicUsize>) {
    for number in 0..count {
        let id = format!("wamid.{contact}.{number:06}");
        let body = text(&format!("54900{contact}"), &id, &id).to_string();
        let signature = sign(APP_SECRET, body.as_bytes());
        let headers = [("x-hub-signature-256", signature.as_str())];
        eventually(Duration::from_secs(60), || async {
            let answer = http::request("POST", &url, &headers, body.as_bytes()).await?;
            anyhow::ensure!(answer.status() == 200, "{}", answer.status());
            Ok(())
        })
        .await
        .unwrap();
        accepted.fetch_add(1, Ordering::Relaxed);
    }
}

/// `ROUTER_MESSAGES=100000 ROUTER_KILLS=20` is the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_double_nothing_and_keep_the_order() {
    const CONTACTS: usize = 20;
    let (each, kills) = (
        budget("ROUTER_MESSAGES", 1000) / CONTACTS,
        budget("ROUTER_KILLS", 4),
    );
    let (database, mut router) = start(postgres::shared().await).await;
    let began = Instant::now();
    let accepted = Arc::new(AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for contact in 0..CONTACTS {
        senders.spawn(send_all(
            router.url("/webhook"),
            contact,
            each,
            Arc::clone(&accepted),
        ));
    }
    for kill in 1..=kills {
        let enough = each * CONTACTS * kill / (kills + 1);
        eventually(Duration::from_secs(600), || async {
            accepted.load(Ordering::Relaxed) >= enough
        })
        .await
        .unwrap();
        router.kill9().await.unwrap();
        router.restart().await.unwrap();
    }
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
    finished(&database).await;
    each_once_and_in_order(&database, CONTACTS, each).await;
    report(
        "inbox in PostgreSQL, kills of the router",
        each * CONTACTS,
        kills,
        began,
    );
}

/// A line for the report of a long run, in the file that `ROUTER_REPORT` names.
pub(super) fn report(what: &str, messages: usize, kills: usize, began: Instant) {
    let Some(file) = std::env::var_os("ROUTER_REPORT") else {
        return;
    };
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .unwrap();
    let seconds = began.elapsed().as_secs();
    writeln!(file, "| {what} | {messages} | {kills} | {seconds} | 0 | 0 | 0 |").unwrap();
}

/// Whether every message of [`send_all`] is stored once, in the order of its contact.
pub(super) async fn each_once_and_in_order(database: &Database<'_>, contacts: usize, each: usize) {
    let total = contacts * each;
    for (sql, wanted) in [
        ("SELECT count(*) || ' ' || count(DISTINCT wamid) FROM mensajes", format!("{total} {total}")),
        ("SELECT count(*) FROM contactos", contacts.to_string()),
        ("SELECT count(*) FROM conversaciones", contacts.to_string()),
        (
            "SELECT count(*) FROM (SELECT wamid, lag(wamid) OVER (PARTITION BY conversacion_id ORDER BY id) AS before
             FROM mensajes) AS pairs WHERE before > wamid",
            "0".to_owned(),
        ),
    ] {
        assert_eq!(ask(database, sql).await, wanted, "{sql}");
    }
}

#[tokio::test]
async fn two_routers_share_the_work_and_keep_the_order() {
    let (database, router) = start(postgres::shared().await).await;
    let second = Node::spawn(options(&database.url())).await.unwrap();
    for number in 0..40 {
        let id = format!("wamid.{number:03}");
        let to = if number % 2 == 0 { &router } else { &second };
        deliver(to, &text("111", &id, &id)).await;
    }
    becomes(&database, "SELECT count(*) FROM mensajes", "40").await;
    assert_eq!(ask(&database, "SELECT count(*) FROM conversaciones").await, "1");
    let disorder = "SELECT count(*) FROM (SELECT wamid, lag(wamid) OVER (ORDER BY id) AS before FROM mensajes) AS p WHERE before > wamid";
    assert_eq!(ask(&database, disorder).await, "0");
}

#[tokio::test]
async fn while_postgres_is_away_senders_are_told_to_come_again() {
    let mut server = Server::start(postgres::Options::default()).await.unwrap();
    let (url, mut router) = {
        let (database, router) = start(&server).await;
        deliver(&router, &text("1", "wamid.1", "antes")).await;
        finished(&database).await;
        let url = database.url();
        std::mem::forget(database);
        (url, router)
    };
    server.kill9().await.unwrap();
    let away = post(&router, text("1", "wamid.2", "durante").to_string().as_bytes())
        .await
        .unwrap();
    assert_eq!((away.status(), away.header("retry-after").is_some()), (503, true));
    server.restart().await.unwrap();
    eventually(Duration::from_secs(20), || async {
        let again = text("1", "wamid.2", "durante").to_string();
        post(&router, again.as_bytes())
            .await
            .map(|answer| answer.status() == 200)
            .unwrap_or(false)
    })
    .await
    .unwrap();
    let client = pregon_testkit::postgres::connect(&url).await.unwrap();
    eventually(Duration::from_secs(20), || async {
        let row = client
            .query_one("SELECT string_agg(mensaje, ',' ORDER BY id) FROM mensajes", &[])
            .await?;
        let said: String = row.try_get(0)?;
        anyhow::ensure!(said == "antes,durante", "{said}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    assert_eq!(router.sigterm().await.unwrap().unwrap().code(), Some(0));
}
