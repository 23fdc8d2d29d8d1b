//! Names of channels are taken apart as they were put together: nobody gets another's rows because of a separator in a value.

use std::collections::BTreeSet;

use aws_lc_rs::hmac;
use pregon_testkit::{Database, Node, SseClient, WsClient, http, postgres};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use crate::cli::{file, run};
use crate::reload::anyone::{Anyone, Kind};
use crate::support::{SECRET, SOON, connect, metric, node, node_on, publish, refusal, socketio, token};

/// Everybody hears the barrier; a tenant reads what bears its name.
const TENANTS: &str = r#"
[server]
api_key = "llave-de-prueba"
[limits]
per_address = 0
per_address_commands = 0
commands_per_second = 0
[auth]
secret = "una-clave-solo-para-las-pruebas"
[socketio]
[[endpoint]]
path = "/rooms"
channels = ["barrier"]
rooms = "{room}"
[[channel]]
name = "barrier"
[[channel]]
name = "tenant_{t}_{id}"
subscribe = "channel.t == claims.sub"
"#;

const ITEMS: &str = r#"
[postgres]
apply = "auto"
[[watch]]
table = "items"
[[route]]
from = "items"
to = "tenant_{tenant}_{id}"
event = "x"
payload = { body = "row.body" }
"#;

async fn items<'a>() -> Database<'a> {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let table = "CREATE TABLE items (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text, id text, body text)";
    database.execute(table).await.unwrap();
    database
}

async fn write(database: &Database<'_>, tenant: &str, id: &str, body: &str) {
    let sql = format!("INSERT INTO items (tenant, id, body) VALUES ('{tenant}', '{id}', '{body}')");
    database.execute(&sql).await.unwrap();
}

/// The lines that tell of a name that was not rendered.
async fn told(node: &Node) -> Vec<String> {
    node.wait_for_log("takes apart", SOON).await.unwrap();
    let lines = node.lines();
    let of = |line: &&String| line.contains("takes apart");
    lines.iter().filter(of).cloned().collect()
}

async fn history(node: &Node, sub: &str, channel: &str) -> http::Response {
    let token = token(&json!({ "sub": sub }));
    let url = node.url(&format!("/api/history?channel={channel}&token={token}"));
    http::get(&url).await.unwrap()
}

#[tokio::test]
async fn a_row_with_a_separator_in_its_tenant_reaches_no_other_tenant() {
    for capture in ["notify", "outbox", "wal"] {
        let database = items().await;
        let config = format!("{TENANTS}{ITEMS}")
            .replace("[postgres]", &format!("[postgres]\ncapture = \"{capture}\""));
        let node = node_on(&database, &config).await;
        let mut first = connect(&node, &json!({"sub": "a"})).await;
        first.subscribe("tenant_a_b_7").await.unwrap();
        let mut neighbours = Vec::new();
        for kind in Kind::ALL {
            let mut anyone = Anyone::open(&node, kind, "a").await;
            assert!(anyone.follow(&node, "tenant_a_b_7").await, "{kind:?}");
            neighbours.push(anyone);
        }
        write(&database, "a_b", "7", "secreto").await;
        write(&database, "a", "b_7", "propio").await;
        let own = json!({"body": "propio"});
        assert_eq!(
            first.next_of_type("event", SOON).await.unwrap()["data"],
            own,
            "{capture}"
        );
        for anyone in &mut neighbours {
            assert_eq!(
                anyone.heard(&node).await,
                std::slice::from_ref(&own),
                "{capture} {:?}",
                anyone.kind()
            );
        }
        let past = history(&node, "a", "tenant_a_b_7").await;
        assert!(
            past.body.contains("propio") && !past.body.contains("secreto"),
            "{}",
            past.body
        );
        metric(&node, "pregon_drops_total{reason=\"ambiguous\"}", |n| n == 1.0)
            .await
            .unwrap();
        let told = told(&node).await;
        assert_eq!(told.len(), 1, "{}", node.log());
        assert!(
            told[0].contains("{tenant}") && told[0].contains("tenant_{t}_{id}"),
            "{told:?}"
        );
        assert!(
            !told[0].contains("a_b") && !told[0].contains("secreto"),
            "{told:?}"
        );
    }
}

