//! The whole way: a signed webhook, the router, the row, the gateway, and socket.io-client in the inbox.

use pregon_testkit::{Node, NodeOptions, postgres};
use serde_json::json;

use super::{ask, deliver, start, text};
use crate::socketio::client;
use crate::support::official::{CLIENTS, Official};
use crate::support::{SECRET, binary, example};

async fn gateway(url: &str) -> Node {
    let options = NodeOptions::file(example("whatsapp-router/pregon.toml"))
        .binary(binary())
        .env("DATABASE_URL", url)
        .env("JWT_SECRET", SECRET);
    Node::spawn(options).await.unwrap()
}

/// Somebody whose token names an area.
async fn of_area(gateway: &Node, driver: &str, sub: u32, area: &str) -> Official {
    client(
        gateway,
        driver,
        &["websocket"],
        &json!({"sub": sub, "area": area}),
    )
    .await
}

#[tokio::test]
async fn a_message_of_whatsapp_reaches_the_screens_of_its_area() {
    let server = postgres::shared().await;
    let (database, router) = start(server).await;
    let gateway = gateway(&database.url()).await;
    let mut agent = of_area(&gateway, CLIENTS[0], 1, "general").await;
    let mut other = of_area(&gateway, CLIENTS[0], 2, "ventas").await;
    let mut leader = of_area(&gateway, CLIENTS[1], 3, "todas").await;
    assert_eq!(
        leader.ask("subscribe", &json!(["area_general"])).await[0]["ok"],
        true
    );

    deliver(&router, &text("5491122334455", "wamid.A", "Hola, ¿están?")).await;
    let line = agent.event("conversation:updated").await;
    let conversation = line[0]["id"].as_i64().unwrap();
    assert_eq!(
        (&line[0]["telefono"], &line[0]["numero"], &line[0]["area"]),
        (&json!("5491122334455"), &json!("109"), &json!("general"))
    );
    assert_eq!(
        (&line[0]["ultimo_mensaje"], &line[0]["nombre"]),
        (&json!("Hola, ¿están?"), &json!("Ana"))
    );
    assert_eq!(leader.event("conversation:updated").await[0]["id"], conversation);

    let room = format!("conversacion_{conversation}");
    assert_eq!(agent.ask("subscribe", &json!([room])).await[0]["ok"], true);
    assert_eq!(
        other.ask("subscribe", &json!([room])).await[0]["error"],
        "forbidden"
    );
    assert_eq!(
        other.ask("subscribe", &json!(["area_general"])).await[0]["error"],
        "forbidden"
    );
    let long = "ñ".repeat(9000); // More than a NOTIFY takes.
    deliver(&router, &text("5491122334455", "wamid.B", &long)).await;
    let row = agent.event("message:new").await;
    assert_eq!(
        (
            &row[0]["wamid"],
            &row[0]["mensaje"],
            &row[0]["remitente_tipo"],
            &row[0]["tipo"]
        ),
        (&json!("wamid.B"), &json!(long), &json!("user"), &json!("text"))
    );
    assert_eq!(row[0]["conversacion_id"], conversation);
    assert!(!other.lines().iter().any(|line| line["on"] == "event"));
    assert_eq!(ask(&database, "SELECT count(*) FROM mensajes").await, "2");
}

#[tokio::test]
async fn a_gateway_that_was_there_first_hears_of_messages_too() {
    let server = postgres::shared().await;
    let database = pregon_testkit::Database::create(server).await.unwrap();
    let gateway = gateway(&database.url()).await;
    let router = Node::spawn(super::options(&database.url())).await.unwrap();
    let mut agent = of_area(&gateway, CLIENTS[0], 1, "general").await;
    deliver(&router, &text("1", "wamid.1", "hola")).await;
    assert_eq!(
        agent.event("conversation:updated").await[0]["ultimo_mensaje"],
        "hola"
    );
}

#[tokio::test]
async fn the_simulator_posts_what_the_router_takes() {
    let server = postgres::shared().await;
    let (database, router) = start(server).await;
    let mut command = tokio::process::Command::new(binary());
    command
        .args([
            "router", "simulate", "--rate", "0", "--for", "60s", "--most", "30", "--batch", "3",
        ])
        .args([
            "--contacts",
            "5",
            "--json",
            "--url",
            &router.url("/webhook"),
            "--config",
        ])
        .arg(example("whatsapp-router/pregon.toml"))
        .env("WHATSAPP_APP_SECRET", super::APP_SECRET);
    let output = command.output().await.unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["accepted"], &report["messages"]),
        (Some(0), &json!(30), &json!(90)),
        "{report}"
    );
    super::becomes(&database, "SELECT count(*) FROM mensajes", "90").await;
    assert_eq!(ask(&database, "SELECT count(*) FROM contactos").await, "5");
}
