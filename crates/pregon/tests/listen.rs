//! `pregon listen` at the turnstile's own database, with the role that may connect and read.

use std::time::Duration;

use pregon_testkit::{Database, Proxy, Server, eventually, postgres, process};
use serde_json::Value;

use crate::support::{Running, SOON, example, psql};

const CHANNEL: &str = "nueva_entrada_canal";
const CATCH_UP: &str = "SELECT e.id_entrada, e.id_miembro, m.nombre, e.tipo_acceso, e.fecha_entrada \
    FROM registro_entradas e JOIN miembros m USING (id_miembro) \
    WHERE e.tipo_acceso = 'miembro' AND e.id_entrada > :last ORDER BY e.id_entrada";

async fn gym(server: &Server) -> Database<'_> {
    let database = Database::create(server).await.unwrap();
    psql(server, &database.url(), &example("turnstile/schema.sql"));
    database
        .execute("INSERT INTO miembros (id_miembro, nombre) VALUES (7, 'Iñaki')")
        .await
        .unwrap();
    database
}

async fn enter(url: &str) {
    let sql = "INSERT INTO registro_entradas (id_miembro, tipo_acceso) VALUES (7, 'miembro')";
    postgres::connect(url)
        .await
        .unwrap()
        .batch_execute(sql)
        .await
        .unwrap();
}

/// Prints entries as JSON, and what was missed since the state was written first.
fn catching_up<'a>(dsn: &'a str, state: &'a str) -> [&'a str; 11] {
    [
        "listen",
        "--dsn",
        dsn,
        "--json",
        CHANNEL,
        "--catch-up",
        CATCH_UP,
        "--key",
        "id_entrada",
        "--state",
        state,
    ]
}

/// Waits until it says that it listens; where it begins is settled by then.
async fn listening(till: &Running) {
    eventually(SOON, async || till.errors().contains("listening"))
        .await
        .unwrap_or_else(|_| panic!("{}", till.errors()));
}

fn ids(lines: &[String]) -> Vec<i64> {
    let read = |line: &String| {
        serde_json::from_str::<Value>(line).unwrap()["id_entrada"]
            .as_i64()
            .unwrap()
    };
    lines.iter().map(read).collect()
}

#[tokio::test]
async fn prints_each_bare_payload_on_a_line_and_ends_in_order() {
    let server = postgres::shared().await;
    let gym = gym(server).await;
    let mut till = Running::start(&["listen", "--dsn", &gym.url_as("pos_user"), "--json", CHANNEL]);
    listening(&till).await;
    enter(&gym.url()).await;
    enter(&gym.url()).await;
    let lines = till.wait_lines(2).await;
    assert_eq!(ids(&lines), [1, 2]);
    assert_eq!(
        serde_json::from_str::<Value>(&lines[0]).unwrap()["nombre"],
        "Iñaki"
    );
    assert!(till.stop(process::SIGTERM).await.success(), "{}", till.errors());
}

#[tokio::test]
async fn catches_up_once_with_what_happened_while_it_was_off() {
    let server = postgres::shared().await;
    let gym = gym(server).await;
    let state = process::scratch("till", None).unwrap().join("estado.json");
    let (dsn, state) = (gym.url_as("pos_user"), state.to_str().unwrap());
    let arguments = catching_up(&dsn, state);
    enter(&gym.url()).await; // before the first start: the present is where it begins
    let mut till = Running::start(&arguments);
    listening(&till).await;
    enter(&gym.url()).await;
    assert_eq!(ids(&till.wait_lines(1).await), [2]);
    till.stop(process::SIGTERM).await;
    enter(&gym.url()).await;
    enter(&gym.url()).await;
    let till = Running::start(&arguments);
    till.wait_lines(2).await;
    enter(&gym.url()).await;
    assert_eq!(ids(&till.wait_lines(3).await), [3, 4, 5]);
}

#[tokio::test]
async fn what_was_missed_comes_before_a_notification_that_arrives_while_it_connects() {
    let server = postgres::shared().await;
    let gym = gym(server).await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    let state = process::scratch("till", None).unwrap().join("estado.json");
    let dsn = server.url_at(proxy.port(), "pos_user", gym.name());
    let state = state.to_str().unwrap();
    let arguments = catching_up(&dsn, state);
    let mut till = Running::start(&arguments);
    listening(&till).await;
    enter(&gym.url()).await;
    assert_eq!(ids(&till.wait_lines(1).await), [1]);
    till.stop(process::SIGTERM).await;
    enter(&gym.url()).await; // missed
    proxy.delay(Duration::from_millis(300));
    let till = Running::start(&arguments);
    // The server has its LISTEN, and the answer is still on its way.
    let client = gym.client().await.unwrap();
    let sql = "SELECT count(*) > 0 FROM pg_stat_activity \
        WHERE datname = current_database() AND state = 'idle' AND query LIKE 'LISTEN%'";
    eventually(SOON, async || {
        client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0)
    })
    .await
    .unwrap();
    proxy.stall(true);
    enter(&gym.url()).await;
    // The answer and the notification come together.
    proxy.restore().await;
    assert_eq!(ids(&till.wait_lines(2).await), [2, 3]);
}

#[tokio::test]
async fn an_entry_that_committed_late_is_not_missed() {
    let server = postgres::shared().await;
    let gym = gym(server).await;
    let state = process::scratch("till", None).unwrap().join("estado.json");
    let (dsn, state) = (gym.url_as("pos_user"), state.to_str().unwrap());
    let arguments = catching_up(&dsn, state);
    let mut till = Running::start(&arguments);
    listening(&till).await;
    let late = gym.client().await.unwrap();
    late.batch_execute(
        "BEGIN; INSERT INTO registro_entradas (id_miembro, tipo_acceso) VALUES (7, 'miembro')",
    )
    .await
    .unwrap();
    enter(&gym.url()).await; // number 2 is committed before number 1
    assert_eq!(ids(&till.wait_lines(1).await), [2]);
    till.stop(process::SIGTERM).await;
    late.batch_execute("COMMIT").await.unwrap();
    let till = Running::start(&arguments);
    assert_eq!(ids(&till.wait_lines(1).await), [1]);
}

#[tokio::test]
async fn survives_a_kill_of_postgres_and_misses_nobody() {
    let mut server = Server::start(postgres::Options {
        fsync: true,
        ..Default::default()
    })
    .await
    .unwrap();
    let gym = gym(&server).await;
    let (url, dsn) = (gym.url(), gym.url_as("pos_user"));
    std::mem::forget(gym); // the server goes as a whole
    let state = process::scratch("till", None).unwrap().join("estado.json");
    let state = state.to_str().unwrap();
    let till = Running::start(&catching_up(&dsn, state));
    listening(&till).await;
    enter(&url).await;
    till.wait_lines(1).await;
    server.kill9().await.unwrap();
    server.restart().await.unwrap();
    enter(&url).await; // perhaps before it listens again
    till.wait_lines(2).await;
    enter(&url).await;
    let seen = ids(&till.wait_lines(3).await);
    // An identity leaves numbers out after a crash.
    let sql = "SELECT id_entrada::bigint FROM registro_entradas ORDER BY 1";
    let rows = postgres::connect(&url)
        .await
        .unwrap()
        .query(sql, &[])
        .await
        .unwrap();
    assert_eq!(seen, rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>());
}