/// The section that decides is found by a part of a value: it must not open what another section guards.
#[tokio::test]
async fn a_value_does_not_choose_another_section_by_a_part_of_itself() {
    let database = items().await;
    let open = "[[channel]]\nname = \"tenant_public_{id}\"\n[[channel]]\nname = \"tenant_{t}_{id}\"";
    let config = format!("{TENANTS}{ITEMS}").replace("[[channel]]\nname = \"tenant_{t}_{id}\"", open);
    let node = node_on(&database, &config).await;
    let mut stranger = connect(&node, &json!({"sub": "eva"})).await;
    stranger.subscribe("tenant_public_x_7").await.unwrap();
    stranger.subscribe("tenant_public_8").await.unwrap();
    write(&database, "public_x", "7", "secreto").await;
    write(&database, "public", "8", "de todos").await;
    let heard = stranger.next_of_type("event", SOON).await.unwrap();
    assert_eq!(heard["data"], json!({"body": "de todos"}));
}

/// Where no rule compares the parts, names are only names.
#[tokio::test]
async fn a_separator_hurts_nobody_where_no_rule_compares_the_part() {
    let database = items().await;
    let config = format!("{TENANTS}{ITEMS}").replace("channel.t == claims.sub", "claims.sub != 'eva'");
    let node = node_on(&database, &config).await;
    let mut client = connect(&node, &json!({"sub": "a"})).await;
    client.subscribe("tenant_a_b_7").await.unwrap();
    write(&database, "a_b", "7", "de todos").await;
    let heard = client.next_of_type("event", SOON).await.unwrap();
    assert_eq!(heard["data"], json!({"body": "de todos"}));
}

/// `user_{sub}` and what a route renders beside it: `user_1_admin` is a channel of user 1.
const JOINS: &str = r#"
[server]
api_key = "llave-de-prueba"
[auth]
secret = "una-clave-solo-para-las-pruebas"
join = ["user_{sub}"]
[socketio]
[[webhook]]
name = "codigo"
path = "/hooks/github"
preset = "github"
secret = "nuevo"
[[route]]
from = "codigo"
to = ["user_{user}_{kind}", "user_{user}"]
[[endpoint]]
path = "/mine"
channels = ["user_{sub}"]
"#;

#[tokio::test]
async fn a_claim_with_a_separator_joins_no_others_channel() {
    let node = node(JOINS).await;
    let claims = json!({"sub": "1_admin"});
    let url = node.ws_url(&format!("/ws?token={}", token(&claims)));
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    let welcome = client.next_of_type("welcome", SOON).await.unwrap();
    assert_eq!(welcome["channels"], json!([]), "{welcome}");
    let error = client.next_of_type("error", SOON).await.unwrap();
    assert_eq!(
        (&error["code"], &error["name"]),
        (&json!(103), &json!("forbidden")),
        "{error}"
    );
    let mut first_message = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let auth = json!({"type": "auth", "id": 1, "token": token(&claims)});
    first_message.send_json(&auth).await.unwrap();
    let welcome = first_message.next_of_type("welcome", SOON).await.unwrap();
    assert_eq!(welcome["channels"], json!([]), "{welcome}");
    let error = first_message.next_of_type("error", SOON).await.unwrap();
    assert_eq!(error["code"], 103, "{error}");
    for client in [&mut client, &mut first_message] {
        let refused = client
            .request(json!({"type": "subscribe", "channel": "user_1_admin"}))
            .await;
        assert_eq!(refused.unwrap()["code"], 103);
    }
    let sse = SseClient::connect(&node.url(&format!("/sse?token={}", token(&claims))), &[])
        .await
        .unwrap();
    assert_eq!(sse.status(), 403);
    let bare = node.ws_url(&format!("/mine?token={}", token(&claims)));
    assert_eq!(refusal(&bare, &[]).await, 403);
    assert_eq!(history(&node, "1_admin", "user_1_admin").await.status(), 403);
    let mut socket = socketio(&node, &token(&claims)).await;
    let error = socket.next_text(SOON).await.unwrap();
    assert!(
        error.starts_with("42[\"error\"") && error.contains("forbidden"),
        "{error}"
    );
    publish(&node, "user_1_admin", "x", json!("secreto")).await;
    client.expect_silence().await.unwrap();
    first_message.expect_silence().await.unwrap();
    metric(&node, "pregon_drops_total{reason=\"ambiguous\"}", |n| n >= 4.0)
        .await
        .unwrap();
    let told = told(&node).await;
    assert_eq!(told.len(), 1, "{}", node.log());
    assert!(
        told[0].contains("{sub}") && !told[0].contains("1_admin"),
        "{told:?}"
    );
}

