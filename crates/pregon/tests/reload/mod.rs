//! Rights that change while sessions live: by a reload, by a fresh token, by rows that come and go; on every transport.

pub(crate) mod anyone;
mod model;
mod twins;

use pregon_testkit::{Database, Node, WsClient, http, postgres};
use serde_json::{Value, json};

use crate::support::{API_KEY, SOON, connect, node, node_on, publish, token};
use anyone::{Anyone, Kind};

/// Everything is open for everybody, and the barrier stays so: whoever has heard it has heard all before it.
const OPEN: &str = r#"
[server]
api_key = "llave-de-prueba"
[limits]
per_address = 0
per_address_commands = 0
commands_per_second = 0
[auth]
secret = "una-clave-solo-para-las-pruebas"
[postgres]
pool = 12
statement_timeout = "60s"
[socketio]
[[endpoint]]
path = "/rooms"
channels = ["barrier"]
rooms = "{room}"
[[channel]]
name = "barrier"
[[channel]]
name = "c_{id}"
presence = true
publish = "true"
"#;

/// The rule of `c_{id}`.
fn ruled(rule: &str) -> String {
    format!("{OPEN}{rule}\n")
}

const MEMBERS: &str =
    "allow_sql = \"SELECT true FROM members WHERE channel = :channel.id AND member = :claims.sub\"";

async fn members<'a>() -> Database<'a> {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute("CREATE TABLE members (channel text, member text, level int DEFAULT 1)")
        .await
        .unwrap();
    database
}

/// Puts a configuration in force; returns when everybody has been asked.
async fn reload(node: &mut Node, config: &str) {
    begin_reload(node, config).await;
    let reloads = count(node, "configuration reloaded");
    wait_count(node, "the new rights hold for all sessions", reloads).await;
}

async fn begin_reload(node: &mut Node, config: &str) {
    let before = count(node, "configuration reloaded");
    node.rewrite_config(config).unwrap();
    node.sighup();
    wait_count(node, "configuration reloaded", before + 1).await;
}

fn count(node: &Node, text: &str) -> usize {
    node.lines().iter().filter(|line| line.contains(text)).count()
}

async fn wait_count(node: &Node, text: &str, wanted: usize) {
    let enough = pregon_testkit::eventually(SOON, || async {
        let found = count(node, text);
        anyhow::ensure!(found >= wanted, "{found} of {wanted} lines with {text:?}");
        Ok(())
    });
    enough
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", node.log()));
}

async fn followers(node: &Node, sub: &str, channel: &str) -> Vec<Anyone> {
    let mut followers = Vec::new();
    for kind in Kind::ALL {
        let mut anyone = Anyone::open(node, kind, sub).await;
        assert!(anyone.follow(node, channel).await, "{kind:?}");
        followers.push(anyone);
    }
    followers
}

#[tokio::test]
async fn a_channel_that_asks_the_database_from_now_on_is_lost_on_every_transport() {
    let database = members().await;
    let mut node = node_on(&database, OPEN).await;
    database
        .execute("INSERT INTO members VALUES ('1', 'ana')")
        .await
        .unwrap();
    let mut members = followers(&node, "ana", "c_1").await;
    let mut strangers = followers(&node, "eva", "c_1").await;
    reload(&mut node, &ruled(MEMBERS)).await;
    publish(&node, "c_1", "x", json!("secreto")).await;
    for anyone in &mut members {
        assert_eq!(
            anyone.heard(&node).await,
            [json!("secreto")],
            "{:?}",
            anyone.kind()
        );
    }
    for anyone in &mut strangers {
        assert_eq!(anyone.heard(&node).await, [json!(null); 0], "{:?}", anyone.kind());
    }
}

#[tokio::test]
async fn a_membership_that_is_gone_ends_with_the_next_reload_and_the_next_token() {
    let database = members().await;
    database
        .execute("INSERT INTO members VALUES ('1', 'ana'), ('2', 'ana')")
        .await
        .unwrap();
    let mut node = node_on(&database, &ruled(MEMBERS)).await;
    let mut followers = followers(&node, "ana", "c_1").await;
    let mut refreshed = connect(&node, &json!({"sub": "ana"})).await;
    refreshed.subscribe("c_1").await.unwrap();
    refreshed.subscribe("c_2").await.unwrap();
    database
        .execute("DELETE FROM members WHERE channel = '1'")
        .await
        .unwrap();
    let fresh = json!({"type": "auth", "token": token(&json!({"sub": "ana", "n": 2}))});
    assert_eq!(refreshed.request(fresh).await.unwrap()["type"], "ok");
    publish(&node, "c_1", "x", json!("secreto")).await;
    publish(&node, "c_2", "x", json!("propio")).await;
    let event = refreshed.next_of_type("event", SOON).await.unwrap();
    assert_eq!(event["data"], "propio");
    reload(&mut node, &ruled(&format!("{MEMBERS}\nhistory = true"))).await;
    for anyone in &mut followers {
        // What was sent before the reload.
        let _ = anyone.heard(&node).await;
    }
    publish(&node, "c_1", "x", json!("secreto")).await;
    for anyone in &mut followers {
        assert_eq!(anyone.heard(&node).await, [json!(null); 0], "{:?}", anyone.kind());
    }
}

