//! examples/chat-inbox with the unmodified clients of Socket.IO: rooms, rights, decryption, and kills of PostgreSQL and of the gateway.

use pregon_testkit::{Database, Node, NodeOptions, Server, postgres};
use serde_json::json;

use crate::decrypt::encrypt;
use crate::socketio::client;
use crate::support::official::{CLIENTS, TRANSPORTS};
use crate::support::{SECRET, binary, example, psql};

const KEY: [u8; 32] = [7; 32];

async fn inbox(server: &Server) -> (Database<'_>, Node) {
    let database = Database::create(server).await.unwrap();
    for _ in 0..2 {
        psql(server, &database.url(), &example("chat-inbox/schema.sql"));
    }
    let key: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let options = NodeOptions::file(example("chat-inbox/pregon.toml")).binary(binary());
    let options = options
        .env("DATABASE_URL", database.url())
        .env("JWT_SECRET", SECRET)
        .env("MESSAGE_KEY", key.as_str());
    (database, Node::spawn(options).await.unwrap())
}

fn message(text: &str) -> String {
    format!(
        "INSERT INTO messages (conversation_id, bot_id, sender, message) VALUES (123, 1, 'user', '{text}')"
    )
}

#[tokio::test]
async fn messages_reach_rooms_and_inboxes_decrypted() {
    let server = postgres::shared().await;
    let (database, node) = inbox(server).await;
    for driver in CLIENTS {
        for transports in TRANSPORTS {
            database.execute("TRUNCATE conversations CASCADE").await.unwrap();
            let mut owner = client(&node, driver, transports, &json!({"sub": 789})).await;
            let mut other = client(&node, driver, transports, &json!({"sub": "8"})).await;
            database
                .execute("INSERT INTO conversations (id, user_id) VALUES (123, 789)")
                .await
                .unwrap();
            let nothing = json!({"id": 123, "user_id": 789, "last_message": null, "last_message_at": null});
            assert_eq!(owner.event("conversation:updated").await[0], nothing);
            assert_eq!(
                owner.ask("subscribe", &json!(["conversation_123"])).await[0]["ok"],
                true
            );
            for channel in ["conversation_123", "conversation_abc", "user_789"] {
                let answer = other.ask("subscribe", &json!([channel])).await;
                assert_eq!(answer[0]["error"], "forbidden", "{channel}");
            }
            database
                .execute(&message(&encrypt(KEY, "Hola, ñandú")))
                .await
                .unwrap();
            let row = owner.event("message:new").await;
            assert_eq!(
                (&row[0]["message"], &row[0]["sender"]),
                (&json!("Hola, ñandú"), &json!("user"))
            );
            let line = owner.event("conversation:updated").await;
            assert_eq!(line[0]["last_message"], "Hola, ñandú");
            assert_eq!(line[0]["last_message_at"], row[0]["created_at"]);
            database.execute(&message("de antes")).await.unwrap();
            assert_eq!(owner.event("message:new").await[0]["message"], "de antes");
            database
                .execute(&message(&encrypt([8; 32], "ajena")))
                .await
                .unwrap();
            let failed = owner.event("message:new").await;
            assert_eq!(
                (&failed[0]["message"], &failed[0]["decrypt_error"]),
                (&json!(null), &json!(true))
            );
            assert!(!other.lines().iter().any(|line| line["on"] == "event"));
        }
    }
}

#[tokio::test]
async fn sockets_outlive_a_kill_of_postgres_and_miss_nothing() {
    let mut server = Server::start(postgres::Options::default()).await.unwrap();
    let url;
    let node = {
        let (database, node) = inbox(&server).await;
        database
            .execute("INSERT INTO conversations (id, user_id) VALUES (123, 789)")
            .await
            .unwrap();
        url = database.url();
        std::mem::forget(database);
        node
    };
    let mut owner = client(&node, CLIENTS[0], &["websocket"], &json!({"sub": 789})).await;
    owner.ask("subscribe", &json!(["conversation_123"])).await;
    server.kill9().await.unwrap();
    server.restart().await.unwrap();
    let again = pregon_testkit::postgres::connect(&url).await.unwrap();
    again.batch_execute(&message("después")).await.unwrap();
    assert_eq!(owner.event("message:new").await[0]["message"], "después");
    let lines = owner.lines();
    assert!(
        !lines
            .iter()
            .any(|line| line["on"] == "disconnect" || line["event"] == "gap"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn clients_come_back_by_themselves_after_a_kill_of_the_gateway() {
    let server = postgres::shared().await;
    let (database, mut node) = inbox(server).await;
    let conversation = "INSERT INTO conversations (id, user_id) VALUES (123, 789)";
    database.execute(conversation).await.unwrap();
    let claims = json!({"sub": 789});
    let mut owners = Vec::new();
    for driver in CLIENTS {
        for transports in TRANSPORTS {
            owners.push(client(&node, driver, transports, &claims).await);
        }
    }
    node.kill9().await.unwrap();
    for owner in &mut owners {
        owner.wait("disconnect").await;
    }
    node.restart().await.unwrap();
    for owner in &mut owners {
        owner.wait("connect").await;
        owner.ask("subscribe", &json!(["conversation_123"])).await;
    }
    database
        .execute(&message(&encrypt(KEY, "otra vez")))
        .await
        .unwrap();
    for owner in &mut owners {
        assert_eq!(owner.event("message:new").await[0]["message"], "otra vez");
        owner.event("conversation:updated").await;
    }
}