#[tokio::test]
async fn whoever_has_no_separator_joins_as_before() {
    let node = node(JOINS).await;
    let mut client = connect(&node, &json!({"sub": "1"})).await;
    publish(&node, "user_1", "x", json!("propio")).await;
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"],
        "propio"
    );
    // With a fresh token it would join another's channel: it loses its own and gets none.
    let fresh = json!({"type": "auth", "token": token(&json!({"sub": "1_admin"}))});
    assert_eq!(client.request(fresh).await.unwrap()["type"], "ok");
    publish(&node, "user_1_admin", "x", json!("secreto")).await;
    publish(&node, "user_1", "x", json!("de antes")).await;
    let mut codes = Vec::new();
    while codes.len() < 2 {
        let frame = client.next_json(SOON).await.unwrap();
        assert_eq!(frame["type"], "error", "{frame}");
        codes.push(frame["code"].clone());
    }
    assert_eq!(codes, [103, 103]);
    client.expect_silence().await.unwrap();
}

/// A reload brings a route whose channels some would follow by their own name: they lose it, on every transport.
#[tokio::test]
async fn a_join_that_a_new_route_makes_ambiguous_ends_with_the_reload() {
    let before = JOINS.replace("\"user_{user}_{kind}\", ", "");
    let mut node = node(&before).await;
    let claims = json!({"sub": "1_admin"});
    let mut client = connect(&node, &claims).await;
    let bare = node.ws_url(&format!("/mine?token={}", token(&claims)));
    let mut bare = WsClient::connect(&bare, &[]).await.unwrap();
    let mut sse = SseClient::connect(&node.url(&format!("/sse?token={}", token(&claims))), &[])
        .await
        .unwrap();
    publish(&node, "user_1_admin", "x", json!("propio")).await;
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"],
        "propio"
    );
    assert_eq!(bare.next_json(SOON).await.unwrap(), "propio");
    node.rewrite_config(JOINS).unwrap();
    node.sighup();
    node.wait_for_log("the new rights hold for all sessions", SOON)
        .await
        .unwrap();
    publish(&node, "user_1_admin", "x", json!("secreto")).await;
    let error = client.next_json(SOON).await.unwrap();
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("error"), &json!(103)),
        "{error}"
    );
    client.expect_silence().await.unwrap();
    assert_eq!(bare.close_code(SOON).await.unwrap().unwrap().0, 3503);
    sse.ended(SOON).await.unwrap();
    assert!(!sse.raw().contains("secreto"), "{}", sse.raw());
}