/// A database that answers when the test lets it.
async fn held(database: &Database<'_>) -> tokio_postgres::Client {
    let holder = database.client().await.unwrap();
    holder
        .batch_execute("BEGIN; LOCK TABLE members IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    holder
}

#[tokio::test]
async fn a_subscribe_that_is_under_way_during_a_reload_is_decided_by_the_new_rights() {
    let database = members().await;
    database
        .execute("INSERT INTO members VALUES ('1', 'ana')")
        .await
        .unwrap();
    let mut node = node_on(&database, &ruled(MEMBERS)).await;
    let mut waiting = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Sse) {
        waiting.push(Anyone::open(&node, kind, "ana").await);
    }
    let mut publisher = connect(&node, &json!({"sub": "ana"})).await;
    let mut asker = connect(&node, &json!({"sub": "ana"})).await;
    let holder = held(&database).await;
    for anyone in &mut waiting {
        anyone.begin_follow(&node, "c_1").await;
    }
    let publishing = json!({"type": "publish", "id": 7, "channel": "c_1", "event": "x", "data": 1});
    publisher.send_json(&publishing).await.unwrap();
    asker
        .send_json(&json!({"type": "presence", "id": 7, "channel": "c_1"}))
        .await
        .unwrap();
    let url = |path: &str| {
        node.url(&format!(
            "{path}?channel=c_1&token={}",
            token(&json!({"sub": "ana"}))
        ))
    };
    let (sse, history) = (url("/sse"), url("/api/history"));
    let sse = tokio::spawn(async move { http::get(&sse).await });
    let history = tokio::spawn(async move { http::get(&history).await });
    questions_wait(&database, 8).await;
    begin_reload(&mut node, &ruled("subscribe = \"false\"")).await;
    holder.batch_execute("COMMIT").await.unwrap();
    for anyone in &mut waiting {
        assert!(!anyone.followed("c_1").await, "{:?}", anyone.kind());
    }
    for client in [&mut publisher, &mut asker] {
        assert_eq!(client.next_of_type("error", SOON).await.unwrap()["code"], 103);
    }
    assert_eq!(sse.await.unwrap().unwrap().status(), 403);
    assert_eq!(history.await.unwrap().unwrap().status(), 403);
}

/// Waits until so many questions wait for the database.
async fn questions_wait(database: &Database<'_>, wanted: i64) {
    let client = database.client().await.unwrap();
    let waiting = pregon_testkit::eventually(SOON, || async {
        let row = client
            .query_one(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'members'::regclass",
                &[],
            )
            .await?;
        let count: i64 = row.get(0);
        anyhow::ensure!(count >= wanted, "{count} wait");
        Ok(())
    });
    waiting.await.unwrap();
}

/// A name that stands for `follow`, a channel or several, and is for those who are in the table of members.
fn for_members(name: &str, follow: &str) -> String {
    let follow = follow.replace(", ", "\", \"");
    format!(
        "[[channel]]\nname = \"{name}\"\nfollow = [\"{follow}\"]\n\
         allow_sql = \"SELECT true FROM members WHERE member = :claims.sub\"\n"
    )
}

/// A gateway and its database, in which ana is a member.
async fn with_ana(config: &str) -> (Database<'static>, Node) {
    let database = members().await;
    database
        .execute("INSERT INTO members VALUES ('1', 'ana')")
        .await
        .unwrap();
    let node = node_on(&database, config).await;
    (database, node)
}

