//! examples/turnstile in a browser: `/ws/entradas?token=…`, and what the till's role may do.

use pregon_testkit::{Node, Server, WsClient, postgres};
use serde_json::{Value, json};

use crate::support::{SOON, in_seconds, refusal, run_example, token};

const MEMBER: &str = "INSERT INTO miembros (id_miembro, nombre) VALUES (7, 'Lucía Fernández')";

async fn till(node: &Node) -> WsClient {
    let url = node.ws_url(&format!(
        "/ws/entradas?token={}",
        token(&json!({"sub": "caja-1"}))
    ));
    WsClient::connect(&url, &[]).await.unwrap()
}

fn entry(member: &str, kind: &str) -> String {
    format!("INSERT INTO registro_entradas (id_miembro, tipo_acceso) VALUES ({member}, '{kind}')")
}

#[tokio::test]
async fn a_member_is_announced_with_all_that_the_till_shows() {
    let server = postgres::shared().await;
    let (database, node) = run_example(server, "turnstile").await;
    let mut till = till(&node).await;
    database.execute(MEMBER).await.unwrap();
    database.execute(&entry("7", "miembro")).await.unwrap();
    let seen: Value = till.next_json(SOON).await.unwrap();
    assert_eq!((&seen["id_entrada"], &seen["id_miembro"]), (&1.into(), &7.into()));
    assert_eq!(
        (&seen["nombre"], &seen["tipo_acceso"]),
        (&"Lucía Fernández".into(), &"miembro".into())
    );
    assert!(seen["fecha_entrada"].as_str().unwrap().contains('T'), "{seen}");
    assert!(
        seen.as_object()
            .unwrap()
            .values()
            .all(|value| !value.is_object() && !value.is_array()),
        "flat"
    );
}

#[tokio::test]
async fn visitors_and_staff_pass_without_a_word() {
    let server = postgres::shared().await;
    let (database, node) = run_example(server, "turnstile").await;
    let mut till = till(&node).await;
    database.execute(MEMBER).await.unwrap();
    for (member, kind) in [
        ("NULL", "visitante"),
        ("7", "personal"),
        ("7", "Miembro"),
        ("7", "miembro"),
    ] {
        database.execute(&entry(member, kind)).await.unwrap();
    }
    assert_eq!(till.next_json(SOON).await.unwrap()["id_entrada"], 4);
    till.expect_bare_silence().await.unwrap();
}

#[tokio::test]
async fn without_a_valid_token_it_is_401_before_the_upgrade() {
    let server = postgres::shared().await;
    let (_database, node) = run_example(server, "turnstile").await;
    let foreign = pregon_testkit::token(&json!({"sub": "x"}), "otra-clave");
    let expired = token(&json!({"sub": "x", "exp": in_seconds(0) - 60}));
    for query in [
        "".to_owned(),
        "?token=".into(),
        "?token=x.y.z".into(),
        format!("?token={foreign}"),
        format!("?token={expired}"),
    ] {
        assert_eq!(
            refusal(&node.ws_url(&format!("/ws/entradas{query}")), &[]).await,
            401,
            "{query}"
        );
    }
    let bearer = format!("Bearer {}", token(&json!({"sub": 3})));
    WsClient::connect(&node.ws_url("/ws/entradas"), &[("authorization", &bearer)])
        .await
        .unwrap();
}

#[tokio::test]
async fn the_tills_role_reads_and_cannot_write() {
    let server = postgres::shared().await;
    let (database, _node) = run_example(server, "turnstile").await;
    let role = database.client_as("pos_user").await.unwrap();
    role.batch_execute("LISTEN nueva_entrada_canal; SELECT * FROM miembros, registro_entradas")
        .await
        .unwrap();
    for forbidden in [
        MEMBER,
        &entry("7", "miembro"),
        "DELETE FROM miembros",
        "TRUNCATE registro_entradas",
        "CREATE TABLE t ()",
    ] {
        assert!(role.batch_execute(forbidden).await.is_err(), "{forbidden}");
    }
}

#[tokio::test]
async fn the_tills_password_is_enough_for_the_gateway() {
    let options = postgres::Options {
        auth: postgres::Auth::Scram,
        ..Default::default()
    };
    let server = Server::start(options).await.unwrap();
    let (database, mut node) = run_example(&server, "turnstile").await;
    let url = format!("postgres://pos_user:pos@{}/{}", server.address(), database.name());
    node.set_env("DATABASE_URL", url);
    node.restart().await.unwrap();
    let mut till = till(&node).await;
    database.execute(MEMBER).await.unwrap();
    database.execute(&entry("7", "miembro")).await.unwrap();
    assert_eq!(till.next_json(SOON).await.unwrap()["id_entrada"], 1);
}