#[tokio::test]
async fn a_row_that_a_join_of_two_claims_takes_apart_elsewhere_reaches_nobody() {
    let config = JOINS
        .replace("join = [\"user_{sub}\"]", "join = [\"user_{sub}_{role}\"]")
        .replace(
            "\"user_{user}_{kind}\", \"user_{user}\"",
            "\"user_{user}_{kind}\"",
        )
        .replace("\"user_{sub}\"", "\"user_{sub}_{role}\"");
    let node = node(&config).await;
    let mut owner = connect(&node, &json!({"sub": "1", "role": "admin_x"})).await;
    let url = node.ws_url(&format!(
        "/ws?token={}",
        token(&json!({"sub": "1_admin", "role": "x"}))
    ));
    let mut other = WsClient::connect(&url, &[]).await.unwrap();
    assert_eq!(
        other.next_of_type("welcome", SOON).await.unwrap()["channels"],
        json!([])
    );
    deliver(&node, &json!({"user": "1_admin", "kind": "x", "body": "secreto"})).await;
    deliver(&node, &json!({"user": "1", "kind": "admin_x", "body": "propio"})).await;
    let heard = owner.next_of_type("event", SOON).await.unwrap();
    assert_eq!(heard["data"]["body"], "propio");
    owner.expect_silence().await.unwrap();
}

async fn deliver(node: &Node, body: &Value) {
    let body = body.to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"nuevo");
    let signature = format!("sha256={}", hex::encode(hmac::sign(&key, body.as_bytes())));
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-delivery", &body),
        ("x-github-event", "x"),
    ];
    let url = node.url("/hooks/github");
    let answer = http::request("POST", &url, &headers, body.as_bytes());
    assert_eq!(answer.await.unwrap().status(), 200);
}

/// What clients emit is rendered too, and from what they say.
#[tokio::test]
async fn what_a_client_emits_reaches_no_other_tenant() {
    let route = "[[route]]\nfrom = \"clients\"\nto = \"tenant_{claims.sub}_{room}\"\nevent = \"x\"\n";
    let config = format!("{TENANTS}{route}").replace(
        "subscribe = \"channel.t == claims.sub\"",
        "subscribe = \"channel.t == claims.sub\"\npublish = \"true\"",
    );
    let node = node(&config).await;
    let mut neighbour = connect(&node, &json!({"sub": "a"})).await;
    neighbour.subscribe("tenant_a_b_7").await.unwrap();
    let token = pregon_testkit::token(&json!({"sub": "a_b"}), SECRET);
    let mut socket = socketio(&node, &token).await;
    socket.send_text("421[\"say\",{\"room\":\"7\"}]").await.unwrap();
    let ack = socket.next_text(SOON).await.unwrap();
    assert!(ack.starts_with("431") && ack.contains("error"), "{ack}");
    neighbour.expect_silence().await.unwrap();
}

/// A name that stands for others is refused as a whole: nobody follows half of it.
#[tokio::test]
async fn a_name_for_others_channels_is_refused_with_a_code() {
    let section = "[[channel]]\nname = \"mine\"\nfollow = [\"tenant_{sub}_{box}\", \"all\"]\n";
    let node = node(&format!("{TENANTS}{section}")).await;
    let claims = json!({"sub": "a_b", "box": "7"});
    let mut client = connect(&node, &claims).await;
    let refused = client
        .request(json!({"type": "subscribe", "channel": "mine"}))
        .await
        .unwrap();
    assert_eq!(refused["code"], 103, "{refused}");
    let query = format!("channel=mine&token={}", token(&claims));
    for path in ["sse", "api/history"] {
        let answer = http::get(&node.url(&format!("/{path}?{query}"))).await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
    }
    let mut own = connect(&node, &json!({"sub": "a", "box": "7"})).await;
    own.subscribe("mine").await.unwrap();
    publish(&node, "tenant_a_7", "x", json!("propio")).await;
    assert_eq!(own.next_of_type("event", SOON).await.unwrap()["data"], "propio");
}