#[tokio::test]
async fn a_name_for_several_channels_that_asks_the_database_survives_reloads_and_tokens() {
    let config = |more: &str| format!("{OPEN}{}{more}", for_members("mine", "inbox_{sub}"));
    let (database, mut node) = with_ana(&config("")).await;
    let mut client = connect(&node, &json!({"sub": "ana"})).await;
    client.subscribe("mine").await.unwrap();
    reload(&mut node, &config("volatile = [\"typing\"]\n")).await;
    let fresh = json!({"type": "auth", "token": token(&json!({"sub": "ana", "n": 2}))});
    assert_eq!(client.request(fresh).await.unwrap()["type"], "ok");
    publish(&node, "inbox_ana", "x", json!("propio")).await;
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"],
        "propio"
    );
    database.execute("DELETE FROM members").await.unwrap();
    reload(&mut node, &config("")).await;
    let lost = client.next_of_type("error", SOON).await.unwrap();
    assert_eq!(lost["code"], 103, "{lost}");
}

#[tokio::test]
async fn at_the_limit_a_followed_channel_may_be_resumed() {
    let node = node("[limits]\nsubscriptions = 2\n[[channel]]\nname = \"c_{id}\"\n").await;
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("c_1").await.unwrap();
    client.subscribe("c_2").await.unwrap();
    let resume = json!({"type": "subscribe", "channel": "c_2", "since": "5m"});
    let reply: Value = client.request(resume).await.unwrap();
    assert_eq!(reply["type"], "ok", "{reply}");
    let third = json!({"type": "subscribe", "channel": "c_3"});
    assert_eq!(client.request(third).await.unwrap()["code"], 107);
}

/// `recheck` asks without a reload and without a fresh token: whoever lost the row loses the channel, and nobody else does.
#[tokio::test]
async fn a_right_that_is_asked_for_again_by_itself_ends_with_its_row() {
    let database = members().await;
    database
        .execute("INSERT INTO members VALUES ('1', 'ana'), ('1', 'ben')")
        .await
        .unwrap();
    let node = node_on(&database, &ruled(&format!("{MEMBERS}\nrecheck = \"1s\""))).await;
    let mut ana = connect(&node, &json!({"sub": "ana"})).await;
    let mut ben = connect(&node, &json!({"sub": "ben"})).await;
    for client in [&mut ana, &mut ben] {
        client.subscribe("c_1").await.unwrap();
        client.subscribe("barrier").await.unwrap();
    }
    database
        .execute("DELETE FROM members WHERE member = 'ana'")
        .await
        .unwrap();
    let lost = ana.next_of_type("error", SOON).await.unwrap();
    assert_eq!(
        (&lost["name"], &lost["channel"]),
        (&json!("forbidden"), &json!("c_1"))
    );
    publish(&node, "c_1", "n", json!(1)).await;
    publish(&node, "barrier", "n", json!(2)).await;
    assert_eq!(ana.next_of_type("event", SOON).await.unwrap()["data"], 2);
    assert_eq!(ben.next_of_type("event", SOON).await.unwrap()["data"], 1);
}

/// The application takes one channel from one user, on every transport; the rest goes on.
#[tokio::test]
async fn an_application_takes_a_channel_from_a_user_and_nothing_else() {
    let database = members().await;
    let node = node_on(&database, OPEN).await;
    let unsubscribe = async |body: Value, key: &str| {
        let headers = [("authorization", key)];
        http::post_json(&node.url("/api/unsubscribe"), &headers, &body)
            .await
            .unwrap()
    };
    let ours = format!("Bearer {API_KEY}");
    let mut of_ana = followers(&node, "ana", "c_1").await;
    let mut of_ben = followers(&node, "ben", "c_1").await;
    let answer = unsubscribe(json!({"user": "ana", "channel": "c_1"}), &ours).await;
    assert_eq!(answer.body, format!("{{\"ended\":{}}}", of_ana.len()));
    publish(&node, "c_1", "x", json!("secreto")).await;
    for anyone in &mut of_ana {
        assert_eq!(anyone.heard(&node).await, [json!(null); 0], "{:?}", anyone.kind());
    }
    for anyone in &mut of_ben {
        assert_eq!(
            anyone.heard(&node).await,
            [json!("secreto")],
            "{:?}",
            anyone.kind()
        );
    }
    let nobody = unsubscribe(json!({"user": "eve", "channel": "c_1"}), &ours).await;
    assert_eq!((nobody.status(), nobody.body.as_str()), (200, r#"{"ended":0}"#));
    let stranger = unsubscribe(json!({"user": "ben", "channel": "c_1"}), "Bearer x").await;
    assert_eq!(stranger.status(), 401);
    for wrong in [
        json!({"user": "ben"}),
        json!({"user": "", "channel": "c"}),
        json!({"user": "b", "channel": ""}),
    ] {
        assert_eq!(unsubscribe(wrong.clone(), &ours).await.status(), 400, "{wrong}");
    }
}