#[test]
fn check_refuses_names_that_can_never_be_taken_apart() {
    let config = file(
        "[postgres]\nurl = \"postgres://x@127.0.0.1/x\"\n[auth]\nsecret = \"s\"\njoin = [\"u_{sub}{role}\"]\n\
         [[watch]]\ntable = \"t\"\n[[route]]\nfrom = \"t\"\nto = [\"k_{a}{b}\"]\n\
         [[channel]]\nname = \"k_{x}\"\nsubscribe = \"channel.x == claims.sub\"\n\
         [[channel]]\nname = \"mine_{x}\"\nfollow = [\"k_{sub}\"]\nsubscribe = \"channel.x == claims.sub\"\n\
         [[channel]]\nname = \"ours_{x}\"\nfollow = [\"k_{sub}\"]\nallow_sql = \"SELECT :channel.x = :claims.sub\"\n",
    );
    let ran = run(&["check", "--config", config.to_str().unwrap()], &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for place in [
        ":5:9: auth.join[0]: `{sub}` and `{role}` touch",
        ":10:7: route[0].to[0]: `{a}` and `{b}` touch",
        "channel[1].subscribe: `channel.x`",
        "channel[2].allow_sql: `channel.x`",
    ] {
        assert!(ran.out.contains(place), "{place}\n{}", ran.out);
    }
}

#[test]
fn explain_says_which_section_would_take_a_name_apart() {
    let config = file(
        &format!("{TENANTS}{ITEMS}").replace("[postgres]", "[postgres]\nurl = \"postgres://x@127.0.0.1/x\""),
    );
    let config = config.to_str().unwrap();
    let row = r#"{"tenant":"a_b","id":"7","body":"x"}"#;
    let ran = run(
        &[
            "route", "explain", "--config", config, "--source", "items", "--row", row,
        ],
        &[],
    );
    assert!(
        ran.out.contains("does nothing") && ran.out.contains("tenant_{t}_{id}"),
        "{ran:?}"
    );
}

/// Random rows of tenants whose names contain each other: everybody hears their own and nothing else.
#[tokio::test]
async fn random_rows_reach_their_tenant_alone() {
    let seed = std::env::var("PREGON_RIGHTS_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    eprintln!("PREGON_RIGHTS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (tenants, parts) = (["a", "b", "a_b", "a_", "_a"], ["7", "b_7", "_b", "b", "a_b_7"]);
    let rows: Vec<(&str, &str)> = (0..60)
        .map(|_| {
            (
                *tenants.choose(&mut random).unwrap(),
                *parts.choose(&mut random).unwrap(),
            )
        })
        .collect();
    let read = |(tenant, part): &(&str, &str)| {
        // What the section captures of the name, as its page says: up to the first separator after at least one character.
        let name = format!("{tenant}_{part}");
        let end = name[1..].find('_').unwrap() + 1;
        name[..end].to_owned()
    };
    let database = items().await;
    let node = node_on(&database, &format!("{TENANTS}{ITEMS}")).await;
    let mut followers = Vec::new();
    for (who, kind) in tenants.iter().flat_map(|who| Kind::ALL.map(|kind| (*who, kind))) {
        let mut anyone = Anyone::open(&node, kind, who).await;
        let names: BTreeSet<String> = rows
            .iter()
            .filter(|row| read(row) == who)
            .map(|(tenant, part)| format!("tenant_{tenant}_{part}"))
            .collect();
        for name in &names {
            assert!(anyone.follow(&node, name).await, "{who} {kind:?} {name}");
        }
        followers.push((who, anyone));
    }
    for (number, (tenant, part)) in rows.iter().enumerate() {
        write(&database, tenant, part, &number.to_string()).await;
    }
    let mut last = connect(&node, &json!({"sub": "fin"})).await;
    last.subscribe("tenant_fin_0").await.unwrap();
    write(&database, "fin", "0", "fin").await;
    last.next_of_type("event", SOON).await.unwrap();
    for (who, anyone) in &mut followers {
        let due: Vec<Value> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.0 == *who && read(row) == *who)
            .map(|(number, _)| json!({"body": number.to_string()}))
            .collect();
        assert_eq!(anyone.heard(&node).await, due, "{who} {:?}", anyone.kind());
    }
}
